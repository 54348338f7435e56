"""The acceptor process: it holds the keytab and says who was authenticated; it never sees the port.

It reads no packet of a child itself: a worker a peer session (sso.guest.peer_session) does, forked when the
channel process announces the child. The acceptor alone has the links to the others. It takes one claim from
each worker, of that worker's own session, and hands it to the agent with its sealed file.
"""

import os
import select
import socket
from collections.abc import Callable

from sso.daemon.syscalls import Fence
from sso.errors import RemoteProtocolError
from sso.guest import notify, records
from sso.guest.confine import die_with_parent
from sso.guest.forked import Forked
from sso.guest.packets import VERDICT
from sso.guest.peer_session import CLAIMED, OVER, Load, Make, PeerSession, is_sealed, serve
from sso.guest.reactor import Reactor
from sso.guest.records import Authenticated, Child, Outcome, Received

WORKER_TIME = 600.0  # seconds for a session's worker: more than a person's prompts take
WORKERS_MAX = 4  # at once, those that are ending included: the channel process serves one peer at a time
END_TIME = 2.0  # seconds for killed workers to be gone
NAME_MAX = 64  # characters of a defect's kind in the log


def _silent(id: str, text: str) -> None:
    """The log of a test that wants none."""


class _Peer:
    """A session's child, and its worker with the acceptor's end of the pair to it."""

    def __init__(self, id: int, child: socket.socket, link: socket.socket, worker: Forked) -> None:
        self.id, self.child, self.link, self.worker = id, child, link, worker
        self.claimed = False


