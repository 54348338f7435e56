"""The flows that hard tests run: who is configured how, with real TLS, real GSS and a real KDC."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from beds import GUEST, Certificates
from pair import Pair
from sso_mechs import ccache

from sso.client.parties import NOBODY, Person, Service
from sso.credential import Credential
from sso.demo.realm import Realm
from sso.policy import ClientPolicy, GuestPolicy, Source

SPN = f"host/{GUEST}"
DELEG = "host/deleg.test.example"
MARKED = Service(DELEG, Source.TYPED)
PASSWORD = b"Correct-Horse-Battery-Staple-4711"
ALICE = "alice@TEST.EXAMPLE"


@dataclass(frozen=True)
class Kerberos:
    """Caches and keytabs by name; the environment of this process points at the realm."""

    realm: Realm
    caches: dict[str, Path]
    keytabs: dict[str, Path]

    def guest(self, keytab: str = "guest", spn: str | None = SPN, **arguments: Any) -> dict[str, Any]:
        """The arguments of the GSSAPI acceptor."""
        return {"spn": spn, "keytab": str(self.keytabs[keytab]), **arguments}

    def cache(self, name: str = "alice") -> str:
        return f"FILE:{self.caches[name]}"

    def secrets(self, name: str = "alice") -> list[bytes]:
        """What must not leave in the clear: the session key of the TGT and its encrypted part.

        The names in front of that part are those of every ticket of the realm, and are no secret.
        """
        tgt = next(t for t in ccache.read(self.caches[name].read_bytes()) if t.server.startswith("krbtgt/"))
        return [bytes(tgt.key), tgt.ticket[-256:]]


@pytest.fixture(scope="session")
def caches(
    realm: Realm, keytabs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """TGTs of alice, bob, mallory and stuck; `alice-here` is alice's, and may not be forwarded."""
    realm.kadmin("modprinc +requires_preauth stuck")  # the services take no ticket that was got without
    folder = tmp_path_factory.mktemp("ccaches")
    found = {name: realm.kinit(name, ccache=folder / name) for name in ("alice", "bob", "mallory", "stuck")}
    return found | {"alice-here": realm.kinit("alice", "-F", ccache=folder / "alice-here")}


@pytest.fixture(scope="module")
def kerberos(realm: Realm, keytabs: dict[str, Path], caches: dict[str, Path]) -> Iterator[Kerberos]:
    """The realm for libkrb5 in this very process, with alice's tickets as the default cache."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("KRB5_CONFIG", "KRB5RCACHEDIR"):
            patch.setenv(name, realm.env[name])
        patch.setenv("KRB5CCNAME", f"FILE:{caches['alice']}")
        patch.setenv("KRB5_KTNAME", "FILE:" + os.devnull)
        yield Kerberos(realm, caches, keytabs)


def password_of(user: str = "alice", password: bytes = PASSWORD) -> Person:
    """A person who types this password when asked."""
    return Person(password=lambda: Credential("password", user, bytearray(password)))


@dataclass(frozen=True)
class Flow:
    """One way to sign in: both policies, and the arguments of the guest's mechanisms."""

    name: str
    client: ClientPolicy
    guest: GuestPolicy
    mechanisms: dict[str, dict[str, Any]] = field(default_factory=dict)
    person: Person = NOBODY
    principal: str = ALICE
    ccache: str | None = None

    def pair(self, **changes: Any) -> Pair:
        """Both ends, not started; `changes` are arguments of Pair."""
        given: dict[str, Any] = {"mechanisms": self.mechanisms, "person": self.person, "ccache": self.ccache}
        return Pair(changes.pop("client", self.client), changes.pop("guest", self.guest), **given | changes)


@pytest.fixture(scope="module")
def tls_flow(certificates: Certificates) -> Flow:
    """A password inside TLS."""
    return Flow(
        "password over TLS",
        ClientPolicy(tls_name=GUEST, tls_ca=str(certificates.ca), password=True),
        GuestPolicy(tls=True, sasl=(), types=("kerberos", "password")),
        {"TLS": tls_guest(certificates)},
        password_of(),
        "alice",
    )


@pytest.fixture(scope="module")
def gss_flow(kerberos: Kerberos) -> Flow:
    """GSSAPI with the confidential layer; the KDC says ok-as-delegate, so the TGT goes along."""
    return Flow(
        "GSSAPI",
        ClientPolicy(spn=DELEG),
        GuestPolicy(),
        {"GSSAPI": kerberos.guest("deleg", DELEG)},
    )


@pytest.fixture(scope="module")
def tls_gss_flow(kerberos: Kerberos, certificates: Certificates) -> Flow:
    """GSSAPI bound to a verified TLS around it."""
    return Flow(
        "GSSAPI in TLS",
        ClientPolicy(spn=DELEG, tls_name=GUEST, tls_ca=str(certificates.ca)),
        GuestPolicy(tls=True),
        {"GSSAPI": kerberos.guest("deleg", DELEG), "TLS": tls_guest(certificates)},
    )


@pytest.fixture(scope="module")
def ticket_flow(kerberos: Kerberos) -> Flow:
    """GSSAPI to a service that is not ok-as-delegate, then `credentials kerberos`."""
    return Flow(
        "GSSAPI and KRB-CRED",
        ClientPolicy(spn=SPN, send_ticket=True),
        GuestPolicy(),
        {"GSSAPI": kerberos.guest()},
    )


@pytest.fixture(scope="module")
def plain_flow(kerberos: Kerberos) -> Flow:
    """GSSAPI alone, without a TGT: the cheapest login that proves who it is."""
    guest = {"GSSAPI": kerberos.guest("deleg", DELEG)}
    ccache = kerberos.cache("alice-here")
    return Flow("plain GSSAPI", ClientPolicy(spn=DELEG), GuestPolicy(), guest, ccache=ccache)


@pytest.fixture(scope="module")
def refused_flow(certificates: Certificates) -> Flow:
    """A client that wants TLS, and a guest that has none: nobody signs in."""
    return Flow(
        "refused",
        ClientPolicy(tls_name=GUEST, tls_ca=str(certificates.ca), password=True),
        GuestPolicy(tls=False, sasl=(), types=("kerberos", "password")),
        person=password_of(),
    )


def tls_guest(certificates: Certificates, who: str = "guest") -> dict[str, Any]:
    """The arguments of the TLS acceptor; the key is read once, as the running guest does it."""
    from sso_mechs.tls import server_context

    identity = getattr(certificates, who)
    return {"context": server_context(str(identity.certificate), str(identity.key))}
