"""The three processes as units start them: they find each other, and each goes on when another one ends."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from beds_guest import SPN, MakeGuest, caches, shell, sign_in

from sso.client.exits import Exit
from sso.demo.guest import PYTHON, Guest
from sso.demo.realm import Realm

pytestmark = pytest.mark.e2e
ROLES = ("agent", "channel", "acceptor")
SECONDS = 30.0


class Manager:
    """Starts the roles, and anew when they end, as systemd would."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._ends = threading.Event()
        self.tend()
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()

    def _go_on(self) -> None:
        while not self._ends.wait(0.02):
            self.tend()

    def tend(self) -> None:
        for role in ROLES:
            if role not in self.running or self.running[role].poll() is not None:
                argv = self._guest.sandbox.command([*PYTHON, "sso.guest.main", "--role", role])
                log = self._guest._log
                self.running[role] = subprocess.Popen(
                    argv, env=self._guest.sandbox.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

    def wait(self, until: Callable[[], Any]) -> None:
        limit = time.monotonic() + SECONDS
        while not until():
            assert time.monotonic() < limit, self._guest.log()
            self._ends.wait(0.02)

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(SECONDS)


def serves(guest: Guest) -> bool:
    """Whether a peer is greeted: then all three have found each other."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(SECONDS)
        try:
            peer.connect(str(guest.port))
            return b"SIGNATURE" in peer.recv(4096)
        except OSError:
            return False  # a process that found no agent leaves its socket behind, and is started anew


@pytest.fixture
def roles(make_guest: MakeGuest) -> Iterator[tuple[Guest, Manager]]:
    guest = make_guest()
    guest.stop()
    guest.port.unlink(missing_ok=True)
    manager = Manager(guest)
    yield guest, manager
    manager.close()


def test_they_find_each_other_and_sign_in(roles: tuple[Guest, Manager], realm: Realm) -> None:
    guest, manager = roles
    realm.kinit("alice", "-f")
    manager.wait(lambda: serves(guest))
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un") == "alice"


@pytest.mark.parametrize("victim", ROLES)
def test_when_one_is_killed_the_next_login_works(
    roles: tuple[Guest, Manager], realm: Realm, victim: str
) -> None:
    guest, manager = roles
    realm.kinit("alice", "-f")
    manager.wait(lambda: serves(guest))
    before = dict(manager.running)
    before[victim].send_signal(signal.SIGKILL)
    before[victim].wait()
    if victim != "agent":
        # The two that talk to a peer go together; the agent remembers who is signed in.
        other = next(role for role in ROLES[1:] if role != victim)
        before[other].wait(SECONDS)
        assert before["agent"].poll() is None
    else:
        for role in ROLES[1:]:
            before[role].wait(SECONDS)
    manager.wait(lambda: serves(guest))
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    assert (manager.running["agent"] is before["agent"]) == (victim != "agent")
    with shell(guest) as command:
        assert command("id -un") == "alice"
    assert len(caches(guest)) == 1
