"""The ssh-agent of a desktop, for the user at a console: the real ssh-agent and its clients at both ends."""

import os
import pwd
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from beds_agent import let_in
from dbus_bed import Daemon, daemon, make_daemon
from logind_bed import LogindMock, logind

from sso.ssh_agent import REFUSED, Frames, echo, framed, nonce_of
from sso.viewer.event_loop import PollLoop
from sso.viewer.plug import PlugEvent, PlugInPoint, Start
from sso.viewer.stream import Stream

__all__ = ["daemon", "logind", "make_daemon"]
pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ALICE, BOB = pwd.getpwnam("nobody").pw_uid, 4002  # ssh-keygen wants her to exist
PORT = "spice.ssh-agent.0"
SECONDS = 30
PYTHON = "/usr/bin/python3"  # which every user may run
ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


class Console:
    """A guest's service at a unix socket in place of the device, and a desktop with an agent and a key."""

    def __init__(self, folder: Path, address: str, ending: ExitStack) -> None:
        self.folder, self.port, self.socket = folder, folder / "port", folder / "guest" / "agent.sock"
        self._ending = ending
        self.agent = self._agent()
        self.service = subprocess.Popen(
            [
                *(sys.executable, "-I", "-m", "sso.guest.ssh_agent"),
                *("--port", f"unix:{self.port}", "--socket", str(self.socket)),
            ],
            env={**ENV, "DBUS_SYSTEM_BUS_ADDRESS": address},
            stderr=subprocess.PIPE,
            text=True,
        )
        ending.callback(self._end, self.service)
        until(self.socket.is_socket)

    def _agent(self) -> Path:
        path = self.folder / "agent"
        process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(path)],
            stdout=subprocess.DEVNULL,
            env={**ENV, "SSH_ASKPASS": str(self.folder / "askpass"), "DISPLAY": "none"},
        )
        self._ending.callback(self._end, process)
        until(path.is_socket)
        self.key = self.folder / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice's key", "-f", self.key)
        self.add()
        return path

    def _end(self, process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
        process.terminate()
        process.wait(SECONDS)
        if process.stderr is not None:
            process.stderr.close()

    def add(self, *options: str) -> None:
        """Give the agent the key."""
        run("ssh-add", "-q", *options, self.key, SSH_AUTH_SOCK=str(self.folder / "agent"))

    def look(self) -> "Viewer":
        """A viewer with the plug-in, whose person has this agent."""
        viewer = Viewer(self.port, self.agent)
        self._ending.callback(viewer.close)
        return viewer

    def ask(self, *command: object, uid: int = ALICE) -> "subprocess.CompletedProcess[str]":
        """Run a program of a user at the console; a viewer is turned meanwhile by who has one."""
        return run(*command, SSH_AUTH_SOCK=str(self.socket), check=False, uid=uid)


class Viewer:
    """The viewer's plug-in point, turned by a thread of its own."""

    def __init__(self, port: Path, agent: Path) -> None:
        self.said: list[PlugEvent] = []
        self._over = False
        self._loop = PollLoop()
        argv = (sys.executable, "-I", "-m", "sso.client.ssh_agent", "--socket", str(agent))
        self._point = PlugInPoint([Start(PORT, argv)], self._loop, self.said.append)
        plug = self._point.get(PORT)
        assert plug is not None
        self._stream = Stream(f"unix:{port}", plug, self._loop)
        self._stream.open()
        import threading

        self._thread = threading.Thread(target=self._turn, daemon=True)
        self._thread.start()

    def _turn(self) -> None:
        while not self._over:
            self._loop.turn(0.02)
        self._stream.close()
        self._point.kill()

    def close(self) -> None:
        """Leave the console."""
        self._over = True
        self._thread.join(SECONDS)


def run(*command: object, check: bool = True, uid: int = 0, **env: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        list(map(str, command)),
        env={**ENV, **env},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        user=uid or None,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


def until(done: Callable[[], object]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)


@pytest.fixture
def console(logind: LogindMock, daemon: Daemon, tmp_path: Path) -> Iterator[Console]:
    """With alice's session in front."""
    let_in(tmp_path)
    logind.session("c1", "alice", ALICE, Type="tty")
    with ExitStack() as ending:
        yield Console(tmp_path, daemon.address, ending)


@pytest.mark.proves("S059", "S061")
def test_keys_are_listed_and_sign_and_stay_where_they_are(console: Console) -> None:
    console.look()
    until(lambda: console.ask("ssh-add", "-l").returncode == 0)
    assert "alice's key" in console.ask("ssh-add", "-l").stdout
    message = console.folder / "message"
    message.write_text("signed in the guest")
    public = f"{console.key}.pub"
    made = console.ask("sh", "-c", f"ssh-keygen -Y sign -f {public} -n file < {message}")
    assert made.returncode == 0 and "BEGIN SSH SIGNATURE" in made.stdout
    assert console.ask("ssh-add", "-D").returncode != 0
    assert "alice's key" in console.ask("ssh-add", "-l").stdout


def test_only_the_user_in_front_is_served(console: Console, logind: LogindMock) -> None:
    console.look()
    until(lambda: console.ask("ssh-add", "-l").returncode == 0)
    for uid in (BOB, 0):
        assert console.ask("ssh-add", "-l", uid=uid).returncode != 0
    logind.session("c2", "bob", BOB, Type="tty")
    assert console.ask("ssh-add", "-l").returncode != 0
    assert "alice's key" in console.ask("ssh-add", "-l", uid=BOB).stdout


def test_a_locked_session_is_not_served_and_an_open_connection_is_cut(
    console: Console, logind: LogindMock
) -> None:
    path = logind.session("c3", "alice", ALICE, Type="wayland")
    console.look()
    until(lambda: console.ask("ssh-add", "-l").returncode == 0)
    hold = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); print(s.recv(1))"
    held = subprocess.Popen(
        [PYTHON, "-I", "-c", hold, str(console.socket)], env=ENV, user=ALICE, stdout=subprocess.PIPE
    )
    logind.change(path, LockedHint=True)
    said, _ = held.communicate(timeout=SECONDS)
    assert said == b"b''\n"
    assert console.ask("ssh-add", "-l").returncode != 0


# An agent of somebody else's at a path that was the person's once, such as one in /tmp.
FOREIGN = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen()
print("listens", flush=True)
link, _ = listener.accept()
sys.exit(len(link.recv(100)))
"""


def test_another_users_agent_is_asked_nothing(tmp_path: Path) -> None:
    let_in(tmp_path)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    path = str(tmp_path / "shared" / "agent")
    argv = [sys.executable, "-I", "-m", "sso.client.ssh_agent", "--socket", path]
    with subprocess.Popen(
        [PYTHON, "-c", FOREIGN, path], user=BOB, stdout=subprocess.PIPE, env=ENV
    ) as foreign:
        assert foreign.stdout is not None and foreign.stdout.readline() == b"listens\n"
        done = subprocess.run(argv, input=framed(bytes([11])), capture_output=True, timeout=SECONDS, env=ENV)
        assert done.stdout == REFUSED and b"another user" in done.stderr
        assert foreign.wait(SECONDS) == 0, "it got nothing"


def test_without_a_viewer_nobody_waits(console: Console) -> None:
    assert console.ask("ssh-add", "-l").returncode != 0
    viewer = console.look()
    until(lambda: console.ask("ssh-add", "-l").returncode == 0)
    viewer.close()
    until(lambda: console.ask("ssh-add", "-l").returncode != 0)
    console.look()
    until(lambda: console.ask("ssh-add", "-l").returncode == 0)


def test_a_key_with_confirmation_is_asked_for_on_the_desktop(console: Console) -> None:
    asked = console.folder / "askpass"
    asked.write_text(f'#!/bin/sh\necho "$1" >> {console.folder}/asked\nexit 1\n')
    asked.chmod(0o755)
    run("ssh-add", "-D", SSH_AUTH_SOCK=str(console.agent))
    console.add("-c")
    console.look()
    until(lambda: console.ask("ssh-add", "-l").returncode == 0)
    refused = console.ask("sh", "-c", f"echo x | ssh-keygen -Y sign -f {console.key}.pub -n file")
    assert refused.returncode != 0 and "alice's key" in (console.folder / "asked").read_text()


def test_two_programs_are_served_one_after_the_other(console: Console) -> None:
    console.look()
    until(lambda: console.ask("ssh-add", "-l").returncode == 0)
    hold = (
        "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]);"
        " s.sendall(bytes([0, 0, 0, 1, 11])); print(len(s.recv(9)), flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [PYTHON, "-I", "-c", hold, str(console.socket)],
        env=ENV,
        user=ALICE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert first.stdin is not None and first.stdout is not None
    assert first.stdout.readline() == b"9\n"  # it is served
    queued = subprocess.Popen(
        ["ssh-add", "-l"],
        env={**ENV, "SSH_AUTH_SOCK": str(console.socket)},
        user=ALICE,
        stdout=subprocess.PIPE,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        queued.wait(1)
    first.stdin.close()
    first.wait(SECONDS)
    first.stdout.close()
    assert b"alice's key" in queued.communicate(timeout=SECONDS)[0]


class Stranger:
    """What is at the port instead of the viewer, octet by octet."""

    def __init__(self, console: Console) -> None:
        self.link = socket.socket(socket.AF_UNIX)
        self.link.connect(str(console.port))
        self.link.settimeout(SECONDS)
        self._frames = Frames()
        self._heard: list[bytes] = []

    def hear(self) -> bytes:
        while not self._heard:
            data = self.link.recv(65536)
            assert data
            self._heard += self._frames.feed(data)
        return self._heard.pop(0)

    def greet(self, before: bytes = b"") -> None:
        """Echo the guest's hello, after some octets."""
        nonce = nonce_of(self.hear())
        assert nonce is not None
        self.link.sendall(before + echo(nonce))

    def answer(self, message: bytes) -> bytes:
        """Wait for the next request and answer it."""
        while nonce_of(request := self.hear()) is not None:
            pass
        self.link.sendall(framed(message))
        return request


NO_KEYS = bytes([12, 0, 0, 0, 0])


@pytest.mark.parametrize("stale", [b"", b"\xff" * 1000, framed(NO_KEYS) * 3, echo(bytes(16)), b"\0\0\1"])
def test_octets_of_an_earlier_viewer_are_dropped(console: Console, stale: bytes) -> None:
    stranger = Stranger(console)
    with stranger.link:
        stranger.greet(stale)
        asking = subprocess.Popen(
            # It is turned away, which ssh-add does not tell from no keys, until the echo has been read.
            ["sh", "-c", "until ssh-add -l | grep 'no identities'; do :; done"],
            env={**ENV, "SSH_AUTH_SOCK": str(console.socket)},
            user=ALICE,
            stdout=subprocess.PIPE,
        )
        assert stranger.answer(NO_KEYS) == b"\x0b"
        assert b"no identities" in asking.communicate(timeout=SECONDS)[0]


@pytest.mark.parametrize("garbage", [b"\0\0\0\0", b"\xff\xff\xff\xff", framed(NO_KEYS)])
def test_a_viewer_that_says_nonsense_is_dropped(console: Console, garbage: bytes) -> None:
    stranger = Stranger(console)
    with stranger.link:
        stranger.greet()
        stranger.link.sendall(garbage)
        assert nonce_of(stranger.hear())  # from the beginning
    console.look()
    until(lambda: console.ask("ssh-add", "-l").returncode == 0)


def test_one_that_leaves_in_the_middle_does_not_disturb_the_next(console: Console) -> None:
    stranger = Stranger(console)
    with stranger.link:
        stranger.greet()
        ask = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); s.send(b'\\0\\0\\0\\1\\x0b')"
        request = b""
        while request != b"\x0b":
            run(PYTHON, "-I", "-c", ask, console.socket, uid=ALICE)
            request = stranger.hear()
        queued = subprocess.Popen(
            ["ssh-add", "-l"],
            env={**ENV, "SSH_AUTH_SOCK": str(console.socket)},
            user=ALICE,
            stdout=subprocess.PIPE,
        )
        key = b"\0\0\0\4late\0\0\0\4late"
        stranger.link.sendall(framed(bytes([12, 0, 0, 0, 1]) + key))  # for who has left
        assert stranger.answer(NO_KEYS) == b"\x0b"
        assert b"no identities" in queued.communicate(timeout=SECONDS)[0]


def test_a_silent_viewer_is_greeted_a_few_times_and_costs_nothing_then(console: Console) -> None:
    stranger = Stranger(console)
    with stranger.link:
        nonces = {nonce_of(stranger.hear()) for _ in range(5)}
        assert len(nonces) == 1
        stat = Path(f"/proc/{console.service.pid}/stat")
        before = stat.read_text().split()[13:15]
        assert not select.select([stranger.link], [], [], 1.5)[0]
        assert stat.read_text().split()[13:15] == before
