"""Login drivers: each one tells its login screen to sign a user in.

A driver never sees a credential. It makes the screen begin a login; the screen's PAM module then fetches the
grant that the agent holds for (service, place, user).
"""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from sso.daemon.reactor import Reactor
from sso.errors import ConfigError
from sso.guest.config import GuestConfig
from sso.guest.seat.logind import Seat, Seated

ENTRY_POINTS = "sso.logins"
AUTO = "auto"
DISPLAY_MANAGER = "/etc/systemd/system/display-manager.service"


class LoginDriver(Protocol):
    """One login screen. The class is called with the configuration, the agent's reactor and the seat.

    `service` and `place` (a tty without /dev/; "" if the screen tells PAM none) are what the screen's PAM
    module reports for the login that `trigger` begins, and for no other login of that screen. `token`: the
    screen passes our token to PAM; the token then identifies the login, and the place may be any. `unlocks`:
    `trigger` also unlocks a session of that user, through PAM; without it logind does. `retry`: seconds
    after which a screen that has not asked is told again; 0 for never.
    """

    service: str
    place: str
    token: bool
    unlocks: bool
    retry: float

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to watch the screen; call `changed` whenever `ready` may have become true.

        Register descriptors with the reactor. Raises ConfigError when the driver cannot work here.
        """

    def ready(self, user: str) -> bool:
        """Whether the screen can begin a login of that user now."""

    def trigger(self, user: str, token: str) -> bool:
        """Make the screen begin the login; False if it cannot be told. `token` is "" without `self.token`."""

    def settled(self) -> None:
        """The triggered login has ended: the driver no longer controls the screen."""

    def failed(self) -> None:
        """The triggered login failed because of a wrong password: do as in `settled`, and end a program that
        would go on asking for a password and block the next login.
        """

    def cancel(self) -> None:
        """Abort the triggered login and return the screen to its start at once.

        PAM may be asking the user a question, which no other person may answer. No session is open yet.
        """

    def lock(self, session: Seated) -> bool:
        """Lock the seat's session by the screen's own means; False if logind must do it."""

    def is_locked(self, session: Seated) -> bool:
        """Whether the session must be unlocked before use (mostly `session.locked`)."""

    def close(self) -> None:
        """Release all resources; a second call does no harm."""


Make = Callable[[GuestConfig, Reactor, Seat], LoginDriver]

# Our own drivers by name, so that no scan of the installed distributions is needed.
_OURS = {
    "getty": "sso.guest.screens.getty:GettyDriver",
    "greetd": "sso.guest.screens.greetd:GreetdDriver",
    "lightdm": "sso.guest.screens.lightdm:LightDMDriver",
    "gdm": "sso.guest.screens.gdm:GDMDriver",
    "sddm": "sso.guest.screens.sddm:SDDMDriver",
}
# The target of the link display-manager.service (unit names in Debian, Fedora and RHEL) to its driver.
_MANAGERS = {"gdm": "gdm", "gdm3": "gdm", "lightdm": "lightdm", "sddm": "sddm", "greetd": "greetd"}


def find_driver(link: str = DISPLAY_MANAGER) -> str:
    """Return the driver's name for this machine: by its display manager if we know that, else getty."""
    try:
        unit = os.path.basename(os.readlink(link)).removesuffix(".service")
    except OSError:
        return "getty"
    return _MANAGERS.get(unit, "getty")


def load_driver(name: str) -> Make:
    """Import the driver of that name; "auto" means the result of `find_driver`.

    Raises ConfigError when there is no such driver.
    """
    name = find_driver() if name == AUTO else name
    value = _OURS.get(name) or _installed(name)
    if value is None:
        raise ConfigError(f"login: no login driver {name} is installed")
    module, _, attribute = value.partition(":")
    try:
        driver: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"login: the login driver {name} cannot be loaded: {error}") from None
    made: Make = driver
    return made


def _installed(name: str) -> str | None:
    from importlib.metadata import entry_points

    return next((point.value for point in entry_points(group=ENTRY_POINTS, name=name)), None)
