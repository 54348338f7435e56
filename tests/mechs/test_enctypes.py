"""AES only: a ticket or a session key of RC4 is refused at both ends, though the context's own key is AES."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gssapi
import pytest
from gss_halves import BINDING
from hypothesis import given
from hypothesis import strategies as st
from pair import Judge, Pair
from sso_mechs import enctypes
from sso_mechs.kerberos import KRB5, PRINCIPAL, PROTECTION, Acceptor, Initiator

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.errors import MechanismError
from sso.policy import ClientPolicy, GuestPolicy

REALM = "RC4.EXAMPLE"
AES, TICKET, SESSION, FORWARDED = (f"host/{name}.rc4.example" for name in ("aes", "ticket", "session", "tgt"))
SAID = {
    TICKET: "the service's ticket is encrypted with RC4",
    SESSION: "the ticket's session key is RC4",
}


class WeakRealm(Realm):
    """A realm whose programs take RC4, as those of a site that has written allow_rc4."""

    def _write_config(self) -> None:
        super()._write_config()
        text = self.krb5_conf.read_text()
        text = text.replace("aes128-cts-hmac-sha256-128", "aes128-cts-hmac-sha256-128 arcfour-hmac")
        text = text.replace("    permitted_", "    allow_rc4 = true\n    permitted_")
        self.krb5_conf.write_text(text)


@pytest.fixture(scope="module")
def weak() -> Iterator[Realm]:
    """`ticket` has an RC4 key alone; `session` an AES key, and RC4 session keys. alice may forward."""
    with WeakRealm(REALM) as realm, pytest.MonkeyPatch.context() as patch:
        realm.principal("alice", "alice-of-rc4")
        realm.principals({AES: None, SESSION: None}, ["+ok_as_delegate"])
        realm.principal(TICKET, options=["+ok_as_delegate", "-e", "arcfour-hmac:normal"])
        realm.kadmin(f"setstr {SESSION} session_enctypes arcfour-hmac")
        realm.keytab(realm.folder / "keytab", AES, TICKET, SESSION)
        realm.kinit("alice", "-f")
        for name, value in realm.env.items():
            patch.setenv(name, value)
        yield realm


def acceptor(realm: Realm, spn: str) -> Acceptor:
    half = Acceptor(spn=spn, keytab=str(realm.folder / "keytab"))
    half.bind(BINDING)
    return half


def careless(spn: str) -> bytes:
    """Return the first token of a client that checks nothing."""
    context = gssapi.SecurityContext(
        name=gssapi.Name(spn, PRINCIPAL),
        flags=PROTECTION,
        mech=KRB5,
        usage="initiate",
        channel_bindings=gssapi.raw.ChannelBindings(application_data=BINDING),
    )
    return bytes(context.step() or b"")


def test_what_the_realm_gives(weak: Realm) -> None:
    """The bed is as it is meant to be: RC4 on one side alone, and an AES key of the context all the same."""
    rc4, aes = 23, enctypes.AES
    for spn, ticket, session in ((AES, aes, aes), (TICKET, {rc4}, aes), (SESSION, aes, {rc4})):
        found = enctypes.read(careless(spn))
        assert found.ticket in ticket and found.authenticator in session and found.version == 1


@pytest.mark.parametrize("spn", SAID)
def test_the_client_sends_nothing(weak: Realm, spn: str) -> None:
    client = Initiator(spn=spn)
    client.bind(BINDING)
    with pytest.raises(MechanismError) as caught:
        client.step(b"")
    assert (caught.value.cause, str(caught.value)) == ("weak-key", f"weak-key: {SAID[spn]}")
    pair = pair_with(weak, spn)
    assert b"startSASL" not in pair.to_guest and pair.judge.claims == []
    assert pair.client.outcome is not None and pair.exit == Exit.KDC
    assert SAID[spn] in pair.client.outcome.line
    for word in ("msDS-SupportedEncryptionTypes", "session_enctypes", "allow_rc4"):
        assert word in pair.client.outcome.hint


@pytest.mark.parametrize("spn", SAID)
def test_the_guest_believes_nobody(weak: Realm, spn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own library takes the token, and the key of the context is AES: that was all once looked at."""
    guest = acceptor(weak, spn)
    with pytest.raises(MechanismError) as caught:
        guest.step(careless(spn))
    assert (caught.value.cause, str(caught.value)) == ("weak-key", f"weak-key: {SAID[spn]}")
    check = enctypes.check
    monkeypatch.setattr(enctypes, "check", enctypes.read)
    monkeypatch.setattr("sso.protocol.session.Session.request_layer", blind(monkeypatch, check))
    pair = pair_with(weak, spn)
    assert (pair.exit, pair.judge.claims) == (Exit.NOT_ACCEPTED, [])
    assert pair.log == [("not-authenticated", f"weak-key: {SAID[spn]}")]


