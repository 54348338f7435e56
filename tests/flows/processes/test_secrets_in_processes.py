"""Nothing secret shows: on the port, in logs, arguments, environments, files of the run-time folder."""

import base64
import threading
from pathlib import Path

import pytest
from beds import Certificates
from beds_guest import SPN, MakeGuest, sign_in
from sso_mechs import ccache

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.sandbox import ACCOUNTS, DemoAccount

pytestmark = pytest.mark.e2e
CANARY = "Canary-9f2e77c1-on-the-console"
WINDOW = 8


def windows(secret: bytes) -> set[bytes]:
    """Every 8-byte window of a secret, in clear and in base64 at each of the three offsets."""
    forms = [secret, *(base64.b64encode(b"x" * pad + secret)[4:-4] for pad in range(3))]
    return {form[i : i + WINDOW] for form in forms for i in range(len(form) - WINDOW + 1)}


def shown(secret: bytes, octets: bytes) -> list[bytes]:
    return [window for window in windows(secret) if window in octets]


class Watcher(threading.Thread):
    """Reads the arguments and environments of all processes again and again, until told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            for name in ("cmdline", "environ"):
                for path in Path("/proc").glob(f"[0-9]*/{name}"):
                    try:
                        self.seen.add(path.read_bytes())
                    except OSError:
                        continue


def test_a_password_shows_nowhere(realm: Realm, make_guest: MakeGuest, certificates: Certificates) -> None:
    guest = make_guest('mechanisms = ["TLS", "password"]', tls=True)
    guest.sandbox.add_accounts(DemoAccount("alice", ACCOUNTS[0].uid, CANARY))
    guest.screen.expect("login: ")
    watcher = Watcher()
    watcher.start()
    options = (*certificates.options, "-v")
    try:
        run = sign_in(guest, realm, *options, "--password", "--user", "alice", stdin_secret=CANARY)
    finally:
        watcher.stop.set()
        watcher.join()
    assert run.code == Exit.SIGNED_IN
    secret = CANARY.encode()
    places = {"port": run.to_guest + run.to_client, "client": "\n".join(run.lines).encode()}
    places |= {"log": guest.log().encode(), "proc": b"\0".join(watcher.seen)}
    places["screen"] = guest.screen.transcript.encode()
    assert {name: shown(secret, octets) for name, octets in places.items() if shown(secret, octets)} == {}


def test_a_ticket_shows_nowhere(realm: Realm, make_guest: MakeGuest) -> None:
    cache = realm.kinit("alice", "-f")
    guest = make_guest()
    guest.screen.expect("login: ")
    run = sign_in(guest, realm, "--spn", SPN, "-v")
    assert run.code == Exit.SIGNED_IN
    delivered = next(guest.sandbox.path("/tmp").glob("krb5cc_*")).read_bytes()
    places = (run.to_guest + run.to_client, guest.log().encode(), "\n".join(run.lines).encode())
    for ticket in [*ccache.read(cache.read_bytes()), *ccache.read(delivered)]:
        # A service ticket is no secret: it travels as it is. Its key is, and so is what a TGT seals.
        sealed = ticket.ticket[-200:] if ticket.server.startswith("krbtgt/") else b""
        secret = bytes(ticket.key) + sealed
        assert not [octets for octets in places if shown(secret, octets)]
