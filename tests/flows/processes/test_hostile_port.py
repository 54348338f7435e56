"""Whatever a peer throws at the port of the running guest: it ends, nothing grows, the next logs in."""

import random
import socket
from pathlib import Path

import pytest
from beds_guest import SPN, MakeGuest, processes, sign_in

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.protocol.messages import SIGNATURE_PREFIX

pytestmark = pytest.mark.e2e
GROWTH_MAX = 1024  # KiB
HELLO = SIGNATURE_PREFIX + b"1 1 client AAAAAAAAAAAAAAAAAAAAAA== - -\n"
INPUTS = {
    "noise": random.Random(1).randbytes(1 << 20),
    "empty lines": b"\n" * 1_000_000,
    "no line end": HELLO + b"A" * (1 << 20),
    "unknown verbs": HELLO + b"what is this\n" * 50_000,
}


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def throw(port: Path, octets: bytes) -> None:
    """Send all of it, or as much as is taken, and wait until the guest has ended that session."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(30)
        peer.connect(str(port))
        try:
            peer.sendall(octets)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                continue
        except (BrokenPipeError, ConnectionResetError):
            return


def test_hostile_input_ends_and_the_next_client_logs_in(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest()
    guest.screen.expect("login: ")
    (channel,) = processes(guest)["channel"]
    throw(guest.port, b"warm up")
    before = resident(channel)
    for octets in INPUTS.values():
        throw(guest.port, octets)
    assert resident(channel) - before <= GROWTH_MAX
    assert "Traceback" not in guest.log()
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN


def test_a_recorded_session_that_is_played_again_signs_nobody_in(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest()
    guest.screen.expect("login: ")
    run = sign_in(guest, realm, "--spn", SPN)
    assert run.code == Exit.SIGNED_IN
    guest.screen.expect("$ ")
    guest.screen.send("exit")
    guest.screen.expect("login: ")
    opened = guest.log().count("login-opened")
    for restart in (False, True):
        if restart:
            guest.stop()
            guest.start()
        throw(guest.port, run.to_guest)
        assert guest.log().count("login-opened") == opened
