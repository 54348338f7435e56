"""The agent's links to the two other processes, as installed: they dial, each on a socket of its own uid.

When both are there each gets one end of a socket pair between them. When one is lost both are, and who is
left dials again, with nothing of the peer session that it knew alone. LINK bears the fingerprint of the
agent's configuration: a process that has another one has to start anew.
"""

import pwd
import select
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sso import __version__
from sso.daemon import local, notify
from sso.daemon.reactor import Reactor
from sso.errors import ConfigError, NoAgent, RemoteProtocolError
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.records import Link
from sso.guest.refusals import Refusals

PAUSE_MIN, PAUSE_MAX = 0.02, 5.0  # seconds between an agent that ended and the next one

Attach = Callable[[socket.socket, socket.socket], None]


class Joined(NamedTuple):
    """What a process has of the others; `fingerprint` is of the agent's configuration."""

    agent: socket.socket
    other: socket.socket
    fingerprint: int = 0

    def close(self) -> None:
        self.agent.close()
        self.other.close()


Join = Callable[[], Joined]


class Links:
    """Listens for both processes; `attach(channel, acceptor)` is called for each pair that is complete."""

    def __init__(self, config: GuestConfig, reactor: Reactor, attach: Attach) -> None:
        self._reactor, self._attach = reactor, attach
        self._listeners: list[tuple[socket.socket, str]] = []
        self._waiting: dict[str, socket.socket] = {}
        self._roles = ("channel", "acceptor")
        self._fingerprint = fingerprint(config)
        self._open = False
        for role in self._roles:
            path, user = getattr(config, f"{role}_socket"), getattr(config, f"{role}_user")
            self._listen(role, path, _uid(user))

    def resume(self) -> None:
        """Hand over the next pair, as soon as there is one."""
        self._open = True
        self._join()

    def close(self) -> None:
        for listener, path in self._listeners:
            self._reactor.forget(listener.fileno())
            local.hang_up(listener, path)
        for role in list(self._waiting):
            self._drop(role)

    def _listen(self, role: str, path: str, uid: int) -> None:
        listener = local.listen(path)
        if role == "channel":
            local.refuse_descriptors(listener)  # it has none to hand over; the acceptor has tickets
        self._listeners.append((listener, path))
        refusals = Refusals("link-refused", self._reactor.clock)

        def accept() -> None:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            peer = local.peer(link)
            if peer.uid not in (0, uid):
                refusals.note(peer, role=role)
                link.close()
                return
            self._drop(role)  # an older one waited in vain
            link.setblocking(False)
            self._waiting[role] = link
            # It has nothing to say before it has heard from us: this is its end.
            self._reactor.watch(link.fileno(), lambda: self._drop(role))
            self._join()

        self._reactor.watch(listener.fileno(), accept)

    def _join(self) -> None:
        if not self._open or len(self._waiting) < len(self._roles):
            return
        self._open = False
        links = [self._waiting.pop(role) for role in self._roles]
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for link, end in zip(links, ends, strict=True):
            self._reactor.forget(link.fileno())
            records.send(link, Link(self._fingerprint), [end.fileno()])
            end.close()
        self._attach(links[0], links[1])

    def _drop(self, role: str) -> None:
        link = self._waiting.pop(role, None)
        if link is not None:
            self._reactor.forget(link.fileno())
            link.close()


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
        return Joined(agent, local.packets_of(other), record.id)
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


def _uid(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(f"there is no user {user}: create it, or name another one in guest.toml") from None
