"""Who sits at the console: the sessions of seat0, as logind tells them or, without logind, utmp.

Sources: org.freedesktop.login1(5), utmp(5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jeepney import DBusAddress

from sso.guest import utmp
from sso.guest.bus import Bus, Match, Reply
from sso.guest.reactor import Reactor

LOGIN1 = "org.freedesktop.login1"
ROOT = "/org/freedesktop/login1"
PROPERTIES = "org.freedesktop.DBus.Properties"
SEAT = "seat0"
UNKNOWN_UID = -1
SESSIONS_MAX = 16  # of one seat; more are not looked at
GRAPHICAL = ("x11", "wayland", "mir")

_MANAGER = DBusAddress(ROOT, LOGIN1, f"{LOGIN1}.Manager")


@dataclass(frozen=True)
class Seated:
    """One session of the seat. `kind` is x11, wayland, mir, tty or unspecified; `locked` its LockedHint.

    LockedHint False is no proof of an unlocked screen: many lockers never set it.
    """

    id: str
    user: str
    uid: int
    kind: str
    service: str = ""
    tty: str = ""
    greeter: bool = False
    active: bool = True
    locked: bool = False

    @property
    def graphical(self) -> bool:
        return self.kind in GRAPHICAL

    def belongs_to(self, user: str, uid: int) -> bool:
        """Whether it is hers; by the name where utmp knew nothing else."""
        return self.user == user if self.uid == UNKNOWN_UID else self.uid == uid


class Found(NamedTuple):
    """What a look found. Without `known` nobody could tell for certain, and `users` is what utmp says.

    `active` is the session in front, a greeter's too; `users` are the users' sessions of the seat, the
    one in front first.
    """

    known: bool
    active: Seated | None = None
    users: tuple[Seated, ...] = ()

    @property
    def user(self) -> Seated | None:
        """The user's session that counts: there is one of a user at a time, as far as it is up to us."""
        return self.users[0] if self.users else None


class Seat:
    """seat0. It is looked at on every hint of a change, and `watch`ers hear of the result."""

    def __init__(self, reactor: Reactor, bus: Bus, tty: str = "", utmp_path: str = utmp.UTMP) -> None:
        self.bus = bus
        self.found = Found(False)
        self._reactor, self._tty, self._utmp_path = reactor, tty, utmp_path
        self._watchers: list[Callable[[], None]] = []
        self._waiting: list[Callable[[Found], None]] = []
        self._looking = False
        self._again = False
        bus.when_ready(self.hint)
        for interface, member in (
            (PROPERTIES, "PropertiesChanged"),
            (f"{LOGIN1}.Manager", "SessionNew"),
            (f"{LOGIN1}.Manager", "SessionRemoved"),
        ):
            bus.match(Match(LOGIN1, interface, member, ROOT), self.hint)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back after each look, also one that nobody asked for."""
        self._watchers.append(changed)

    def look(self, done: Callable[[Found], None]) -> None:
        """Look now; `done` gets what was found, never before this returns."""
        self._waiting.append(done)
        self.hint()

    def lock(self, session: str) -> None:
        """Ask the session's own programs to lock it; whether they did, a look tells."""
        self.bus.call(_MANAGER, "LockSession", "s", (session,))

    def unlock(self, session: str) -> None:
        """Ask the session's own programs to unlock it, without PAM."""
        self.bus.call(_MANAGER, "UnlockSession", "s", (session,))

    def terminate(self, session: str) -> None:
        """End the session and its processes."""
        self.bus.call(_MANAGER, "TerminateSession", "s", (session,))

    def power_off(self) -> None:
        """Shut the machine down, asking nobody."""
        self.bus.call(_MANAGER, "PowerOff", "b", (False,))

    # Looking

    def hint(self) -> None:
        """Look, once for any number of hints that come while a look is under way."""
        if self._looking:
            self._again = True
            return
        self._looking, self._again = True, False
        self._properties(f"{ROOT}/seat/{SEAT}", f"{LOGIN1}.Seat", self._on_seat)

    def _properties(self, path: str, interface: str, done: Callable[[dict[str, Any] | None], None]) -> None:
        def reply(body: Reply) -> None:
            done({name: value for name, (_, value) in body[0].items()} if body else None)

        self.bus.call(DBusAddress(path, LOGIN1, PROPERTIES), "GetAll", "s", (interface,), reply)

    def _on_seat(self, seat: dict[str, Any] | None) -> None:
        if seat is None:
            self._conclude(self._without_logind())
            return
        active = seat.get("ActiveSession", ("", "/"))[0]
        paths = [path for _, path in seat.get("Sessions", [])][:SESSIONS_MAX]
        sessions: list[Seated] = []

        def next_session() -> None:
            if paths:
                self._properties(paths.pop(0), f"{LOGIN1}.Session", add)
            else:
                self._conclude(_found(sessions, active))

        def add(properties: dict[str, Any] | None) -> None:
            # A session that is closing, or gone meanwhile, is nobody's.
            if properties is not None and properties.get("State") != "closing":
                sessions.append(_session(properties))
            next_session()

        next_session()

    def _without_logind(self) -> Found:
        entry = utmp.on_line(self._tty, self._utmp_path)
        if entry is None:
            return Found(False)
        return Found(False, None, (Seated("", entry.user, UNKNOWN_UID, "tty", tty=entry.line),))

    def _conclude(self, found: Found) -> None:
        self._looking = False
        self.found = found
        waiting, self._waiting = self._waiting, []
        if self._again:
            # Who asked meanwhile wants to know what is true after the hint.
            self._waiting = waiting
            self.hint()
            return
        for done in waiting:
            done(found)
        for changed in self._watchers:
            changed()


def _found(sessions: list[Seated], active: str) -> Found:
    front = next((session for session in sessions if session.id == active), None)
    users = sorted((one for one in sessions if not one.greeter), key=lambda one: one.id != active)
    return Found(True, front, tuple(users))


def _session(properties: dict[str, Any]) -> Seated:
    uid = properties.get("User", (2**32 - 1, "/"))[0]
    return Seated(
        id=str(properties.get("Id", "")),
        user=str(properties.get("Name", "")),
        uid=int(uid),
        kind=str(properties.get("Type", "")),
        service=str(properties.get("Service", "")),
        tty=str(properties.get("TTY", "")),
        greeter=properties.get("Class") in ("greeter", "lock-screen"),
        active=bool(properties.get("Active", False)),
        locked=bool(properties.get("LockedHint", False)),
    )
