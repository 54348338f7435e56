"""A locker that runs as the user and tells logind nothing: i3lock on an X server, unlocked by a verdict."""

import grp
import os
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from beds_pam import build_module

from sso.daemon.reactor import Reactor
from sso.demo.programs import find_program
from sso.demo.sandbox import Sandbox
from sso.guest.agent.locker_socket import LockerServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SOCKET = "/run/console-sso/verdict.sock"
TURNS = 1200  # of a tenth of a second


class Desk:
    """Alice's locked screen, the socket that the locker asks, and the keyboard."""

    def __init__(self, sandbox: Sandbox, display: str) -> None:
        self.sandbox, self.env = sandbox, sandbox.env | {"DISPLAY": display, "HOME": "/home/alice"}
        self.asked: list[tuple[int, str, str]] = []
        self.live = 0
        self.reactor = Reactor()
        self.open()

    def open(self) -> None:
        """Listen, for the first time or again."""
        self.server = LockerServer(str(self.sandbox.path(SOCKET)), self.reactor, self.verdict)

    def close(self) -> None:
        self.server.close()
        self.reactor.close()

    def verdict(self, uid: int, user: str, service: str) -> bool:
        self.asked.append((uid, user, service))
        yes = self.live > 0
        self.live -= yes
        return yes

    def run(self, *argv: str) -> subprocess.Popen[bytes]:
        """A program of alice's on this screen."""
        command = self.sandbox.command([find_program(argv[0]), *argv[1:]], user="alice")
        return subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL)

    def lock(self) -> subprocess.Popen[bytes]:
        return self.run("i3lock", "--nofork")

    def keys(self, *words: str) -> None:
        """Type on the keyboard while the agent goes on."""
        with self.run("xdotool", *words) as typing:
            self.until(lambda: typing.poll() is not None)
        assert typing.returncode == 0

    def until(self, happened: Callable[[], object], often: Callable[[], None] = lambda: None) -> None:
        for turn in range(TURNS):
            if happened():
                return
            if turn % 10 == 0:
                often()
            self.reactor.turn(0.1)
        raise AssertionError("it did not happen")

    def press_enter(self) -> None:
        self.keys("key", "Return")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with the module, whose lines are in Debian's own service of i3lock."""
    with Sandbox() as sandbox:
        sandbox.use_pam_module(build_module(tmp_path_factory.mktemp("pam")), "i3lock", [f"socket={SOCKET}"])
        sandbox.path("/run/console-sso").mkdir()
        # What runs as the user asks unix_chkpwd, which has the group shadow.
        os.chown(sandbox.path("/etc/shadow"), 0, grp.getgrnam("shadow").gr_gid)
        sandbox.path("/tmp/.X11-unix").mkdir()
        sandbox.path("/tmp/.X11-unix").chmod(0o1777)
        yield sandbox


@pytest.fixture(scope="module")
def display(home: Sandbox) -> Iterator[str]:
    """An X server without a screen of glass."""
    told, teller = os.pipe()
    options = ["-displayfd", str(teller), "-screen", "0", "320x240x24", "-nolisten", "tcp", "-noreset"]
    argv = home.command([find_program("Xvfb"), *options], user="alice")
    with subprocess.Popen(
        argv, env=home.env, pass_fds=[teller], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        os.close(teller)
        with open(told) as answer:
            number = answer.readline().strip()
        assert re.fullmatch(r"\d+", number), "Xvfb did not start"
        yield f":{number}"
        server.terminate()


@pytest.fixture
def desk(home: Sandbox, display: str) -> Iterator[Desk]:
    desk = Desk(home, display)
    yield desk
    desk.close()


def test_enter_unlocks_with_a_live_verdict(desk: Desk) -> None:
    desk.live = TURNS  # a busy machine may answer a question later than the module waits: it asks again
    with desk.lock() as locker:
        try:
            desk.until(lambda: locker.poll() is not None, desk.press_enter)
        finally:
            locker.kill()
    assert locker.returncode == 0
    assert set(desk.asked) == {(4001, "alice", "i3lock")}


def test_without_one_enter_unlocks_nothing_and_a_typed_password_does(desk: Desk) -> None:
    with desk.lock() as locker:
        try:
            desk.until(lambda: desk.asked, desk.press_enter)
            assert locker.poll() is None
            desk.keys("type", "--delay", "30", desk.sandbox.password("alice"))
            assert locker.poll() is None
            desk.press_enter()
            desk.until(lambda: locker.poll() is not None)
        finally:
            locker.kill()
    assert locker.returncode == 0 and desk.live == 0
    assert set(desk.asked) == {(4001, "alice", "i3lock")}


def test_a_verdict_that_comes_later_is_taken_at_the_next_enter(desk: Desk) -> None:
    with desk.lock() as locker:
        try:
            desk.until(lambda: desk.asked, desk.press_enter)
            assert locker.poll() is None
            desk.live = 1
            desk.until(lambda: locker.poll() is not None, desk.press_enter)
        finally:
            locker.kill()
    assert locker.returncode == 0 and desk.live == 0


def test_when_the_agent_is_gone_a_typed_password_unlocks(desk: Desk) -> None:
    with desk.lock() as locker:
        try:
            desk.until(lambda: desk.asked, desk.press_enter)
            desk.server.close()
            desk.keys("type", "--delay", "30", desk.sandbox.password("alice"))
            assert locker.poll() is None
            desk.press_enter()
            desk.until(lambda: locker.poll() is not None)
        finally:
            locker.kill()
            desk.open()
    assert locker.returncode == 0
