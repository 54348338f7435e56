"""Checks the system bus: logind and its seat, and the name to which GDM's greeter listens."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jeepney import DBusAddress

from sso.daemon.reactor import Reactor
from sso.doctor import Finding, not_checked, ok, warning, wrong
from sso.guest.checks.guest import ExaminedGuest, sentence, start
from sso.guest.screens.gdm import NAME
from sso.guest.seat.bus import Bus, Reply
from sso.guest.seat.logind import SEAT, Found, Seat

SECONDS = 2.0  # for the bus to answer
SOCKET = "/run/dbus/system_bus_socket"
POLICIES = tuple(
    f"{folder}/dbus-1/system.d/{NAME}.conf" for folder in ("/usr/share", "/etc", "/usr/local/share")
)
_DAEMON = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")


class BusLine:
    """Uses the agent's Bus class for one call at a time."""

    def __init__(self, reactor: Reactor, bus: Bus) -> None:
        self._reactor, self._bus = reactor, bus

    def wait(self, until: Callable[[], Any]) -> bool:
        """Run the loop until `until` returns true; False after SECONDS."""
        limit = time.monotonic() + SECONDS
        while not until():
            if time.monotonic() > limit:
                return False
            self._reactor.turn(0.05)
        return True

    def ask(self, member: str, signature: str, *body: object) -> Reply:
        """Call a method of the bus itself; None for an error."""
        answers: list[Reply] = []
        self._bus.call(_DAEMON, member, signature, body, answers.append, SECONDS * 2)
        return answers[0] if self.wait(lambda: answers) else None

    def seat(self) -> Found:
        """Return the sessions of the seat, from logind only."""
        found: list[Found] = []
        Seat(self._reactor, self._bus, utmp_path="").look(found.append)
        return found[0] if self.wait(lambda: found) else Found(False)


@contextmanager
def dial(address: str) -> Iterator[BusLine | None]:
    """Connect to the bus; yield None when it does not answer."""
    reactor = Reactor()
    bus = Bus(reactor, address)
    line = BusLine(reactor, bus)
    try:
        bus.open()
        yield line if line.wait(lambda: bus.ready) else None
    finally:
        bus.close()
        reactor.close()


def bus(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that the bus answers, logind knows the seat, and the agent has GDM's name if it needs it."""
    system = guest.system
    if not system.bus and not system.path(SOCKET).is_socket():
        yield _without(guest, f"there is no system bus at {SOCKET}", "On Debian: apt install dbus")
        return
    if not system.bus and not system.is_ours:
        yield not_checked("the bus of another root")
        return
    with dial(system.bus) as line:
        if line is None:
            yield _without(guest, "the system bus does not answer", _start(guest, "dbus.service"))
            return
        found = line.seat()
        if found.known:
            who = found.active.user if found.active else "nobody"
            yield ok(f"logind answers, in front of {SEAT} is {who}")
        else:
            mend = f"{_start(guest, 'systemd-logind.service')} (on Debian it needs libpam-systemd)"
            yield _without(guest, f"logind does not answer, or has no {SEAT}", mend)
        if guest.screen == "gdm":
            yield _name(guest, line)
    if guest.screen == "gdm":
        yield _policy(guest)


def _start(guest: ExaminedGuest, unit: str) -> str:
    return sentence(start(guest.system, unit, anew=True))


def _without(guest: ExaminedGuest, found: str, mend: str) -> Finding:
    """Report a missing bus: a text console can use utmp instead, other screens cannot."""
    if guest.screen == "getty":
        return warning(f"{found}: utmp tells who is signed in, and no screen is locked", mend)
    return wrong(found, mend)


def _name(guest: ExaminedGuest, line: BusLine) -> Finding:
    owner = line.ask("GetNameOwner", "s", NAME)
    uid = line.ask("GetConnectionUnixUser", "s", *owner) if owner else None
    if uid is None:
        return wrong(f"nobody owns {NAME}, which GDM listens to", sentence(guest.restart))
    if uid != (0,):
        pid = (line.ask("GetConnectionUnixProcessID", "s", *(owner or ())) or ("?",))[0]
        return wrong(
            f"{NAME} is owned by uid {uid[0]} (pid {pid})", f"End that program, then: {guest.restart}"
        )
    return ok(f"root's agent owns {NAME}")


def _policy(guest: ExaminedGuest) -> Finding:
    for path in POLICIES:
        if NAME in guest.system.read(path):
            return ok(f"{path} lets root own {NAME}")
    mend = "On Debian: apt install --reinstall console-sso-guest"
    if guest.system.has_systemd:  # else the bus notices new files itself, or starts with the machine
        mend += ", then: systemctl reload dbus.service"
    return wrong(f"no D-Bus policy lets the agent own {NAME}", mend)
