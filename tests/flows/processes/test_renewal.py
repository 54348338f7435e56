"""Renewal: a client that stays connected sends renewed tickets, also to a guest that was restarted."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from beds import Certificates
from beds_guest import SPN, MakeGuest, caches, secret_fd, shell
from grown_ticket import AD_SIZES, grow
from sso_mechs import ccache

from sso.demo.guest import Guest
from sso.demo.realm import Realm

pytestmark = pytest.mark.e2e
SECONDS = 60.0
# The real client, but its minute is shorter, and so is what counts as later. The guest's minute is as ever.
CLIENT = """
import sys
from sso.client import staying
from sso.client.main import main
staying.LOOK_EVERY, staying.PAUSE_MAX, staying.LATER = 0.2, 2.0, 0.9
sys.exit(main())
"""


class Console(threading.Thread):
    """The port as QEMU has it: the client's end stays, whatever becomes of the guest's."""

    def __init__(self, path: Path, client: socket.socket) -> None:
        super().__init__()
        self._path, self._client = path, client
        self._guest: socket.socket | None = None

    def run(self) -> None:
        with self._client:
            while self._turn():
                pass
        if self._guest is not None:
            self._guest.close()

    def _turn(self) -> bool:
        """Wait for bytes of either end, or for a guest to come; False when the client has left."""
        if self._guest is None:
            self._guest = self._connect()
        poll = select.poll()
        poll.register(self._client, select.POLLIN)
        if self._guest is not None:
            poll.register(self._guest, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(20 if self._guest is None else None)}
        if self._guest is not None and self._guest.fileno() in ready:
            self._from_guest(self._guest)
        return self._client.fileno() not in ready or self._from_client()

    def _connect(self) -> socket.socket | None:
        guest = socket.socket(socket.AF_UNIX)
        try:
            guest.connect(str(self._path))
        except OSError:
            guest.close()
            return None
        return guest

    def _from_guest(self, guest: socket.socket) -> None:
        with suppress(OSError):
            if data := guest.recv(65536):
                self._client.sendall(data)
                return
        guest.close()
        self._guest = None

    def _from_client(self) -> bool:
        with suppress(OSError):
            data = self._client.recv(65536)
            if data and self._guest is not None:
                self._guest.sendall(data)
            return bool(data)
        return False


class Stay:
    """A client that stays: its process, and what it tells a viewer."""

    def __init__(self, process: "subprocess.Popen[bytes]", states: Any, guest: Guest) -> None:
        self.process, self._states, self._guest = process, states, guest

    def expect(self, beginning: str) -> str:
        """Wait for its next state; it begins so."""
        line = str(self._states.readline()).rstrip()
        assert line.startswith(beginning), (line, self.process.poll(), self._guest.log())
        return line

    def end(self) -> tuple[int, bytes]:
        """Tell it to end, and see how it does."""
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=SECONDS)[1]
        return self.process.returncode, said


@contextmanager
def staying(guest: Guest, realm: Realm, *arguments: str, secret: str = "") -> Iterator[Stay]:
    with ExitStack() as stack:
        client, ours = socket.socketpair()
        console = Console(guest.port, ours)
        console.start()
        states, status = os.pipe()
        fds = stack.enter_context(secret_fd(secret))
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-c", CLIENT, "--no-config", "--stay", "--status-fd", str(status)),
                *(word for fd in fds for word in ("--password-fd", str(fd))),
                *arguments,
            ],
            stdin=client.fileno(),
            stdout=client.fileno(),
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **realm.env},
            pass_fds=[status, *fds],
        )
        client.close()
        os.close(status)
        try:
            yield Stay(process, stack.enter_context(open(states, encoding="utf-8")), guest)
        finally:
            process.kill()
            process.communicate()
            console.join(SECONDS)


def ends(cache: Path) -> int:
    """When the TGT in a cache ends."""
    return max(ticket.end_time for ticket in ccache.read(cache.read_bytes()))


def renew(realm: Realm) -> None:
    """`kinit -R` until the ticket ends visibly later: it lives as long as the first one, from now on."""
    before = ends(realm.ccache)
    while ends(realm.ccache) < before + 2:
        realm.run(["kinit", "-R"])


def again(realm: Realm) -> None:
    realm.kinit("alice", "-f", "-l", "2h")


@pytest.mark.proves("S107", "S150")
@pytest.mark.parametrize("way", [again, renew])
def test_what_is_renewed_at_the_desktop_arrives_in_the_open_session(
    realm: Realm, make_guest: MakeGuest, way: Callable[[Realm], None]
) -> None:
    realm.kinit("alice", "-f", "-l", "1h", "-r", "3h")
    guest = make_guest()
    guest.screen.expect("login: ")
    with staying(guest, realm, "--spn", SPN) as client:
        client.expect("signing-in alice@TEST.EXAMPLE")
        client.expect("signed-in")
        client.expect("staying until=")
        (cache,) = caches(guest)
        before = ends(cache)
        with cache.open("rb") as reader:
            old = reader.read()
            way(realm)
            until = int(client.expect("renewed until=").rpartition("=")[2])
            reader.seek(0)
            assert reader.read() == old, "who reads the old cache reads all of it"
        assert caches(guest) == [cache] and ends(cache) >= before + 1 and abs(ends(cache) - until) <= 2
        found = cache.stat()
        assert (found.st_uid, found.st_mode & 0o777, found.st_nlink) == (4001, 0o600, 1)
        assert guest.log().count("login-opened") == 1 and "ticket-refreshed" in guest.log()
        with shell(guest) as command:
            assert command("kvno -q HTTP/web.test.example@TEST.EXAMPLE && echo good") == "good"
        assert client.end() == (0, b"")
    wait_for(guest, "client-gone")


def give(realm: Realm, size: int, life: str) -> None:
    """alice's cache has a TGT of that size, from one moment to the next."""
    fresh = realm.folder / "fresh"
    grow(realm, realm.kinit("alice", "-f", "-l", life, ccache=fresh), size)
    os.replace(fresh, realm.ccache)


