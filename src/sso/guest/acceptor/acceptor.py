"""The acceptor process: it holds the keytab and says who was authenticated; it never sees the port.

It reads no packet of a child itself: a worker a peer session (peer_session) does, forked when the last one
is over, so that nobody waits for it. The acceptor alone has the links to the others. It takes one claim from
each worker, of that worker's own session, and hands it to the agent with its sealed file.
"""

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from sso.daemon import local, notify
from sso.daemon.confine import die_with_parent
from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor, boot_time
from sso.daemon.syscalls import Fence
from sso.errors import RemoteProtocolError
from sso.guest import records
from sso.guest.acceptor.peer_session import (
    ANSWER_TIME,
    CLAIMED,
    OVER,
    Load,
    Make,
    is_sealed,
    rehearse,
    serve,
)
from sso.guest.packets import VERDICT
from sso.guest.records import Authenticated, Child, Outcome, Received

WORKER_TIME = 600.0  # seconds for a session's worker: more than a person's prompts take
WORKERS_MAX = 4  # at once, the spare and the dying ones too: one peer is served at a time
END_TIME = 2.0  # seconds for killed workers to be gone
WORDS_MAX = 128  # characters of a defect's kind and of the mechanism's name in the log


def _silent(id: str, detail: str = "", /, **values: object) -> None:
    """The log of a test that wants none."""


