"""The channel process when something is gone: child, device, agent, acceptor, processes, descriptors."""

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from beds_agent import open_fds, secret_file
from beds_channel import PATIENCE, Bed, is_gone

from sso.errors import PortClosed
from sso.guest import records
from sso.guest.channel import child
from sso.guest.channel.channel import BURST, CONFIRM_TIME, PULSE_TIME
from sso.guest.records import Begin, Child, Confirm, Link
from sso.ports.watch import CLOSED, OPENED


@pytest.fixture
def bed() -> Iterator[Bed]:
    found = Bed()
    yield found
    found.close()


# The child


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_child_that_is_killed_is_over_and_what_it_left_is_dropped(bed: Bed, number: int) -> None:
    pid = bed.begun()
    bed.port.send(b"half a line")
    os.kill(pid, number)
    bed.turn_with_child()
    assert is_gone(pid) and bed.told() == ["Begin 1", "End 1"]
    assert bed.lines[-1] == f"session-end session=1 status={-number}"
    assert bed.port.reopened == 1 and bed.port.read() is None, "the next child finds nothing of it"
    assert bed.watch.known_gone == [False], "whether the client has left in the meantime is not known"
    bed.edge(OPENED)
    assert bed.channel._life is None, "not before the agent has confirmed"
    bed.confirm(1)
    assert bed.told() == ["Begin 2"]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_child_that_obeys_nobody_is_over_when_the_client_leaves(bed: Bed, stopped: bool) -> None:
    def deaf(link: socket.socket, pulse: int) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(bed.say, b".")
        return bed.hang(link, pulse)

    bed.serve = deaf
    pid = bed.begun()
    os.read(bed.said, 1)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    bed.edge(CLOSED)
    assert time.monotonic() - started < PATIENCE / 1000, "it was not waited for until it ended by itself"
    assert is_gone(pid) and bed.told() == ["Begin 1", "End 1", "Gone 1"]
    assert bed.port.reopened == 1 and bed.watch.known_gone == [True]


def test_a_child_that_never_stops_beating_holds_nobody_up(bed: Bed) -> None:
    def beats(link: socket.socket, pulse: int) -> int:
        os.set_blocking(pulse, True)
        os.write(pulse, b"." * 65536)  # a full pipe
        os.write(bed.say, b".")
        while True:
            os.write(pulse, b"." * 4096)

    bed.serve = beats
    pid = bed.begun()
    os.read(bed.said, 1)
    bed.watch.pending = [CLOSED]
    os.eventfd_write(bed.port.fileno(), 1)
    assert bed.channel._turn(), "a turn ends"
    assert is_gone(pid) and bed.told() == ["Begin 1", "End 1", "Gone 1"]


def test_a_child_that_raises_says_the_kind_alone_and_its_status(bed: Bed) -> None:
    def fails(link: socket.socket, pulse: int) -> int:
        bed.log = lambda line: os.write(bed.say, line.encode())
        raise ValueError("what the peer sent")

    bed.serve = fails
    bed.begun()
    bed.turn_with_child()
    assert os.read(bed.said, 999) == b"child-failed detail=ValueError"
    assert bed.lines[-1] == f"session-end session=1 status={child.ENDED}"


def test_a_child_holds_no_link_and_no_watch(bed: Bed) -> None:
    """Whoever takes it over reaches the acceptor by its own socket, and nobody else."""

    def tells(link: socket.socket, pulse: int) -> int:
        held = [fd for fd in links if os.path.exists(f"/proc/self/fd/{fd}")]
        os.write(bed.say, repr((held, link.fileno() > 0, pulse > 0)).encode())
        return child.DONE

    links = bed.to_agent.fileno(), bed.to_acceptor.fileno(), bed.watch.fileno()
    bed.serve = tells
    bed.begun()
    bed.turn_with_child()
    assert os.read(bed.said, 999) == b"([], True, True)"


def test_the_acceptor_gets_the_childs_own_socket_and_hears_its_end(bed: Bed) -> None:
    def speaks(link: socket.socket, pulse: int) -> int:
        link.send(b"a token")
        return child.DONE

    bed.serve = speaks
    before = open_fds()
    bed.begun()
    received = records.receive(bed.acceptor, Child)
    assert received is not None and received[0] == Child(1)
    with socket.socket(fileno=received[1][0]) as link:
        assert link.recv(99) == b"a token" and link.recv(99) == b"", "nobody else holds the other end"
    bed.turn_with_child()
    assert open_fds() == before


def test_a_hundred_sessions_leave_no_descriptor(bed: Bed) -> None:
    bed.serve = lambda link, pulse: child.DONE
    before = open_fds()
    for _ in range(100):
        bed.clock.now += 1.0
        bed.begun()
        bed.accept()
        bed.turn_with_child()
        assert [line.split()[0] for line in bed.told()] == ["Begin", "End"]
        bed.confirm(1)
    assert open_fds() == before


# Fork, pipe or socket that cannot be had


def broken(number: int) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


FAULTS = {
    "fork": (os, "fork", errno.EAGAIN),
    "pipe": (os, "pipe2", errno.EMFILE),
    "pidfd": (os, "pidfd_open", errno.EMFILE),
    "socket": (socket, "socketpair", errno.ENFILE),
}