@pytest.mark.parametrize("size", AD_SIZES)
def test_a_large_ticket_opens_a_shell_and_is_refreshed(
    realm: Realm, make_guest: MakeGuest, size: int
) -> None:
    give(realm, size, "1h")
    guest = make_guest()
    guest.screen.expect("login: ")
    with staying(guest, realm, "--spn", SPN) as client:
        client.expect("signing-in alice@TEST.EXAMPLE")
        client.expect("signed-in")
        client.expect("staying until=")
        (cache,) = caches(guest)
        old = cache.read_bytes()
        assert len(ccache.read(old)[0].ticket) >= size
        give(realm, size + 1000, "2h")
        client.expect("renewed until=")
        assert caches(guest) == [cache] and cache.read_bytes() != old
        assert len(ccache.read(cache.read_bytes())[0].ticket) >= size + 1000
        with shell(guest) as command:
            assert command("kvno -q HTTP/web.test.example@TEST.EXAMPLE && echo good") == "good"
        assert client.end() == (0, b"")


def wait_for(guest: Guest, word: str, times: int = 1) -> None:
    limit = time.monotonic() + SECONDS
    while guest.log().count(word) < times:
        assert time.monotonic() < limit, guest.log()


def test_a_guest_that_was_started_anew_signs_the_user_in_again(realm: Realm, make_guest: MakeGuest) -> None:
    """As after a reboot of the machine, whose console the client has never left."""
    realm.kinit("alice", "-f", "-l", "1h")
    guest = make_guest()
    guest.screen.expect("login: ")
    with staying(guest, realm, "--spn", SPN) as client:
        for beginning in ("signing-in", "signed-in", "staying until="):
            client.expect(beginning)
        with shell(guest) as command:
            assert command("id -un") == "alice"
        guest.screen.send("exit")
        guest.screen.expect("login: ")
        guest.stop()
        assert client.process.poll() is None
        guest.start()
        client.expect("renewed until=")
        with shell(guest) as command:
            assert command("id -un; klist -s && echo ticket") == "alice\nticket"
        assert guest.log().count("login-opened") == 2
        assert client.end() == (0, b"")


def test_a_guest_that_cannot_take_the_ticket_costs_one_line(realm: Realm, make_guest: MakeGuest) -> None:
    """The guest has another key now: it gets no ticket, and is tried again after pauses."""
    realm.kinit("alice", "-f", "-l", "1h")
    guest = make_guest()
    guest.screen.expect("login: ")
    with staying(guest, realm, "--spn", SPN) as client:
        for beginning in ("signing-in", "signed-in", "staying until="):
            client.expect(beginning)
        keytab = guest.sandbox.path("/etc/console-sso/acceptor.keytab")
        right = keytab.read_bytes()
        keytab.write_bytes((realm.folder / "other2.keytab").read_bytes())
        guest.stop()
        guest.start()
        for _ in range(3):
            client.expect("not-renewed 16 nothing to sign in with: the guest takes no Kerberos ticket")
        keytab.write_bytes(right)
        code, said = client.end()
    assert (code, said.count(b"the ticket was not handed over again")) == (0, 1)


def test_a_password_stays_at_the_desktop(
    realm: Realm, make_guest: MakeGuest, certificates: Certificates
) -> None:
    guest = make_guest('mechanisms = ["TLS", "password"]', tls=True)
    guest.screen.expect("login: ")
    trust = certificates.options
    secret = guest.sandbox.password("alice")
    with staying(guest, realm, *trust, "--password", "--user", "alice", secret=secret) as client:
        client.expect("signing-in alice")
        client.expect("signed-in")
        assert client.expect("staying") == "staying"
        with shell(guest) as command:
            assert command("id -un") == "alice"
        assert client.end() == (0, b"")
    wait_for(guest, "client-gone")
    assert guest.log().count("session-begin") == 1, "nothing is said after the login, so nobody is served"
