"""Every socket of the agent says who was turned away, and nobody fills the journal with it."""

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from beds_agent import Clock, let_in

from sso.daemon.reactor import Reactor
from sso.guest.agent.links import Links
from sso.guest.agent.locker_socket import LockerServer
from sso.guest.agent.pam_socket import PamServer, Peers
from sso.guest.config import GuestConfig
from sso.guest.refusals import NOTE_EVERY
from sso.guest.screens.getty import GettyDriver
from sso.guest.screens.greetd import GreetdDriver

pytestmark = pytest.mark.e2e  # other users' connections, so it needs root
STRANGER, CROWD = 4099, 30


class Stand:
    """All the agent's sockets on one reactor, with modes that let everybody in."""

    def __init__(self, folder: Path, ending: ExitStack) -> None:
        me = pwd.getpwuid(os.geteuid()).pw_name
        self.clock = Clock()
        self.reactor = Reactor(self.clock)
        ending.callback(self.reactor.close)
        names = ("pam", "verdict", "getty", "greeter", "channel", "acceptor")
        self.paths = {name: f"{folder}/{name}.sock" for name in names}
        config = GuestConfig(
            **{f"{name}_socket": path for name, path in self.paths.items()},  # type: ignore[arg-type]
            channel_user=me,
            acceptor_user=me,
            greeter_user="nobody",
        )
        for driver in (GettyDriver(config, self.reactor), GreetdDriver(config, self.reactor)):
            driver.start(lambda: None)
            ending.callback(driver.close)
        links = Links(config, self.reactor, lambda *pair: None)
        verdict = LockerServer(self.paths["verdict"], self.reactor, lambda *asked: False)
        pam = PamServer(self.paths["pam"], self.reactor, _Desk(), Peers("").refusal)
        for server in (links, verdict, pam):
            ending.callback(server.close)
        for path in self.paths.values():
            os.chmod(path, 0o666)

    def crowd(self, name: str, uid: int) -> None:
        """Many connections of one user in one moment, all open until all were seen."""
        with ExitStack() as open_ones:
            os.seteuid(uid)
            try:
                for _ in range(CROWD):
                    link = open_ones.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                    link.connect(self.paths[name])
            finally:
                os.seteuid(0)
            for _ in range(3 * CROWD):
                self.reactor.turn(0)
        for _ in range(3 * CROWD):
            self.reactor.turn(0)


class _Desk:
    def unlocking(self) -> int:
        return -1

    def give_grant(self, connection: object, request: object) -> None:
        raise AssertionError("nobody gets that far")

    def prepare(self, connection: object, go_on: object) -> None:
        raise AssertionError("nobody gets that far")

    def moved(self, connection: object, before: object, path: str) -> None:
        raise AssertionError("nobody gets that far")


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    let_in(tmp_path)
    with ExitStack() as ending:
        yield Stand(tmp_path, ending)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("pam", "pam-refused"),
        ("verdict", "verdict-refused"),
        ("getty", "screen-refused"),
        ("greeter", "screen-refused"),
        ("channel", "link-refused"),
        ("acceptor", "link-refused"),
    ],
)
def test_a_crowd_of_refused_callers_is_one_line_a_second(
    stand: Stand, events: list[str], name: str, word: str
) -> None:
    for second in range(3):
        stand.crowd(name, STRANGER + second)
        stand.clock.now += NOTE_EVERY
    lines = [event for event in events if event.startswith(word)]
    assert [line.split()[1] for line in lines] == [f"uid={STRANGER + second}" for second in range(3)]
    assert all(f"pid={os.getpid()}" in line for line in lines)


def test_a_crowd_at_one_socket_hides_nobody_at_another(stand: Stand, events: list[str]) -> None:
    for name in stand.paths:
        stand.crowd(name, STRANGER)
    words = [event.split()[0] for event in events]
    expected = ["pam-refused", "verdict-refused", *["screen-refused"] * 2, *["link-refused"] * 2]
    assert sorted(words) == sorted(expected)
