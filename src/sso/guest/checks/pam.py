"""Checks PAM: our lines in the login screen's service, in the right order and nowhere else; our module."""

import fnmatch
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from sso.doctor import Finding, FindingState, System, not_checked, ok, warning, wrong
from sso.errors import ConfigError
from sso.guest.agent import faillock
from sso.guest.checks import pam_trial
from sso.guest.checks.guest import ExaminedGuest
from sso.guest.config import GuestConfig
from sso.guest.pam_files.install_pam import BACKUP, SCREENS, command, pam_folder, skips_of, written
from sso.guest.pam_files.pam_stack import (
    CONTROL,
    MARK,
    MODULE,
    Line,
    add_lines,
    is_locker,
    lines,
    noted_skips,
)

FOLDER = "/etc/pam.d"
GDM = "gdm-ovirtcred"
INCLUDES_MAX = 4
# Files in which our lines are wrong: other services include them, or they are not for console logins.
FORBIDDEN = ("common-*", "*-auth", "system-*", "other", "sshd", "su", "su-*", "sudo*", "runuser*", "cron")
_PROBE = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).pam_sm_authenticate"


def ours(text: str) -> list[str]:
    """Return the lines with our module, without comments, including lines that PAM would refuse."""
    codes = (line.partition("#")[0].strip() for line in text.split("\n"))
    return [code for code in codes if "pam_sso" in code]


