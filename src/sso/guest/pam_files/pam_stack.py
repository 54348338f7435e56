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

* pam_nologin asks for the user's name although it asks for no password. So our early line comes before all
  others; it only sets the user of a waiting credential, and never grants a login.
* Our deciding line comes directly before the first line that may ask for a secret. All checks before it
  (pam_nologin, pam_securetty, pam_succeed_if, pam_faildelay's delay) apply to every login. A line that jumps
  counts as one that asks: nothing may come between a jump and its target.
* "done" ends the stack, also when the credentials are set. pam_group works only then, and Debian has it after
  common-auth, so we repeat it before our line. (pam_cap, which common-auth itself sets, is left out.)
* We pass a password on: with "ignore" the file's own modules check it, and need not ask for one.
* A login that the agent withdrew ends at the next of our lines: CONTROL lets the module refuse, but never
  grant; if the module is missing, the line has no effect. The two "check" lines are the first of their type,
  before pam_systemd makes a session. libpam ignores the module's result when the credentials are set.
* The last session line reports that the session is open. It is last, so that a session which other modules
  refuse is not reported. The cache is deleted when the session is closed.

We only insert lines: without them a file is the same as before, byte by byte.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sso.errors import ConfigError
from sso.printable import escaped

MODULE = "pam_sso.so"
MARK = "# console-sso"
UNENDED = "# the line above had no end"  # on ours behind a last line without LF, to give that back
_HEAD = "# Console SSO (sso install-pam --remove takes these lines away)"
_SKIPS = " skips:"
DECIDES = "auth [success=done default=ignore]"
CONTROL = "[success=ignore ignore=ignore module_unknown=ignore default=die]"
VERDICT = "/verdict.sock"  # the end of the path of the lock screens' socket; lock screens open no session

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
    "pam_localuser",
    "pam_nologin",
    "pam_securetty",
    "pam_selinux_permit",  # as Fedora's GDM calls the next one
    "pam_sepermit",
    "pam_shells",
    "pam_succeed_if",
    "pam_tally2",
    "pam_time",
    "pam_usertype",
    "pam_warn",
    "pam_wheel",
}
# What Debian's shared files hold; any other included file may hold lines of every type.
_INCLUDED = {
    "common-account": "account",
    "common-auth": "auth",
    "common-password": "password",
    "common-session": "session",
    "common-session-noninteractive": "session",
}


TYPES = ("auth", "account", "session", "password")
BLANKS = " \t\n"  # separate words in libpam; form feed and carriage return do not
LINE_MAX = 1023  # libpam 1.5 takes what is behind for another line, 1.7 does not
# A word; in brackets it may hold blanks, and a bracket behind a backslash. The brackets are no part of it.
_WORD = re.compile(r"\[((?:\\\]|[^\]])*)\]?|[^ \t\n]+")
_CODE = (
    "success|open_err|symbol_err|service_err|system_err|buf_err|perm_denied|auth_err|cred_insufficient|"
    "authinfo_unavail|user_unknown|maxtries|new_authtok_reqd|acct_expired|session_err|cred_unavail|"
    "cred_expired|cred_err|no_module_data|conv_err|authtok_err|authtok_recover_err|authtok_lock_busy|"
    "authtok_disable_aging|try_again|ignore|abort|authtok_expired|module_unknown|bad_item|conv_again|"
    "incomplete|default"
)
_CASE = re.compile(
    rf"[ \t]*({_CODE})[ \t]*=[ \t]*(ignore|ok|done|bad|die|reset|[1-9][0-9]{{0,3}})(?=[ \t]|$)"
)
# Short controls, and the long form that each stands for (pam.conf(5)).
_CONTROLS = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}


