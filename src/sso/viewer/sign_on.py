"""Decides whether a plug-in of a console may start: gathers facts, applies the rule, asks the user.

sso.console.vouch has the rule. The facts are gathered each time a port opens, since the owner of a socket may
have changed. The user is asked only then, since without an open port no sign-on could follow.
"""

from collections.abc import Callable

from sso.console.vouch import (
    TICKET,
    Agreement,
    Facts,
    Leg,
    Question,
    Ruling,
    Strength,
    agreement,
    by_table,
    named,
    places,
    question,
    rule,
    strength,
)
from sso.plug.event_loop import EventLoop, Watch
from sso.plug.plug import PlugEvent, Start
from sso.plug.process import PluginProcess

from .agreed import Agreed
from .intent import Intent
from .reach import legs
from .status_line import BY_HAND

PREVIEW = ("--preview", "--status-fd=3")
PREVIEW_TIME = 20.0  # seconds that the plug-in gets to say who would sign in
FOR = "--for"
# Options that say which guest the plug-in accepts, and how each value is written in an identity.
_IDENTITY = {
    "--spn": "{}",
    "--asked-spn": "{}",
    "--tls-name": "tls/{}",
    "--tls-pin": "{}",
}
# Asks the user a question, and calls back with the answer; returns a function that withdraws the question.
Ask = Callable[[Question, Callable[[bool], None]], Callable[[], None]]


class SignOn:
    """Decides for each plug-in whether it may start.

    `ask` is None if there is nobody to ask. `show` tells the user why a plug-in does not start. `restart`
    starts the plug-in of a port again after an answer. `say` gets what the plug-in reports when it is asked
    who would sign in.
    """

    def __init__(
        self,
        intent: Intent,
        loop: EventLoop,
        ask: Ask | None,
        *,
        show: Callable[[str], None],
        say: Callable[[PlugEvent], None],
        restart: Callable[[str], None],
        agreed: Agreed | None = None,
    ) -> None:
        self._intent, self._loop, self._ask = intent, loop, ask
        self._show, self._say, self._restart = show, say, restart
        self._agreed = agreed or Agreed()
        self._yes: dict[str, Agreement] = {}  # of this window, by port
        self._no: set[str] = set()
        self._asking: dict[str, _Asking] = {}

    def permit(self, start: Start) -> Start | None:
        """Implement plug.Permit: return what to start, with --for if a principal is known, or None."""
        connections = legs(self._intent.reach)
        facts = self._facts(start, connections)
        ruling, why = rule(facts)
        if ruling is Ruling.START:
            return self._for_whom(start)
        if ruling is Ruling.REFUSE and facts.identity is None:
            self._show(f"no plug-in at {start.port}: {why}")  # another plug-in may still sign in
        elif ruling is Ruling.REFUSE:
            self._refuse(why)
        elif start.port in self._no:
            self._refuse("you said no")
        elif start.port not in self._asking:
            self._asking[start.port] = _Asking(self, self._loop, start, connections, facts)
        return None

    def left(self) -> None:
        """Withdraw all questions, since the console is gone; forget answers for one connection only."""
        for asking in tuple(self._asking.values()):
            asking.cancel()
        self._asking.clear()
        self._no.clear()
        if strength(self._intent.settings.tables, legs(self._intent.reach)) is not Strength.PROVEN:
            self._yes.clear()

    def again(self) -> None:
        """Forget each no, since the user wants to be asked again."""
        self._no.clear()

    # The facts

    def _facts(self, start: Start, connections: tuple[Leg, ...]) -> Facts:
        intent, who = self._intent, identity(start.argv)
        plugin = next(one for one in intent.settings.plugins if one.port == start.port)
        signs_in = bool(who or plugin.takes)
        tables, entry = intent.settings.tables, intent.signatures.entry
        yes = self._yes.get(start.port)
        return Facts(
            typed=bool(intent.typed) and (not who or intent.typed in who),
            strength=strength(tables, connections),
            identity=bool(who) if signs_in else None,
            table=by_table(tables, connections, who)
            if signs_in
            else not plugin.bent and named(places(connections), plugin.consoles),
            entry=entry is not None and bool(who) and set(who) <= set(entry.entry.services),
            opening=intent.signatures.opening is not None,
            agreed=yes is not None and yes == self._agreement(connections, who, yes.principal),
            remembered=False,  # looked up in `known`, when the principal is known
        )

    def _agreement(self, connections: tuple[Leg, ...], who: tuple[str, ...], principal: str) -> Agreement:
        entry = self._intent.signatures.entry
        counts = entry is not None and set(who) <= set(entry.entry.services)
        return agreement(connections, who, principal, entry.entry.guest if entry and counts else "")

    def _for_whom(self, start: Start) -> Start:
        """Add --for if a signed opening or a yes names a principal, so that no other ticket is used."""
        yes, opening = self._yes.get(start.port), self._intent.signatures.opening
        principal = opening.principal if opening else yes.principal if yes else ""
        if not principal or not identity(start.argv):
            return start
        return start._replace(argv=(*start.argv, f"{FOR}={principal}"))

    def _refuse(self, why: str) -> None:
        self._show(f"no single sign-on: {why}: {BY_HAND}")

    # Called by _Asking

    def known(self, asking: "_Asking", principal: str, ticket: str) -> None:
        """Go on when the principal is known: start if the user agreed before, else ask."""
        opening = self._intent.signatures.opening
        if opening is not None and opening.principal != principal:
            del self._asking[asking.start.port]
            self._refuse(f"this console was opened for {opening.principal}")
            return
        who = identity(asking.start.argv)
        about = self._agreement(asking.legs, who, principal)
        ruling, why = rule(asking.facts._replace(remembered=self._agreed.has(about)))
        if ruling is Ruling.START:
            self._answered(asking, about, True)
        elif self._ask is None:
            del self._asking[asking.start.port]
            self._refuse(f"{why}, and there is no window to ask in")
        else:
            put = question(asking.legs, who, principal, ticket, asking.facts.strength)
            asking.take_back = self._ask(put, lambda yes: self._hear(asking, about, yes, put.remembered))

    def _hear(self, asking: "_Asking", about: Agreement, yes: bool, remembered: bool) -> None:
        if not self.waits_for(asking):
            return  # the question was withdrawn meanwhile
        if yes and remembered:
            try:
                self._agreed.add(about)
            except OSError as error:
                self._show(f"your yes could not be remembered: {error.strerror}")
        self._answered(asking, about, yes)

    def _answered(self, asking: "_Asking", about: Agreement, yes: bool) -> None:
        port = asking.start.port
        del self._asking[port]
        if yes:
            self._yes[port] = about
        else:
            self._no.add(port)
        self._restart(port)

    def unknown(self, asking: "_Asking", said: bool) -> None:
        """Give up: the plug-in could not say who would sign in; if it `said` why, that is shown already."""
        del self._asking[asking.start.port]
        if not said:
            self._refuse("the plug-in does not say who would sign in")

    def heard(self, port: str, text: str) -> None:
        """Pass on what the plug-in reports instead of a principal."""
        self._say(PlugEvent(port, "state", text))

    def waits_for(self, asking: "_Asking") -> bool:
        """Whether `asking` is still the current one of its port."""
        return self._asking.get(asking.start.port) is asking


