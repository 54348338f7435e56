"""Programs at the socket of sso-ssh-agent, and a clock of the test: caps, times, nobody waits for another."""

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds_dbus import Desk, daemon, desk, make_daemon
from beds_logind import LogindMock, logind, seat
from beds_ssh_agent import NO_KEYS, frame

from sso.guest.refusals import NOTE_EVERY
from sso.guest.seat.logind import Seat
from sso.guest.ssh_agent.callers import GIVE_TIME, OPEN_TIME, Callers
from sso.guest.ssh_agent.main import READS_MAX, Borrower
from sso.ports.port import open_port
from sso.ssh_agent import (
    CLOSE,
    CONNECTIONS_MAX,
    DATA,
    MESSAGE_MAX,
    OPEN,
    PENDING_MAX,
    PORT_FRAME_MAX,
    Frames,
    echo,
    framed,
    hello_of,
)

__all__ = ["daemon", "desk", "logind", "make_daemon", "seat"]
ASK = b"\x0b"


class Bed:
    """The service in this process, a viewer's end of its port, and programs of the user in front."""

    def __init__(self, desk: Desk, seat: Seat, folder: Path) -> None:
        self.desk, self.log = desk, list[str]()
        self._path = str(folder / "agent.sock")
        self.port = open_port(f"unix:{folder}/port", listen=True)
        self.callers = Callers(self._path, seat, desk.reactor, self.log.append)
        self.borrower = Borrower(self.port, self.callers, desk.reactor, self.log.append)
        self.viewer = socket.socket(socket.AF_UNIX)
        self.viewer.connect(f"{folder}/port")
        self.viewer.setblocking(False)
        self._frames = Frames(PORT_FRAME_MAX)
        self.heard: list[bytes] = []
        self.programs: list[socket.socket] = []
        self.greet()

    def greet(self) -> None:
        """Echo a hello."""
        desk = self.desk
        desk.turn(lambda: self.hear())
        _, nonce = hello_of(self.heard.pop(0))
        self.echo = echo(nonce)
        self.viewer.sendall(self.echo)
        desk.turn()

    def hear(self) -> list[bytes]:
        """What the viewer has got and nobody has taken."""
        while readable(self.viewer):
            self.heard += self._frames.feed(self.viewer.recv(1 << 20))
        return self.heard

    def connect(self) -> socket.socket:
        program = socket.socket(socket.AF_UNIX)
        program.connect(self._path)
        program.setblocking(False)
        self.programs.append(program)
        return program

    def program(self) -> socket.socket:
        """A program that has been let in."""
        program = self.connect()
        self.desk.turn(lambda: self.hear())
        assert self.heard.pop(0)[0] == OPEN
        return program

    def cut(self, program: socket.socket) -> bool:
        """Whether the next that a program hears is that it is hung up on."""
        self.desk.turn(lambda: readable(program))
        return program.recv(1) == b""

    def close(self) -> None:
        self.callers.close()
        for one in (*self.programs, self.viewer):
            one.close()
        self.port.close()


def readable(link: socket.socket) -> bool:
    return bool(select.select([link], [], [], 0)[0])


@pytest.fixture
def bed(logind: LogindMock, desk: Desk, seat: Seat, tmp_path: Path) -> Iterator[Bed]:
    logind.session("c1", "me", os.getuid(), Type="tty")
    desk.up()
    made = Bed(desk, seat, tmp_path)
    yield made
    made.close()


def test_there_is_a_cap_and_one_who_leaves_makes_room(bed: Bed) -> None:
    programs = [bed.program() for _ in range(CONNECTIONS_MAX)]
    assert bed.cut(bed.connect())
    assert bed.log == [
        f"refused uid {os.getuid()}, pid {os.getpid()}: {CONNECTIONS_MAX} connections are open"
    ]
    programs[3].close()
    bed.desk.turn(lambda: bed.hear())
    assert bed.heard.pop(0) == frame(CLOSE, 4)[4:]
    bed.program()


def test_a_plug_in_that_does_not_take_a_connection_is_begun_anew(bed: Bed) -> None:
    taken, ignored = bed.program(), bed.program()
    bed.viewer.sendall(frame(OPEN, 1))
    bed.desk.turn()
    bed.desk.later(OPEN_TIME)
    assert bed.cut(ignored) and bed.cut(taken)
    assert bed.log == ["the viewer's plug-in does not answer"]
    bed.greet()
    bed.program().send(framed(ASK))
    bed.desk.turn(lambda: bed.hear())
    assert bed.heard.pop(0) == frame(DATA, 1, ASK)[4:]