@dataclass(frozen=True)
class Line:
    """One line of a service's file, unchanged, with the lines that a backslash joins to it."""

    text: str

    @property
    def words(self) -> list[str]:
        """Type, control, module, arguments; or @include and a name. Nothing for a comment."""
        found = _WORD.finditer(self._uncommented)
        return [word[0] if word[1] is None else word[1].replace("\\]", "]") for word in found]

    @property
    def code(self) -> str:
        """The line joined into one, so that it can be written again."""
        return " ".join(self.code_words)

    @property
    def code_words(self) -> list[str]:
        """The words with their brackets."""
        return [word[0] for word in _WORD.finditer(self._uncommented)]

    @property
    def _uncommented(self) -> str:
        return self.text.replace("\\\n", " ").partition("#")[0]

    @property
    def included(self) -> str:
        """The service that Debian's @include inserts here, or ""."""
        words = self.words
        return words[1] if len(words) > 1 and words[0].lower() == "@include" else ""

    def may_be(self, type: str) -> bool:
        """Whether this is, or includes, a line of that type."""
        if self.included:
            return _INCLUDED.get(self.included, type) == type
        return self.words[:1] != [] and self.words[0].lower().removeprefix("-") == type

    @property
    def module(self) -> str:
        """The module's bare name; empty for an included file."""
        words = [] if self.included else self.words[2:]
        return os.path.basename(words[0]).removesuffix(".so") if words else ""

    @property
    def actions(self) -> dict[str, str]:
        """Map each return code of the module to libpam's action; `default` stands for all other codes.

        Raises ConfigError for a control that libpam does not understand, which refuses everybody.
        """
        control = self.words[1] if len(self.words) > 1 else ""
        if short := _CONTROLS.get(control.lower()):
            return short
        found, end = {}, 0
        while case := _CASE.match(control, end):
            found[case[1]], end = case[2], case.end()
        if not found or control[end:].strip(" \t"):
            raise ConfigError(f"PAM does not understand this control: {escaped(control)}")
        return {"default": "bad"} | found

    @property
    def brings(self) -> str:
        """The file that stands here in the words of libpam, `include` or `substack`; "" for a module."""
        words = self.words
        is_one = not self.included and len(words) > 2 and words[1].lower() in ("include", "substack")
        return words[2] if is_one else self.included

    def check(self) -> None:
        """Raise ConfigError for a line that makes libpam refuse every login."""
        words = self.words
        if not words or self.included:
            return
        if words[0].lower().removeprefix("-") not in TYPES or len(words) < 3:
            raise ConfigError(f"PAM does not understand this line: {escaped(self.code)}")
        if not self.brings:
            self.actions  # noqa: B018  # raises

    @property
    def service(self) -> str:
        """The other service that is included here whole, checks and all; "" for Debian's shared files."""
        return "" if self.included in _INCLUDED else self.included

    @property
    def asks(self) -> bool:
        """Whether this auth line may ask for a secret, or jumps over lines that do."""
        if self.brings or self.module not in _SILENT:
            return True
        return any(action.isdigit() for action in self.actions.values())


def lines(text: str) -> Iterator[Line]:
    """Yield the lines of a service's file as libpam reads them; `text` is its bytes decoded as Latin-1.

    A line ends at LF alone. A backslash right before it joins the next one, except in a comment. Raises
    ConfigError for what libpam refuses, or what its versions read in different ways (1.5.2 and 1.7 compared):
    a backslash with blanks behind it, a blank line or a comment where a line is to go on, and a line, or
    comment, longer than LINE_MAX.
    """
    parts: list[str] = []
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        code, comment, _ = line.partition("#")
        joins = not comment and line.endswith("\\\n")
        unclear = not comment and not joins and code.rstrip(BLANKS).endswith("\\")
        if unclear or "\0" in line or (parts and not code.strip(BLANKS)):
            raise ConfigError(f"PAM cannot read this line, or not always in the same way: {line.strip()!a}")
        parts.append(line)
        if sum(map(len, parts)) > LINE_MAX:
            raise ConfigError(f"PAM does not always read a line of more than {LINE_MAX} bytes: {line[:60]!a}")
        if not joins:
            yield Line("".join(parts))
            parts.clear()
    if parts:
        raise ConfigError("the last line ends with a backslash: PAM refuses the whole file")


