"""An acceptor whose workers are real: the test plays the agent, the channel process and every child."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_agent import Clock, has

from sso.errors import MechanismError
from sso.guest import records
from sso.guest.acceptor.acceptor import AcceptorProcess
from sso.guest.acceptor.peer_session import is_sealed
from sso.guest.mechanisms import accepting
from sso.guest.packets import CREDENTIAL, JUDGE, PACKET_MAX, VERDICT, YES
from sso.guest.records import Authenticated, Child, Kind, Outcome
from sso.mech import Mechanism, Pair, load

SPN = "host/deleg.test.example"
ATTEMPT = bytes(range(16))
SECONDS = 20.0
Deed = Callable[[socket.socket], object]


class Hostile(Mechanism):
    """Simulate a worker controlled by its peer: run `deed` in it with the worker's end of its link."""

    def __init__(self, deed: Deed) -> None:
        self._deed = deed

    def step(self, token: bytes) -> bytes:
        self._deed(link_of_this_worker())
        raise MechanismError("done")


def link_of_this_worker() -> socket.socket:
    """The socket that it was forked with; the child's was received later, and got the first number free."""
    # All of them: a long run of tests has many open.
    for fd in sorted(map(int, os.listdir("/proc/self/fd")), reverse=True):
        try:
            return socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
    raise AssertionError("there is none")


class AcceptorBed:
    """An acceptor whose loop the test turns; the test is the agent, the channel process and every child."""

    def __init__(self, keytab: Path | str = "", deed: Deed = lambda link: None, *strangers: Pair) -> None:
        self.agent, agent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._theirs = agent, channel
        self.ended = False
        self.lines, self.clock = list[str](), Clock()

        def make(name: str, in_tls: bool) -> Mechanism:
            if name == "HOSTILE":
                return Hostile(deed)
            if name in others:
                return accepting(others[name], in_tls)
            return load(name, ["GSSAPI"]).accept(spn=SPN, keytab=str(keytab))

        others = {pair.name: pair for pair in (Pair("HOSTILE", "sasl", Mechanism, Mechanism), *strangers)}

        def find(name: str) -> Pair:
            return others[name] if name in others else load(name, ["GSSAPI", "kerberos", "password"])

        self.acceptor = AcceptorProcess(
            *self._theirs, make, find, self._note, key=bytes(32), clock=self.clock
        )

    def _note(self, id: str, text: str = "", **values: object) -> None:
        words = [id, text, *(f"{name}={value}" for name, value in values.items())]
        self.lines.append(" ".join(filter(None, words)))

    def turn(self, until: Callable[[], Any]) -> None:
        limit = time.monotonic() + SECONDS
        while not until():
            assert time.monotonic() < limit, f"it did not happen: {self.lines}"
            self.acceptor._reactor.turn(0.2)

    def settle(self) -> None:
        """Process everything that has arrived."""
        while self.acceptor._reactor._selector.select(0):
            self.acceptor._reactor.turn(0.0)

    def child(self, id: int) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        records.send(self.channel, Child(id), [theirs.fileno()])
        theirs.close()
        self.settle()
        ours.settimeout(SECONDS)
        return ours

    def worker(self, id: int) -> int:
        return self.acceptor._peers[id].process.pid

    def claim(self) -> tuple[Authenticated, list[int]]:
        self.turn(lambda: has(self.agent))
        received = records.receive(self.agent, Authenticated)
        assert received is not None
        return received

    def idle(self) -> None:
        """Wait until no session is left, and of the workers only one that waits for its session."""
        self.turn(lambda: not self.acceptor._peers and self.acceptor._living() <= 1)

    def end(self, run: bool = False) -> None:
        """End the acceptor; with `run`, wait until it ends by itself."""
        self.ended = True
        (self.acceptor.run if run else self.acceptor.close)()

    def close(self) -> None:
        if not self.ended:
            self.end()
        for end in (self.agent, self.channel, *self._theirs):
            end.close()


MakeBed = Callable[..., AcceptorBed]


@pytest.fixture
def make_bed() -> Iterator[MakeBed]:
    """A function that makes an acceptor; the arguments are those of AcceptorBed."""
    beds: list[AcceptorBed] = []

    def make(*arguments: Any) -> AcceptorBed:
        beds.append(AcceptorBed(*arguments))
        return beds[-1]

    yield make
    for bed in beds:
        bed.close()


def ask(child: socket.socket, packet: bytes) -> bytes:
    child.send(packet)
    return child.recv(PACKET_MAX)


def hung_up(child: socket.socket) -> bool:
    try:
        return child.recv(9) == b""
    except ConnectionResetError:  # with something unread
        return True


def log_in(bed: AcceptorBed, id: int, code: int = 0) -> None:
    """A whole session with a password, as a child has it."""
    with bed.child(id) as child:
        assert ask(child, CREDENTIAL + b"password\0alice\0secret") == YES + b"alice"
        child.send(JUDGE + ATTEMPT)
        record, fds = bed.claim()
        assert (record.id, record.attempt, record.kind, record.principal) == (
            id,
            ATTEMPT,
            Kind.PASSWORD,
            "alice",
        )
        assert is_sealed(fds[0]) and os.pread(fds[0], 99, 0) == b"secret"
        records.close_all(fds)
        records.send(bed.agent, Outcome(id, code))
        bed.turn(lambda: has(child))
        assert child.recv(9) == VERDICT + struct.pack(">I", code)
    bed.turn(lambda: id not in bed.acceptor._peers)
