"""Fixtures and words for tests with the whole guest: real processes, real PAM, a real login screen."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from beds import Certificates

from sso.demo.guest import PYTHON, Guest
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox

SPN = "host/deleg.test.example"
MODULE = Path(__file__).resolve().parents[2] / "pam" / "pam_sso.so"
TIME = 60.0
# Each failed password is counted, as on a machine that locks accounts out.
COUNTED = """auth requisite pam_faillock.so preauth
auth [success=2 default=ignore] pam_unix.so
auth [default=die] pam_faillock.so authfail
auth requisite pam_deny.so
auth required pam_permit.so
"""


@dataclass
class Run:
    """One run of spice-client-sso: exit code, its lines, and all bytes that crossed the port."""

    code: int
    lines: list[str]
    to_guest: bytes
    to_client: bytes


@dataclass
class Wire:
    """Relays between a client and the guest's port; `cut` ends it at a byte of one direction."""

    cut: tuple[str, int] | None = None
    seen: dict[str, bytearray] = field(default_factory=lambda: {"guest": bytearray(), "client": bytearray()})

    def relay(self, client: socket.socket, guest: socket.socket) -> None:
        up = threading.Thread(target=self._copy, args=(client, guest, "guest"), daemon=True)
        up.start()
        self._copy(guest, client, "client")
        up.join(TIME)

    def _copy(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        seen = self.seen[direction]
        try:
            while data := source.recv(65536):
                if self.cut is not None and self.cut[0] == direction:
                    data = data[: max(0, self.cut[1] - len(seen))]
                target.sendall(data)
                seen += data
                if self.cut is not None and self.cut[0] == direction and len(seen) >= self.cut[1]:
                    break
        except OSError:
            return
        finally:
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


def until(condition: Callable[[], object]) -> None:
    """Poll until a condition outside this process is true."""
    limit = time.monotonic() + TIME
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        os.sched_yield()


def sign_in(
    guest: Guest,
    realm: Realm,
    *arguments: str,
    wire: Wire | None = None,
    stdin_secret: str = "",
    python: str = sys.executable,
) -> Run:
    """Run the real client against the guest's port, with a tap between them; no file counts but --config."""
    wire = wire or Wire()
    client, ours = socket.socketpair()
    port = socket.socket(socket.AF_UNIX)
    port.connect(str(guest.port))
    relay = threading.Thread(target=wire.relay, args=(ours, port), daemon=True)
    relay.start()
    with client, secret_fd(stdin_secret) as fds:
        argv = [python, "-I", "-m", "sso.client.main", *arguments]
        if "--config" not in arguments:
            argv += ["--no-config"]
        for fd in fds:
            argv += ["--password-fd", str(fd)]
        done = subprocess.run(
            argv,
            stdin=client.fileno(),
            stdout=client.fileno(),
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **realm.env},
            pass_fds=fds,
            timeout=TIME,
        )
    relay.join(TIME)
    for end in (ours, port):
        end.close()
    lines = done.stderr.decode().splitlines()
    return Run(done.returncode, lines, bytes(wire.seen["guest"]), bytes(wire.seen["client"]))


@contextmanager
def secret_fd(secret: str) -> Iterator[tuple[int, ...]]:
    """A pipe with a secret in it, as a viewer would hand one over; nothing for an empty one."""
    if not secret:
        yield ()
        return
    reader, writer = os.pipe()
    os.write(writer, secret.encode() + b"\n")
    os.close(writer)
    yield (reader,)
    os.close(reader)


MakeGuest = Callable[..., Guest]


@pytest.fixture
def make_guest(realm: Realm, keytabs: dict[str, Path], certificates: Certificates) -> Iterator[MakeGuest]:
    """A function that starts a guest in a sandbox of its own; all of them are ended after the test."""
    open_guests: list[tuple[Sandbox, Guest]] = []

    def make(
        *settings: str,
        spn: str = SPN,
        keytab: str = "deleg",
        tls: bool = False,
        screen: tuple[str, ...] = (),
        venv: Path | None = None,
    ) -> Guest:
        sandbox = Sandbox(keep=[venv] if venv else ())
        sandbox.open()
        sandbox.use_realm(realm)
        sandbox.use_pam_module(MODULE)
        lines = [*settings]
        if tls:
            for name in ("certificate", "key"):
                text = getattr(certificates.guest, name).read_text()
                sandbox.write(f"/etc/console-sso/{name}.pem", text, 0o600)
                lines.append(f'tls_{name} = "/etc/console-sso/{name}.pem"')
        python = (str(venv / "bin" / "python"), "-I", "-m") if venv else PYTHON
        guest = Guest(sandbox, spn=spn, keytab=keytabs[keytab], settings=lines, screen=screen, python=python)
        open_guests.append((sandbox, guest))
        return guest.__enter__()

    yield make
    for sandbox, guest in open_guests:
        guest.close()
        sandbox.close()


@contextmanager
def shell(guest: Guest) -> Iterator[Callable[[str], str]]:
    """The shell that the login screen has opened; gives a function that runs a command there."""
    screen = guest.screen
    screen.expect("$ ")  # what is typed before the prompt, login would throw away

    def run(command: str) -> str:
        screen.send(f"echo be''gin; {command}; echo e''nd")
        shown = screen.expect(re.compile(r"begin\r\n(.*?)end\r\n", re.DOTALL))
        return str(shown[1]).replace("\r", "").strip()

    yield run


def has_ticket(guest: Guest, command: Callable[[str], str]) -> None:
    """Assert that alice's session has the ticket, in a file of alice's own, and that it gets a service's."""
    assert re.search(r"Default principal: alice@TEST.EXAMPLE", command("klist"))
    assert "kvno = " in command("kvno HTTP/web.test.example@TEST.EXAMPLE")
    (cache,) = caches(guest)
    assert cache.stat().st_uid == 4001 and cache.stat().st_mode & 0o777 == 0o600


def caches(guest: Guest) -> list[Path]:
    """The ticket caches of sessions inside the guest."""
    return sorted(guest.sandbox.path("/tmp").glob("krb5cc_*"))


def nothing_happened(guest: Guest) -> bool:
    """Whether the login screen stands as before: nobody is in, and no ticket lies around."""
    return "login: " in guest.screen.transcript and not caches(guest)


def count_failures(sandbox: Sandbox) -> None:
    """Have pam_faillock count what Debian's stack refuses."""
    sandbox.write("/etc/pam.d/common-auth", COUNTED)


def failures(sandbox: Sandbox, user: str) -> int:
    """Number of failures that it has counted."""
    return len(re.findall(r"(?m)^\d{4}-.* V$", sandbox.run(["faillock", "--user", user]).stdout))


def processes(guest: Guest) -> dict[str, list[int]]:
    """The guest's processes: "channel", "acceptor", and "child" for those that serve a peer."""
    found: dict[str, list[int]] = {"channel": [], "acceptor": [], "child": []}
    for pid in children(guest.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        role = words[words.index(b"--role") + 1].decode() if b"--role" in words else ""
        if role in found:
            found[role].append(pid)
    for pid in found["channel"]:
        found["child"] += children(pid)
    return found


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
