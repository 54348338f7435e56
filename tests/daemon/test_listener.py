"""The one listener: who is let in, who is refused, and that a closed connection counts no more."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sso.daemon import local
from sso.daemon.listener import TOO_MANY, Listener, only
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor


class Hall:
    """A listener on a reactor, who came in there, and who was refused."""

    def __init__(self, path: str) -> None:
        self.path, self.reactor = path, Reactor()
        self.inside: list[tuple[socket.socket, Peer]] = []
        self.refused: list[tuple[int, str]] = []
        self.callers: list[socket.socket] = []
        self.listener: Listener | None = None

    def listen(self, why_not: Callable[[Peer], str] = lambda peer: "", **more: Any) -> Listener:
        self.listener = Listener(
            self.path,
            self.reactor,
            lambda link, peer: self.inside.append((link, peer)),
            why_not=why_not,
            refused=lambda peer, why: self.refused.append((peer.uid, why)),
            **more,
        )
        return self.listener

    def call(self) -> socket.socket:
        """A new caller, after the listener has had its turn."""
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        caller.connect(self.path)
        self.callers.append(caller)
        self.reactor.turn(0)
        return caller

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
        for link in (*self.callers, *(link for link, _ in self.inside)):
            link.close()
        self.reactor.close()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(str(tmp_path / "own.sock"))
    yield hall
    hall.close()


def test_who_may_comes_in_without_blocking(hall: Hall) -> None:
    hall.listen(only(os.geteuid()))
    hall.call()
    ((link, peer),) = hall.inside
    assert peer == (os.getpid(), os.geteuid(), os.getegid()) and link.gettimeout() == 0.0
    assert hall.refused == []


def test_who_may_not_hears_the_end_and_is_told_of(hall: Hall) -> None:
    hall.listen(only(os.geteuid() + 1))
    assert hall.call().recv(1) == b""
    assert (hall.inside, hall.refused) == ([], [(os.geteuid(), "other-user")])


@pytest.mark.parametrize("caps", [{"most": 2}, {"most": 9, "of_one_uid": 2}])
def test_no_more_than_the_caps_are_open_and_a_closed_one_makes_room(hall: Hall, caps: dict[str, Any]) -> None:
    hall.listen(**caps)
    for _ in range(3):
        hall.call()
    assert (len(hall.inside), hall.refused) == (2, [(os.geteuid(), TOO_MANY)])
    hall.inside.pop(0)[0].close()
    hall.call()
    assert (len(hall.inside), len(hall.refused)) == (2, 1)


@pytest.mark.parametrize(("of_one_uid", "heard"), [(3, [b"", None, None]), (2, [None, None, b""])])
def test_who_decides_may_make_room_but_not_beyond_the_cap_of_one_user(
    hall: Hall, of_one_uid: int, heard: list[bytes | None]
) -> None:
    def make_room(peer: Peer) -> str:
        if len(hall.inside) == 2:
            hall.inside.pop(0)[0].close()
        return ""

    hall.listen(make_room, most=2, of_one_uid=of_one_uid)
    callers = [hall.call() for _ in range(3)]
    assert [said(caller) for caller in callers] == heard
    assert len(hall.inside) == 2 and len(hall.refused) == heard.count(b"") - (of_one_uid == 3)


def said(caller: socket.socket) -> bytes | None:
    """What a caller hears: b"" for the end, None for nothing yet."""
    try:
        return caller.recv(1)
    except BlockingIOError:
        return None


def test_a_pause_leaves_callers_in_the_queue(hall: Hall) -> None:
    listener = hall.listen()
    for _ in range(2):
        listener.accept(False)
        caller = hall.call()
    assert said(caller) is None and hall.inside == []
    for _ in range(2):
        listener.accept(True)
        hall.reactor.turn(0)
    assert len(hall.inside) == 2


def test_the_end_of_listening_leaves_connections_alone(hall: Hall) -> None:
    listener = hall.listen()
    caller = hall.call()
    listener.close()
    hall.listener = None
    assert not os.path.exists(hall.path) and local.dial(hall.path) is None
    hall.inside[0][0].send(b"still here")
    assert caller.recv(16) == b"still here"
