"""Checks the login screen: the one that `login` selects, whether it is used here, and what it needs."""

import re
import tomllib
from collections.abc import Iterator

from sso.doctor import Finding, System, not_checked, ok, warning, wrong
from sso.guest.checks.guest import ExaminedGuest, start
from sso.guest.checks.units import show
from sso.guest.screens.driver import DISPLAY_MANAGER, find_driver

SHARE = "/usr/share/console-sso"
GREETD = "/etc/greetd/config.toml"
UNITS = "/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"
# The units of the display managers, and the packages whose version matters.
MANAGERS = {
    "gdm": ("gdm.service", "gdm3.service"),
    "lightdm": ("lightdm.service",),
    "sddm": ("sddm.service",),
    "greetd": ("greetd.service",),
}
_VIRTUAL = re.compile(r"tty\d+")
SDDM_KNOWN = "0.19"  # its greeter protocol is private and depends on the version


def screen(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that the driver can be loaded and fits the display manager in use."""
    if guest.driver is None:
        mend = f'Write login = "auto", or the name of one that is there, in {guest.path}'
        yield wrong(guest.why, mend)
        return
    chosen = f"login = {guest.config.login}" + (f": {guest.screen}" if guest.config.login == "auto" else "")
    link = guest.system.path(DISPLAY_MANAGER)
    enabled = link.readlink().name if link.is_symlink() else ""
    if enabled and not _is_known(enabled) and guest.config.login == "auto":
        yield warning(
            f"the display manager {enabled} is not known, so the agent serves the text console",
            f"If that is not meant, write the right login in {guest.path}",
        )
    elif enabled and guest.screen != find_driver(str(link)) and _is_known(enabled):
        found = f"{chosen}, but the display manager of this machine is {enabled}"
        mend = f'Write login = "auto" in {guest.path}'
        yield warning(found, mend) if guest.screen == "getty" else wrong(found, mend)
    else:
        yield _running(guest, chosen)
    if guest.screen in _OWN:
        yield from _OWN[guest.screen](guest)


def _is_known(unit: str) -> bool:
    return any(unit in units for units in MANAGERS.values())


def _running(guest: ExaminedGuest, chosen: str) -> Finding:
    names = MANAGERS.get(guest.screen)
    if not names or not guest.system.has_systemd:
        return ok(chosen)
    units = show(guest.system, *names)
    active = [name for name, unit in units.items() if unit.get("ActiveState") == "active"]
    if active:
        return ok(f"{chosen}, {active[0]} is active")
    there = [name for name, unit in units.items() if unit.get("LoadState") == "loaded"]
    if not there:
        return wrong(f"{chosen}, and {guest.screen} is not installed", "Install it, or write another login")
    return wrong(f"{chosen}, and {there[0]} is not active", f"Run: systemctl start {there[0]}")


# What each screen needs


def getty(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check the drop-in that makes a text console wait for the agent."""
    tty = guest.config.tty
    if not guest.system.has_systemd:
        yield not_checked(f"how the login screen on {tty} is started: systemd does not run here")
        return
    unit = f"{'getty' if _VIRTUAL.fullmatch(tty) else 'serial-getty'}@{tty}.service"
    text = drop_ins(guest.system, unit)
    folder = f"/etc/systemd/system/{unit}.d"
    if "sso-getty" not in text:
        yield wrong(
            f"{unit} does not start sso-getty",
            f"Run: install -D -m 644 -t {folder} '{SHARE}/getty@.service.d/console-sso.conf'"
            f" && systemctl daemon-reload && systemctl restart {unit}",
        )
    elif not re.search(r"^StartLimitIntervalSec=0\s*$", text, re.MULTILINE):
        yield wrong(
            f"{unit} may be started a few times only, and each attempt that comes to nothing is one",
            f'Write "[Unit]" and "StartLimitIntervalSec=0" to {folder}/console-sso.conf,'
            " then: systemctl daemon-reload",
        )
    elif show(guest.system, unit).get(unit, {}).get("ActiveState") != "active":
        yield wrong(f"{unit} is not active", f"Run: systemctl restart {unit}")
    else:
        yield ok(f"{unit} starts sso-getty")


def drop_ins(system: System, unit: str) -> str:
    """Return the text of a unit's drop-ins, those of its template first."""
    template = re.sub("@.*", "@.service", unit)
    folders = [f"{folder}/{name}.d" for name in (template, unit) for folder in UNITS]
    files = (file for folder in folders for file in sorted(system.path(folder).glob("*.conf")))
    return "\n".join(file.read_text(errors="replace") for file in files)


def greetd(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that greetd starts sso-greetd as the user that the agent expects."""
    try:
        session = tomllib.loads(guest.system.read(GREETD)).get("default_session", {})
    except tomllib.TOMLDecodeError as error:
        yield wrong(f"{GREETD} is no TOML: {error}", f"Compare it with {SHARE}/greetd/config.toml")
        return
    restart = f"then: {start(guest.system, 'greetd.service', anew=True)}"
    words, user = str(session.get("command", "")).split(), str(session.get("user", "greeter"))
    if not any(word.rpartition("/")[2] == "sso-greetd" for word in words):
        yield wrong(
            f"{GREETD} starts {words[0] if words else 'no greeter'}, not sso-greetd",
            f'Write command = "sso-greetd" below [default_session] in {GREETD}, {restart}',
        )
    elif user != guest.config.greeter_user:
        yield wrong(
            f"the greeter runs as {user}, and the agent answers {guest.config.greeter_user}",
            f'Write user = "{guest.config.greeter_user}" below [default_session] in {GREETD}, {restart}',
        )
    elif guest.system.user(user) is None:
        yield wrong(f"there is no user {user}, who runs the greeter", "On Debian: apt install greetd")
    else:
        yield ok(f"{GREETD} starts sso-greetd as {user}")


def gdm(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check GNOME Shell's version: all but one listen to the agent."""
    found = version(guest.system, "gnome-shell")
    if not found:
        yield not_checked("the version of GNOME Shell: no package manager tells it")
    elif re.match(r"51[.~]beta", found):
        yield wrong(
            f"GNOME Shell {found} does not sign in by the agent's signal",
            "Update GNOME Shell to 51.rc or newer: its merge request 4338 mended it",
        )
    else:
        yield ok(f"GNOME Shell {found}")


def sddm(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check SDDM's version: the driver knows the private greeter protocol of only one."""
    found = version(guest.system, "sddm")
    if not found:
        yield not_checked("the version of SDDM: no package manager tells it")
    elif not re.match(rf"{re.escape(SDDM_KNOWN)}([.~-]|$)", found):
        yield wrong(
            f"SDDM is {found}, and only {SDDM_KNOWN} is known",
            f"Use SDDM {SDDM_KNOWN}, or another login screen, such as LightDM or greetd",
        )
    else:
        yield ok(f"SDDM {found}")


def version(system: System, package: str) -> str:
    """Return a package's version without its epoch; "" if it is unknown."""
    queries = (
        ["dpkg-query", "--show", "--showformat=${Version}", package],
        ["rpm", "--query", "--queryformat=%{VERSION}", package],
    )
    for argv in queries:
        answer = system.ask(argv)
        if answer and not answer.code and answer.output:
            return answer.output.rpartition(":")[2]
    return ""


_OWN = {"getty": getty, "greetd": greetd, "gdm": gdm, "sddm": sddm}
