"""The sessions of seat0, from logind or, without logind, from utmp.

Sources: org.freedesktop.login1(5), utmp(5).
"""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from jeepney import DBusAddress

from sso.daemon.reactor import Reactor, Timer
from sso.guest.seat import utmp
from sso.guest.seat.bus import Bus, Match, Reply

LOGIN1 = "org.freedesktop.login1"
ROOT = "/org/freedesktop/login1"
PROPERTIES = "org.freedesktop.DBus.Properties"
SEAT = "seat0"
SEATS = "/run/systemd/seats"  # logind keeps a file here for each seat
UNKNOWN_UID = -1
SESSIONS_MAX = 16  # sessions read per seat, the active one first
PAUSE = 0.1  # seconds between two looks after signals, because any user can make logind send signals
GRAPHICAL = ("x11", "wayland", "mir")

_SESSION = re.compile(f"{ROOT}/session/[A-Za-z0-9_]{{1,255}}")
_MANAGER = DBusAddress(ROOT, LOGIN1, f"{LOGIN1}.Manager")


class Seated(NamedTuple):
    """One session of the seat. `kind` is x11, wayland, mir, tty or unspecified; `locked` is its LockedHint;
    `leader` is the process that opened it through PAM, 0 if unknown.

    LockedHint False does not prove that the screen is unlocked: many lockers never set it.
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
    leader: int = 0

    @property
    def graphical(self) -> bool:
        return self.kind in GRAPHICAL

    def belongs_to(self, user: str, uid: int) -> bool:
        """Whether the session belongs to that user; compares names if utmp gave no uid."""
        return self.user == user if self.uid == UNKNOWN_UID else self.uid == uid


class Found(NamedTuple):
    """The result of a look. Without `known` it is uncertain: `users` comes from utmp, or has the sessions
    read before one that logind could not describe, and then an unknown user.

    `active` is the session in front, which may be a greeter's; `users` are the users' sessions of the seat,
    the one in front first.
    """

    known: bool
    active: Seated | None = None
    users: tuple[Seated, ...] = ()

    @property
    def user(self) -> Seated | None:
        """The first user's session, or None; we ourselves never open a second one."""
        return self.users[0] if self.users else None


