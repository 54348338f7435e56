"""`sso doctor`: check a guest or a client step by step, and say how to correct everything that is wrong.

The checks are in sso.guest.checks, sso.client.checks and sso.viewer.checks; this module has what they share:
findings, access to the machine under test, and the output. It changes nothing and shows no secret.
"""

import grp
import json
import os
import pwd
import re
import socket
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from sso.printable import one_line

RUN_SECONDS = 5.0  # limit for a program that a check runs
KRB5_CONF = "/etc/krb5.conf"
NESTED_MAX = 8  # depth of files that include one another
TEXT_MAX = 400  # characters of one line of output
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GUEST, CLIENT = "guest", "client"
_CHECKS = {GUEST: "sso.guest.checks", CLIENT: "sso.client.checks"}  # imported only when needed
_MORE = {CLIENT: "sso.viewer.checks"}  # the viewer belongs to the client's machine
# Files that show that the guest or the client is installed or configured here.
_TRACES = {
    GUEST: ("/etc/console-sso/guest.toml", "/lib/systemd/system/console-sso-agent.service"),
    CLIENT: ("/etc/console-sso/client.toml", "/usr/bin/spice-client-sso"),
}


class FindingState(StrEnum):
    """The result of looking at one thing."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    NOT_CHECKED = "not checked"


class Finding(NamedTuple):
    """What was found, and in one sentence how to correct it; `mend` is always set if `state` is WRONG."""

    state: FindingState
    found: str
    mend: str = ""


Check = Callable[[], Iterable[Finding]]
Step = tuple[str, Check]  # its name, and the function that checks
Line = tuple[str, Finding]


def ok(found: str) -> Finding:
    return Finding(FindingState.OK, found)


def warning(found: str, mend: str = "") -> Finding:
    return Finding(FindingState.WARNING, found, mend)


def wrong(found: str, mend: str) -> Finding:
    return Finding(FindingState.WRONG, found, mend)


def not_checked(why: str) -> Finding:
    return Finding(FindingState.NOT_CHECKED, why)


def examine(steps: Iterable[Step]) -> Iterator[Line]:
    """Run the steps. A step that lacks permission, or fails itself, is reported; the next one still runs."""
    for name, check in steps:
        try:
            for finding in check():
                yield name, finding
        except PermissionError as error:
            yield name, not_checked(f"only root may look at {error.filename or 'it'}")
        except Exception as error:
            yield name, not_checked(f"the check itself failed, please report it ({type(error).__name__})")


# The machine under test


class Answer(NamedTuple):
    """The exit code and the output of a program."""

    code: int
    output: str


class Account(NamedTuple):
    """The parts of a user account that the checks need."""

    uid: int
    gid: int


def ask(argv: Sequence[str]) -> Answer | None:
    """Run a program that only reports something; None when it is missing or takes over RUN_SECONDS."""
    kept = {name: os.environ[name] for name in ("KRB5CCNAME", "KRB5_CONFIG") if name in os.environ}
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", **kept}
    try:
        done = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Answer(done.returncode, (done.stdout + done.stderr).decode(errors="replace").strip())


@dataclass(frozen=True)
class System:
    """A machine: its folders below `root`, a way to `ask` its programs, its system bus ("" for the default).

    Tests pass a folder of their own as `root`; users and groups then come from its /etc.
    """

    root: Path = Path("/")
    ask: Callable[[Sequence[str]], Answer | None] = ask
    bus: str = ""

    def path(self, inside: str) -> Path:
        """Return our path of a file of that machine."""
        return self.root / inside.lstrip("/")

    def read(self, inside: str) -> str:
        """Read a text file; "" when there is none."""
        try:
            return self.path(inside).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ""

    @property
    def is_ours(self) -> bool:
        return self.root == Path("/")

    @property
    def has_systemd(self) -> bool:
        """Whether systemd runs (sd_booted(3))."""
        return self.path("/run/systemd/system").is_dir()

    @property
    def hostname(self) -> str:
        return socket.gethostname() if self.is_ours else self.read("/etc/hostname").strip()

    def user(self, name: str) -> Account | None:
        """Find an account by name; None when there is none."""
        if self.is_ours:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                return None
            return Account(entry.pw_uid, entry.pw_gid)
        fields = self._entries("/etc/passwd").get(name)
        return Account(int(fields[2]), int(fields[3])) if fields else None

    def has_group(self, name: str) -> bool:
        if not self.is_ours:
            return name in self._entries("/etc/group")
        try:
            return bool(grp.getgrnam(name))
        except KeyError:
            return False

    def user_name(self, uid: int) -> str:
        """Return the name of a uid, or the number if no account has it."""
        if self.is_ours:
            try:
                return pwd.getpwuid(uid).pw_name
            except KeyError:
                return f"uid {uid}"
        names = (name for name, fields in self._entries("/etc/passwd").items() if fields[2] == str(uid))
        return next(names, f"uid {uid}")

    def _entries(self, file: str) -> dict[str, list[str]]:
        entries = (line.split(":") for line in self.read(file).splitlines())
        return {fields[0]: fields for fields in entries if len(fields) > 3}


def default_realm(system: System, path: str = KRB5_CONF, depth: int = 0) -> str:
    """Return the first default_realm in krb5.conf and the files that it includes; "" if there is none."""
    section = ""
    for line in system.read(path).splitlines():
        line = line.strip()
        if match := re.match(r"\[(\w+)\]", line):
            section = match[1]
        elif match := re.match(r"include(dir)?\s+(/\S+)", line):
            for file in _included(system, match[2], bool(match[1])) if depth < NESTED_MAX else ():
                if realm := default_realm(system, file, depth + 1):
                    return realm
        elif section == "libdefaults" and (match := re.match(r"default_realm\s*=\s*(\S+)", line)):
            return match[1]
    return ""


def broken_includes(system: System, path: str = KRB5_CONF, depth: int = 0) -> Iterator[str]:
    """Yield paths that krb5.conf includes and that do not exist: one such line makes libkrb5 read nothing."""
    for line in system.read(path).splitlines():
        if not (match := re.match(r"include(dir)?\s+(\S+)", line)):
            continue
        target, is_folder = match[2], bool(match[1])
        found = system.path(target)
        if not target.startswith("/") or not (found.is_dir() if is_folder else found.is_file()):
            yield f"{path} includes {target}, which is no {'folder' if is_folder else 'file'} that is there"
        elif depth < NESTED_MAX:
            for file in _included(system, target, is_folder):
                yield from broken_includes(system, file, depth + 1)


def include_findings(broken: Sequence[str], path: str) -> Iterator[Finding]:
    """Turn the result of `broken_includes` into findings."""
    for found in broken:
        yield wrong(found, "Make it, or remove that line: libkrb5 takes no part of such a file")
    if not broken:
        yield ok(f"what {path} includes is there")


def _included(system: System, path: str, is_folder: bool) -> list[str]:
    if not is_folder:
        return [path]
    names = (file.name for file in system.path(path).glob("*") if file.is_file())
    good = re.compile(r"[\w-]+|[^.].*\.conf")
    return [f"{path.rstrip('/')}/{name}" for name in sorted(names) if good.fullmatch(name)]


class Checks(Protocol):
    """The interface of the modules sso.guest.checks, sso.client.checks and sso.viewer.checks."""

    def add_options(self, parser: ArgumentParser) -> None:
        """Add the options of these checks."""

    def steps(self, system: System, options: Namespace, rest: list[str]) -> Iterable[Step]:
        """Return the steps in order. `rest` has arguments unknown to the parser; wrong usage exits with 2."""


# Output


def text(line: Line) -> str:
    """Format one finding as a line of text."""
    step, finding = line
    found, mend = _plain(finding.found), _plain(finding.mend)
    stop = "" if not mend else " " if found.endswith(".") else ". "
    return f"{finding.state:11}  {step}: {found}{stop}{mend}"


def as_json(line: Line) -> dict[str, str]:
    step, (state, found, mend) = line
    return {"step": step, "state": state, "found": _plain(found), "mend": _plain(mend)}


def _plain(said: str) -> str:
    """Make quoted text of files and logs safe: no terminal controls, no line ends, at most TEXT_MAX."""
    shown = one_line(said)
    return shown if len(shown) <= TEXT_MAX else f"{shown[:TEXT_MAX]}..."


# The command


def main(arguments: list[str] | None = None, system: System | None = None) -> int:
    """Check, print, and return 0 if nothing is wrong, else 1; wrong usage exits with 2."""
    system = system or System()
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = _role(words)
    role, *others = [given] if given else here(system)
    options, checks, rest = _parse(words, role, bool(given))
    if not options.json:
        others_too = "".join(f"; `sso doctor {other}` looks at the {other}" for other in others)
        print(f"sso doctor: the {role} on this machine{others_too}")
    lines = []
    more = cast(Checks, import_module(_MORE[role])).steps(system, options, rest) if role in _MORE else ()
    for line in examine(chain(checks.steps(system, options, rest), more)):
        lines.append(line)
        if not options.json:
            print(text(line), flush=True)
    bad = sum(finding.state == FindingState.WRONG for _, finding in lines)
    if options.json:
        findings = [as_json(line) for line in lines]
        print(json.dumps({"role": role, "wrong": bad, "findings": findings}, indent=1))
    else:
        print(f"sso doctor: {bad} wrong" if bad else "sso doctor: nothing is wrong")
    return 1 if bad else 0


def here(system: System, uid: int | None = None) -> list[str]:
    """Return the roles that are installed or configured here, the likely one first; client if there is none.

    If both are, root means the guest, since tickets belong to other users.
    """
    found = [role for role, traces in _TRACES.items() if any(system.path(path).exists() for path in traces)]
    root = (os.geteuid() if uid is None else uid) == 0
    return sorted(found, key=lambda role: (role == GUEST) != root) or [CLIENT]


def _role(words: list[str]) -> str:
    """Remove the role from the arguments; it is the first one, apart from --json."""
    for index, word in enumerate(words):
        if word in _CHECKS:
            return words.pop(index)
        if word != "--json":
            break
    return ""


def _parse(words: list[str], role: str, given: bool) -> tuple[Namespace, Checks, list[str]]:
    """Return the options, the module with the role's checks, and arguments for the client's own parser."""
    parser = ArgumentParser(
        prog="sso doctor",
        usage="sso doctor [guest | client] [OPTION ...]",
        description="Check a guest or a client step by step, and say for each problem how to fix it.\n"
        "Without guest or client it checks what is installed here. It changes nothing, and shows no secret.\n"
        "Each line says ok, warning, wrong or not checked. Only root gets all lines of a guest.",
        epilog="exit codes: 0 nothing is wrong, 1 something is wrong, 2 wrong usage",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object (default: off)"
    )
    # Without a role, --help is about both.
    both = not given and {"-h", "--help"} & set(words)
    checks = {name: cast(Checks, import_module(_CHECKS[name])) for name in (_CHECKS if both else [role])}
    for each in checks.values():
        each.add_options(parser)
    options, rest = parser.parse_known_args(words)
    if rest and role == GUEST:
        parser.error(f"{rest[0]} is not understood")
    return options, checks[role], rest


if __name__ == "__main__":
    sys.exit(main())
