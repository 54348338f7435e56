"""A channel process on a port in memory: the test plays its edges, the agent and the acceptor."""

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any

from beds_agent import Clock, has
from fake_port import FakePort

from sso.guest import log, records
from sso.guest.channel import child
from sso.guest.channel.channel import Channel
from sso.guest.records import Child, Confirm
from sso.ports.watch import OPENED, PortWatch

PATIENCE = 20_000  # milliseconds, for what has to happen


class Edges(PortWatch):
    """A watch that tells what the test says; `known_gone` is what it is told at each reopening."""

    def __init__(self, port: FakePort) -> None:
        self.pending, self.known_gone = list[str](), list[bool]()
        super().__init__(port)
        self.known_gone.clear()

    def reopened(self, port: Any, gone: bool = False) -> None:
        super().reopened(port, gone)
        self.known_gone.append(gone)

    def events(self) -> list[str]:
        self._epoll.poll(0)  # so that the loop sleeps
        found, self.pending = self.pending, []
        return found


class Bed:
    """A channel process on a port in memory, whose edges the test plays; children are real."""

    def __init__(self) -> None:
        self.clock, self.lines, self.port = Clock(), list[str](), FakePort()
        self.port.attach()
        self.watch = Edges(self.port)
        self.agent, self.to_agent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.acceptor, self.to_acceptor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.said, self.say = os.pipe()
        self.log: Callable[[str], Any] = self.lines.append
        self.serve: Callable[[socket.socket, int], int] = self.hang
        links = self.to_agent, self.to_acceptor
        self.channel = Channel(self.port, self.watch, *links, self._be_child, self._note, self.clock)

    def _note(self, id: str, detail: str = "", **fields: object) -> None:
        self.log(log.line(id, fields | ({"detail": detail} if detail else {})))

    def _be_child(self, link: socket.socket, pulse: int) -> int:
        self.agent.close()  # a child of a real channel process has no end of the others
        self.acceptor.close()
        return self.serve(link, pulse)

    @staticmethod
    def hang(link: socket.socket, pulse: int) -> int:
        signal.alarm(60)  # a test that fails leaves nobody behind
        signal.pause()
        return child.DONE

    def edge(self, edge: str) -> None:
        """Raise one edge of the port, and run what follows at once."""
        self.channel._on_edge(edge)
        self.channel._on_time()

    def begun(self) -> int:
        """Let a client come; return the child process that serves it."""
        self.edge(OPENED)
        life = self.channel._life
        assert life is not None
        return life.pid

    def dead(self) -> None:
        """Wait until the child has ended by itself; the channel has not seen it yet."""
        life = self.channel._life
        assert life is not None and select.select([life.pidfd], [], [], PATIENCE / 1000)[0]

    def turn_with_child(self) -> None:
        """Run the turn in which the channel notices the child's end."""
        self.dead()
        assert self.channel._turn()

    def run(self) -> None:
        """Run as the process does; an end that does not come is an error, not a wait."""
        turn, left = self.channel._turn, iter(range(20))

        def bounded() -> bool:
            assert next(left, None) is not None, f"it does not end: {self.lines}"
            return turn()

        self.channel._turn = bounded  # type: ignore[method-assign]
        self.channel._timeout = lambda: PATIENCE // 20  # type: ignore[method-assign]
        self.channel.run()

    def told(self) -> list[str]:
        """Return what the agent has received since the last call."""
        found: list[str] = []
        while has(self.agent):
            received = records.receive(self.agent, records.Begin, records.End, records.Gone)
            assert received is not None
            found.append(f"{type(received[0]).__name__} {received[0].id}")
        return found

    def accept(self) -> None:
        """Receive what was sent to the acceptor, and close it."""
        if has(self.acceptor) and (received := records.receive(self.acceptor, Child)):
            records.close_all(received[1])

    def confirm(self, count: int) -> None:
        for _ in range(count):
            records.send(self.agent, Confirm(1))
            assert self.channel._on_agent()
        self.channel._on_time()

    def close(self) -> None:
        self.channel._end_child("test-ends")
        self.watch.close()
        self.port.close()
        for end in (self.agent, self.to_agent, self.acceptor, self.to_acceptor):
            end.close()
        records.close_all([self.said, self.say])


def is_gone(pid: int) -> bool:
    """Whether a process has ended and was waited for."""
    return not os.path.exists(f"/proc/{pid}")
