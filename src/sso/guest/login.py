"""Login drivers: how a login screen is told that a user is to be signed in.

A driver never sees a credential. It makes the screen begin a login; the screen's PAM module then fetches
what the agent has armed for (service, place, user).
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from sso.errors import ConfigError
from sso.guest.config import GuestConfig
from sso.guest.reactor import Reactor

ENTRY_POINTS = "sso.logins"


class LoginDriver(Protocol):
    """One login screen. A class, called with the configuration and the agent's reactor.

    `service` and `place` (a tty without /dev/, or a seat) are what its PAM module will report.
    """

    service: str
    place: str

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to watch the screen; `changed` is to be called whenever `ready` may have become true.

        Descriptors go to the reactor. Raises ConfigError when it cannot work here.
        """

    def ready(self, user: str) -> bool:
        """Whether the screen can take a login of that user now."""

    def trigger(self, user: str) -> bool:
        """Make the screen begin the login; False when it could not be told."""

    def settled(self) -> None:
        """The login that was triggered has come to its end: the screen is its own again."""

    def cancel(self) -> None:
        """Nothing is to come of the login that was triggered: bring the screen back to its start."""

    def close(self) -> None:
        """Give everything back; may be called twice."""


# Ours by name, so that no scan of the installed distributions is needed.
_OURS = {"getty": "sso.guest.drivers.getty:GettyDriver"}


def load(name: str) -> Callable[[GuestConfig, Reactor], LoginDriver]:
    """The driver of that name; only this one is imported. Raises ConfigError when there is none."""
    value = _OURS.get(name) or _installed(name)
    if value is None:
        raise ConfigError(f"login: no login driver {name} is installed")
    module, _, attribute = value.partition(":")
    try:
        driver: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"login: the login driver {name} cannot be loaded: {error}") from None
    made: Callable[[GuestConfig, Reactor], LoginDriver] = driver
    return made


def _installed(name: str) -> str | None:
    from importlib.metadata import entry_points

    return next((point.value for point in entry_points(group=ENTRY_POINTS, name=name)), None)
