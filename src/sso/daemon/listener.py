"""The one listener: who comes in at a local socket, who does not, and how many at a time."""

import socket
from collections.abc import Callable

from sso.daemon import local
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor

TOO_MANY = "too-many"

Take = Callable[[socket.socket, Peer], None]
WhyNot = Callable[[Peer], str]  # says why a peer may not come in, "" when it may
Refused = Callable[[Peer, str], None]  # is told who was turned away, and why


class Listener:
    """Listens at `path` and gives `take` each connection that may come in, non-blocking and its own to close.

    At most `most` connections are open at a time, `of_one_uid` of them of one user; what `take` has closed
    counts no more. Without `descriptors` nobody may send any (local.refuse_descriptors). Raises ConfigError
    as local.listen does.
    """

    def __init__(
        self,
        path: str,
        reactor: Reactor,
        take: Take,
        *,
        why_not: WhyNot,
        refused: Refused = lambda peer, why: None,
        most: int = local.BACKLOG,
        of_one_uid: int | None = None,
        mode: int = 0o600,
        kind: int = socket.SOCK_SEQPACKET,
        descriptors: bool = True,
    ) -> None:
        self._path, self._reactor, self._take = path, reactor, take
        self._why_not, self._refused = why_not, refused
        self._most, self._of_one_uid = most, most if of_one_uid is None else of_one_uid
        self._links: list[tuple[socket.socket, int]] = []  # with the uid
        self._socket = local.listen(path, mode, kind)
        self._accepting = False
        if not descriptors:
            local.refuse_descriptors(self._socket)
        self.accept(True)

    def accept(self, wanted: bool) -> None:
        """Let the next ones come, or leave them in the kernel's queue."""
        if wanted and not self._accepting:
            self._reactor.readable(self._socket.fileno(), self._on_caller)
        elif self._accepting and not wanted:
            self._reactor.forget(self._socket.fileno())
        self._accepting = wanted

    def close(self) -> None:
        """Stop listening; connections stay. The path goes, unless the service manager holds it."""
        self._reactor.forget(self._socket.fileno())
        local.hang_up(self._socket, self._path)

    def _on_caller(self) -> None:
        try:
            link, _ = self._socket.accept()
        except OSError:
            return
        link.setblocking(False)
        peer = local.peer(link)
        if why := self._wrong(peer):
            link.close()
            self._refused(peer, why)
            return
        self._links.append((link, peer.uid))
        self._take(link, peer)

    def _wrong(self, peer: Peer) -> str:
        if self._open_uids().count(peer.uid) >= self._of_one_uid:
            return TOO_MANY
        # It may hang up on others to make room.
        return self._why_not(peer) or (TOO_MANY if len(self._open_uids()) >= self._most else "")

    def _open_uids(self) -> list[int]:
        """The user of each connection that is still open."""
        self._links = [(link, uid) for link, uid in self._links if link.fileno() >= 0]
        return [uid for _, uid in self._links]


def only(*uids: int) -> WhyNot:
    """Let in the processes of these users, and nobody else."""
    return lambda peer: "" if peer.uid in uids else "other-user"
