"""The lines of one PAM service, read as libpam reads them, and the places where ours stand among them.

Here Debian's login, and why:

    auth     optional                       pam_sso.so early
    auth     optional                       pam_faildelay.so
    auth     requisite                      pam_nologin.so
    auth     optional                       pam_group.so         (repeated)
    auth     [success=done default=ignore]  pam_sso.so
    @include common-auth
    ...
    account  CONTROL                        pam_sso.so check
    @include common-account
    session  CONTROL                        pam_sso.so check
    ...
    @include common-session
    session  CONTROL                        pam_sso.so

* pam_nologin asks for the user's name although it asks for no password. So an early line stands before all
  others; it only names the user of a waiting credential, and never lets anybody in.
* The line that decides stands right before the first line that may ask for a secret. All checks before it
  (pam_nologin, pam_securetty, pam_succeed_if, pam_faildelay's delay) hold for everybody. A line that jumps
  counts as one that asks: nothing may come between a jump and its target.
* "done" ends the stack, also when the credentials are set. pam_group does its work only then, and Debian has
  it behind common-auth: it is repeated before our line. (What common-auth itself sets, pam_cap, is left out.)
* A password is handed on: "ignore" lets the file's own modules judge it, and they find no reason to ask.
* A login that the agent has taken back ends at the next of our lines: CONTROL lets the module refuse, and
  never grant; where the module is missing the line counts for nothing. The two "check" are the first of their
  type, before pam_systemd makes a session. libpam drops what the module says when the credentials are set.
* The last session line says that the session is open. It is the last, so that one which other modules refuse
  is not reported. The cache goes when the session is closed.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sso.errors import ConfigError

MODULE = "pam_sso.so"
MARK = "# console-sso"
DECIDES = "auth [success=done default=ignore]"
CONTROL = "[success=ignore ignore=ignore module_unknown=ignore default=die]"
VERDICT = "/verdict.sock"  # how the socket ends that answers lock screens, which open no session

# Modules of the auth stack that never ask for a secret.
_SILENT = {
    "pam_access",
    "pam_echo",
    "pam_env",
    "pam_faildelay",
    "pam_faillock",
    "pam_group",
    "pam_issue",
    "pam_keyinit",
    "pam_listfile",
    "pam_nologin",
    "pam_securetty",
    "pam_shells",
    "pam_succeed_if",
    "pam_time",
    "pam_warn",
}
# What Debian's shared files hold; any other included file may hold lines of every type.
_INCLUDED = {
    "common-account": "account",
    "common-auth": "auth",
    "common-password": "password",
    "common-session": "session",
    "common-session-noninteractive": "session",
}


BLANKS = " \t\n"  # what parts words for libpam; a form feed and a carriage return are letters
# A word; in brackets it may hold blanks, and a bracket behind a backslash.
_WORD = re.compile(r"\[(?:\\\]|[^\]])*\]?|[^ \t\n]+")


@dataclass(frozen=True)
class Line:
    """One line of a service's file as it stands, with those that a backslash joins to it."""

    text: str

    @property
    def words(self) -> list[str]:
        """Type, control, module, arguments; or @include and a name. Nothing for a comment."""
        return _WORD.findall(self.text.replace("\\\n", " ").partition("#")[0])

    @property
    def code(self) -> str:
        return " ".join(self.words)

    @property
    def included(self) -> str:
        """The service whose lines stand here, by Debian's @include."""
        words = self.words
        return words[1] if len(words) > 1 and words[0].lower() == "@include" else ""

    def may_be(self, type: str) -> bool:
        """Whether it is, or brings, a line of a type."""
        if self.included:
            return _INCLUDED.get(self.included, type) == type
        return self.words[:1] != [] and self.words[0].lower().removeprefix("-") == type

    @property
    def module(self) -> str:
        """The module's bare name; empty for an included file."""
        words = [] if self.included else self.words[2:]
        return os.path.basename(words[0]).removesuffix(".so") if words else ""

    @property
    def service(self) -> str:
        """The other service that is included here whole, checks and all; "" for Debian's shared files."""
        return "" if self.included in _INCLUDED else self.included

    @property
    def asks(self) -> bool:
        """Whether this auth line may ask for a secret, or jumps over lines that do."""
        control = "".join(self.words[1:2]).strip("[]")
        jumps = any(word.partition("=")[2].isdigit() for word in control.split())
        return jumps or self.module not in _SILENT