@pytest.mark.parametrize(("module", "name", "number"), FAULTS.values(), ids=FAULTS)
def test_a_child_that_cannot_be_made_is_tried_again_later(
    module: Any, name: str, number: int, bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_fds()
    made: list[int] = []
    fork = os.fork
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", lambda: made.append(fork()) or made[-1])  # type: ignore[func-returns-value]
        patch.setattr(module, name, broken(number))
        bed.edge(OPENED)
        assert bed.channel._life is None and all(map(is_gone, made)), "none runs that nobody watches"
        assert bed.lines[-1] == f"child-not-made detail={errno.errorcode[number]}"
        assert bed.told() == ["Begin 1", "End 1"], "the agent forgets the session that began"
        bed.confirm(1)
        assert bed.channel._life is None, "not at once"
    bed.accept()
    assert open_fds() == before
    bed.clock.now += 1.0
    bed.channel._on_time()
    assert bed.channel._life is not None and bed.told() == ["Begin 2"]


def test_children_that_cannot_be_made_count_for_the_rate(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", broken(errno.EAGAIN))
    for _ in range(3 * BURST):
        bed.edge(OPENED)
        bed.confirm(bed.channel._unconfirmed)
    assert len(bed.lines) == 1, "one a second, however often somebody comes"


# The device


@pytest.mark.parametrize("seen", ["the edge", "the child's death"])
def test_a_device_that_is_unplugged_ends_the_session_and_the_process(seen: str, bed: Bed) -> None:
    pid = bed.begun()
    bed.port.unplug()
    if seen == "the edge":
        bed.watch.pending = [CLOSED]
    else:
        os.kill(pid, signal.SIGKILL)
        bed.dead()
    with pytest.raises(PortClosed):
        bed.run()
    assert is_gone(pid) and bed.told() == ["Begin 1", "End 1"]


# The agent and the acceptor

NOT_A_CONFIRM = {
    "garbage": (b"x", 0),
    "too short": (Confirm(1).pack()[:-1], 0),
    "another record": (Begin(1).pack(), 0),
    "a second LINK": (Link(1).pack(), 1),
    "with a descriptor": (Confirm(1).pack(), 1),
    "with too many": (Confirm(1).pack(), 9),
    "too much": (b"x" * 100_000, 0),
}


@pytest.mark.parametrize(("packet", "count"), NOT_A_CONFIRM.values(), ids=NOT_A_CONFIRM)
def test_an_agent_that_says_anything_else_is_none(packet: bytes, count: int, bed: Bed) -> None:
    pid = bed.begun()
    fds = [secret_file() for _ in range(count)]
    before = open_fds()
    socket.send_fds(bed.agent, [packet], fds)
    records.close_all(fds)
    bed.run()
    assert bed.lines[0] == "session-begin session=1" and bed.lines[1].startswith("record-malformed detail='a")
    assert is_gone(pid) and open_fds() == before - count - 2, "pidfd and pulse are closed, nothing is kept"


@pytest.mark.parametrize("asked", ["never", "in a session", "and answered"])
def test_a_confirm_that_nobody_waits_for_counts_for_no_later_end(asked: str, bed: Bed) -> None:
    """Taken as one it would let the next client in before the last one's grants are gone."""
    if asked != "never":
        bed.begun()
    if asked == "and answered":
        bed.edge(CLOSED)
        bed.confirm(2)
    records.send(bed.agent, Confirm(1))
    bed.run()
    assert bed.channel._life is None
    assert "record-malformed detail='a confirmation that nobody waits for'" in bed.lines


@pytest.mark.parametrize("told", [True, False])
def test_an_agent_that_dies_before_it_confirms_lets_nobody_in(told: bool, bed: Bed) -> None:
    bed.begun()
    if not told:
        bed.agent.close()
    bed.edge(CLOSED)
    bed.edge(OPENED)
    assert bed.channel._life is None, "that it cannot be told confirms nothing"
    bed.agent.close()
    bed.run()
    assert bed.channel._number == 1


@pytest.mark.parametrize("when", ["dead before", "dead", "speaks"])
def test_without_an_acceptor_or_with_one_that_speaks_nobody_is_served(when: str, bed: Bed) -> None:
    if when == "dead before":
        bed.acceptor.close()
    pid = bed.begun()
    if when == "speaks":
        bed.acceptor.send(Confirm(1).pack())
    bed.acceptor.close()
    bed.run()
    assert is_gone(pid) and bed.told() == ["Begin 1", "End 1"]


def test_the_end_of_the_process_is_the_end_of_its_child(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = bed.begun()
    monkeypatch.setattr(bed.channel, "_turn", lambda: sys.exit(0))  # SIGTERM
    with pytest.raises(SystemExit):
        bed.channel.run()
    assert is_gone(pid) and bed.lines[-1] == "session-end session=1 reason=channel-ends"


# How long the loop sleeps


def test_the_loop_sleeps_until_something_is_due_and_never_spins(bed: Bed) -> None:
    def wait() -> int | None:
        return bed.channel._timeout()

    assert wait() is None, "idle costs nothing"
    bed.begun()
    assert wait() == PULSE_TIME * 1000 + 1
    bed.edge(CLOSED)
    assert wait() == CONFIRM_TIME * 1000 + 1
    bed.edge(OPENED)
    assert wait() == CONFIRM_TIME * 1000 + 1, "who waits for the agent does not spin"
    bed.clock.now += CONFIRM_TIME
    bed.channel._on_time()
    assert wait() == CONFIRM_TIME * 1000 + 1 and bed.lines[-1].startswith("agent-late ")
