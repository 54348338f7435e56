"""The GDM driver: signs in and unlocks through the hook that GNOME Shell has for oVirt.

The shell listens on the system bus for UserAuthenticated(token) from the owner of org.ovirt.vdsm.Credentials.
It then starts PAM's service gdm-ovirtcred and answers the first hidden prompt with the token. Every process
on the bus may receive the signal: the token is only a nonce, and the PAM socket serves only root.
"""

from collections.abc import Callable

from jeepney import DBusAddress

from sso.daemon.reactor import Reactor
from sso.guest.config import GuestConfig
from sso.guest.seat.logind import Seat, Seated

NAME = "org.ovirt.vdsm.Credentials"
RETRY_SECONDS = 15.0  # a shell that has just started or was just unlocked may miss a signal

_EMITTER = DBusAddress("/org/ovirt/vdsm/Credentials", NAME, NAME)


class GDMDriver:
    """Owns the name and sends the signal when a greeter or the user's lock screen is in front."""

    service, place = "gdm-ovirtcred", ""
    token = unlocks = True
    retry = RETRY_SECONDS

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat) -> None:
        self.service = config.service or self.service
        self._seat = seat

    def start(self, changed: Callable[[], None]) -> None:
        self._seat.bus.own(NAME)
        self._seat.bus.when_ready(changed)

    def ready(self, user: str) -> bool:
        """Whether a greeter or lock screen is in front: an unlocked session would ignore the signal, and then
        also the first one after it is locked."""
        front = self._seat.found.active
        if NAME not in self._seat.bus.owned or front is None:
            return False
        return front.greeter or (front.locked and front.user == user)

    def trigger(self, user: str, token: str) -> bool:
        return self._seat.bus.emit(_EMITTER, "UserAuthenticated", "s", (token,))

    def settled(self) -> None:
        pass

    failed = settled

    def cancel(self) -> None:
        """Do nothing: the token is useless without its grant, and no PAM module asks a question."""

    def lock(self, session: Seated) -> bool:
        return False

    def is_locked(self, session: Seated) -> bool:
        return session.locked

    def close(self) -> None:
        pass
