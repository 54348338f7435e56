"""Edges of a port: each is reported once, nothing is read, and a hung-up port causes no wake-ups."""

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_port import PtyDevice

from sso.ports.port import ListenPort, Port, open_port
from sso.ports.watch import CLOSED, DATA, OPENED, PortWatch

PATIENCE = 5000  # milliseconds; only a failing test waits that long


def wait(watch: PortWatch) -> list[str]:
    """Return the watch's events after its descriptor becomes readable."""
    assert woken(watch, PATIENCE), "the watch slept through it"
    return watch.events()


def woken(watch: PortWatch, patience: int = 0) -> bool:
    poll = select.poll()
    poll.register(watch.fileno(), select.POLLIN)
    return bool(poll.poll(patience))


@pytest.fixture
def watch(device: PtyDevice) -> Iterator[PortWatch]:
    found = PortWatch(device.port)
    yield found
    found.close()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[ListenPort]:
    port = open_port(f"unix:{tmp_path}/port.sock", listen=True)
    assert isinstance(port, ListenPort)
    yield port
    port.close()


def client_of(guest: ListenPort) -> Port:
    return open_port(guest.name)


# A device


def test_a_hung_up_device_wakes_nobody(device: PtyDevice, watch: PortWatch) -> None:
    level = select.poll()
    level.register(device.port.fileno(), select.POLLIN)
    assert all(level.poll(0) for _ in range(100)), "the port itself is ready all the time"
    assert watch.events() == [], "its first state is no news"
    assert not woken(watch, 100)
    assert [watch.events() for _ in range(100)] == [[]] * 100


@pytest.mark.proves("S109")
def test_each_change_is_told_once(device: PtyDevice, watch: PortWatch) -> None:
    assert watch.events() == []
    for _ in range(3):
        host = device.attach()
        os.write(host, b"first")
        assert wait(watch) == [OPENED, DATA]
        assert watch.events() == [] and not woken(watch), "unread bytes are no news"
        os.write(host, b"second")
        assert wait(watch) == [DATA]
        os.close(host)
        assert wait(watch) == [CLOSED]
        assert watch.events() == [] and not woken(watch, 20)
    assert device.port.read() == b"firstsecond" * 3, "nothing was read on the way"


def test_who_came_and_went_unseen_is_not_told(device: PtyDevice, watch: PortWatch) -> None:
    assert watch.events() == []
    host = device.attach()
    os.write(host, b"knock")
    os.close(host)
    for _ in range(3):  # the terminal brings its bytes late, and the hang-up with them
        assert watch.events() == []
        if not woken(watch, 20):
            return
    pytest.fail("the watch does not come to rest")


def test_a_reopened_device_is_told_anew(device: PtyDevice, watch: PortWatch) -> None:
    host = device.attach()
    os.write(host, b"stale")
    assert wait(watch) == [OPENED, DATA]
    os.close(host)
    assert wait(watch) == [CLOSED]
    device.port.flush_input()
    watch.reopened(device.port)
    host = device.attach()
    assert wait(watch) == [OPENED], "the stale bytes are gone"
    os.write(host, b"fresh")
    assert wait(watch) == [DATA]
    assert device.port.read() == b"fresh"
    os.close(host)


def test_a_child_reads_while_the_parent_watches(device: PtyDevice, watch: PortWatch) -> None:
    """`rearm` reports to the parent the data that the child left, not the data it read."""
    host = device.attach()
    os.write(host, b"for the child")
    assert wait(watch) == [OPENED, DATA]
    go, going = os.pipe()
    pid = os.fork()
    if pid == 0:
        watch.close()
        status = 1
        try:
            status = int(device.port.read() != b"for the child" or os.read(go, 1) != b".")
        finally:
            os._exit(status)
    os.write(going, b".")
    assert os.waitpid(pid, 0)[1] == 0
    watch.events()  # edges in the meantime are not for the parent
    watch.rearm()
    assert DATA not in wait(watch), "the child took all"
    os.write(host, b"for the next")
    assert wait(watch) == [DATA]
    watch.rearm()
    assert wait(watch) == [DATA]
    watch.rearm()
    os.close(host)
    assert wait(watch) == [CLOSED]
    for fd in (go, going):
        os.close(fd)


# Sockets


def test_a_connected_socket() -> None:
    ours, theirs = socket.socketpair()
    port = open_port(f"fd:{ours.fileno()}")
    watch = PortWatch(port)
    assert wait(watch) == [OPENED]
    theirs.send(b"x")
    assert wait(watch) == [DATA]
    theirs.shutdown(socket.SHUT_WR)
    assert wait(watch) == [CLOSED], "half a hang-up is one"
    theirs.close()
    assert watch.events() == [] and not woken(watch, 20)
    for end in (watch, port, ours):
        end.close()


def test_clients_come_one_after_the_other(guest: ListenPort) -> None:
    watch = PortWatch(guest)
    assert watch.events() == [] and not woken(watch)
    first, second = client_of(guest), client_of(guest)
    assert wait(watch) == [OPENED]
    assert watch.events() == [], "the second waits in the backlog"
    first.write(b"unread")
    assert wait(watch) == [DATA]
    first.close()
    assert wait(watch) == [CLOSED]
    assert not woken(watch, 20)
    guest.flush_input()
    watch.reopened(guest)
    second.write(b"hello")
    assert wait(watch) == [OPENED]
    assert wait(watch) == [DATA]
    assert guest.read() == b"hello"
    second.close()
    watch.close()


def test_a_client_that_leaves_at_once_is_told_twice(guest: ListenPort) -> None:
    watch = PortWatch(guest)
    client_of(guest).close()
    assert wait(watch) == [OPENED]
    assert wait(watch) == [CLOSED]
    watch.close()


def test_a_client_is_watched_on_after_a_flush(guest: ListenPort) -> None:
    watch = PortWatch(guest)
    client = client_of(guest)
    assert wait(watch) == [OPENED]
    client.write(b"noise")
    guest.flush_input()
    watch.reopened(guest)
    assert wait(watch) == [OPENED], "still there, and nothing of it is left"
    client.close()
    assert wait(watch) == [CLOSED]
    watch.close()


def test_a_copy_that_lives_on_tells_nothing(guest: ListenPort) -> None:
    """A child's child may still hold the old connection after the port has closed it."""
    watch = PortWatch(guest)
    first = client_of(guest)
    assert wait(watch) == [OPENED]
    copy = os.dup(guest.fileno())
    with socket.socket(fileno=os.dup(first.fileno())) as half:
        half.shutdown(socket.SHUT_WR)
    assert wait(watch) == [CLOSED]
    guest.flush_input()
    watch.reopened(guest)
    os.write(copy, b"x")
    first.close()
    assert watch.events() == [] and not woken(watch, 20)
    second = client_of(guest)
    assert wait(watch) == [OPENED]
    os.close(copy)
    second.close()
    watch.close()


def test_a_thousand_clients_leak_nothing(guest: ListenPort) -> None:
    watch = PortWatch(guest)
    for _ in range(1000):
        client = client_of(guest)
        assert wait(watch) == [OPENED]
        client.close()
        assert wait(watch) == [CLOSED]
        guest.flush_input()
        watch.reopened(guest)
    watch.close()
