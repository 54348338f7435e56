"""What every check of the guest knows: the machine, the configuration, and the login screen it means."""

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
    """The guest that is looked at; `driver` is None, and `why` says the reason, when it cannot be loaded.

    `screen` is the driver's name. The driver is not started: only its words are read.
    """

    system: System
    config: GuestConfig
    path: str  # of guest.toml
    screen: str
    driver: LoginDriver | None
    why: str = ""

    @property
    def restart(self) -> str:
        """How the agent is started anew here; see `start`."""
        return start(self.system, AGENT, anew=True)

    @property
    def service(self) -> str:
        """The PAM service of the login screen, "" when it is not known."""
        return self.driver.service if self.driver else self.config.service


def start(system: System, unit: str, *, anew: bool = False) -> str:
    """How a service is started here: by systemctl only where systemd runs."""
    if system.has_systemd:
        return f"systemctl {'restart' if anew else 'start'} {unit}"
    return f"start {unit.removesuffix('.service')}{' anew' if anew else ''}, as this machine does it"


def sentence(words: str) -> str:
    """What `start` says, as a sentence of its own."""
    return f"Run: {words}" if words.startswith("systemctl") else words[:1].upper() + words[1:]


def of(system: System, config: GuestConfig, path: str) -> ExaminedGuest:
    """The guest of a configuration; nothing is opened."""
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
