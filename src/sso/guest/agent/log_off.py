"""The grace after which the user whose client has left is logged off, where guest.toml wants that."""

from sso.daemon.reactor import Reactor, Timer
from sso.guest.agent.rules_leaving import GRACE_AFTER, Grace, GraceEvent, GraceFacts, GraceStep, grace
from sso.guest.config import LOG_OFF, GuestConfig
from sso.guest.log import note
from sso.guest.seat.logind import Found, Seat

LOOK_EVERY = 2.0  # seconds, until logind tells who is to be logged off


class LogOff:
    """One grace at a time, for whoever is at the seat."""

    def __init__(self, reactor: Reactor, seat: Seat, config: GuestConfig) -> None:
        self._reactor, self._seat = reactor, seat
        self._wanted, self._seconds = config.disconnect == LOG_OFF, config.grace_seconds
        self._grace = Grace.NONE
        self._timer: Timer | None = None
        seat.watch(lambda: self._happens(GraceEvent.LOOKED, seat.found))

    def left(self, found: Found) -> None:
        """The client has left, and the seat was looked at since."""
        self._happens(GraceEvent.LEFT, found)

    def back(self) -> None:
        """The user is there again: nobody is logged off."""
        self._happens(GraceEvent.BACK, self._seat.found)

    def close(self) -> None:
        """Forget who waits."""
        if self._timer is not None:
            self._timer.cancel()

    def _time_is_over(self) -> None:
        self._happens(GraceEvent.TIME, self._seat.found)

    def _happens(self, event: GraceEvent, found: Found) -> None:
        step = grace(GraceFacts(self._grace, event, self._wanted, found.known, bool(found.users)))
        self._grace = GRACE_AFTER.get(step, self._grace)
        match step:
            case GraceStep.BEGIN:
                note("grace-began", seconds=self._seconds)
                self._timer = self._reactor.after(self._seconds, self._time_is_over)
            case GraceStep.LOOK:
                self._timer = self._reactor.after(LOOK_EVERY, self._time_is_over)
                self._seat.look(lambda found: None)
            case GraceStep.LOG_OFF:
                self.close()
                for session in found.users:
                    note("grace-over", user=session.user)
                    self._seat.terminate(session.id)
            case GraceStep.END:
                self.close()
