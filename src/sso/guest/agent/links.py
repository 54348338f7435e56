"""The agent's end of the links to the two other processes: they dial, each on a socket of its own uid.

When both are there each gets one end of a socket pair between them. When one is lost both are, and who is
left dials again, with nothing of the peer session that it knew alone. LINK bears the fingerprint of the
agent's configuration: a process that has another one has to start anew. Their end is in sso.guest.links.
"""

import pwd
import socket
from collections.abc import Callable

from sso.daemon.listener import Listener, only
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor
from sso.errors import ConfigError
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.links import fingerprint
from sso.guest.records import Link
from sso.guest.refusals import Refusals

Attach = Callable[[socket.socket, socket.socket], None]


class Links:
    """Listens for both processes; `attach(channel, acceptor)` is called for each pair that is complete."""

    def __init__(self, config: GuestConfig, reactor: Reactor, attach: Attach) -> None:
        self._reactor, self._attach = reactor, attach
        self._listeners: list[Listener] = []
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
        for listener in self._listeners:
            listener.close()
        for role in list(self._waiting):
            self._drop(role)

    def _listen(self, role: str, path: str, uid: int) -> None:
        refusals = Refusals("link-refused", self._reactor.clock)

        def let_in(link: socket.socket, peer: Peer) -> None:
            self._drop(role)  # an older one waited in vain
            self._waiting[role] = link
            # It has nothing to say before it has heard from us: this is its end.
            self._reactor.readable(link.fileno(), lambda: self._drop(role))
            self._join()

        listener = Listener(
            path,
            self._reactor,
            let_in,
            why_not=only(0, uid),
            refused=lambda peer, why: refusals.note(peer, role=role),
            descriptors=role != "channel",  # it has none to hand over; the acceptor has tickets
        )
        self._listeners.append(listener)

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


def _uid(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(f"there is no user {user}: create it, or name another one in guest.toml") from None
