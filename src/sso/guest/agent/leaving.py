"""What is done to the seat when the client leaves or is another one: lock and see that it is locked; after a
grace log off."""

from collections.abc import Callable, Sequence

from sso.daemon.reactor import Reactor, Timer
from sso.guest.config import LOG_OFF, NOTHING, GuestConfig
from sso.guest.log import note
from sso.guest.screens.driver import LoginDriver
from sso.guest.seat.logind import Found, Seat, Seated

LOCK_EVERY = 2.0  # seconds; a session that is just starting does not listen yet
LATE = 5  # times that a session is told to lock before the log says that it does not


class Leaving:
    """The seat and its login screen. `expects` tells whether a session that we opened is still on its way."""

    def __init__(self, reactor: Reactor, seat: Seat, driver: LoginDriver, config: GuestConfig) -> None:
        self.seat, self.driver = seat, driver
        self.expects: Callable[[], bool] = lambda: False
        self._reactor, self._action, self._grace = reactor, config.disconnect, config.grace_seconds
        self._leaving: list[Callable[[], None]] = []
        self._blind = 0  # how often logind could not tell who is there
        self._told: dict[str, int] = {}  # how often each session was told to lock
        self._again: Timer | None = None
        self._log_off: Timer | None = None
        seat.watch(lambda: self._lock(seat.found))

    def is_locked(self, session: Seated) -> bool:
        """Whether nobody can use the session without unlocking it."""
        return self.driver.is_locked(session)

    @property
    def guarded(self) -> bool:
        """Whether anything is done at all when the client leaves."""
        return self._action != NOTHING

    def is_open(self, found: Found) -> bool:
        """Whether somebody's session can be used by who looks at the console, or is about to appear."""
        return any(not self.is_locked(session) for session in found.users) or self.expects()

    def lock(self, done: Callable[[], None]) -> None:
        """Lock what is open, as when the client leaves, and log nobody off."""
        self._leaving.append(done)
        self.seat.look(self._lock)

    def is_in_front(self, session: Seated) -> bool:
        """Whether the session is what the screen shows now, and nobody has to unlock it."""
        front = self.seat.found.active
        return front is not None and front.id == session.id and not self.is_locked(session)

    def shows(self, uid: int, leader: int) -> bool:
        """Whether the screen shows the session that this process has opened for the user.

        One that logind does not list has no place at the seat (a serial line, a machine without logind):
        there is nothing to be seen. While logind is late the answer is no.
        """
        found = self.seat.found
        if any(not session.user for session in found.users):
            return False
        listed = self._listed(uid, leader)
        return not listed or any(self.is_in_front(session) for session in listed)

    def has_appeared(self, uid: int, leader: int) -> bool:
        """Whether that session need not be waited for before all is locked: it is in front, or in text."""
        front, listed = self.seat.found.active, self._listed(uid, leader)
        return not listed or any(not one.graphical or (front and front.id == one.id) for one in listed)

    def _listed(self, uid: int, leader: int) -> list[Seated]:
        found = self.seat.found
        users = found.users if found.known else ()
        return [one for one in users if one.uid == uid and one.leader in (0, leader)]

    def leave(self, done: Callable[[], None]) -> None:
        """The client is gone: lock what is open, and call back when nobody can use it.

        Sessions in text cannot be locked, and without logind nothing can: the log says so.
        """
        if not self.guarded:
            done()
            return
        self._leaving.append(done)
        self.seat.look(self._left)

    def back(self) -> None:
        """The user is there again: nobody is logged off."""
        if self._log_off is not None:
            self._log_off.cancel()
            self._log_off = None

    def close(self) -> None:
        """Forget what waits."""
        for timer in (self._again, self._log_off):
            if timer is not None:
                timer.cancel()
        self._leaving.clear()

    def _left(self, found: Found) -> None:
        if self._action == LOG_OFF and self._log_off is None and found.known and found.users:
            note("grace-began", seconds=self._grace)
            self._log_off = self._reactor.after(self._grace, lambda: self.seat.look(self._terminate))
        self._lock(found)

    def _lock(self, found: Found) -> None:
        if not self._leaving:
            return
        if not found.known and self.seat.bus.reachable and self._blind < LATE:
            self._blind += 1
            self._wait(lambda: self.seat.lock_all())
            return
        if found.known and self._blind and self._again is not None:
            self._again.cancel()  # logind answers again
            self._blind = 0
        still_open = [one for one in found.users if found.known and not self._is_done(one)]
        if not still_open and not (found.known and self.expects()):
            self._confirm(found)
        else:
            self._wait(
                lambda: self._tell_all(still_open), [one for one in still_open if one.id not in self._told]
            )

    def _wait(self, lock: Callable[[], None], appeared: Sequence[Seated] = ()) -> None:
        """Lock every LOCK_EVERY seconds; tell a session that has appeared since at once."""
        if self._again is None or self._again.cancelled:
            lock()
            self._again = self._reactor.after(LOCK_EVERY, lambda: self.seat.look(self._lock))
        else:
            self._tell_all(appeared)

    def _is_done(self, session: Seated) -> bool:
        return not session.graphical or self.driver.is_locked(session)

    def _tell_all(self, sessions: Sequence[Seated]) -> None:
        for session in sessions:
            self._tell(session)

    def _tell(self, session: Seated) -> None:
        if not self.driver.lock(session):
            self.seat.lock(session.id)
        self._told[session.id] = self._told.get(session.id, 0) + 1
        if self._told[session.id] == LATE:
            note("session-not-locked", user=session.user, kind=session.kind, reason="late")

    def _confirm(self, found: Found) -> None:
        if self._again is not None:
            self._again.cancel()
        for session in found.users:
            locked = found.known and session.graphical
            reason = {} if locked else {"reason": "text" if found.known else "no-logind"}
            note("session-locked" if locked else "session-not-locked", user=session.user, **reason)
        if not found.known and not found.users:
            note("session-not-locked", reason="no-logind")
        self._told.clear()
        self._blind = 0
        leaving, self._leaving = self._leaving, []
        for done in leaving:
            done()

    def _terminate(self, found: Found) -> None:
        if self._log_off is None:
            return
        self._log_off = None
        for session in found.users:
            note("grace-over", user=session.user)
            self.seat.terminate(session.id)
