"""The data that every check of the guest needs: machine, configuration and login screen."""

from dataclasses import dataclass

from sso.daemon.reactor import Reactor
from sso.doctor import System
from sso.errors import ConfigError
from sso.guest.config import GuestConfig
from sso.guest.screens.driver import AUTO, DISPLAY_MANAGER, LoginDriver, find_driver, load_driver
from sso.guest.seat.bus import Bus
from sso.guest.seat.logind import Seat

AGENT = "console-sso-agent.service"


@dataclass(frozen=True)
class ExaminedGuest:
    """The guest to check. If its driver cannot be loaded, `driver` is None and `why` gives the reason.

    `screen` is the driver's name. The driver is not started; the checks only read its attributes.
    """

    system: System
    config: GuestConfig
    path: str  # of guest.toml
    screen: str
    driver: LoginDriver | None
    why: str = ""

    @property
    def restart(self) -> str:
        """How to restart the agent on this machine; see `start`."""
        return start(self.system, AGENT, anew=True)

    @property
    def service(self) -> str:
        """The PAM service of the login screen, "" if unknown."""
        return self.driver.service if self.driver else self.config.service


def start(system: System, unit: str, *, anew: bool = False) -> str:
    """Say how to start (`anew`: restart) a service here; names systemctl only where systemd runs."""
    if system.has_systemd:
        return f"systemctl {'restart' if anew else 'start'} {unit}"
    return f"start {unit.removesuffix('.service')}{' anew' if anew else ''}, as this machine does it"


def sentence(words: str) -> str:
    """Turn the result of `start` into a sentence."""
    return f"Run: {words}" if words.startswith("systemctl") else words[:1].upper() + words[1:]


def of(system: System, config: GuestConfig, path: str) -> ExaminedGuest:
    """Build the guest of a configuration; this opens nothing."""
    screen = config.login
    if screen == AUTO:
        screen = find_driver(str(system.path(DISPLAY_MANAGER)))
    reactor = Reactor()
    try:
        driver = load_driver(screen)(config, reactor, Seat(reactor, Bus(reactor), config.tty))
    except ConfigError as error:
        return ExaminedGuest(system, config, path, screen, None, str(error))
    finally:
        reactor.close()
    return ExaminedGuest(system, config, path, screen, driver)
