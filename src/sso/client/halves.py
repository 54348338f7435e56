"""What the client takes from the mechanisms' initiating halves: whose ticket it is, and what is handed over.

`load` finds mechanisms by name. Each function raises the MechanismError of its half.
"""

from collections.abc import Callable, Mapping

from sso.client.parties import Service
from sso.credential import Credential
from sso.framing import wipe
from sso.mech import NO, Mechanism, Pair, Table
from sso.policy import ClientPolicy, Source
from sso.protocol.session import Session

NO_SERVICE = "host/unknown"  # a service for a context that asks nobody

Load = Callable[[str], Pair]
Tables = Mapping[str, Table]  # [mechanism.NAME] of client.toml, by name
NO_TABLES: Tables = {}


def own_name(load: Load, spn: str, ccache: str | None) -> str:
    """The principal whose ticket the service `spn` would be shown, "" for any; the KDC is not asked."""
    probe = load("GSSAPI").initiate(spn=spn or NO_SERVICE, delegate=NO, ccache=ccache)
    probe.dispose()
    return probe.own_name


def is_verified(session: Session) -> bool:
    """Whether there is a TLS whose guest is known."""
    return session.tls is not None and bool(session.tls.peer)


def may_send(policy: ClientPolicy, session: Session, type: str, source: Source) -> bool:
    """Whether our policy lets a credential of this type go to the guest now, as the layers stand."""
    return policy.may_send(
        type,
        source=source,
        tls_verified=is_verified(session),
        authenticated=session.authenticated is not None,
        confidential=session.confidential,
    )


def tls_half(load: Load, policy: ClientPolicy) -> Mechanism:
    """TLS's half, which knows the guest as the policy names it."""
    name, ca, pins = policy.tls_name, policy.tls_ca, policy.tls_pins
    return load("TLS").initiate(name=name or None, ca_file=ca or None, pins=pins)


def kerberos_half(
    load: Load, policy: ClientPolicy, session: Session, service: Service, ccache: str | None
) -> Mechanism:
    """GSSAPI's half, with the delegation and the layer that the policy takes for this service."""
    source = service.source
    return load("GSSAPI").initiate(
        spn=service.spn or NO_SERVICE,
        delegate=policy.delegation(source=source, agreed=service.agreed),
        layer=policy.sasl_layer(is_verified(session), source=source),
        ccache=ccache,
    )


def ticket_blob(load: Load, spn: str, ccache: str | None) -> bytearray:
    """A KRB-CRED for that service (PROTOCOL.md section 9), a secret of the caller's."""
    return bytearray(load("kerberos").initiate(spn=spn, cache=ccache).step(b""))


def password_blob(load: Load, credential: Credential) -> bytearray:
    """The blob of a password credential, which stays as it is; a secret of the caller's."""
    copy = bytearray(credential.secret or b"")
    try:
        half = load("password").initiate(user=credential.principal, password=copy)
        return bytearray(half.step(b""))
    finally:
        wipe(copy)
