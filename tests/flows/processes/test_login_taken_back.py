"""Debian's login under agetty, as a whole: what is taken back while PAM is at work opens no shell.

Debian's login opens the session before it sets the credentials. A program that pam_exec starts stops it
within the session's stack, right before our last line.
"""

import os
import re
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from beds import Certificates
from beds_guest import SPN, MakeGuest, Wire, caches, sign_in

from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.demo.sandbox import PAM_MODULE

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = 60.0
GETTY = str(Path(sys.executable).with_name("sso-getty"))
SCREEN = ("/sbin/agetty", "--noclear", "--skip-login", "--login-program", GETTY, "-", "dumb")
PAUSE = "#!/bin/sh\necho there >/run/pause/there\nread word </run/pause/go\n"
FOLDER = "/var/tmp/caches"


class Client(Wire):
    """A client that the test can end."""

    def relay(self, client: socket.socket, guest: socket.socket) -> None:
        self._guest = guest
        super().relay(client, guest)

    def go(self) -> None:
        self._guest.shutdown(socket.SHUT_RDWR)


def prepare(guest: Guest) -> None:
    """Let login stop within the session's stack, and give tickets a folder of their own."""
    sandbox = guest.sandbox
    sandbox.write("/etc/console-sso/pause", PAUSE, 0o755)
    sandbox.path("/run/pause").mkdir()
    for name in ("there", "go"):
        os.mkfifo(sandbox.path(f"/run/pause/{name}"))
    lines = sandbox.path("/etc/pam.d/login").read_text().splitlines()
    last = max(at for at, line in enumerate(lines) if line.startswith("session") and PAM_MODULE in line)
    lines.insert(last, "session optional pam_exec.so quiet /etc/console-sso/pause")
    text = "\n".join(lines) + "\n"
    sandbox.write("/etc/pam.d/login", text.replace(PAM_MODULE, f"{PAM_MODULE} ccache_dir={FOLDER}"))
    sandbox.path(FOLDER).mkdir()
    sandbox.path(FOLDER).chmod(0o1777)


def at_the_pause(guest: Guest, fault: Callable[[], None]) -> None:
    """Cause the fault while login is in the middle of its session stack, then let login go on."""
    there = os.open(guest.sandbox.path("/run/pause/there"), os.O_RDONLY | os.O_NONBLOCK)
    assert select.select([there], [], [], SECONDS)[0] and os.read(there, 100) == b"there\n"
    os.close(there)
    fault()
    guest.sandbox.path("/run/pause/go").write_text("on\n")


def kill(guest: Guest, client: Client) -> None:
    os.kill(guest.pid, signal.SIGKILL)
    life = os.pidfd_open(guest.pid)
    assert select.select([life], [], [], SECONDS)[0]
    os.close(life)


def leave(guest: Guest, client: Client) -> None:
    client.go()
    wake = threading.Event()
    for _ in range(int(SECONDS * 50)):
        if "login-revoked" in guest.log():
            return
        wake.wait(0.02)
    raise AssertionError(f"the agent has not taken the login back: {guest.log()}")


def is_shell(text: str) -> bool:
    return re.search(r"\$ $|Last login", text) is not None


Start = Callable[[], tuple[Guest, tuple[str, ...], str]]


@pytest.fixture(params=["ticket", "password"])
def start(
    request: pytest.FixtureRequest, realm: Realm, make_guest: MakeGuest, certificates: Certificates
) -> Start:
    """A function that starts a guest, and tells the client's arguments and its secret."""

    def ticket() -> tuple[Guest, tuple[str, ...], str]:
        realm.kinit("alice", "-f")
        return make_guest(screen=SCREEN), ("--spn", SPN), ""

    def password() -> tuple[Guest, tuple[str, ...], str]:
        guest = make_guest('mechanisms = ["TLS", "password"]', tls=True, screen=SCREEN)
        tls = certificates.options
        return guest, (*tls, "--password", "--user", "alice"), guest.sandbox.password("alice")

    return {"ticket": ticket, "password": password}[request.param]


@pytest.mark.parametrize("fault", [kill, leave])
def test_no_shell_once_it_is_taken_back(
    start: Start, realm: Realm, fault: Callable[[Guest, Client], None]
) -> None:
    guest, options, secret = start()
    prepare(guest)
    guest.screen.expect("login: ")
    client = Client()
    attempt = threading.Thread(
        target=sign_in,
        args=(guest, realm, *options),
        kwargs={"wire": client, "stdin_secret": secret},
        daemon=True,
    )
    attempt.start()
    at_the_pause(guest, lambda: fault(guest, client))
    shown = guest.screen.expect(re.compile(r"(?s)(.*)(login: |\$ )"), SECONDS)[0]
    attempt.join(SECONDS)
    assert not is_shell(shown) and not attempt.is_alive(), shown
    assert caches(guest) == [] and list(guest.sandbox.path(FOLDER).iterdir()) == []
    assert "login-opened" not in guest.log()


def test_no_shell_without_room_for_the_ticket(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest(screen=SCREEN)
    prepare(guest)
    full = f"mount -t tmpfs -o size=4k,mode=1777 none {FOLDER} && head -c 4096 /dev/zero >{FOLDER}/x"
    guest.sandbox.run(["sh", "-ec", full])
    guest.screen.expect("login: ")
    run = sign_in(guest, realm, "--spn", SPN)
    shown = guest.screen.expect(re.compile(r"(?s)(.*)(login: |\$ )"), SECONDS)[0]
    assert run.code != 0 and not is_shell(shown), shown
    assert [path.name for path in guest.sandbox.path(FOLDER).iterdir()] == ["x"] and caches(guest) == []
    assert "login-opened" not in guest.log()
