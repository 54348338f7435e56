"""The getty driver and sso-getty on a real terminal, with a login that only tells what it was given."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from beds_agent import Clock, has, open_fds

from sso.daemon.reactor import Reactor
from sso.demo.terminal import Terminal
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.records import Go, Hello, Taken
from sso.guest.screens.getty import GettyDriver

pytestmark = pytest.mark.e2e  # login screens are root's
LOGIN = """#!/bin/sh
echo "login: $*"
env | sort
grep SigIgn /proc/$$/status
if [ -f {folder}/session ]; then sleep 60 & wait; fi
read line
"""
HOST = socket.gethostname().partition(".")[0]
PROMPT = f"{HOST} login: "


@dataclass
class Screen:
    """A terminal with sso-getty, and the place of the agent's socket."""

    folder: Path
    terminal: Terminal

    @property
    def tty(self) -> str:
        return os.readlink(f"/proc/{self.terminal.pid}/fd/0").removeprefix("/dev/")


MakeScreen = Callable[[], Screen]


@pytest.fixture
def make_screen(tmp_path: Path) -> Iterator[MakeScreen]:
    screens: list[Screen] = []
    program = tmp_path / "login"
    program.write_text(LOGIN.format(folder=tmp_path))
    program.chmod(0o755)

    def make() -> Screen:
        argv = [sys.executable, "-m", "sso.guest.screens.getty_program"]
        argv += ["--socket", str(tmp_path / "getty.sock"), "--login", str(program)]
        env = {
            "PATH": "/usr/bin:/bin",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "LD_PRELOAD": "",
            "SECRET": "canary",
        }
        env |= {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
        screen = Screen(tmp_path, Terminal(argv, env))
        screens.append(screen)
        return screen

    yield make
    for screen in screens:
        screen.terminal.close()


@dataclass
class Desk:
    """The driver with its reactor, as the agent would have it."""

    driver: GettyDriver
    reactor: Reactor
    changes: list[str]

    def turn(self, until: Callable[[], object]) -> None:
        limit = time.monotonic() + 10
        while not until():
            assert time.monotonic() < limit, "it did not happen"
            self.reactor.turn(0.05)


MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[MakeDesk]:
    desks: list[Desk] = []

    def make(tty: str, clock: Callable[[], float] = time.monotonic) -> Desk:
        reactor = Reactor(clock)
        changes: list[str] = []
        driver = GettyDriver(GuestConfig(tty=tty, getty_socket=str(tmp_path / "getty.sock")), reactor)
        driver.start(lambda: changes.append("changed"))
        desks.append(Desk(driver, reactor, changes))
        return desks[-1]

    yield make
    for desk in desks:
        desk.driver.close()
        desk.reactor.close()


# Without an agent


def test_a_typed_name_goes_to_login(make_screen: MakeScreen) -> None:
    screen = make_screen()
    screen.terminal.expect(PROMPT)
    screen.terminal.send("bob")
    screen.terminal.expect("login: -p -- bob")
    ignored = int(screen.terminal.expect(re.compile(r"SigIgn:\t([0-9a-f]{16})"))[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1), "Python's own habit ends here"
    shown = screen.terminal.transcript
    assert "TERM=dumb" in shown and "LANG=C.UTF-8" in shown
    assert "canary" not in shown and "LD_PRELOAD" not in shown


@pytest.mark.parametrize("line", ["", "   ", "-froot", "  -p", "\x1b[A"])
def test_what_is_no_name_prompts_again(line: str, make_screen: MakeScreen) -> None:
    screen = make_screen()
    screen.terminal.expect(PROMPT)
    screen.terminal.send(line)
    screen.terminal.expect(PROMPT)
    screen.terminal.send("bob")
    screen.terminal.expect("login: -p -- bob")


def test_the_end_of_the_terminal_is_the_end(make_screen: MakeScreen) -> None:
    screen = make_screen()
    screen.terminal.expect(PROMPT)
    os.write(screen.terminal._master, b"\x04")
    assert screen.terminal.wait() == 0


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--", "-froot"], 2)])
def test_wrong_use_is_told(arguments: list[str], code: int) -> None:
    argv = [sys.executable, "-m", "sso.guest.screens.getty_program", *arguments]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == code and done.stderr.startswith("sso-getty: ")


def test_agetty_may_have_asked_for_the_name(make_screen: MakeScreen, tmp_path: Path) -> None:
    make_screen()
    argv = [
        sys.executable,
        "-m",
        "sso.guest.screens.getty_program",
        "--login",
        str(tmp_path / "login"),
        "-p",
        "--",
        "bob",
    ]
    with Terminal(argv, dict(os.environ)) as terminal:
        terminal.expect("login: -p -- bob")


# With an agent


def test_the_agents_word_goes_to_login(make_screen: MakeScreen, make_desk: MakeDesk) -> None:
    screen = make_screen()
    desk = make_desk(screen.tty)
    screen.terminal.expect(PROMPT)
    desk.turn(lambda: desk.driver.ready("alice"))
    assert desk.changes == ["changed"] and not desk.driver.ready("-froot")
    assert desk.driver.trigger("alice", "")
    assert not desk.driver.ready("alice") and not desk.driver.trigger("alice", "")
    desk.turn(lambda: desk.driver._login)
    screen.terminal.expect("login: -p -- alice")
    desk.driver.settled()


def test_a_screen_on_another_terminal_is_not_ours(make_screen: MakeScreen, make_desk: MakeDesk) -> None:
    desk = make_desk("tty63")
    screen = make_screen()
    screen.terminal.expect(PROMPT)
    link = connect(desk)
    records.send(link, Hello("pts/none"))
    desk.turn(lambda: has(link))
    assert records.receive(link, Go) is None and not desk.driver.ready("alice")
    link.close()


def test_it_finds_an_agent_that_comes_back(make_screen: MakeScreen, make_desk: MakeDesk) -> None:
    screen = make_screen()
    screen.terminal.expect(PROMPT)
    first = make_desk(screen.tty)
    first.turn(lambda: first.driver.ready("alice"))
    first.driver.close()
    second = make_desk(screen.tty)
    second.turn(lambda: second.driver.ready("alice"))
    screen.terminal.send("bob")
    screen.terminal.expect("login: -p -- bob")
    second.turn(lambda: not second.driver.ready("alice"))


def test_a_login_that_was_cancelled_is_ended(make_screen: MakeScreen, make_desk: MakeDesk) -> None:
    screen = make_screen()
    desk = make_desk(screen.tty)
    desk.turn(lambda: desk.driver.ready("alice"))
    desk.driver.trigger("alice", "")
    desk.turn(lambda: desk.driver._login)
    screen.terminal.expect("SigIgn")
    desk.driver.cancel()
    desk.driver.cancel()
    desk.turn(lambda: gone(screen))
    assert screen.terminal.wait() == -signal.SIGKILL


def gone(screen: Screen) -> bool:
    return "\nState:\tZ" in Path(f"/proc/{screen.terminal.pid}/status").read_text()


@pytest.mark.parametrize("opened", [True, False])
def test_a_child_of_login_is_no_session_until_pam_has_said_so(
    opened: bool, make_screen: MakeScreen, make_desk: MakeDesk
) -> None:
    """PAM's helpers are children of login too: unix_chkpwd, whatever pam_exec runs."""
    screen = make_screen()
    (screen.folder / "session").touch()
    desk = make_desk(screen.tty)
    desk.turn(lambda: desk.driver.ready("alice"))
    desk.driver.trigger("alice", "")
    desk.turn(lambda: desk.driver._login)
    children = Path(f"/proc/{screen.terminal.pid}/task/{screen.terminal.pid}/children")
    screen.terminal.expect("SigIgn")
    desk.turn(lambda: children.read_text().strip())
    before = open_fds()
    if opened:
        desk.driver.settled()
    desk.driver.cancel()
    assert open_fds() == before - 1
    if opened:
        assert not gone(screen)
    else:
        assert screen.terminal.wait() == -signal.SIGKILL


# The two ends by hand


def connect(desk: Desk) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.connect(desk.driver._path)
    return link


def waiting(desk: Desk) -> socket.socket:
    link = connect(desk)
    records.send(link, Hello(desk.driver.place))
    desk.turn(lambda: desk.driver.ready("alice"))
    return link


def test_a_word_that_was_taken_back_is_not_obeyed(make_desk: MakeDesk) -> None:
    desk = make_desk("tty1")
    link = waiting(desk)
    desk.driver.trigger("alice", "")
    desk.driver.cancel()
    received = records.receive(link, Go)
    assert received is not None and received[0] == Go("alice")
    assert not records.send(link, Taken("alice")), "so the screen stays a screen"
    assert desk.driver._login is None
    link.close()


def test_a_word_that_was_obeyed_already_ends_the_login(make_screen: MakeScreen, make_desk: MakeDesk) -> None:
    screen = make_screen()
    desk = make_desk(screen.tty)
    desk.turn(lambda: desk.driver.ready("alice"))
    before = open_fds()
    desk.driver.trigger("alice", "")
    told = desk.driver._told
    assert told is not None
    # The agent is busy meanwhile: TAKEN waits in the socket when the word is taken back.
    assert select.select([told.link], [], [], 10)[0]
    desk.driver.cancel()
    assert desk.driver._told is None and desk.driver._login is None
    assert open_fds() == before - 2
    assert screen.terminal.wait() == -signal.SIGKILL, "at once: it may ask for something of alice's"


def test_half_open_and_garbled_screens_are_dropped(make_desk: MakeDesk) -> None:
    clock = Clock()
    desk = make_desk("tty1", clock)
    before = open_fds()
    silent, garbled = connect(desk), connect(desk)
    garbled.send(b"x" * 68)
    desk.turn(lambda: has(garbled))
    clock.now += 2.1
    desk.turn(lambda: has(silent))
    for link in (silent, garbled):
        link.close()
    assert open_fds() == before


def test_the_newest_screen_on_a_terminal_counts(make_desk: MakeDesk) -> None:
    desk = make_desk("tty1")
    old = waiting(desk)
    new = connect(desk)
    records.send(new, Hello("tty1"))
    desk.turn(lambda: has(old))
    assert desk.driver.trigger("alice", "") and has(new)
    for link in (old, new):
        link.close()
