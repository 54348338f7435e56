"""A stream that the host never hangs up: each new client is who is signed in, or finds the screen locked.

The whole guest runs; logind is python-dbusmock's, and the test is the session that obeys it.
"""

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from beds_dbus import Daemon
from beds_guest import SPN, MakeGuest
from beds_logind import LogindMock

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.protocol.messages import SIGNATURE_PREFIX

pytestmark = pytest.mark.e2e
SECONDS = 60.0
BUS = "/run/dbus"
HELLO = SIGNATURE_PREFIX + b"1 1 client %s - -\n"


class Stream:
    """A relay whose side at the guest stays, whatever client comes or goes."""

    def __init__(self, path: Path) -> None:
        self._guest = socket.socket(socket.AF_UNIX)
        self._guest.connect(str(path))

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        """The end of a new client; the relay ends with it, and the guest hears nothing of that."""
        end, ours = socket.socketpair()
        relay = threading.Thread(target=self._relay, args=(ours,))
        relay.start()
        try:
            with end:
                yield end
        finally:
            relay.join(SECONDS)

    def _relay(self, ours: socket.socket) -> None:
        poll = select.poll()
        for one in (ours, self._guest):
            poll.register(one, select.POLLIN)
        with ours, suppress(BrokenPipeError, ConnectionResetError):
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if ours.fileno() in ready:
                    if not (data := ours.recv(65536)):
                        return
                    self._guest.sendall(data)
                if self._guest.fileno() in ready:
                    ours.sendall(self._guest.recv(65536))

    def close(self) -> None:
        self._guest.close()


class Screen:
    """Alice's session at the seat: it locks and unlocks when logind tells it to."""

    def __init__(self, logind: LogindMock) -> None:
        self._logind = logind
        self.path = logind.session("c2", "alice", 4001, Type="wayland", TTY="tty2")
        self._seen = 0
        self.told: list[str] = []

    def heard(self) -> list[str]:
        """All calls of the agent that logind received so far."""
        return self._logind.calls()

    def obey(self) -> None:
        """Carry out the calls received since the last time."""
        calls = self.heard()
        new, self._seen = calls[self._seen :], len(calls)
        for call in new:
            if call in ("LockSession c2", "UnlockSession c2"):
                self.told.append(call.split()[0])
                self._logind.change(self.path, LockedHint=call.startswith("Lock"))


class Console:
    """A guest with a seat, its stream, and clients."""

    def __init__(self, guest: Guest, realm: Realm, logind: LogindMock) -> None:
        self.guest, self._realm, self._logind = guest, realm, logind
        self.stream = Stream(guest.port)

    @contextmanager
    def client(self, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
        """A new client on the stream, under way."""
        with self.stream.client() as end:
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "sso.client.main", "--no-config", *arguments],
                stdin=end.fileno(),
                stdout=end.fileno(),
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], **self._realm.env},
            )
            end.close()
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def run(self, *arguments: str, obey: Callable[[], None] = lambda: None) -> int:
        """Run a client to its end, and return its exit code."""
        with self.client(*arguments) as process:
            self.until(lambda: process.poll() is not None, obey)
            return process.wait()

    def until(self, done: Callable[[], bool], obey: Callable[[], None] = lambda: None) -> None:
        """Wait until something is true, as a session that obeys meanwhile."""
        limit = time.monotonic() + SECONDS
        while not done():
            obey()
            assert time.monotonic() < limit, self.guest.log()
            select.select([], [], [], 0.05)

    def alices_screen(self) -> Screen:
        """Alice has signed in at the login screen, and alice's session is in front."""
        self.guest.screen.expect("$ ")
        return Screen(self._logind)

    def close(self) -> None:
        self.stream.close()


@pytest.fixture
def make_console(realm: Realm, make_guest: MakeGuest, tmp_path: Path) -> Iterator[Callable[[], Console]]:
    """A function that makes a guest whose agent finds a logind on the system bus."""
    closing: list[Callable[[], None]] = []

    def make() -> Console:
        guest = make_guest()
        guest.screen.expect("login: ")
        guest.stop()
        folder = guest.sandbox.path(BUS)
        folder.mkdir(mode=0o755)
        daemon = Daemon(folder)
        daemon.start()
        closing.append(daemon.kill)
        os.symlink("bus", folder / "system_bus_socket")
        logind = LogindMock(daemon, tmp_path)
        closing.append(logind.close)
        logind.seat()
        guest.start()
        console = Console(guest, realm, logind)
        closing.append(console.close)
        return console

    yield make
    for close in reversed(closing):
        close()


@pytest.fixture
def console(realm: Realm, make_console: Callable[[], Console]) -> Console:
    """Alice has signed in with a ticket, and the client has ended."""
    realm.kinit("alice", "-f")
    console = make_console()
    assert console.run("--spn", SPN) == Exit.SIGNED_IN
    return console


def test_a_renewal_leaves_it_open_and_another_user_finds_it_locked(realm: Realm, console: Console) -> None:
    screen = console.alices_screen()
    for _ in range(2):
        assert console.run("--spn", SPN, obey=screen.obey) == Exit.SIGNED_IN
    assert screen.told == [] and "client-unproved" not in console.guest.log()
    realm.kinit("bob", "-f")
    with console.client("--spn", SPN) as client:
        console.until(lambda: "LockSession c2" in screen.heard())
        assert client.poll() is None, "not answered before it is locked"
        console.until(lambda: client.poll() is not None, screen.obey)
        assert client.returncode == Exit.DENIED
    realm.kinit("alice", "-f")
    assert console.run("--spn", SPN, obey=screen.obey) == Exit.SIGNED_IN
    assert screen.told == ["LockSession", "UnlockSession"], "alice is back"


def test_who_connects_and_stays_silent_has_locked_it(console: Console) -> None:
    screen = console.alices_screen()
    with console.stream.client() as silent:
        silent.sendall(b"?")
        console.until(lambda: screen.told == ["LockSession"], screen.obey)
    assert console.run("--spn", SPN, obey=screen.obey) == Exit.SIGNED_IN
    assert screen.told == ["LockSession", "UnlockSession"]


def test_who_resets_a_session_under_way_has_locked_it(realm: Realm, console: Console) -> None:
    """The other way to be new on a stream: a SIGNATURE in the middle of somebody's session."""
    screen = console.alices_screen()
    with console.stream.client() as first:
        first.sendall(HELLO % b"AAAAAAAAAAAAAAAAAAAAAA==")
        console.until(lambda: console.guest.log().count("session-begin") == 2, screen.obey)
        first.sendall(HELLO % b"AQAAAAAAAAAAAAAAAAAAAA==")
        console.until(lambda: screen.told == ["LockSession"], screen.obey)
