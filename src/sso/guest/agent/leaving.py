"""What is done to the seat when the client leaves or is another one: lock and see that it is locked.

What is done when is said by sso.guest.agent.rules_leaving; the log-off after a grace is LogOff's.
"""

from collections.abc import Callable, Iterable

from sso.daemon.reactor import Reactor, Timer
from sso.guest.agent import rules_leaving
from sso.guest.agent.log_off import LogOff
from sso.guest.agent.rules_leaving import Exposure, LockFacts, LockStep, Logind
from sso.guest.config import NOTHING, GuestConfig
from sso.guest.log import note
from sso.guest.screens.driver import LoginDriver
from sso.guest.seat.logind import Found, Seat, Seated

LOCK_EVERY = 2.0  # seconds; a session that is just starting does not listen yet
LATE = 5  # times that a session is told to lock before the log says that it does not
BLIND = 3  # times that all are told to lock while logind is late; the next client waits ten seconds in all


class Leaving:
    """The seat and its login screen. `expects` tells whether a session that we opened is still on its way."""

    def __init__(self, reactor: Reactor, seat: Seat, driver: LoginDriver, config: GuestConfig) -> None:
        self.seat, self.driver = seat, driver
        self.expects: Callable[[], bool] = lambda: False
        self._reactor, self._action = reactor, config.disconnect
        self._log_off = LogOff(reactor, seat, config)
        self._leaving: list[Callable[[], None]] = []
        self._blind = 0  # how often all was locked since logind could not tell who is there
        self._told: dict[str, int] = {}  # how often each session was told to lock
        self._again: Timer | None = None
        self._closed = False
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
        return any(self._exposure(session).usable for session in found.users) or self.expects()

    def lock(self, done: Callable[[], None]) -> None:
        """As `leave`, and nobody is logged off: a client may be there that has not proved who it is."""
        self._after_look(done)

    def is_in_front(self, session: Seated) -> bool:
        """Whether the session is what the screen shows now, and nobody has to unlock it."""
        front = self.seat.found.active
        return front is not None and front.id == session.id and not self.is_locked(session)

    def shows(self, uid: int, leader: int) -> bool:
        """Whether the screen shows the session that this process has opened for the user.

        One that logind does not list has no place at the seat (a serial line, a machine without logind):
        there is nothing to be seen. While logind is late the answer is no.
        """
        listed = self._listed(uid, leader)
        return self._is_told() and (not listed or any(self.is_in_front(session) for session in listed))

    def has_appeared(self, uid: int, leader: int) -> bool:
        """Whether that session need not be waited for before all is locked: it is in front, or in text.

        As for `shows`: one that is not listed has no place here, and while logind is late the answer is no.
        """
        front, listed = self.seat.found.active, self._listed(uid, leader)
        there = any(not one.graphical or (front and front.id == one.id) for one in listed)
        return self._is_told() and (there or not listed)

    def _is_told(self) -> bool:
        """Whether the last look has found all sessions, by logind or where there is none."""
        return all(session.user for session in self.seat.found.users)

    def _listed(self, uid: int, leader: int) -> list[Seated]:
        found = self.seat.found
        users = found.users if found.known else ()
        return [one for one in users if one.uid == uid and one.leader in (0, leader)]

    def leave(self, done: Callable[[], None]) -> None:
        """The client is gone: lock what is open, and call back when nobody can use it.

        Sessions in text cannot be locked, and without logind nothing can: the log says so.
        """
        self._after_look(done, self._log_off.left)

    def back(self) -> None:
        """The user is there again: nobody is logged off."""
        self._log_off.back()

    def close(self) -> None:
        """Forget what waits."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        self._log_off.close()
        self._leaving.clear()

    def _after_look(self, done: Callable[[], None], left: Callable[[Found], None] = lambda _: None) -> None:
        """Wait from a look on that begins now: one that is under way may tell what was before."""
        if not self.guarded:
            done()
            return

        def looked(found: Found) -> None:
            if not self._closed:
                self._leaving.append(done)
                left(found)
                self._lock(found)

        self.seat.look(looked)

    def _lock(self, found: Found) -> None:
        """A look has found this: lock what is still open, or call back who waits."""
        open_ones = [one for one in found.users if self._exposure(one).to_lock]
        step = rules_leaving.lock(self._facts(found, bool(open_ones)))
        if found.known:
            self._blind = 0
        match step:
            case LockStep.LOCK_ALL:
                self._blind += 1
                self._wait()
                self.seat.lock_all()
            case LockStep.LOCK_OPEN:
                self._wait()
                self._tell(open_ones)
            case LockStep.LOCK_NEW:
                self._tell(one for one in open_ones if one.id not in self._told)
            case LockStep.CALL:
                self._confirm(found)

    def _facts(self, found: Found, to_lock: bool) -> LockFacts:
        due = self._again is None or self._again.cancelled
        logind = Logind.TELLS
        if found.known:
            due = due or self._blind > 0  # logind answers again
        else:
            late = self.seat.bus.reachable and not (due and self._blind >= BLIND)
            logind = Logind.LATE if late else Logind.SILENT
        return LockFacts(bool(self._leaving), logind, to_lock, self.expects(), due)

    def _exposure(self, session: Seated) -> Exposure:
        return rules_leaving.exposure(session.graphical, self.is_locked(session))

    def _wait(self) -> None:
        """Look again after LOCK_EVERY seconds."""
        if self._again is not None:
            self._again.cancel()
        self._again = self._reactor.after(LOCK_EVERY, lambda: self.seat.look(self._lock))

    def _tell(self, sessions: Iterable[Seated]) -> None:
        for session in sessions:
            if not self.driver.lock(session):
                self.seat.lock(session.id)
            self._told[session.id] = self._told.get(session.id, 0) + 1
            if self._told[session.id] == LATE:
                note("session-not-locked", user=session.user, kind=session.kind, reason="late")

    def _confirm(self, found: Found) -> None:
        if self._again is not None:
            self._again.cancel()
        for session in found.users:
            end = rules_leaving.lock_end(found.known, session.graphical)
            note(end.message, user=session.user, **({"reason": end.reason} if end.reason else {}))
        if not found.known and not found.users:
            note("session-not-locked", reason="no-logind")
        self._told.clear()
        self._blind = 0
        leaving, self._leaving = self._leaving, []
        for done in leaving:
            done()
