"""Makes one line for the user about the sign-in, from the events of the plug-ins.

A state is a word with its arguments. The words are those of spice-client-sso --status-fd; another plug-in may
show its own text with `note TEXT`. A failure never blocks the console.
"""

from sso.plug.plug import PlugEvent
from sso.printable import one_line

LINE_MAX = 200  # characters shown
BY_HAND = "sign in by hand"

# What the user can do after these exit codes of spice-client-sso; after all others: BY_HAND.
_TYPE = "type your password"
_THERE = "the console asks something: answer there"
_INSTEAD = {"18": _THERE, "6": f"no ticket: {_TYPE}", "3": f"this guest offers no single sign-on: {BY_HAND}"}


class StatusLine:
    """Returns the line to show after each event; an empty line shows nothing."""

    def __init__(self) -> None:
        self._name = ""
        self._failed = False

    def event(self, event: PlugEvent) -> str | None:
        """Return the new line, or None to keep the present one."""
        if event.kind == "failed":
            return _short(f"single sign-on cannot start: {event.text}: {BY_HAND}")
        if event.kind == "started":
            self._failed = False
            return None
        if event.kind == "exited":
            if event.wanted or self._failed or not event.code:
                return None
            return _short(f"the plug-in of {event.port} ended with {event.code}: {BY_HAND}")
        return self._state(event.text)

    def _state(self, text: str) -> str | None:
        word, _, rest = text.partition(" ")
        if word == "signing-in":
            self._name = rest or self._name
            return _short(f"signing in as {self._name} ...")
        if word in ("signed-in", "renewed"):
            return _short(f"signed in as {self._name}" if self._name else "signed in")
        if word == "console-asks":
            return _THERE
        if word == "failed":
            self._failed = True
            code, _, why = rest.partition(" ")
            return _short(_INSTEAD.get(code, f"not signed in: {why}: {BY_HAND}"))
        if word == "not-renewed":
            return _short(f"your ticket in the guest was not renewed: {rest.partition(' ')[2]}")
        return _short(rest) if word == "note" else None


def _short(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= LINE_MAX else text[: LINE_MAX - 1] + "…"