class Seat:
    """Reads the state of seat0 after every hint of a change, and runs the callbacks of `watch`."""

    def __init__(
        self, reactor: Reactor, bus: Bus, tty: str = "", utmp_path: str = utmp.UTMP, seats: str = SEATS
    ) -> None:
        self.bus = bus
        self.found = Found(False)
        self._reactor, self._tty, self._utmp_path, self._seats = reactor, tty, utmp_path, seats
        self._watchers: list[Callable[[], None]] = []
        self._waiting: list[Callable[[Found], None]] = []
        self._looking = False
        self._again = False
        self._pause: Timer | None = None
        bus.when_ready(self.hint)
        for interface, member in (
            (PROPERTIES, "PropertiesChanged"),
            (f"{LOGIN1}.Manager", "SessionNew"),
            (f"{LOGIN1}.Manager", "SessionRemoved"),
        ):
            bus.match(Match(LOGIN1, interface, member, ROOT), self.hint)

    def watch(self, changed: Callable[[], None]) -> None:
        """Run `changed` after each look, also after one that a signal caused."""
        self._watchers.append(changed)

    def look(self, done: Callable[[Found], None]) -> None:
        """Read the seat's state now; `done` gets the result after this method has returned."""
        self._waiting.append(done)
        self.hint()

    def lock(self, session: str) -> None:
        """Ask the session's own programs to lock it; only a later look shows whether they did."""
        self.bus.call(_MANAGER, "LockSession", "s", (session,))

    def lock_all(self) -> None:
        """Ask the programs of every session to lock it, for when the sessions are not known."""
        self.bus.call(_MANAGER, "LockSessions")

    def unlock(self, session: str) -> None:
        """Ask the session's own programs to unlock it, without PAM."""
        self.bus.call(_MANAGER, "UnlockSession", "s", (session,))

    def terminate(self, session: str) -> None:
        """End the session and its processes."""
        self.bus.call(_MANAGER, "TerminateSession", "s", (session,))

    # Looking

    def hint(self) -> None:
        """Look again; all hints that come during a look or within PAUSE cause one look."""
        if self._looking:
            self._again = True
        elif self._waiting or self._pause is None or self._pause.cancelled:
            self._begin()

    def _begin(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._looking, self._again = True, False
        # Later requests get the next look, so that hints cannot delay the answers to these requests.
        asked, self._waiting = self._waiting, []
        _Look(self.bus, lambda found: self._conclude(found or self._without_logind(), asked))

    def _conclude(self, found: Found, asked: list[Callable[[Found], None]]) -> None:
        self._looking = False
        self.found = found
        for done in asked:
            done(found)
        for changed in self._watchers:
            changed()
        if self._looking:
            return
        if self._waiting:
            self._begin()
        elif self._again:
            self._pause = self._reactor.after(PAUSE, self._begin)

    def _without_logind(self) -> Found:
        """Read utmp if there is no logind. If logind is only late, it may know sessions that utmp lacks."""
        if os.path.isdir(self._seats):
            return Found(False, None, (_STRANGER,))
        entry = utmp.on_line(self._tty, self._utmp_path)
        if entry is None:
            return Found(False)
        return Found(False, None, (Seated("", entry.user, UNKNOWN_UID, "tty", tty=entry.line),))


class _Look:
    """One look at the seat: reads its properties, then those of one session after another.

    `done` gets None when logind does not answer or its answer lacks what we need. The form of every answer
    is checked.
    """

    def __init__(self, bus: Bus, done: Callable[[Found | None], None]) -> None:
        self._bus, self._done = bus, done
        self._active = ""
        self._paths: list[str] = []
        self._sessions: list[Seated] = []
        self._missed = False
        self._begin()

    def _begin(self) -> None:
        self._get_all(f"{ROOT}/seat/{SEAT}", f"{LOGIN1}.Seat", self._on_seat)

    def _get_all(self, path: str, interface: str, done: Callable[[dict[str, Any] | None], None]) -> None:
        def reply(body: Reply) -> None:
            done(_values(body))

        self._bus.call(DBusAddress(path, LOGIN1, PROPERTIES), "GetAll", "s", (interface,), reply)

    def _on_seat(self, seat: dict[str, Any] | None) -> None:
        match seat:
            case {"ActiveSession": (str(active), str(front)), "Sessions": list(listed)}:
                paths = [path for _, path in filter(_is_session, listed)]
                self._active, self._sessions = active, []
                self._paths = sorted(paths, key=lambda path: path != front)[:SESSIONS_MAX]
                self._next()
            case _:
                self._done(None)

    def _next(self) -> None:
        if self._paths:
            self._get_all(self._paths.pop(0), f"{LOGIN1}.Session", self._on_session)
        else:
            self._done(_found(self._sessions, self._active))

    def _on_session(self, properties: dict[str, Any] | None) -> None:
        session = _session(properties or {})
        if session is None and not self._missed:
            # The session may have ended in the meantime; then the seat no longer lists it.
            self._missed = True
            self._begin()
        elif session is None:
            found = _found(self._sessions, self._active)
            self._done(found._replace(known=False, users=(*found.users, _STRANGER)))
        else:
            self._add(session, properties or {})

    def _add(self, session: Seated, properties: dict[str, Any]) -> None:
        # A session that is closing no longer counts.
        if properties.get("State") != "closing":
            self._sessions.append(session)
        self._next()


# Stands for a session that logind lists but does not describe: its user is unknown.
_STRANGER = Seated("", "", UNKNOWN_UID, "")


def _is_session(entry: object) -> bool:
    match entry:
        case (str(), str(path)):
            return _SESSION.fullmatch(path) is not None
    return False


def _values(body: Reply) -> dict[str, Any] | None:
    """Return the properties without their D-Bus types; None if the body has another form."""
    match body:
        case (dict(properties),):
            return {name: value[1] for name, value in properties.items() if isinstance(value, tuple)}
    return None


def _found(sessions: list[Seated], active: str) -> Found:
    front = next((session for session in sessions if session.id == active), None)
    return Found(True, front, tuple(session for session in sessions if not session.greeter))


def _session(properties: dict[str, Any]) -> Seated | None:
    """Build a session from its properties; None if those that name its user are missing."""

    def text(name: str) -> str:
        value = properties.get(name)
        return value if isinstance(value, str) else ""

    leader = properties.get("Leader")
    match properties:
        case {"Id": str(id), "Name": str(user), "User": (int(uid), str())}:
            return Seated(
                id=id,
                user=user,
                uid=uid,
                kind=text("Type"),
                service=text("Service"),
                tty=text("TTY"),
                greeter=text("Class") in ("greeter", "lock-screen"),
                active=properties.get("Active") is True,
                locked=properties.get("LockedHint") is True,
                leader=leader if isinstance(leader, int) else 0,
            )
    return None