def test_one_that_takes_its_time_over_an_answer_is_left_alone(bed: Bed) -> None:
    program = bed.program()
    bed.viewer.sendall(frame(OPEN, 1))
    program.send(framed(ASK))
    bed.desk.turn(lambda: bed.hear())
    bed.desk.later(100 * OPEN_TIME)
    bed.desk.turn()
    assert not readable(program) and bed.log == []


def test_a_program_that_does_not_take_its_answer_is_cut_and_delays_nobody(bed: Bed) -> None:
    stuck, other = bed.program(), bed.program()
    for program in (stuck, other):
        program.send(framed(ASK))
    bed.desk.turn(lambda: len(bed.hear()) == 2)
    bed.heard.clear()
    answer = memoryview(frame(OPEN, 1) + frame(OPEN, 2) + frame(DATA, 1, bytes(MESSAGE_MAX)))
    while answer:
        answer = answer[bed.viewer.send(answer[:65536]) :]
        bed.desk.turn()
    bed.viewer.sendall(frame(DATA, 2, NO_KEYS))
    bed.desk.turn()
    assert other.recv(100) == framed(NO_KEYS)
    assert bed.hear() == []
    bed.desk.later(GIVE_TIME)
    assert bed.hear() == [frame(CLOSE, 1)[4:]]


def test_requests_of_one_program_go_in_turn(bed: Bed) -> None:
    """Several at once are answered in their order, those too that may not pass."""
    program = bed.program()
    bed.viewer.sendall(frame(OPEN, 1))
    program.send(framed(ASK) + framed(b"\x13") + framed(ASK))
    for _ in range(2):
        bed.desk.turn(lambda: bed.hear())
        bed.desk.turn()
        assert bed.hear() == [frame(DATA, 1, ASK)[4:]]
        bed.heard.clear()
        bed.viewer.sendall(frame(DATA, 1, NO_KEYS))
        bed.desk.turn()
    assert program.recv(100) == framed(NO_KEYS) + framed(b"\x05") + framed(NO_KEYS)


def test_a_port_that_takes_nothing_makes_programs_wait_and_nothing_is_lost(bed: Bed) -> None:
    programs = [bed.program() for _ in range(12)]
    bed.viewer.sendall(b"".join(frame(OPEN, number) for number in range(1, 13)))
    request = framed(b"\x0d".ljust(120_000, b"x"))
    for program in programs:
        program.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        assert program.send(request) == len(request)
    bed.desk.turn(lambda: bed.borrower.pending >= PENDING_MAX)
    for _ in programs:
        bed.desk.turn()
    assert bed.borrower.pending <= PENDING_MAX + len(request)
    assert not any(map(readable, programs))

    def all_there() -> bool:
        bed.desk.later(0.1)
        return len(bed.hear()) == len(programs)

    bed.desk.turn(all_there)
    assert sorted(int.from_bytes(one[1:9], "big") for one in bed.heard) == list(range(1, 13))
    assert {one[9:] for one in bed.heard} == {request[4:]}


def test_the_largest_request_goes_on_its_way_however_it_is_cut(bed: Bed) -> None:
    program = bed.program()
    request = framed(ASK + bytes(MESSAGE_MAX - 1))
    left = [request[:-3], request[-3:]]

    def arrived() -> bool:
        if left and select.select([], [program], [], 0)[1]:
            left[0] = left[0][program.send(left[0]) :]
        elif left:
            return False
        if left and not left[0]:
            left.pop(0)
            bed.desk.turn()  # it has been read
        bed.desk.later(0.1)
        return bool(bed.hear())

    bed.desk.turn(arrived)
    assert bed.heard == [frame(DATA, 1, request[4:])[4:]]


def test_a_viewer_that_never_stops_keeps_nobody_from_anything_else(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []

    def read() -> bytes | None:
        reads.append(1)
        return bed.echo if len(reads) < 1000 else None

    monkeypatch.setattr(bed.port, "read", read)
    bed.viewer.sendall(bed.echo)
    bed.desk.turn(lambda: reads)
    assert len(reads) <= READS_MAX
    bed.desk.turn(lambda: len(reads) == 1000)


def test_a_viewer_that_is_wrong_again_and_again_does_not_fill_the_journal(bed: Bed) -> None:
    for _ in range(20):
        bed.viewer.sendall(frame(DATA, 99, ASK))
        bed.desk.turn()
        bed.greet()
    assert bed.log == [
        "the viewer's plug-in does not speak as this program does: a connection that was never opened"
    ]
    bed.desk.later(NOTE_EVERY)
    bed.viewer.sendall(frame(DATA, 99, ASK))
    bed.desk.turn()
    assert len(bed.log) == 2