def blind(monkeypatch: pytest.MonkeyPatch, check: Any) -> Any:
    """Make the client's first token without the check; after that the guest checks as usual."""
    from sso.protocol.session import Session

    request_layer = Session.request_layer

    def then_look(self: Session, *arguments: Any) -> None:
        request_layer(self, *arguments)
        monkeypatch.setattr(enctypes, "check", check)

    return then_look


@pytest.fixture
def strict(weak: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own krb5.conf permits AES alone; the KDC's is as before."""
    text = weak.krb5_conf.read_text().replace("arcfour-hmac", "").replace("allow_rc4 = true", "")
    (tmp_path / "krb5.conf").write_text(text)
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "krb5.conf"))


@pytest.mark.parametrize("spn", SAID)
def test_where_the_library_refuses_it_the_cause_is_the_same(
    weak: Realm, spn: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    token = careless(spn)
    weak.kinit("alice", "-f", ccache=tmp_path / "cc")
    request.getfixturevalue("strict")
    client = Initiator(spn=spn, ccache=f"FILE:{tmp_path / 'cc'}")
    client.bind(BINDING)
    for step, token_of in ((client.step, b""), (acceptor(weak, spn).step, token)):
        with pytest.raises(MechanismError) as caught:
            step(token_of)
        assert caught.value.cause == "weak-key"


def pair_with(realm: Realm, spn: str, judge: Judge | None = None) -> Pair:
    mechanisms = {"GSSAPI": {"spn": spn, "keytab": str(realm.folder / "keytab")}}
    return Pair(ClientPolicy(spn=spn), GuestPolicy(), mechanisms=mechanisms, judge=judge).run()


def test_with_aes_everywhere_it_signs_in(weak: Realm) -> None:
    assert pair_with(weak, AES).exit == 0


def test_a_forwarded_ticket_with_a_weak_key_is_not_taken(weak: Realm) -> None:
    """The ticket that is handed over inside the AP-REQ has to be what one in a KRB-CRED has to be."""
    weak.kadmin(f"setstr krbtgt/{REALM} session_enctypes arcfour-hmac")
    try:
        weak.kinit("alice", "-f")
        pair = pair_with(weak, AES)
    finally:
        weak.kadmin(f"delstr krbtgt/{REALM} session_enctypes")
        weak.kinit("alice", "-f")
    assert (pair.exit, pair.judge.claims) == (Exit.NOT_ACCEPTED, [])
    assert pair.log[0] == ("not-authenticated", "weak-key: the session key of the user's ticket is RC4")


# Reading a token that is none


def test_every_byte_that_is_missing(weak: Realm) -> None:
    token = careless(AES)
    for end in range(len(token)):
        with pytest.raises(MechanismError) as caught:
            enctypes.read(token[:end])
        assert caught.value.cause == "gssapi"
    for other in (token + b"\0", token.replace(enctypes.HEAD, enctypes.HEAD_OF_ERROR, 1), token[1:]):
        with pytest.raises(MechanismError):
            enctypes.read(other)


@pytest.mark.parametrize("length", [b"\x06", b"\x81\x06", b"\x82\0\x06", b"\x84\0\0\0\x06"])
def test_an_error_is_one_however_its_length_is_written(length: bytes) -> None:
    for head, said in (
        (enctypes.HEAD_OF_ERROR, True),
        (enctypes.OID + b"\x02\0", False),
        (enctypes.HEAD, False),
    ):
        assert enctypes.is_error(b"\x60" + length + head + b"\x7e\0") == said
    assert not enctypes.is_error(b"\x60" + length) and not enctypes.is_error(b"\x60")


@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    with pytest.raises(MechanismError):
        enctypes.read(noise)
    assert not enctypes.is_error(noise)


def test_kinds_without_a_name() -> None:
    assert [enctypes.name_of(type) for type in (23, 16, 3, 99)] == [
        "RC4",
        "3DES",
        "DES",
        "of encryption type 99",
    ]
