"""A guest's service for the ssh-agent, a desktop with a real agent, and a viewer between them."""

import os
import pwd
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from beds_agent import let_in
from beds_dbus import Daemon
from beds_logind import LogindMock

from sso.daemon.reactor import Reactor
from sso.plug.plug import PlugEvent, PlugInPoint, Start
from sso.ssh_agent import DATA, EXTENSION, PORT_FRAME_MAX, Frames, echo, framed, hello_of
from sso.viewer.stream import Stream

# Programs of OpenSSH want the user to exist, and sshd not to be locked, as far as a user can see that.
ALICE_NAME = "games"
ALICE, BOB = pwd.getpwnam(ALICE_NAME).pw_uid, 4002
PORT = "spice.ssh-agent.0"
SECONDS = 30
NO_KEYS = bytes([12, 0, 0, 0, 0])
PYTHON = "/usr/bin/python3"  # which every user may run
ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


class Console:
    """A guest's service at a unix socket in place of the device, and a desktop with an agent and a key."""

    def __init__(self, folder: Path, address: str, ending: ExitStack) -> None:
        self.folder, self.port, self.socket = folder, folder / "port", folder / "guest" / "agent.sock"
        self._ending, self._log = ending, folder / "service.log"
        self.agent = self._agent()
        self.service = subprocess.Popen(
            [
                *(sys.executable, "-I", "-m", "sso.guest.ssh_agent.main"),
                *("--port", f"unix:{self.port}", "--socket", str(self.socket)),
            ],
            env={**ENV, "DBUS_SYSTEM_BUS_ADDRESS": address},
            stderr=ending.enter_context(self._log.open("w")),
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

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        process.terminate()
        process.wait(SECONDS)

    @property
    def log(self) -> list[str]:
        """Return the service's log."""
        return self._log.read_text().splitlines()

    def add(self, *options: str) -> None:
        """Give the agent the key."""
        run("ssh-add", "-q", *options, self.key, SSH_AUTH_SOCK=str(self.folder / "agent"))

    def look(self, agent: Path | None = None) -> "Viewer":
        """A viewer with the plug-in, whose person has this agent; returns when it answers."""
        viewer = Viewer(self.port, agent or self.agent)
        self._ending.callback(viewer.close)
        until(lambda: self.ask("ssh-add", "-l").returncode == 0)
        return viewer

    def ask(self, *command: object, uid: int = ALICE) -> "subprocess.CompletedProcess[str]":
        """Run a program of a user at the console; a viewer is turned meanwhile by who has one."""
        return run(*command, SSH_AUTH_SOCK=str(self.socket), check=False, uid=uid)

    def start(self, *command: str, **env: str) -> "subprocess.Popen[bytes]":
        """Start a program of alice's at the console."""
        return subprocess.Popen(
            command,
            env={**ENV, "SSH_AUTH_SOCK": str(self.socket), **env},
            user=ALICE,
            group=ALICE,
            extra_groups=(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )

    def hold(self) -> "subprocess.Popen[bytes]":
        """A program of alice's that has a connection, over which it has been answered, until it is cut."""
        held = self.start(PYTHON, "-I", "-c", HOLD, str(self.socket))
        assert first_line(held) == b"answered\n"
        return held


HOLD = """
import socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
link.sendall(bytes([0, 0, 0, 1, 11]))
assert link.recv(9)
print("answered", flush=True)
while link.recv(65536):
    pass
print("cut")
"""


class Viewer:
    """The viewer's plug-in point, turned by a thread of its own."""

    def __init__(self, port: Path, agent: Path) -> None:
        self.said: list[PlugEvent] = []
        self._over = False
        self._loop = Reactor()
        argv = (sys.executable, "-I", "-m", "sso.client.ssh_agent", "--socket", str(agent))
        self._point = PlugInPoint([Start(PORT, argv)], self._loop, self.said.append)
        plug = self._point.get(PORT)
        assert plug is not None
        self._stream = Stream(f"unix:{port}", plug, self._loop)
        self._stream.open()
        self._thread = threading.Thread(target=self._turn, daemon=True)
        self._thread.start()

    def dials(self) -> int:
        """How many connections the plug-in has to the agent."""
        (pid,) = Path(f"/proc/self/task/{self._thread.native_id}/children").read_text().split()
        links = [Path(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if fd != "2"]
        with suppress(FileNotFoundError):
            return len({name for link in links if (name := os.readlink(link)).startswith("socket:")}) - 1
        return -1  # one was closed meanwhile

    def _turn(self) -> None:
        while not self._over:
            self._loop.turn(0.02)
        self._stream.close()
        self._point.kill()
        self._loop.close()

    def close(self) -> None:
        """Leave the console."""
        self._over = True
        self._thread.join(SECONDS)


def first_line(process: "subprocess.Popen[bytes]") -> bytes:
    """The first line that a program says; it has to say it soon."""
    assert process.stdout is not None and select.select([process.stdout], [], [], SECONDS)[0]
    return process.stdout.readline()


def run(*command: object, check: bool = True, uid: int = 0, **env: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        list(map(str, command)),
        env={**ENV, **env},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        user=uid or None,
        group=uid or None,
        extra_groups=() if uid else None,
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
    """A guest with alice's session in front."""
    let_in(tmp_path)
    logind.session("c1", "alice", ALICE, Type="tty")
    with ExitStack() as ending:
        yield Console(tmp_path, daemon.address, ending)


class Stranger:
    """A peer at the port instead of the viewer, controlled byte by byte."""

    def __init__(self, console: Console) -> None:
        self.link = socket.socket(socket.AF_UNIX)
        self.link.connect(str(console.port))
        self.link.settimeout(SECONDS)
        self._frames = Frames(PORT_FRAME_MAX)
        self._heard: list[bytes] = []

    def hear(self) -> bytes:
        """The next frame, without its length."""
        while not self._heard:
            data = self.link.recv(65536)
            assert data
            self._heard += self._frames.feed(data)
        return self._heard.pop(0)

    def hear_after_hello(self) -> bytes:
        """The next frame that is no hello."""
        while (heard := self.hear())[0] == EXTENSION:
            pass
        return heard

    def greet(self, before: bytes = b"") -> None:
        """Echo the guest's hello, after some bytes."""
        _, nonce = hello_of(self.hear())
        self.link.sendall(before + echo(nonce))

    def asked(self) -> tuple[int, bytes]:
        """The number of the next request, and the request."""
        while (heard := self.hear_after_hello())[0] != DATA:
            pass
        return int.from_bytes(heard[1:9], "big"), heard[9:]


def frame(kind: int, number: int, message: bytes = b"") -> bytes:
    """A frame of the port."""
    return framed(bytes([kind]) + number.to_bytes(8, "big") + message)
