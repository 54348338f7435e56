"""The LightDM driver: its seat switches to the user, which signs her in or unlocks her session.

Seat.SwitchToUser runs PAM's service lightdm without a conversation: a grant that waits lets the user in,
anything else ends at the greeter. That handle has no display yet, so PAM_TTY is empty, and the grant is for
an empty one only: the greeter's own conversation for the same user tells ":0". A greeter that took the grant
would hold an authenticated user whose session opens at a key press, without any line of PAM, after the
client has left (read in LightDM 1.26: src/seat.c, src/session-child.c).

Locking is LightDM's own as well: it puts a greeter in front of the session, and logind's LockedHint stays
what it is; so a session behind a greeter counts as locked. One behind another session, such as a text login,
does not: a key brings it to the front.

Told to lock while it still starts the greeter, LightDM (1.26) kills that one with its X server and begins
again: told every two seconds it never comes to an end.
"""

from collections.abc import Callable

from jeepney import DBusAddress

from sso.daemon.reactor import Reactor
from sso.guest.config import GuestConfig
from sso.guest.seat.bus import Reply
from sso.guest.seat.logind import Seat, Seated

NAME = "org.freedesktop.DisplayManager"

LOCK_AGAIN = 30.0  # seconds for LightDM to put its greeter in front, before it is told once more

_SEAT = DBusAddress("/org/freedesktop/DisplayManager/Seat0", NAME, f"{NAME}.Seat")


class LightDMDriver:
    """Talks to seat 0 of LightDM."""

    service, place = "lightdm", ""  # not ":0": that is the greeter's
    token = False
    unlocks = True
    retry = 0.0

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat) -> None:
        self.service = config.service or self.service
        self._seat, self._reactor = seat, reactor
        self._locking: float | None = None  # when LightDM was told, until a greeter has been seen

    def start(self, changed: Callable[[], None]) -> None:
        self._seat.bus.when_ready(changed)

    def ready(self, user: str) -> bool:
        """Whether the greeter is in front: before that LightDM knows no seat."""
        front = self._seat.found.active
        return self._seat.bus.ready and front is not None and front.greeter

    def trigger(self, user: str, token: str) -> bool:
        self._seat.bus.call(_SEAT, "SwitchToUser", "ss", (user, ""))
        return True

    def settled(self) -> None:
        pass

    failed = settled

    def cancel(self) -> None:
        """Nothing to take back: without its grant the switch ends at the greeter, as at any question."""

    def lock(self, session: Seated) -> bool:
        now = self._reactor.clock()
        if self._locking is None or now >= self._locking + LOCK_AGAIN:
            self._locking = now
            self._seat.bus.call(_SEAT, "Lock", done=self._lock_answered, seconds=LOCK_AGAIN)
        return True

    def _lock_answered(self, reply: Reply) -> None:
        if reply is None:
            self._locking = None  # nobody has begun anything

    def is_locked(self, session: Seated) -> bool:
        front = self._seat.found.active
        locked = session.locked or (front is not None and front.greeter)
        if locked:
            self._locking = None
        return locked

    def close(self) -> None:
        pass
