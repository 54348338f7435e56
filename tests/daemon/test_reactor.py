"""The event loop: who is called for a descriptor, and who is not any more."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from beds_agent import Clock

from sso.daemon.reactor import Reactor
from sso.plug.event_loop import EventLoop, Watch


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor(Clock())
    yield reactor
    reactor.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_it_is_a_loop_for_plug_ins(reactor: Reactor) -> None:
    loop: EventLoop = reactor
    watch: Watch = loop.after(0.0, lambda: None)
    watch.cancel()


def test_each_watch_of_a_descriptor_hears_what_it_waits_for(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    heard: list[str] = []
    reactor.readable(ours.fileno(), lambda: heard.append("read"))
    write = reactor.writable(ours.fileno(), lambda: heard.append("write"))
    reactor.turn(0)
    assert heard == ["write"]
    theirs.send(b"x")
    reactor.turn(0)
    assert heard == ["write", "read", "write"]
    write.cancel()
    write.cancel()
    reactor.turn(0)
    assert heard == ["write", "read", "write", "read"], "the other one goes on"


@pytest.mark.parametrize("wait", ["readable", "writable"])
def test_both_hear_a_hang_up(reactor: Reactor, wait: str, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(4096))
    heard: list[str] = []
    getattr(reactor, wait)(ours.fileno(), lambda: heard.append(wait))
    reactor.turn(0)
    assert heard == []
    theirs.close()
    reactor.turn(0)
    assert heard == [wait]


def test_what_is_forgotten_is_not_called_and_a_new_one_with_its_number_waits(reactor: Reactor) -> None:
    """Two are ready: whoever is called first closes both, and opens others, ready too, with their numbers."""
    ends = [os.pipe() for _ in range(2)]
    heard: list[str] = []

    def first() -> None:
        heard.append("first")
        for reader, writer in ends:
            reactor.forget(reader)
            os.close(reader)
            os.close(writer)
        ends[:] = [os.pipe() for _ in range(2)]
        for reader, writer in ends:
            os.write(writer, b"x")
            reactor.readable(reader, lambda: heard.append("new"))

    before = {reader for reader, _ in ends}
    for reader, writer in ends:
        os.write(writer, b"x")
        reactor.readable(reader, first)
    reactor.turn(0)
    assert heard == ["first"] and {reader for reader, _ in ends} == before
    reactor.turn(0)
    assert heard == ["first", "new", "new"]
    for reader, writer in ends:
        reactor.forget(reader)
        reactor.forget(reader)
        os.close(reader)
        os.close(writer)


def test_what_is_added_in_a_turn_waits_for_the_next(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    heard: list[str] = []
    fd = pair[0].fileno()

    def more() -> None:
        heard.append("first")
        reactor.writable(fd, lambda: heard.append("second"))

    watch = reactor.writable(fd, more)
    reactor.turn(0)
    assert heard == ["first"]
    watch.cancel()
    reactor.turn(0)
    assert heard == ["first", "second"]


def test_watches_of_a_descriptor_that_other_code_has_closed_are_cancelled(reactor: Reactor) -> None:
    ours, theirs = socket.socketpair()
    heard: list[str] = []
    watches = (
        reactor.readable(ours.fileno(), lambda: heard.append("read")),
        reactor.writable(ours.fileno(), lambda: heard.append("write")),
    )
    ours.close()
    theirs.close()
    for watch in watches:
        watch.cancel()
    reactor.turn(0)
    assert heard == []
