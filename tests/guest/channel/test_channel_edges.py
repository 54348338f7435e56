"""The channel process, one edge of its port after the other: a real port, real children, our own clock."""

import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beds_agent import Clock

from sso.guest import log, records
from sso.guest.channel import channel as module
from sso.guest.channel import child
from sso.guest.channel.channel import CONFIRM_TIME, PULSE_TIME, Channel
from sso.mech import Mechanism
from sso.policy import GuestPolicy
from sso.ports.port import open_port
from sso.ports.watch import PortWatch

MILLISECONDS = 20_000  # for something to happen that has to


class Bed:
    """A channel process without its loop; `serve` is what its next children do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.lines = Clock(), list[str]()
        self.path = f"{folder}/port"
        self.agent, agent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.acceptor, acceptor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.gate, self._gate = os.pipe()
        self.said, self.say = os.pipe()
        self.serve: Callable[[int], int] = self.until_told
        self.port = open_port(f"unix:{self.path}", listen=True)
        self.watch = PortWatch(self.port)
        ends = agent, acceptor
        self.channel = Channel(self.port, self.watch, *ends, self._be_child, self.log, self.clock)
        self._clients: list[socket.socket] = []
        monkeypatch.setattr(self.channel, "_timeout", lambda: MILLISECONDS)
        self._sockets = (self.agent, self.acceptor, *ends)

    # What a child may do

    def _be_child(self, acceptor: socket.socket, pulse: int) -> int:
        for client in self._clients:
            client.close()  # a child of a real channel process has no end of a client
        os.close(self._gate)  # so that the test's end is this child's
        self._link = acceptor
        return self.serve(pulse)

    def until_told(self, pulse: int) -> int:
        """Nothing, until the test says how to end."""
        return (os.read(self.gate, 1) or bytes([child.ENDED]))[0]

    def after_its_pulse(self, pulse: int) -> int:
        os.close(pulse)
        return self.until_told(pulse)

    def reads(self, pulse: int) -> int:
        """Say what is at the port."""
        poll = select.poll()
        poll.register(self.port, select.POLLIN)
        poll.poll(MILLISECONDS)
        os.write(self.say, self.port.read() or b"")
        return self.until_told(pulse)

    def talks(self, pulse: int) -> int:
        """What the real child does."""
        return child.run(
            self.port, self._link, pulse, GuestPolicy(), {}, Mechanism, lambda attribute: None, self.log
        )

    # The test's hands

    def log(self, id: str, detail: str = "", **fields: object) -> None:
        self.lines.append(log.line(id, fields | ({"detail": detail} if detail else {})))

    def client(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        self._clients.append(client)
        return client

    def turn(self, until: Callable[[], bool]) -> None:
        for _ in range(20):
            if until():
                return
            assert self.channel._turn()
        raise AssertionError(f"it did not happen: {self.lines}")

    def begun(self) -> "Bed":
        """A client is there, and the first child serves it."""
        self.turn(lambda: self.channel._life is not None)
        assert self.told() == ["Begin 1"]
        return self

    def end_child(self, status: int) -> None:
        os.write(self._gate, bytes([status]))

    def told(self) -> list[str]:
        """What the agent was told since."""
        found = []
        while select.select([self.agent], [], [], 0)[0]:
            received = records.receive(self.agent, records.Begin, records.End, records.Gone)
            assert received is not None
            found.append(f"{type(received[0]).__name__} {received[0].id}")
        return found

    def confirm(self, *ids: int) -> None:
        for id in ids:
            records.send(self.agent, records.Confirm(id))
            assert self.channel._turn()

    def quiet(self) -> bool:
        """Whether no child is wanted, and nothing waits to be seen."""
        return not self.channel._wanted and not select.select([self.watch], [], [], 0)[0]

    def close(self) -> None:
        self.channel._end_child("test-ends")
        self.watch.close()
        self.port.close()
        for end in self._sockets:
            end.close()
        for fd in (self.gate, self._gate, self.said, self.say):
            os.close(fd)


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    found = Bed(tmp_path, monkeypatch)
    yield found
    found.close()


def test_who_comes_is_served_and_who_leaves_is_told_before_the_next_one(bed: Bed) -> None:
    with bed.client():
        bed.begun()
        received = records.receive(bed.acceptor, records.Child)
        assert received is not None and received[0].id == 1
        os.close(received[1][0])
    with bed.client():
        bed.turn(lambda: bed.channel._life is None)
        assert bed.told() == ["End 1", "Gone 1"]
        bed.turn(lambda: bed.channel._wanted)
        bed.confirm(1)
        assert bed.told() == [] and bed.channel._life is None, "that the client left is not confirmed yet"
        bed.confirm(1)
        assert bed.told() == ["Begin 2"]


def test_no_byte_of_the_last_client_reaches_the_next_child(bed: Bed) -> None:
    with bed.client() as client:
        bed.begun()
        client.sendall(b"old" * 50_000)
    bed.turn(lambda: bed.channel._life is None)
    bed.serve = bed.reads
    with bed.client() as client:
        client.sendall(b"new")
        bed.turn(lambda: bed.channel._wanted)
        bed.confirm(1, 1)
        assert os.read(bed.said, 65536) == b"new"


@pytest.mark.parametrize("status", [child.DONE, child.SILENT])
def test_a_child_that_ends_well_is_told_by_its_status_and_nothing_is_dropped(bed: Bed, status: int) -> None:
    """It closes its pulse a moment before it is gone."""
    bed.serve = bed.after_its_pulse
    with bed.client() as client:
        bed.begun()
        life = bed.channel._life
        assert life is not None
        bed.turn(lambda: bed.channel._life is not life)
        assert bed.channel._life == life._replace(beating=False), "it is given the time to end"
        client.sendall(b"more")
        bed.end_child(status)
        bed.turn(lambda: bed.channel._life is None)
        assert bed.told() == ["End 1"] and bed.lines[-1] == f"session-end session=1 status={status}"
        bed.serve = bed.reads
        bed.turn(lambda: bed.channel._wanted)
        bed.confirm(1)
        assert os.read(bed.said, 65536) == b"more"


def test_nobody_is_served_again_who_says_nothing_more(bed: Bed) -> None:
    bed.serve = bed.after_its_pulse
    with bed.client():
        bed.begun()
        bed.end_child(child.DONE)
        bed.turn(lambda: bed.channel._life is None)
        bed.confirm(1)
        for _ in range(3):
            if not bed.quiet():
                assert bed.channel._turn()
        assert bed.quiet() and bed.told() == ["End 1"]


@pytest.mark.parametrize("pulse", [True, False])
def test_a_child_without_a_pulse_is_killed(bed: Bed, pulse: bool) -> None:
    bed.serve = bed.until_told if pulse else bed.after_its_pulse
    with bed.client():
        bed.begun()
        if not pulse:
            life = bed.channel._life
            bed.turn(lambda: bed.channel._life is not life)
        bed.clock.now += PULSE_TIME - 0.1
        bed.channel._on_time()
        assert bed.channel._life is not None
        bed.clock.now += 0.2
        bed.channel._on_time()
        assert bed.channel._life is None and bed.told() == ["End 1"]
        assert bed.lines[-2:] == [
            "child-stopped detail='its pulse stopped'",
            "session-end session=1 reason=child-stopped",
        ]


def test_after_a_reset_the_next_child_begins_by_itself_once_all_is_confirmed(bed: Bed) -> None:
    with bed.client():
        bed.begun()
        bed.end_child(child.RESET)
        bed.turn(lambda: bed.channel._life is None)
        assert bed.told() == ["End 1", "Gone 1"], "another client, for all that is known"
        bed.confirm(1, 1)
        bed.turn(lambda: bed.channel._life is not None)
        assert bed.told() == ["Begin 2"]


def heard(client: socket.socket, end: bytes) -> bytes:
    """Everything up to this end."""
    client.settimeout(MILLISECONDS / 1000)
    found = b""
    while not found.endswith(end):
        data = client.recv(4096)
        assert data, found
        found += data
    return found


def test_behind_a_405_the_guest_announces_itself_again(bed: Bed) -> None:
    """A client of two versions may begin again, and one that waits finds a guest."""
    bed.serve = bed.talks
    with bed.client() as client:
        bed.begun()
        announcement = heard(client, b" - GSSAPI\n")
        client.sendall(b"\nSIGNATURE cSSO7f3Kq9ZtW2xB 2 9 client AAAAAAAAAAAAAAAAAAAAAA== - -\n")
        assert heard(client, b"error 405 version\n").count(b"SIGNATURE") == 1
        bed.turn(lambda: bed.channel._life is None)
        assert bed.lines[-1] == f"session-end session=1 status={child.ENDED}"
        bed.turn(lambda: bed.channel._wanted)
        bed.confirm(1)
        again = heard(client, b" - GSSAPI\n")
        assert again.startswith(b"\nSIGNATURE ") and again != announcement


@pytest.mark.parametrize("seen", [True, False])
def test_a_hang_up_while_the_last_bytes_are_dropped_is_told_once(bed: Bed, seen: bool) -> None:
    client = bed.client()
    bed.begun()
    client.sendall(b"rubbish")
    bed.end_child(child.ENDED)
    life = bed.channel._life
    assert life is not None
    select.select([life.pidfd], [], [], MILLISECONDS / 1000)
    if seen:
        bed.channel._child_ended(life)  # the port is flushed while the client is there
        assert bed.told() == ["End 1"]
    client.close()
    bed.turn(lambda: bed.channel._gone)
    assert bed.told() == (["Gone 1"] if seen else ["End 1", "Gone 1"])
    assert bed.quiet() and not bed.port.connected


def test_nobody_is_served_while_the_agent_does_not_confirm(bed: Bed) -> None:
    with bed.client():
        bed.begun()
    bed.turn(lambda: bed.channel._gone)
    with bed.client():
        bed.turn(lambda: bed.channel._wanted)
        for late in range(1, 4):
            bed.clock.now += CONFIRM_TIME
            bed.channel._on_time()
            assert [line.split()[0] for line in bed.lines].count("agent-late") == late
        assert bed.channel._life is None and bed.told() == ["End 1", "Gone 1"]
        bed.confirm(1, 1)
        assert bed.told() == ["Begin 2"]


@pytest.mark.parametrize("other", ["agent", "acceptor"])
def test_without_the_others_nobody_is_served(bed: Bed, other: str) -> None:
    with bed.client():
        bed.begun()
        life = bed.channel._life
        assert life is not None
        getattr(bed, other).shutdown(socket.SHUT_RDWR)
        bed.channel.run()
        assert bed.channel._life is None and bed.lines[-1] == "session-end session=1 reason=channel-ends"
        with pytest.raises(ProcessLookupError):
            os.kill(life.pid, 0)


def test_a_client_that_comes_and_goes_costs_a_child_a_second(bed: Bed) -> None:
    begun = 0
    for _ in range(3 * module.BURST):
        with bed.client():
            bed.turn(lambda: bed.channel._wanted or bed.channel._life is not None)
            bed.channel._on_time()
            begun += bed.channel._life is not None
        bed.turn(lambda: bed.channel._gone)
        ends = [line for line in bed.told() if not line.startswith("Begin")]
        bed.confirm(*range(len(ends)))
    assert begun == module.BURST
    bed.clock.now += 1.0
    with bed.client():
        bed.turn(lambda: bed.channel._life is not None)