def lines(text: str) -> Iterator[Line]:
    """The lines of a service's file, whose octets are the letters of `text` (Latin-1), as libpam reads them.

    A line ends at LF alone. A backslash right before it joins the next one, except in a comment. Raises
    ConfigError for what libpam refuses, or what its versions read in different ways (1.5.2 and 1.7 compared):
    a backslash with blanks behind it, and a blank line or a comment where a line is to go on.
    """
    parts: list[str] = []
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        code, comment, _ = line.partition("#")
        joins = not comment and line.endswith("\\\n")
        unclear = not comment and not joins and code.rstrip(BLANKS).endswith("\\")
        if unclear or "\0" in line or (parts and not code.strip(BLANKS)):
            raise ConfigError(f"PAM cannot read this line, or not always in the same way: {line.strip()!a}")
        parts.append(line)
        if not joins:
            yield Line("".join(parts))
            parts.clear()
    if parts:
        raise ConfigError("the last line ends with a backslash: PAM refuses the whole file")


def add_lines(text: str, module: str = MODULE, arguments: str | Sequence[str] = ()) -> str:
    """Add our lines to the text of a service's file, in place of those that are there.

    `module` is a name in the system's PAM folder or an absolute path, `arguments` go to each line. Doing it
    twice changes nothing. Only a lock screen, which has the verdict socket, may do without account or session
    lines; it gets none of those, since ours alone would shadow the default. Raises ConfigError when nobody
    logs in by this service, PAM may read the file otherwise, or an argument cannot stand in such a file.
    """
    words = [module, *(arguments.split() if isinstance(arguments, str) else arguments)]
    if any(not word or set(word) & set(" \t\n#[]\\") for word in words):
        raise ConfigError("a PAM argument must not hold blanks, brackets, # or a backslash")
    found = [Line(_ended(line.text)) for line in lines(remove_lines(text))]
    places = {
        type: [index for index, line in enumerate(found) if line.may_be(type)]
        for type in ("auth", "account", "session")
    }
    if not places["auth"]:
        raise ConfigError("the service has no auth line: nobody logs in by it")
    decide = next((index for index in places["auth"] if found[index].asks), places["auth"][-1] + 1)
    if decide < len(found) and (other := found[decide].service):
        raise ConfigError(f"it takes its lines from {other}, where ours belong too: use --service {other}")
    for type in ("account", "session"):
        if not places[type] and not is_locker(words):
            raise ConfigError(
                f"the service has no {type} line, so a login by it cannot be taken back; "
                "a lock screen needs --socket /run/console-sso/verdict.sock"
            )
    ours = _ours(found, places, decide, words)
    # What has the same place keeps this order; the old line of that place follows.
    return "".join(
        "".join(text for place, text in ours if place == index)
        + (found[index].text if index < len(found) else "")
        for index in range(len(found) + 1)
    )


def _ours(
    found: list[Line], places: dict[str, list[int]], decide: int, words: list[str]
) -> list[tuple[int, str]]:
    """Our lines, each with the index of the line before which it stands."""
    first = places["auth"][0]
    groups = [found[at].code for at in places["auth"] if at >= decide and found[at].module == "pam_group"]
    ours = [
        (first, "# Console SSO (sso install-pam --remove takes these lines away)"),
        (first, " ".join(("auth optional", words[0], "early", *words[1:]))),
        *((decide, group) for group in groups),
        (decide, " ".join((DECIDES, *words))),
    ]
    check = " ".join((CONTROL, words[0], "check", *words[1:]))
    for type in ("account", "session"):
        if places[type]:
            ours.append((places[type][0], f"{type} {check}"))
    if places["session"]:
        ours.append((places["session"][-1] + 1, " ".join(("session", CONTROL, *words))))
    return [(place, f"{text} {MARK}\n") for place, text in ours]


def is_locker(words: Sequence[str]) -> bool:
    """Whether lines with these arguments are a lock screen's: they ask at the verdict socket."""
    return any(word.startswith("socket=") and word.endswith(VERDICT) for word in words)


def remove_lines(text: str) -> str:
    """Take our lines out of the text of a service's file."""
    kept = re.findall(r"[^\n]*\n|[^\n]+", text)
    return "".join(line for line in kept if not is_marked(line))


def is_marked(line: str) -> bool:
    """Whether we wrote a line; its comment keeps it from joining another one."""
    return line.rstrip(BLANKS).endswith(MARK)


def _ended(line: str) -> str:
    return line if line.endswith("\n") else line + "\n"
