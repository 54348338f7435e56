"""Times whole sessions in one process, and the same work done by the libraries alone.

Every row ends with the same result, checked once before it is timed: the guest holds the password, or
alice's TGT in a file. The guest's announcement finds nobody, as on a port that no client holds open.
"""

import ssl
from pathlib import Path
from typing import Any

import gssapi
import pytest
from pair import Pair
from sso_mechs.kerberos import CHANNEL_BOUND, SESSION_KEY

from sso.client.parties import Person
from sso.credential import Credential
from sso.demo.realm import Realm
from sso.mech import load
from sso.policy import ClientPolicy, GuestPolicy

DELEGATED = "GSSAPI conf, TGT delegated and stored"
PASSWORD = "password over TLS 1.3"
SPN = "host/deleg.test.example"
KRB5, PRINCIPAL = gssapi.MechType.kerberos, gssapi.NameType.kerberos_principal
SECRET = b"correct horse battery staple"


@pytest.fixture
def alice(realm: Realm, keytabs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    return keytabs["deleg"]


def _row(benchmark: Any, case: str, peer: str) -> None:
    benchmark.group = case
    benchmark.extra_info.update(case=case, peer=peer)


def _run(pair: Pair) -> Pair:
    pair.guest.start(pair.now)
    pair.guest.data_to_send()
    pair.client.start(pair.now)
    pair.settle()
    return pair


def delegated(keytab: Path, store: Path) -> Pair:
    """A whole login in memory, both halves; the ticket that was handed over goes into the file `store`."""
    mechanisms = {"GSSAPI": {"spn": SPN, "keytab": str(keytab)}}
    pair = _run(Pair(ClientPolicy(spn=SPN), GuestPolicy(), mechanisms=mechanisms))
    with open(store, "wb", buffering=0) as file:
        file.write(pair.judge.secrets[0])
    return pair


def test_gssapi_ours(benchmark: Any, realm: Realm, alice: Path, tmp_path: Path) -> None:
    realm.kinit("alice", "-f")
    store = tmp_path / "ours.ccache"
    prepare = load("GSSAPI").prepare
    assert prepare is not None
    prepare()  # as the acceptor process does once
    assert delegated(alice, store).exit == 0 and store.stat().st_size > 500
    _row(benchmark, DELEGATED, "console-sso")
    benchmark(lambda: delegated(alice, store))


def test_gssapi_bare(benchmark: Any, realm: Realm, alice: Path, tmp_path: Path) -> None:
    """The floor: the same tokens, layers and store by python-gssapi alone, no protocol around them."""
    realm.kinit("alice", "-f")
    store = tmp_path / "bare.ccache"

    def exchange() -> None:
        bare_gssapi(alice, store)

    exchange()
    assert store.stat().st_size > 500
    _row(benchmark, DELEGATED, "python-gssapi alone")
    benchmark(exchange)


def bare_gssapi(keytab: Path, store: Path, checked: bool = False) -> None:
    binding = gssapi.raw.ChannelBindings(application_data=b"bench")
    flag = gssapi.RequirementFlag
    flags = flag.mutual_authentication | flag.confidentiality | flag.integrity | flag.ok_as_delegate
    flags |= flag.replay_detection | flag.out_of_sequence_detection
    name = gssapi.Name(SPN, PRINCIPAL)
    client = gssapi.SecurityContext(
        name=name,
        creds=gssapi.Credentials(usage="initiate", mechs=[KRB5]),
        flags=flags,
        mech=KRB5,
        usage="initiate",
        channel_bindings=binding,
    )
    credentials = gssapi.Credentials(usage="accept", name=name, mechs=[KRB5], store={"keytab": str(keytab)})
    guest = gssapi.SecurityContext(creds=credentials, usage="accept", channel_bindings=binding)
    client.step(guest.step(client.step()))
    assert client.complete and guest.complete
    offer = guest.wrap(b"\x04\x00\xff\xff", False).message
    client.unwrap(offer)
    guest.unwrap(client.wrap(b"\x04\x00\xff\xff", False).message)
    client.unwrap(guest.wrap(b"SIGNATURE and ok", True).message)
    if checked:
        _check(client, guest)
    guest.delegated_creds.store({"ccache": f"FILE:{store}"}, usage="initiate", overwrite=True)


def test_gssapi_checked(benchmark: Any, realm: Realm, alice: Path, tmp_path: Path) -> None:
    """The same with what a login has to ask the library besides, by python-gssapi's own classes."""
    realm.kinit("alice", "-f")
    store = tmp_path / "checked.ccache"
    _row(benchmark, DELEGATED, "python-gssapi alone, with our checks")
    benchmark(lambda: bare_gssapi(alice, store, checked=True))
    assert store.stat().st_size > 500


def _check(client: gssapi.SecurityContext, guest: gssapi.SecurityContext) -> None:
    """Query the names, the lifetime, the service, the key, and the owner of the delegated ticket."""
    assert (client.initiator_name, str(client.target_name)) and client.lifetime > 0
    assert str(client.target_name) == str(gssapi.Name(SPN, PRINCIPAL).canonicalize(KRB5))
    for context in (client, guest):
        assert gssapi.raw.inquire_sec_context_by_oid(context, SESSION_KEY)
        assert context.actual_flags & gssapi.RequirementFlag.integrity and context.mech == KRB5
    assert int(guest.actual_flags) & CHANNEL_BOUND
    forwarded = guest.delegated_creds
    assert str(forwarded.name) == str(guest.initiator_name) and forwarded.lifetime > 0
    client.unwrap(guest.wrap(b"ok", True).message)


def test_password_ours(benchmark: Any, certificates: Any) -> None:
    policy = ClientPolicy(tls_name="guest.test.example", tls_ca=str(certificates.ca), password=True)
    guest = GuestPolicy(tls=True, sasl=(), types=("password",))
    person = Person(password=lambda: Credential("password", "alice", bytearray(SECRET)))
    own = certificates.guest
    tls = {"TLS": {"certificate": str(own.certificate), "key": str(own.key)}}

    def session() -> Pair:
        return _run(Pair(policy, guest, mechanisms=tls, person=person))

    assert session().judge.secrets == [SECRET]
    _row(benchmark, PASSWORD, "console-sso")
    benchmark(session)


def test_password_bare(benchmark: Any, certificates: Any) -> None:
    """The floor: a TLS 1.3 handshake in memory and one line through it, contexts made anew as we do."""
    own = certificates.guest

    def exchange() -> bytes:
        return _bare_tls(str(certificates.ca), str(own.certificate), str(own.key))

    assert exchange() == SECRET
    _row(benchmark, PASSWORD, "ssl.MemoryBIO alone")
    benchmark(exchange)


def _bare_tls(ca: str, certificate: str, key: str) -> bytes:
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(ca)
    guest_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    guest_context.num_tickets = 0
    guest_context.load_cert_chain(certificate, key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname="guest.test.example")
    guest = guest_context.wrap_bio(up, down, server_side=True)
    for half in (client, guest, client, guest):
        try:
            half.do_handshake()
        except ssl.SSLWantReadError:
            continue
    client.write(SECRET)
    return guest.read()
