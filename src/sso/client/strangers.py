"""Mechanisms that are not ours, at the client: whether one may be started, and its half with its settings."""

from sso.client.halves import Load, Tables, is_verified, may_send
from sso.errors import PolicyError
from sso.mech import CONFIDENTIALITY, NO_LAYER, OURS, Mechanism, Pair, settings_of
from sso.policy import ClientPolicy, Source
from sso.protocol.session import Session


def half(
    name: str,
    load: Load,
    policy: ClientPolicy,
    session: Session,
    types: tuple[str, ...],
    tables: Tables,
    *,
    source: Source,
) -> Mechanism:
    """The half of a listed mechanism or credential type, as far as the guest and our own policy take it.

    `types` are those that the guest asks for. Raises PolicyError with the reason; nothing is imported that
    the guest does not offer.
    """
    unknown = PolicyError("not-offered", f"the guest does not offer {name}")
    # Only Kerberos can tell whether the user is the one that `only_for` names.
    if name in OURS or policy.only_for or name not in (*session.peer_mechanisms, *types):
        raise unknown
    pair = load(name)
    if not policy.may_start(source=source, inside_only=pair.inside_only, tls_verified=is_verified(session)):
        raise PolicyError("needs-tls", f"{name} needs a verified TLS")
    if pair.kind == "sasl" and name in session.peer_mechanisms:
        return made(pair, tables, session)
    sendable = name in types and may_send(policy, session, name, source)
    if pair.kind != "credential" or not pair.alone or not sendable:
        raise unknown
    return made(pair, tables, session)


def made(pair: Pair, tables: Tables, session: Session) -> Mechanism:
    """The initiating half with its settings. Raises ConfigError that names the key and what to write."""
    settings = settings_of(pair.name, pair.initiates, tables.get(pair.name, {}))
    if pair.kind != "sasl" or pair.layers == (NO_LAYER,):
        return pair.initiate(**settings)
    bare = is_verified(session) and NO_LAYER in pair.layers
    return pair.initiate(**settings, layer=NO_LAYER if bare else CONFIDENTIALITY)
