"""The LightDM driver: its seat switches to the user, which signs her in or unlocks her session.

Seat.SwitchToUser runs PAM's service lightdm without a conversation: a grant that waits lets her in, anything
else ends at the greeter. Locking is LightDM's own as well: it puts a greeter in front of the session, and
logind's LockedHint stays what it is; so a session behind a greeter counts as locked. One behind another
session, such as a text login, does not: a key brings it to the front.
"""

from collections.abc import Callable

from jeepney import DBusAddress

from sso.guest.config import GuestConfig
from sso.guest.logind import Seat, Seated
from sso.guest.reactor import Reactor

NAME = "org.freedesktop.DisplayManager"

_SEAT = DBusAddress("/org/freedesktop/DisplayManager/Seat0", NAME, f"{NAME}.Seat")


class LightDMDriver:
    """Talks to seat 0 of LightDM."""

    service, place = "lightdm", ""
    token = False
    unlocks = True
    retry = 0.0

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat) -> None:
        self.service = config.service or self.service
        self._seat = seat

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

    def cancel(self) -> None:
        """Nothing to take back: without its grant the switch ends at the greeter."""

    def lock(self, session: Seated) -> bool:
        self._seat.bus.call(_SEAT, "Lock")
        return True

    def is_locked(self, session: Seated) -> bool:
        front = self._seat.found.active
        return session.locked or (front is not None and front.greeter)

    def close(self) -> None:
        pass
