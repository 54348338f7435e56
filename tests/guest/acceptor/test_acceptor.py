"""The acceptor against a child that was taken over: what it can ask for, and what it gets."""

import os
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sso.demo.realm import Realm
from sso.guest import records
from sso.guest.acceptor.acceptor import AcceptorProcess
from sso.guest.acceptor.peer_session import PeerSession
from sso.guest.packets import BIND, CREDENTIAL, EXPORT, JUDGE, MAKE, NO, STEP, YES
from sso.guest.records import Kind
from sso.mech import Mechanism, load

SPN = "host/deleg.test.example"
ATTEMPT = bytes(range(16))
KEY = bytes(32)


@pytest.fixture
def alice(realm: Realm, keytabs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    realm.kinit("alice", "-f")
    return keytabs["deleg"]


def session(keytab: Path | str = "") -> PeerSession:
    def make(name: str, in_tls: bool) -> Mechanism:
        return load(name, ["GSSAPI"]).accept(spn=SPN, keytab=str(keytab))

    return PeerSession(7, make, lambda name: load(name, ["GSSAPI", "kerberos", "password"]))


def authenticate(peer: PeerSession) -> Any:
    """All of GSSAPI as a client would do it, through the packets of a child."""
    client: Any = load("GSSAPI").initiate(spn=SPN)
    client.bind(b"sso/1:test")
    assert peer.reply(MAKE + b"\0GSSAPI") == YES
    assert peer.reply(BIND + b"sso/1:test") == YES
    token = client.step(b"")
    while not client.complete:
        reply = peer.reply(STEP + token)
        assert reply is not None and reply[:1] == YES
        token = client.step(reply[2:])
    assert peer.reply(STEP + token) == YES + b"\x01"
    return client


def claimed(peer: PeerSession) -> tuple[Any, bytes]:
    record, fd = peer.claim(KEY)
    if fd is None:
        return record, b""
    secret = os.pread(fd, 70000, 0)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    os.close(fd)
    return record, secret


@pytest.mark.proves("S081", "S082")
def test_the_authenticated_user_is_named_with_the_ticket(alice: Path) -> None:
    peer = session(alice)
    authenticate(peer)
    assert peer.reply(JUDGE + ATTEMPT) == b""
    record, secret = claimed(peer)
    assert (record.id, record.attempt, record.kind) == (7, ATTEMPT, Kind.KERBEROS)
    assert record.principal == "alice@TEST.EXAMPLE" and record.digest == bytes(32)
    assert secret[:2] == b"\x05\x04", "a FILE credential cache"
    assert peer.reply(JUDGE + ATTEMPT) is None, "one claim a session"


def test_a_child_gets_the_layer_and_no_key(alice: Path) -> None:
    peer = session(alice)
    client = authenticate(peer)
    reply = peer.reply(EXPORT)
    assert reply is not None and reply[:2] == YES + b"\x01"
    resume = load("GSSAPI").resume
    assert resume is not None
    layer = resume(reply[2:])
    assert layer.peer == "alice@TEST.EXAMPLE" and layer.layer == "conf"
    assert bytes(layer.unwrap(client.wrap(b"a line"))) == b"a line"
    assert alice.read_bytes()[-16:] not in reply


@pytest.mark.parametrize(
    "packet",
    [
        JUDGE + ATTEMPT,
        EXPORT,
        STEP + b"token",
        BIND + b"binding",
        CREDENTIAL + b"kerberos\0" + b"0" * 100,
        MAKE,
        b"X",
        b"A" + bytes(700),
        b"",
    ],
)
def test_whoever_is_not_authenticated_gets_nothing(packet: bytes) -> None:
    assert session().reply(packet) is None


def test_an_authenticated_child_cannot_name_another_by_a_password(alice: Path) -> None:
    peer = session(alice)
    authenticate(peer)
    assert peer.reply(CREDENTIAL + b"password\0bob\0secret") is None


def test_a_ticket_of_another_principal_is_refused(
    realm: Realm, alice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = session(alice)
    authenticate(peer)
    bobs = realm.kinit("bob", "-f", ccache=realm.folder / "bob.ccache")
    blob = load("kerberos").initiate(spn=SPN, cache=f"FILE:{bobs}").step(b"")
    reply = peer.reply(CREDENTIAL + b"kerberos\0" + bytes(blob))
    assert reply is not None and reply.startswith(NO + b"kerberos\0")
    assert peer.reply(JUDGE + ATTEMPT) == b""
    assert claimed(peer)[0].principal == "alice@TEST.EXAMPLE", "what was authenticated stays"


def test_a_wrong_token_is_answered_by_its_cause_and_claims_nothing(alice: Path) -> None:
    peer = session(alice)
    assert peer.reply(MAKE + b"\0GSSAPI") == YES
    reply = peer.reply(STEP + b"no token at all")
    assert reply is not None and reply[:1] == NO
    assert peer.reply(JUDGE + ATTEMPT) is None


@pytest.mark.parametrize("name", [b"TLS", b"password", b"X-ROGUE", b"\xff"])
def test_only_allowed_sasl_mechanisms_are_made(name: bytes) -> None:
    reply = session().reply(MAKE + b"\0" + name)
    assert reply is None or reply[:1] == NO


def test_a_password_names_the_user_that_was_typed() -> None:
    peer = session()
    assert peer.reply(CREDENTIAL + b"password\0alice\0secret") == YES + b"alice"
    assert peer.reply(JUDGE + ATTEMPT) == b""
    record, secret = claimed(peer)
    assert (record.kind, record.principal, secret) == (Kind.PASSWORD, "alice", b"secret")
    assert record.digest != bytes(32)


@pytest.mark.parametrize(
    "packet", [b"", b"CHLD", b"x" * 5000, records.Child(1).pack(), records.Confirm(1).pack()]
)
@pytest.mark.parametrize("which", ["agent", "channel"])
def test_whatever_is_no_record_ends_the_loop_and_not_the_process(which: str, packet: bytes) -> None:
    """The last but one is a CHILD without the socket that belongs to it."""
    said: list[str] = []
    pairs = {name: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for name in ("agent", "channel")}
    ours = {name: pair[0] for name, pair in pairs.items()}

    def unused(*arguments: object) -> NoReturn:
        raise AssertionError("nothing is to be made")

    loop = AcceptorProcess(ours["agent"], ours["channel"], unused, unused, lambda id, text: said.append(id))
    if packet:
        pairs[which][1].send(packet)
    else:
        pairs[which][1].close()
    loop.run()
    assert said == (["record-malformed"] if packet else [])
    for pair in pairs.values():
        for end in pair:
            end.close()
