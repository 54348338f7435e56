"""The plug-in point with real processes on a real loop: bytes, ends, and never two for one port."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from sso.daemon.reactor import Reactor
from sso.plug.plug import BACKLOG_MAX, CHUNK, CLOSED_TIME, Plug, PlugEvent, PlugInPoint, Start
from sso.plug.process import PATIENCE, STATE_MAX

PORT = "org.example.0"
ECHO = "import socket; s = socket.socket(fileno=0)\nwhile d := s.recv(65536): s.sendall(d)"
FOR_EVER = "import os; [os.write(1, bytes(65536)) for _ in iter(int, 1)]"
# Its child takes nothing, and holds the socket until the other end is closed.
HELD = """\
import os, select
if os.fork():
    os.write(1, b'here')
else:
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
"""
DEAF = """\
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b'here')
while True: signal.pause()
"""


class Clock:
    """Time that goes on when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Guest:
    """The other end of a port: keeps what comes, and says that it was sent when it is told to."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.got = bytearray()
        self.at_once = at_once
        self.sent: list[Callable[[], None]] = []

    def write(self, data: bytearray, sent: Callable[[], None]) -> None:
        assert not self.sent, "one write at a time"
        self.got += data
        self.sent.append(sent)

    def let_go(self) -> None:
        if self.sent:
            self.sent.pop()()


class Bed:
    """A plug, its loop, its clock, and what it has said."""

    def __init__(self, code: str, *, states: bool = False, argv: tuple[str, ...] = ()) -> None:
        self.clock = Clock()
        self.loop = Reactor(self.clock)
        self.said: list[PlugEvent] = []
        start = Start(PORT, argv or (sys.executable, "-I", "-S", "-c", code), states)
        self.point = PlugInPoint([start], self.loop, self.said.append)
        plug = self.point.get(PORT)
        assert plug is not None
        self.plug: Plug = plug
        self.guests: list[Guest] = []

    def open(self, *, at_once: bool = True) -> Guest:
        guest = Guest(at_once=at_once)
        self.guests.append(guest)
        self.plug.opened(guest)
        return guest

    def until(self, done: Callable[[], bool]) -> None:
        """Turn until something is so; a hang is ended by pytest's own limit."""
        while not done():
            for guest in self.guests:
                if guest.at_once:
                    guest.let_go()
            self.loop.turn(0.05)

    def idle(self, turns: int = 20) -> None:
        """Let everything happen that can happen now."""
        for _ in range(turns):
            self.loop.turn(0.005)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.loop.turn(0)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.said]


@pytest.fixture
def bed() -> Iterator[Callable[..., Bed]]:
    beds: list[Bed] = []

    def make(code: str = ECHO, *, states: bool = False, argv: tuple[str, ...] = ()) -> Bed:
        beds.append(Bed(code, states=states, argv=argv))
        return beds[-1]

    yield make
    for one in beds:
        one.point.kill()
        assert not one.point.running
        one.loop.close()


def test_nothing_starts_before_the_port_is_open(bed: Callable[..., Bed]) -> None:
    it = bed()
    it.idle()
    assert not it.said and not it.plug.running and it.point.get("another") is None


@pytest.mark.proves("S064", "S066", "S067", "S102", "S106")
def test_bytes_go_both_ways_and_arrive_whole(bed: Callable[..., Bed]) -> None:
    it = bed()
    guest = it.open()
    data = os.urandom(16 * 1024 * 1024)
    rest = memoryview(data)
    while rest:
        it.until(lambda: not it.plug.congested)
        it.plug.received(rest[:50_000])
        rest = rest[50_000:]
    it.until(lambda: len(guest.got) == len(data))
    assert hashlib.sha256(guest.got).digest() == hashlib.sha256(data).digest()


def test_one_that_says_much_and_ends_is_heard_to_the_end(bed: Callable[..., Bed]) -> None:
    it = bed("import os, socket; s = socket.socket(fileno=0); s.sendall(bytes(range(256)) * 4096)")
    guest = it.open()
    it.until(lambda: "exited" in it.kinds())
    assert guest.got == bytes(range(256)) * 4096
    assert it.said[-1] == PlugEvent(PORT, "exited", code=0, wanted=False)


