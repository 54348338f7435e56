"""After peer sessions end, the memory of the guest's processes contains none of their secrets."""

import base64
from pathlib import Path

import pytest
from beds import Certificates
from beds_guest import SPN, MakeGuest, caches, children, processes, sign_in
from sso_mechs import ccache

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.demo.sandbox import ACCOUNTS, DemoAccount

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SESSIONS = 20
PASSWORD = "Canary-5c1e90b7-in-the-memory"


def memory_of(pid: int) -> bytes:
    """All that a process has in its writable memory."""
    found = bytearray()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            area, rights, *_ = line.split()
            begin, end = (int(place, 16) for place in area.split("-"))
            if rights.startswith("rw"):
                memory.seek(begin)
                found += memory.read(end - begin) or b""
    return bytes(found)


def forms(secret: bytes) -> list[bytes]:
    """A secret in clear, and its whole groups of base64 at each of the three offsets."""
    shifted = (base64.b64encode(b"x" * pad + secret)[4:-4] for pad in range(3))
    return [secret, *(form for form in shifted if len(form) >= 8)]


def copies(guest: Guest, secrets: list[bytes]) -> dict[str, int]:
    """How many copies each long-lived process of the guest holds, the acceptor's waiting worker too."""
    found = processes(guest)
    pids = {"agent": guest.pid, "channel": found["channel"][0], "acceptor": found["acceptor"][0]}
    pids |= {f"worker {pid}": pid for pid in children(pids["acceptor"])}
    counted = {}
    for name, pid in pids.items():
        memory = memory_of(pid)
        counted[name] = sum(memory.count(form) for secret in secrets for form in forms(secret))
    return {name: count for name, count in counted.items() if count}


def keys(caches: list[Path]) -> list[bytes]:
    found = [bytes(ticket.key) for path in caches for ticket in ccache.read(path.read_bytes())]
    return [key for key in found if key]  # an entry of configuration has none


def test_the_scan_finds_what_is_there(realm: Realm, make_guest: MakeGuest) -> None:
    """What the processes certainly hold is found in each of them: the configuration's service name."""
    guest = make_guest()
    guest.screen.expect("login: ")
    realm.kinit("alice", "-f")
    assert (
        sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    )  # so each of them has read its configuration
    found = copies(guest, [SPN.encode()])
    assert {"agent", "channel", "acceptor"} <= set(found)


def test_no_password_stays(realm: Realm, make_guest: MakeGuest, certificates: Certificates) -> None:
    guest = make_guest('mechanisms = ["TLS", "password"]', tls=True)
    guest.sandbox.add_accounts(DemoAccount("alice", ACCOUNTS[0].uid, PASSWORD))
    guest.screen.expect("login: ")
    options = *certificates.options, "--password"
    for _ in range(SESSIONS):
        run = sign_in(guest, realm, *options, "--user", "alice", stdin_secret=PASSWORD)
        assert run.code == Exit.SIGNED_IN, (run.lines, guest.log())
    assert copies(guest, [PASSWORD.encode()]) == {}


@pytest.mark.parametrize("kind", ["forwarded", "sent"])
def test_no_ticket_stays(kind: str, realm: Realm, make_guest: MakeGuest) -> None:
    """A TGT that GSSAPI forwards, and one that is sent as a KRB-CRED to a service without delegation."""
    cache = realm.kinit("alice", "-f")
    spn = SPN if kind == "forwarded" else "host/guest.test.example"
    guest = make_guest(spn=spn, keytab="deleg" if kind == "forwarded" else "guest")
    guest.screen.expect("login: ")
    options = ["--spn", spn, *(["--send-ticket"] if kind == "sent" else [])]
    secrets = set(keys([cache]))
    for _ in range(SESSIONS):
        run = sign_in(guest, realm, *options)
        assert run.code == Exit.SIGNED_IN, (run.lines, guest.log())
        guest.screen.expect("$ ")
        secrets |= set(keys([*caches(guest), cache]))
        guest.screen.send("exit")  # the next one brings a ticket of its own, and a cache to read it from
        guest.screen.expect("login: ")
    assert len(secrets) > SESSIONS
    assert copies(guest, sorted(secrets)) == {}
