"""The LightDM driver: makes the seat switch to the user, which signs them in or unlocks their session.

Seat.SwitchToUser runs PAM's service lightdm without a conversation: with a waiting grant the user gets in,
otherwise the greeter appears. This PAM handle has no display yet, so PAM_TTY is empty, and the grant is only
for an empty one. The greeter's own conversation for the same user reports ":0". If the greeter took the
grant, it would hold an authenticated user whose session opens at a key press, without another call of PAM,
even after the client has left (seen in LightDM 1.26: src/seat.c, src/session-child.c).

LightDM also locks in its own way: it puts a greeter in front of the session and does not change logind's
LockedHint. So a session behind a greeter counts as locked. A session behind another session, such as a text
login, does not: a key press brings it to the front.

If LightDM (1.26) is told to lock while it still starts the greeter, it kills the greeter and its X server and
starts again; told every two seconds, it would never finish.
"""

from collections.abc import Callable

from jeepney import DBusAddress

from sso.daemon.reactor import Reactor
from sso.guest.config import GuestConfig
from sso.guest.seat.bus import Reply
from sso.guest.seat.logind import Seat, Seated

NAME = "org.freedesktop.DisplayManager"

LOCK_AGAIN = 30.0  # seconds for LightDM to put its greeter in front, before we tell it again

_SEAT = DBusAddress("/org/freedesktop/DisplayManager/Seat0", NAME, f"{NAME}.Seat")


class LightDMDriver:
    """Controls seat 0 of LightDM."""

    service, place = "lightdm", ""  # not ":0", which is the greeter's
    token = False
    unlocks = True
    retry = 0.0

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat) -> None:
        self.service = config.service or self.service
        self._seat, self._reactor = seat, reactor
        self._locking: float | None = None  # when we told LightDM to lock, until we see a greeter

    def start(self, changed: Callable[[], None]) -> None:
        self._seat.bus.when_ready(changed)

    def ready(self, user: str) -> bool:
        """Whether the greeter is in front; before that LightDM has no seat."""
        front = self._seat.found.active
        return self._seat.bus.ready and front is not None and front.greeter

    def trigger(self, user: str, token: str) -> bool:
        self._seat.bus.call(_SEAT, "SwitchToUser", "ss", (user, ""))
        return True

    def settled(self) -> None:
        pass

    failed = settled

    def cancel(self) -> None:
        """Do nothing: without its grant the switch ends at the greeter, as it does at any question."""

    def lock(self, session: Seated) -> bool:
        now = self._reactor.clock()
        if self._locking is None or now >= self._locking + LOCK_AGAIN:
            self._locking = now
            self._seat.bus.call(_SEAT, "Lock", done=self._lock_answered, seconds=LOCK_AGAIN)
        return True

    def _lock_answered(self, reply: Reply) -> None:
        if reply is None:
            self._locking = None  # LightDM has not begun to lock

    def is_locked(self, session: Seated) -> bool:
        front = self._seat.found.active
        locked = session.locked or (front is not None and front.greeter)
        if locked:
            self._locking = None
        return locked

    def close(self) -> None:
        pass