def test_a_child_of_its_own_that_keeps_the_socket_does_not_keep_it_alive(bed: Callable[..., Bed]) -> None:
    it = bed("import os, signal; os.fork() or signal.pause(); os.write(1, b'%d' % os.getpid())")
    guest = it.open()
    it.until(lambda: "exited" in it.kinds())
    assert guest.got.isdigit() and not it.plug.running
    # It sits in the group of its parent, which is ours; it ends with its socket's other end.
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"os.fork() or signal.pause()" in process.read_bytes():
                os.kill(int(process.parent.name), signal.SIGKILL)


def test_what_a_child_of_it_has_not_taken_ends_with_it(bed: Callable[..., Bed]) -> None:
    it = bed(HELD)
    guest = it.open(at_once=False)
    it.until(lambda: it.plug._code is not None and guest.got == b"here")
    while not it.plug.congested:
        it.plug.received(bytes(10_000))
    guest.let_go()
    assert it.said[-1] == PlugEvent(PORT, "exited", code=0, wanted=False)
    assert not it.plug.congested
    it.plug.restart()
    it.until(lambda: guest.got == b"herehere")


def test_a_guest_that_takes_nothing_holds_the_plug_in(bed: Callable[..., Bed]) -> None:
    it = bed(FOR_EVER)
    guest = it.open(at_once=False)
    it.until(lambda: bool(guest.got))
    it.idle()
    assert len(guest.got) <= CHUNK
    before = len(guest.got)
    guest.let_go()
    it.until(lambda: len(guest.got) > before)


def test_a_plug_in_that_takes_nothing_holds_the_guest(bed: Callable[..., Bed]) -> None:
    it = bed(DEAF)
    guest = it.open()
    it.until(lambda: guest.got == b"here")
    given = 0
    while not it.plug.congested:
        it.plug.received(bytes(10_000))
        given += 10_000
        assert given < BACKLOG_MAX + 2 * 1024 * 1024
    it.idle()
    assert it.plug.congested


def test_it_goes_on_when_the_guest_reopens_soon(bed: Callable[..., Bed]) -> None:
    it = bed()
    it.open()
    it.plug.closed()
    it.plug.received(b"late")  # glued to the close; it still belongs to the plug-in
    it.pass_time(CLOSED_TIME - 0.1)
    guest = it.open()
    it.until(lambda: guest.got == b"late")
    assert it.kinds() == ["started"]


def test_nothing_is_read_of_it_while_the_port_is_closed(bed: Callable[..., Bed]) -> None:
    it = bed()
    first = it.open()
    it.plug.closed()
    it.plug.received(b"x")
    it.idle()
    assert not first.got


@pytest.mark.parametrize("how", ["closed", "lost"])
def test_it_is_ended_when_the_port_stays_closed(bed: Callable[..., Bed], how: str) -> None:
    it = bed()
    it.open()
    if how == "lost":
        it.plug.lost()
    else:
        it.plug.closed()
        it.pass_time(CLOSED_TIME + 0.1)
    it.until(lambda: "exited" in it.kinds())
    assert it.said[-1] == PlugEvent(PORT, "exited", code=0, wanted=True)
    guest = it.open()
    it.plug.received(b"again")
    it.until(lambda: guest.got == b"again")
    assert it.kinds() == ["started", "exited", "started"]


def test_one_that_does_not_end_is_made_to(bed: Callable[..., Bed]) -> None:
    it = bed(DEAF)
    guest = it.open()
    it.until(lambda: guest.got == b"here")
    it.plug.lost()
    it.pass_time(PATIENCE + 0.1)
    it.idle()
    assert it.kinds() == ["started"]  # it ignores SIGTERM
    it.pass_time(PATIENCE + 0.1)
    it.until(lambda: "exited" in it.kinds())
    assert it.said[-1].code == -signal.SIGKILL