class _Worker:
    """A forked process, and our end of the pair to it; `id` and `child` are of its session, if it has one."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.process: Forked
        self.id = 0
        self.child: socket.socket
        self.claimed = False


class AcceptorProcess:
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
        note: Callable[..., None] = _silent,
        *,
        key: bytes = b"",
        fence: Fence | None = None,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self._agent, self._channel, self._make, self._load = agent, channel, make, load
        self._note, self._key, self._fence = note, key or os.urandom(32), fence
        self._reactor = Reactor(clock)
        self._peers: dict[int, _Worker] = {}
        self._spare: _Worker | None = None
        self._workers: list[Forked] = []  # all that are not reaped yet
        # Level-triggered hang-ups of the children's sockets alone: what they say is for the workers.
        self._ends = select.epoll()
        self._reactor.readable(agent.fileno(), self._on_outcome)
        self._reactor.readable(channel.fileno(), self._on_child)
        self._reactor.readable(self._ends.fileno(), self._on_end)
        self._running = True

    def run(self) -> None:
        """Serve until the agent or the channel process is gone; nothing of any session is left then."""
        try:
            rehearse(self._make, self._load)
            self._keep_spare()
            while self._running:
                notify.alive()
                self._reactor.turn(notify.watchdog())
        finally:
            self.close()

    def close(self) -> None:
        """End every session, and wait until the workers are gone."""
        self._running = False
        for worker in [*self._peers.values(), *filter(None, [self._spare])]:
            self._drop(worker)
        for descriptor in (self._agent, self._channel, self._ends):
            self._reactor.forget(descriptor.fileno())
        limit = boot_time() + END_TIME
        while self._living() and (left := limit - boot_time()) > 0:
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
            self._note("record-malformed", str(error))
        self._running = self._running and received is not None
        return received

    def _on_child(self) -> None:
        received = self._receive(self._channel, Child)
        if received is None:
            return
        record, (fd,) = received
        try:
            child = local.packets_of(fd)
            if record.id in self._peers:
                child.close()
                raise RemoteProtocolError("a session that there is")
        except RemoteProtocolError as error:
            self._note("record-malformed", str(error))
            self._running = False
            return
        self._begin(record.id, child)

    def _on_outcome(self) -> None:
        received = self._receive(self._agent, Outcome)
        if received is None:
            return
        record, _ = received
        worker = self._peers.get(record.id)
        if worker is None or not worker.claimed:
            return  # it has left meanwhile
        try:
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            worker.child.send(VERDICT + record.code.to_bytes(4, "big"), flags)
        except OSError:
            self._drop(worker)

    # Workers

    def _begin(self, id: int, child: socket.socket) -> None:
        """Give a session its worker; without one the child is hung up on."""
        try:
            worker, self._spare = self._spare or self._fork(), None
        except OSError as error:  # processes or descriptors are short
            self._note("worker-not-made", error.strerror or str(error))
            child.close()
            return
        worker.id, worker.child = id, child
        worker.process.within(WORKER_TIME)
        self._peers[id] = worker
        self._ends.register(child.fileno(), 0)
        records.send(worker.link, Child(id), [child.fileno()])  # if it has died meanwhile, its end is handled

    def _fork(self) -> _Worker:
        if self._living() >= WORKERS_MAX:
            raise OSError("too many at once")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        worker, parent = _Worker(ours), os.getpid()

        def work() -> bytes:
            die_with_parent(parent)
            if self._fence is not None:
                self._fence.close_behind()
            return serve(theirs, self._make, self._load, self._key)

        with theirs:
            try:
                ended = lambda answer: self._worker_ended(worker, answer)  # noqa: E731
                worker.process = Forked(self._reactor, work, ended, None, [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        self._workers.append(worker.process)
        self._reactor.readable(ours.fileno(), lambda: self._on_claim(worker))
        return worker

    def _keep_spare(self) -> None:
        """Have the next session's worker ready before it comes, as far as there is room."""
        if self._running and self._spare is None:
            with suppress(OSError):
                self._spare = self._fork()

    def _worker_ended(self, worker: _Worker, answer: bytes) -> None:
        """Write its last words to the log, and believe nothing else: a peer may have taken it over."""
        self._on_claim(worker)  # a claim that was made is waiting there
        kind, _, name = answer.decode("ascii", "replace")[:WORDS_MAX].partition(" ")
        if answer not in (OVER, CLAIMED):
            if worker.process.killed_by == signal.SIGALRM:
                self._note("mechanism-late", f"no answer within {ANSWER_TIME:.0f} s", session=worker.id)
            elif kind.isidentifier():
                self._note("mechanism-failed", kind, mechanism=name, session=worker.id)
            else:
                self._note("worker-failed", session=worker.id)
        if worker is self._spare:
            self._spare = None
            self._hang_up(worker)
        elif not worker.claimed:
            self._drop(worker)

    def _on_claim(self, worker: _Worker) -> None:
        """What a worker says of its session, once; anything but a whole claim of that session ends it."""
        if worker.link.fileno() < 0:
            return
        try:
            received = records.receive(worker.link, Authenticated)
        except BlockingIOError:
            return
        except RemoteProtocolError as error:
            self._refuse(worker, str(error))
            return
        if received is None:
            self._hang_up(worker)  # how it ended, its process tells
            return
        record, fds = received
        try:
            if worker.id not in self._peers or record.id != worker.id:
                self._refuse(worker, "a worker that speaks for another session")
            elif not all(map(is_sealed, fds)):
                self._refuse(worker, "a secret that is not sealed")
            else:
                self._claimed(worker, record, fds)
        finally:
            records.close_all(fds)

    def _refuse(self, worker: _Worker, why: str) -> None:
        self._note("record-malformed", why)
        self._drop(worker)

    def _claimed(self, worker: _Worker, record: Authenticated, fds: list[int]) -> None:
        """Hand it on. From here on the child only waits, and the worker has nothing more to say."""
        worker.claimed = True
        self._hang_up(worker)
        self._ends.modify(worker.child.fileno(), select.EPOLLIN)
        records.send(self._agent, record, fds)

    def _on_end(self) -> None:
        """Children that are gone, or that speak where they have to wait."""
        ended = {fd for fd, _ in self._ends.poll(0)}
        for worker in [worker for worker in self._peers.values() if worker.child.fileno() in ended]:
            self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        """Nothing of a session stays; its worker is killed, and reaped when it is gone."""
        worker.process.cancel()
        self._hang_up(worker)
        if worker is self._spare:
            self._spare = None
        elif self._peers.pop(worker.id, None) is not None:
            self._ends.unregister(worker.child.fileno())  # a dying worker has it open still
            worker.child.close()
            self._keep_spare()

    def _hang_up(self, worker: _Worker) -> None:
        if worker.link.fileno() >= 0:
            self._reactor.forget(worker.link.fileno())
            worker.link.close()