class _Asking:
    """Asks the plug-in who would sign in, and then the user, after a port has opened."""

    def __init__(
        self, door: SignOn, loop: EventLoop, start: Start, connections: tuple[Leg, ...], facts: Facts
    ) -> None:
        self.start, self.legs, self.facts = start, connections, facts
        self.take_back: Callable[[], None] = lambda: None
        self._door = door
        self._found: tuple[str, str] | None = None  # principal, ticket
        self._said = False
        self._late: Watch | None = None
        self._process: PluginProcess | None = None
        try:
            self._process = PluginProcess(
                (*start.argv, *PREVIEW), loop, states=True, state=self._state, exited=self._exited
            )
        except OSError:
            self._late = loop.after(0.0, self._over)
        else:
            self._late = loop.after(PREVIEW_TIME, self._process.kill)

    def cancel(self) -> None:
        """End the plug-in's process and withdraw the question."""
        self._found, self._said = None, True
        self.take_back()
        if self._process is not None:
            self._process.kill()

    def _state(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        ticket, _, principal = rest.partition(" ")
        if word == "preview" and ticket in TICKET and principal:
            self._found = principal, ticket
        elif word == "failed":
            self._said = True
            self._door.heard(self.start.port, text)

    def _exited(self, code: int) -> None:
        assert self._process is not None
        self._process.close()
        self._process = None
        self._over()

    def _over(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if not self._door.waits_for(self):
            return
        if self._found:
            self._door.known(self, *self._found)
        else:
            self._door.unknown(self, self._said)


def identity(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return which guest a plug-in accepts by its arguments: SPNs and tls/NAME, or pins without a name."""
    found: list[str] = []
    for at, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option in _IDENTITY and (text := value if equals else "".join(argv[at + 1 : at + 2])):
            found.append(_IDENTITY[option].format(text))
    names = [text for text in found if not text.startswith("sha256:")]
    return tuple(dict.fromkeys(names or found))