def test_never_two_for_one_port(bed: Callable[..., Bed]) -> None:
    it = bed(DEAF)
    guest = it.open()
    it.until(lambda: guest.got == b"here")
    it.plug.lost()
    second = it.open()
    it.idle()
    assert it.kinds() == ["started"] and not second.got
    it.plug.kill()
    assert it.kinds() == ["started", "exited"]
    it.open()
    assert it.kinds() == ["started", "exited", "started"]


def test_one_that_ended_waits_for_a_long_close_or_a_word(bed: Callable[..., Bed]) -> None:
    it = bed("")
    it.open()
    it.until(lambda: it.kinds() == ["started", "exited"])
    it.plug.closed()
    it.open()
    it.idle()
    assert it.kinds() == ["started", "exited"]
    it.plug.closed()
    it.pass_time(CLOSED_TIME + 0.1)
    it.open()
    it.until(lambda: it.kinds() == ["started", "exited"] * 2)
    it.plug.restart()
    it.until(lambda: it.kinds() == ["started", "exited"] * 3)


def test_restart_of_one_that_runs(bed: Callable[..., Bed]) -> None:
    it = bed()
    guest = it.open()
    it.plug.restart()
    it.until(lambda: it.kinds() == ["started", "exited", "started"])
    it.plug.received(b"to the second")
    it.until(lambda: guest.got == b"to the second")


def test_what_cannot_be_started_is_said(bed: Callable[..., Bed]) -> None:
    it = bed(argv=("/nowhere/at/all",))
    before = set(os.listdir("/proc/self/fd"))
    it.open()
    assert it.said == [PlugEvent(PORT, "failed", "/nowhere/at/all: No such file or directory")]
    assert set(os.listdir("/proc/self/fd")) == before


def test_states_are_lines_of_printable_text(bed: Callable[..., Bed]) -> None:
    long = STATE_MAX + 500
    it = bed(
        "import os; os.write(3, b'signing-in al'); os.write(3, b'ice\\nnote \\x1b[31m\\xff\\n\\n');"
        f" os.write(3, b'x' * {long} + b'\\nlast\\nunfinished')",
        states=True,
    )
    it.open()
    it.until(lambda: "exited" in it.kinds())
    texts = [event.text for event in it.said if event.kind == "state"]
    assert texts == ["signing-in alice", r"note \x1b[31m" + "�", "", "x" * STATE_MAX, "last"]


def test_it_has_a_socket_and_nothing_else_of_ours(bed: Callable[..., Bed]) -> None:
    it = bed("import os; os.write(1, ' '.join(os.listdir('/proc/self/fd')).encode())")
    guest = it.open()
    it.until(lambda: "exited" in it.kinds())
    listed = set(map(int, guest.got.split()))
    given = {fd for fd in map(int, os.listdir("/proc/self/fd")) if _goes_on(fd)}  # to us already
    assert len(listed - given - {0, 1, 2}) == 1  # of its own list


def _goes_on(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def test_signals_are_as_usual(bed: Callable[..., Bed]) -> None:
    it = bed("import re; print(re.search('SigIgn.*', open('/proc/self/status').read())[0])")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    guest = it.open()
    signal.signal(signal.SIGHUP, before)
    it.until(lambda: "exited" in it.kinds())
    ignored = int(bytes(guest.got).split()[1], 16)
    usual = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    assert [number for number in usual if ignored & 1 << number - 1] == []


def test_ten_thousand_closes_leave_nothing(bed: Callable[..., Bed]) -> None:
    it = bed()
    it.open()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(10_000):
        it.plug.closed()
        it.open()
        it.guests.clear()
    it.loop.turn(0)
    assert set(os.listdir("/proc/self/fd")) == before
    assert it.kinds() == ["started"]


def test_two_hundred_lives_leave_nothing(bed: Callable[..., Bed]) -> None:
    it = bed(argv=("/bin/cat",))
    before, children = set(os.listdir("/proc/self/fd")), _children()
    for _ in range(200):
        guest = it.open()
        it.plug.received(b"x")
        it.until(partial(guest.got.__eq__, b"x"))
        it.plug.lost()
        it.until(lambda: not it.plug.running)
        it.guests.clear()
    assert set(os.listdir("/proc/self/fd")) == before
    assert _children() == children


def _children() -> str:
    """Our processes, dead ones too."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()