def service(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check the lines in the file of the login screen's service, or in the service that it includes."""
    if not guest.service:
        yield not_checked("the login screen's PAM service is not known")
        return
    name, text = _deciding(guest.system, guest.service)
    path, install = f"{FOLDER}/{name}", f"sso install-pam --service {name}"
    if not text:
        cure = "On Debian: apt install --reinstall -o Dpkg::Options::=--force-confmiss console-sso-guest"
        mend = cure if name == GDM else f"Install the login screen, or name its PAM service in {guest.path}"
        yield wrong(f"there is no {path}", mend)
    elif not ours(text):
        yield wrong(f"{path} has no line of {MODULE}", f"Run: {install}")
    else:
        by_us = MARK in text
        found = _marked(guest, name, text, install) if by_us else _by_hand(guest, path, text, install)
        yield found
        # Our own parser finds no fault; now ask the real libpam.
        if found.state != FindingState.WRONG:
            yield pam_trial.tried(guest, install)
    yield from _socket(guest, path, text, install)


def _deciding(system: System, name: str) -> tuple[str, str]:
    """Return the service to which our lines belong, and its file; some services include another one."""
    text = _text(system, name)
    for _ in range(INCLUDES_MAX):
        included = re.findall(r"^@include\s+(?!common-)(\S+)", text, re.MULTILINE)
        if ours(text) or not included:
            break
        name, text = included[0], _text(system, included[0])
    return name, text


def _text(system: System, name: str) -> str:
    """Read a service's file as install-pam does: any byte is allowed, and only LF ends a line."""
    try:
        return system.path(f"{FOLDER}/{name}").read_bytes().decode("latin-1")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""


def _marked(guest: ExaminedGuest, name: str, text: str, install: str) -> Finding:
    """Check lines that sso install-pam wrote: they are right if it would write the same again."""
    path = f"{FOLDER}/{name}"
    try:
        if add_lines(text, *written(text), noted_skips(text)) == text:
            return _skipping(guest, path, text, command(name, text))
    except ConfigError as error:
        return wrong(f"{path}: {error}", f"Run: {install} --remove")
    if not any("check" in line.split() for line in ours(text)):
        return wrong(
            f"{path} has the lines of an older version: a login that was taken back opens its session",
            "Run: sso install-pam --upgrade",
        )
    return wrong(f"our lines in {path} are not in the right places, or not all there", f"Run: {install}")


def _skipping(guest: ExaminedGuest, path: str, text: str, install: str) -> Finding:
    """Check that a sign-on skips no module of a typed login, unless the administrator allowed it."""
    checks = skips_of(guest.system.root, guest.system.path(path), text)
    noted = noted_skips(text)
    if left := [step for step in checks if step.line.module not in noted]:
        names = " ".join(sorted({step.line.module for step in checks}))
        return wrong(
            f"a sign-on skips what may refuse a login by hand: {'; '.join(map(str, left))}",
            f"Put such a line before the one that asks for the password and run {install}; or, if you mean"
            f" it: {install} --skip-checks {names}",
        )
    meant = f"; a sign-on skips {', '.join(noted)}, as you have said" if checks else ""
    return ok(f"{path} has our lines in their places{meant}")


def _by_hand(guest: ExaminedGuest, path: str, text: str, install: str) -> Finding:
    """Check lines that a person or a package wrote: if the screen has a token, our line must come first."""
    try:
        found = list(lines(text))
    except ConfigError as error:
        return wrong(f"{path}: {error}", f"Mend the line in {path}")
    token = guest.driver is not None and guest.driver.token
    auth = [line.words for line in found if line.may_be("auth")]
    if token and (not auth or not _is_ours(auth[0], "token")):
        return wrong(
            f"{path} does not begin auth with {MODULE} and token: GDM asks for a name",
            f"Write as the first auth line of {path}:"
            f" auth [success=1 ignore=ignore default=die] {MODULE} token",
        )
    if missing := _unguarded(found):
        return wrong(
            f"{path} has no {missing}: a login that was taken back opens its session",
            f"Write as the first account and as the first session line: {CONTROL} {MODULE} check;"
            f" and as the last session line: {CONTROL} {MODULE}",
        )
    if token:
        return ok(f"{path} has our lines")
    return warning(f"{path} has lines of {MODULE} written by hand", f"Compare with: {install} --dry-run")


def _is_ours(words: list[str], *arguments: str) -> bool:
    return any("pam_sso" in word for word in words[2:3]) and set(arguments) <= set(words)


def _unguarded(found: list[Line]) -> str:
    """Return which of the lines that end a withdrawn login is missing; "" if none is."""
    if any(is_locker(line.words) for line in found):
        return ""
    accounts, sessions = (
        [line.words for line in found if line.may_be(type)] for type in ("account", "session")
    )
    places = (
        ("first account line", accounts[:1], ("check",)),
        ("first session line", sessions[:1], ("check",)),
        ("last session line", sessions[-1:], ()),
    )
    for place, words, arguments in places:
        if (
            not words
            or not _is_ours(words[0], *arguments)
            or words[0][1].split() != CONTROL.strip("[]").split()
        ):
            return f"{place} of {MODULE} with its control"
    return ""


def _socket(guest: ExaminedGuest, path: str, text: str, install: str) -> Iterator[Finding]:
    """Check that the module's line names the socket on which the agent listens."""
    default = GuestConfig().pam_socket
    for line in ours(text):
        asked = next((word[7:] for word in line.split() if word.startswith("socket=")), default)
        if asked not in (guest.config.pam_socket, guest.config.verdict_socket):
            yield wrong(
                f"{path} asks at {asked}, and the agent listens at {guest.config.pam_socket}",
                f"Run: {install} --socket {guest.config.pam_socket}",
            )
            return


def module(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check the module's file: it is where PAM looks, only root can change it, and it can be loaded."""
    text = _deciding(guest.system, guest.service)[1] if guest.service else ""
    name = next((word for line in ours(text) for word in line.split() if "pam_sso" in word), MODULE)
    system = guest.system
    try:
        path = system.path(name) if name.startswith("/") else pam_folder(system.root) / name
        found = path.stat()
    except (ConfigError, FileNotFoundError):
        where = name if name.startswith("/") else f"{MODULE} in PAM's folder"
        yield wrong(f"there is no {where}", "On Debian: apt install --reinstall libpam-sso")
        return
    shown = f"/{path.relative_to(system.root)}"
    if found.st_uid != 0 or found.st_mode & 0o022:
        whose = f"{system.user_name(found.st_uid)}, mode {found.st_mode & 0o777:03o}"
        mend = "Reinstall libpam-sso, since others could change it: apt install --reinstall libpam-sso"
        yield wrong(f"{shown} belongs to {whose}", mend)
    yield _loads(system, path, shown)


def _loads(system: System, path: Path, shown: str) -> Finding:
    # In a separate process: a broken library could crash us.
    answer = system.ask([sys.executable, "-I", "-c", _PROBE, str(path)])
    if answer is None:
        return not_checked(f"whether {shown} can be loaded: it took too long")
    if answer.code:
        said = answer.output.splitlines()[-1].partition(": ")[2] if answer.output else f"code {answer.code}"
        return wrong(f"{shown} cannot be loaded: {said}", "On Debian: apt install --reinstall libpam-sso")
    return ok(f"{shown} can be loaded")


def elsewhere(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that our lines are not in files that other services include or that serve no console login."""
    good = []
    for file in sorted(guest.system.path(FOLDER).glob("*")):
        if not file.is_file() or file.name.endswith(BACKUP) or not ours(_text(guest.system, file.name)):
            continue
        if any(fnmatch.fnmatchcase(file.name, pattern) for pattern in FORBIDDEN):
            path = f"{FOLDER}/{file.name}"
            yield wrong(
                f"{path} has lines of {MODULE}, which no such service may have",
                f"Run: sed -i /pam_sso/d {path}",
            )
            continue
        good.append(file.name)
        if file.name not in SCREENS and file.name not in (GDM, guest.service, *guest.config.lockers):
            yield warning(
                f"{FOLDER}/{file.name} has lines of {MODULE}, and is no screen that is known here",
                f"If it is none: sso install-pam --service {file.name} --remove",
            )
    yield ok(f"services with our lines: {', '.join(good) or 'none'}")


def lockout(guest: ExaminedGuest) -> Iterator[Finding]:
    """Report the settings of pam_faillock; the agent itself never causes the failure that locks a user."""
    text = guest.system.read(faillock.CONF)
    settings = faillock.read(str(guest.system.path(faillock.CONF)))
    files = (guest.system.read(f"{FOLDER}/{name}") for name in (guest.service, "common-auth", "system-auth"))
    if not any(re.search(r"^[^#\n]*pam_faillock", file, re.MULTILINE) for file in files):
        yield ok("pam_faillock is not used")
        return
    root = ", root too" if re.search(r"^\s*even_deny_root", text, re.MULTILINE) else ""
    yield ok(f"pam_faillock locks after {settings.deny} failures{root}; the agent never makes the last one")