def add_lines(
    text: str, module: str = MODULE, arguments: str | Sequence[str] = (), skips: Sequence[str] = ()
) -> str:
    """Add our lines to the text of a service's file, in place of those that are there.

    `module` is a name in the system's PAM folder or an absolute path, `arguments` go to each line, `skips`
    are the checks that an administrator has named (pam_chain), noted for later. Doing it twice
    changes nothing, and `remove_lines` gives the text back. Only a lock screen, which has the verdict socket,
    may do without account or session lines; it gets none of those, since ours alone would shadow the default.
    Raises ConfigError when nobody logs in by this service, PAM may read the file otherwise, or an argument
    cannot stand in such a file.
    """
    words = [module, *(arguments.split() if isinstance(arguments, str) else arguments)]
    if any(not word or set(word) & set(" \t\n#[]\\") for word in (*words, *skips)):
        raise ConfigError("a PAM argument must not hold blanks, brackets, # or a backslash")
    found = list(lines(remove_lines(text)))
    for line in found:
        line.check()
    places = {
        type: [index for index, line in enumerate(found) if line.may_be(type)]
        for type in ("auth", "account", "session")
    }
    decide = deciding(found)
    if decide < len(found) and (other := found[decide].service):
        raise ConfigError(f"it takes its lines from {other}, where ours belong too: use --service {other}")
    for type in ("account", "session"):
        if not places[type] and not is_locker(words):
            raise ConfigError(
                f"the service has no {type} line, so a login by it cannot be taken back; "
                "a lock screen needs --socket /run/console-sso/verdict.sock"
            )
    head = _HEAD + (" ".join((_SKIPS, *skips)) if skips else "")
    return _inserted(found, [(places["auth"][0], head), *_ours(found, places, decide, words)])


def deciding(found: Sequence[Line]) -> int:
    """Return the index of the line before which ours decides. ConfigError if the lines never log in."""
    auth = [index for index, line in enumerate(found) if line.may_be("auth")]
    if not auth:
        raise ConfigError("the service has no auth line: nobody logs in by it")
    return next((index for index in auth if found[index].asks), auth[-1] + 1)


def _ours(
    found: list[Line], places: dict[str, list[int]], decide: int, words: list[str]
) -> Iterator[tuple[int, str]]:
    """Return our lines, each with the index of the line before which it is inserted."""
    yield places["auth"][0], " ".join(("auth optional", words[0], "early", *words[1:]))
    for at in places["auth"]:
        if at >= decide and found[at].module == "pam_group":
            # As optional, whatever it is: the copy must neither let anybody in nor refuse anybody.
            yield decide, " ".join(("auth optional", *found[at].code_words[2:]))
    yield decide, " ".join((DECIDES, *words))
    check = " ".join((CONTROL, words[0], "check", *words[1:]))
    for type in ("account", "session"):
        if places[type]:
            yield places[type][0], f"{type} {check}"
    if places["session"]:
        yield places["session"][-1] + 1, " ".join(("session", CONTROL, *words))


def _inserted(found: list[Line], ours: list[tuple[int, str]]) -> str:
    """Return the text with our lines; lines for the same place keep their order, before the old line."""
    unended = bool(found) and not found[-1].text.endswith("\n")
    parts = []
    for index in range(len(found) + 1):
        for place, text in ours:
            if place != index:
                continue
            if index == len(found) and unended:
                parts.append("\n")
                text, unended = f"{text} {UNENDED}", False
            if len(text) > LINE_MAX - len(MARK) - 2:
                raise ConfigError("the arguments are too long for a PAM line")
            parts.append(f"{text} {MARK}\n")
        parts += [found[index].text] if index < len(found) else []
    return "".join(parts)


def is_locker(words: Sequence[str]) -> bool:
    """Whether these arguments are for a lock screen: they name the verdict socket."""
    return any(word.startswith("socket=") and word.endswith(VERDICT) for word in words)


def noted_skips(text: str) -> tuple[str, ...]:
    """Return the checks that our first line records as skipped with the administrator's consent."""
    for line in text.split("\n"):
        if line.startswith(_HEAD) and is_marked(line):
            return tuple(line.removesuffix(MARK).partition(_SKIPS)[2].split())
    return ()


def remove_lines(text: str) -> str:
    """Remove our lines from the text of a service's file; the other bytes are as before."""
    split = re.findall(r"[^\n]*\n|[^\n]+", text)
    kept = [at for at, line in enumerate(split) if not is_marked(line)]
    behind = split[kept[-1] + 1 :] if kept else []
    rest = "".join(split[at] for at in kept)
    # If lines were added after ours, the line above ours now has a LF.
    return rest.removesuffix("\n") if any(UNENDED in line for line in behind) else rest


def is_marked(line: str) -> bool:
    """Whether we wrote a line; its comment keeps it from joining another one."""
    return line.rstrip(BLANKS).endswith(MARK)