class Acceptor:
    """The loop: children and their workers on one side, the agent on the other.

    `make` and `load` are those of PeerSession, `key` that of the passwords' digests; a worker calls them
    behind `fence`. Whatever a worker or a child does, it ends its own session alone.
    """

    def __init__(
        self,
        agent: socket.socket,
        channel: socket.socket,
        make: Make,
        load: Load,
        log: Callable[[str, str], None] = _silent,
        *,
        key: bytes = b"",
        fence: Fence | None = None,
    ) -> None:
        self._agent, self._channel, self._make, self._load = agent, channel, make, load
        self._log, self._key, self._fence = log, key or os.urandom(32), fence
        self._reactor = Reactor()
        self._peers: dict[int, _Peer] = {}
        self._workers: list[Forked] = []
        # Level-triggered hang-ups of the children's sockets alone: what they say is for the workers.
        self._ends = select.epoll()
        self._reactor.watch(agent.fileno(), self._on_outcome)
        self._reactor.watch(channel.fileno(), self._on_child)
        self._reactor.watch(self._ends.fileno(), self._on_end)
        self._running = True

    def run(self) -> None:
        """Serve until the agent or the channel process is gone; nothing of any session is left then."""
        try:
            while self._running:
                notify.alive()
                self._reactor.turn(notify.watchdog())
        finally:
            self.close()

    def close(self) -> None:
        """End every session, and wait until the workers are gone."""
        for id in list(self._peers):
            self._drop(id)
        for descriptor in (self._agent, self._channel, self._ends):
            self._reactor.forget(descriptor.fileno())
        limit = self._reactor.clock() + END_TIME
        while self._living() and (left := limit - self._reactor.clock()) > 0:
            self._reactor.turn(left)
        self._ends.close()
        self._reactor.close()

    def _living(self) -> int:
        self._workers = [worker for worker in self._workers if worker.alive]
        return len(self._workers)

    # From the others

    def _receive(self, link: socket.socket, kind: type[Received]) -> tuple[Received, list[int]] | None:
        """A record of another process; None, and the end of the loop, when it is gone or talks nonsense."""
        received = None
        try:
            received = records.receive(link, kind)
        except RemoteProtocolError as error:
            self._log("record-malformed", str(error))
        self._running = self._running and received is not None
        return received

    def _on_child(self) -> None:
        received = self._receive(self._channel, Child)
        if received is None:
            return
        record, (fd,) = received
        try:
            child = _packets_of(fd)
            if record.id in self._peers:
                child.close()
                raise RemoteProtocolError("a session that there is")
        except RemoteProtocolError as error:
            self._log("record-malformed", str(error))
            self._running = False
            return
        self._begin(record.id, child)

    def _on_outcome(self) -> None:
        received = self._receive(self._agent, Outcome)
        if received is None:
            return
        record, _ = received
        peer = self._peers.get(record.id)
        if peer is None or not peer.claimed:
            return  # it has left meanwhile
        try:
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            peer.child.send(VERDICT + record.code.to_bytes(4, "big"), flags)
        except OSError:
            self._drop(record.id)

    # Workers

    def _begin(self, id: int, child: socket.socket) -> None:
        """Fork the worker of a session; without one the child is hung up on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            try:
                if self._living() >= WORKERS_MAX:
                    raise OSError("too many at once")
                worker = self._fork(id, child, theirs)
            except OSError as error:  # or processes or descriptors are short
                self._log("worker-not-made", error.strerror or str(error))
                child.close()
                ours.close()
                return
        self._workers.append(worker)
        self._peers[id] = _Peer(id, child, ours, worker)
        self._ends.register(child.fileno(), 0)
        self._reactor.watch(ours.fileno(), lambda: self._on_claim(id))

    def _fork(self, id: int, child: socket.socket, link: socket.socket) -> Forked:
        parent = os.getpid()

        def work() -> bytes:
            die_with_parent(parent)
            if self._fence is not None:
                self._fence.close_behind()
            child.setblocking(True)
            return serve(PeerSession(id, self._make, self._load), child, link, self._key)

        keep = child.fileno(), link.fileno()
        return Forked(self._reactor, work, lambda answer: self._worker_ended(id, answer), WORKER_TIME, keep)

    def _worker_ended(self, id: int, answer: bytes) -> None:
        """Its last words are not more than a word for the log: a peer may have taken it over."""
        self._on_claim(id)  # if it was made, it is there
        word = answer.decode("ascii", "replace")[:NAME_MAX]
        if answer not in (OVER, CLAIMED):
            self._log("mechanism-failed" if word.isidentifier() else "worker-failed", word or f"session={id}")
        if id in self._peers and not self._peers[id].claimed:
            self._drop(id)

    def _on_claim(self, id: int) -> None:
        """What a worker says of its session, once; anything but a whole claim of that session ends it."""
        peer = self._peers.get(id)
        if peer is None or peer.claimed:
            return
        try:
            received = records.receive(peer.link, Authenticated)
        except BlockingIOError:
            return
        except RemoteProtocolError as error:
            self._refuse(peer, str(error))
            return
        if received is None:
            self._reactor.forget(peer.link.fileno())  # how it ended, its process tells
            return
        record, fds = received
        try:
            if record.id != id:
                self._refuse(peer, "a worker that speaks for another session")
            elif not all(map(is_sealed, fds)):
                self._refuse(peer, "a secret that is not sealed")
            else:
                self._claimed(peer, record, fds)
        finally:
            records.close_all(fds)

    def _refuse(self, peer: _Peer, why: str) -> None:
        self._log("record-malformed", why)
        self._drop(peer.id)

    def _claimed(self, peer: _Peer, record: Authenticated, fds: list[int]) -> None:
        """Hand it on. From here on the child only waits, and the worker has nothing more to say."""
        peer.claimed = True
        self._hang_up(peer)
        self._ends.modify(peer.child.fileno(), select.EPOLLIN)
        records.send(self._agent, record, fds)

    def _on_end(self) -> None:
        """Children that are gone, or that speak where they have to wait."""
        ended = {fd for fd, _ in self._ends.poll(0)}
        for id in [peer.id for peer in self._peers.values() if peer.child.fileno() in ended]:
            self._drop(id)

    def _drop(self, id: int) -> None:
        """Nothing of a session stays; its worker is killed, and reaped when it is gone."""
        peer = self._peers.pop(id)
        peer.worker.cancel()
        self._hang_up(peer)
        self._ends.unregister(peer.child.fileno())  # a dying worker has it open still
        peer.child.close()

    def _hang_up(self, peer: _Peer) -> None:
        if peer.link.fileno() >= 0:
            self._reactor.forget(peer.link.fileno())
            peer.link.close()


def _packets_of(fd: int) -> socket.socket:
    """The socket of a child, whose descriptor is ours; RemoteProtocolError when it carries no packets."""
    try:
        child = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise RemoteProtocolError("a descriptor that is no socket") from None
    if (child.family, child.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
        child.close()
        raise RemoteProtocolError("a socket of another kind")
    return child
