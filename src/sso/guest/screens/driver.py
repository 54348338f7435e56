"""Login drivers: how a login screen is told that a user is to be signed in.

A driver never sees a credential. It makes the screen begin a login; the screen's PAM module then fetches
what the agent has armed for (service, place, user).
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
    """One login screen. A class, called with the configuration, the agent's reactor and the seat.

    `service` and `place` (a tty without /dev/; "" where the screen tells PAM none) are what its PAM module
    will report, for the login that `trigger` begins and for no other one of that screen. `token`: the
    screen hands our token to PAM; then that tells which login it is, and the place may be any. `unlocks`:
    `trigger` also opens a locked session of that user, by PAM; elsewhere logind does. `retry`: seconds
    after which a screen that has not asked is told again; 0 for never.
    """

    service: str
    place: str
    token: bool
    unlocks: bool
    retry: float

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to watch the screen; `changed` is to be called whenever `ready` may have become true.

        Descriptors go to the reactor. Raises ConfigError when it cannot work here.
        """

    def ready(self, user: str) -> bool:
        """Whether the screen can take a login of that user now."""

    def trigger(self, user: str, token: str) -> bool:
        """Make the screen begin the login; False when it could not be told. `token` is "" without `token`."""

    def settled(self) -> None:
        """The login that was triggered has come to its end: the screen is its own again."""

    def failed(self) -> None:
        """The login that was triggered has shown a wrong password: as `settled`, but a program that would now
        keep the screen, asking whoever is there, makes room for the next login.
        """

    def cancel(self) -> None:
        """Nothing is to come of the login that was triggered: bring the screen back to its start, at once.

        PAM may be asking the user something: nobody else may answer that. No session is open yet.
        """

    def lock(self, session: Seated) -> bool:
        """Lock the seat's session by the screen's own means; False where that is logind's part."""

    def is_locked(self, session: Seated) -> bool:
        """Whether nobody can use the session without unlocking it (mostly `session.locked`)."""

    def close(self) -> None:
        """Give everything back; may be called twice."""


Make = Callable[[GuestConfig, Reactor, Seat], LoginDriver]

# Ours by name, so that no scan of the installed distributions is needed.
_OURS = {
    "getty": "sso.guest.screens.getty:GettyDriver",
    "greetd": "sso.guest.screens.greetd:GreetdDriver",
    "lightdm": "sso.guest.screens.lightdm:LightDMDriver",
    "gdm": "sso.guest.screens.gdm:GDMDriver",
    "sddm": "sso.guest.screens.sddm:SDDMDriver",
}
# What display-manager.service is a link to (the units' names in Debian, Fedora and RHEL), and its driver.
_MANAGERS = {"gdm": "gdm", "gdm3": "gdm", "lightdm": "lightdm", "sddm": "sddm", "greetd": "greetd"}


def find_driver(link: str = DISPLAY_MANAGER) -> str:
    """The driver for this machine: that of its display manager if we know it, else getty."""
    try:
        unit = os.path.basename(os.readlink(link)).removesuffix(".service")
    except OSError:
        return "getty"
    return _MANAGERS.get(unit, "getty")


def load_driver(name: str) -> Make:
    """The driver of that name, "auto" for what `find_driver` says; only this one is imported.

    Raises ConfigError when there is none.
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
