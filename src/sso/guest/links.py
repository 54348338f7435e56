"""A process's end of the links: to the agent, which listens for it, and to the third of the three.

Why the agent listens, and when a link is lost: sso.guest.agent.links.
"""

import select
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sso import __version__
from sso.daemon import local, notify
from sso.errors import NoAgent, RemoteProtocolError
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.records import Link

PAUSE_MIN, PAUSE_MAX = 0.02, 5.0  # seconds between an agent that ended and the next one


class Joined(NamedTuple):
    """What a process has of the others; `fingerprint` is of the agent's configuration."""

    agent: socket.socket
    other: socket.socket
    fingerprint: int = 0

    def close(self) -> None:
        self.agent.close()
        self.other.close()


Join = Callable[[], Joined]


def fingerprint(config: GuestConfig) -> int:
    """A number that is another one when the configuration or the program is; it proves nothing."""
    return zlib.crc32(f"{__version__} {config!r}".encode(errors="replace"))


def join(path: str) -> Joined:
    """From a process: the link to the agent that listens at `path`, and the one to the other process.

    Waits until both processes have come, also for the next agent when one ends meanwhile, and tells the
    service manager that it does. Raises NoAgent when nobody listens there (any more).
    """
    pause = PAUSE_MIN
    while (agent := local.dial(path)) is not None:
        if (found := _wait(agent, path)) is not None:
            return found
        agent.close()
        time.sleep(pause)  # it may have refused us, and would do so again
        pause = min(2 * pause, PAUSE_MAX)
    raise NoAgent(f"{path}: no agent listens there")


def _wait(agent: socket.socket, path: str) -> Joined | None:
    """The pair that the agent sends; None when it ends before."""
    agent.setblocking(True)
    poll = select.poll()
    poll.register(agent, select.POLLIN)
    pulse = notify.watchdog()
    while not poll.poll(None if pulse is None else int(pulse * 1000)):
        notify.alive()
    try:
        received = records.receive(agent, Link)
        if received is None:
            return None
        record, (other,) = received
        return Joined(agent, local.packets_of(other), record.fingerprint)
    except RemoteProtocolError:
        agent.close()
        raise NoAgent(f"{path}: what listens there is no agent") from None


def joined(join: Join, config: GuestConfig) -> Iterator[Joined]:
    """One pair of links after the other, each closed before the next one. Raises NoAgent.

    It ends when the agent has another configuration than before: a new process will fit.
    """
    pair = join()
    while True:
        yield pair
        pair.close()
        notify.status("waits for the other processes")
        pair = join()
        if pair.fingerprint != fingerprint(config):
            pair.close()
            return
