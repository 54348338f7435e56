"""Policy: every yes-or-no decision that security depends on, for both ends (SECURITY.md gives the reasons).

This module asks neither the user nor the peer, and nothing that a peer offers or refuses makes it allow more.
The methods of ClientPolicy require the source of the guest's service name and have no default for it, so that
no caller can forget it.
"""

from enum import StrEnum
from typing import NamedTuple

from sso.mech import ALWAYS, AS_KDC_SAYS, CONFIDENTIALITY, KERBEROS, NO, NO_LAYER
from sso.spn import is_spn

TLS, SASL_CONF = "tls", "sasl-conf"
ORDER = ("GSSAPI", "password")  # the client's own list
WEAK_SERVICES = ("host", "sso")  # services that a guest may name as its own in `info spn`


class Source(StrEnum):
    """The source of the guest's service name."""

    TYPED = "typed"
    CONFIGURED = "configured"
    FILE = "file"  # a connection file or a link, which a person vouched for
    SIGNED = "signed"  # a connection file with signatures that count
    GUEST = "guest"  # the guest itself, asked outside any protection


class ClientPolicy(NamedTuple):
    """Decides what the client may send and accept; all defaults are strict.

    `require` is "tls" or "sasl-conf": the least protection for sending any secret. `named` is the source of
    `spn`. `only_for` is the only principal that may sign in, "" for any. `spn_patterns` are shell patterns;
    "host/*" without a realm means our own realm. `mechanisms` are the ways to identify the user, in order; if
    the guest refuses one, only the next one in the list is tried.
    """

    require: str = ""
    tls_name: str = ""
    tls_ca: str = ""
    tls_pins: tuple[bytes, ...] = ()
    spn: str = ""
    named: Source = Source.FILE
    only_for: str = ""
    spn_patterns: tuple[str, ...] = ("host/*",)
    trust_any_spn: bool = False
    offer_tgt: bool = False
    send_ticket: bool = False
    password: bool = False
    mechanisms: tuple[str, ...] = ORDER

    @property
    def required(self) -> str:
        return self.require or (TLS if self.wants_tls else SASL_CONF)

    @property
    def wants_tls(self) -> bool:
        """Whether to ask for TLS: only if the certificate can be verified, by name or by pin."""
        return bool(self.tls_name or self.tls_pins)

    @property
    def goes_on_without_tls(self) -> bool:
        """Whether to continue after the guest refuses TLS or does not offer it: never if TLS is required."""
        return self.required == SASL_CONF

    def may_use_spn(self, spn: str, own_realm: str, *, source: Source) -> bool:
        """Whether a ticket for that service may be sent; `own_realm` is the realm of the user's ticket.

        A name from our own side must match the allow-list. A name from the guest is weak: it must be a host
        or sso service of our own realm. The caller also checks that the user agrees or `trust_any_spn` is on.
        """
        name, at, realm = spn.partition("@")
        if source is Source.GUEST:
            weak = name.partition("/")[0] in WEAK_SERVICES
            return weak and is_spn(name) and (not at or realm == own_realm)
        from fnmatch import fnmatchcase

        patterns = (p if "@" in p else f"{p}@{own_realm}" for p in self.spn_patterns)
        return any(fnmatchcase(f"{name}@{realm or own_realm}", pattern) for pattern in patterns)

    def delegation(self, *, source: Source, agreed: bool) -> str:
        """Whether to delegate the TGT: never, if the KDC allows it, or always.

        `agreed`: the user said yes to a question that named console, service and ticket. If only the guest
        named the service, nothing is delegated without that answer, even if the KDC allows it.
        """
        if source is Source.GUEST:
            return AS_KDC_SAYS if agreed and not self.trust_any_spn else NO
        return ALWAYS if self.offer_tgt else AS_KDC_SAYS

    def sasl_layer(self, tls_verified: bool, *, source: Source) -> str:
        """The layer to require in SASL: confidentiality, or none inside verified TLS if we know the name."""
        return NO_LAYER if tls_verified and source is not Source.GUEST else CONFIDENTIALITY

    def may_start(self, *, source: Source, inside_only: bool, tls_verified: bool) -> bool:
        """Whether a mechanism that is not ours may be started; `inside_only` is that of its Pair.

        Without a verified TLS it has to protect itself, and somebody else than the guest has named the guest.
        """
        named = source is not Source.GUEST
        return tls_verified or (self.required == SASL_CONF and named and not inside_only)

    def may_send(
        self, type: str, *, source: Source, tls_verified: bool, authenticated: bool, confidential: bool
    ) -> bool:
        """Whether to send a credential of that type in the present state of the session.

        A ticket is never sent to a service that only the guest named; a password is sent only inside TLS. Any
        other type has to be listed, and needs TLS or a guest that a mechanism has authenticated.
        """
        if not confidential or (self.required == TLS and not tls_verified):
            return False
        if type == "password":
            return self.password and tls_verified
        if type == KERBEROS:
            return self.send_ticket and authenticated and source is not Source.GUEST
        return type in self.mechanisms and (tls_verified or authenticated)


class GuestPolicy(NamedTuple):
    """Decides what a peer may try, from the guest's configuration.

    The last three fields are what the pairs of `sasl` and `types` declare: which mechanisms run only inside
    TLS, which types prove their owner by themselves, and which types may follow after each mechanism.
    """

    tls: bool = False
    sasl: tuple[str, ...] = ("GSSAPI",)
    types: tuple[str, ...] = ("kerberos",)
    require_tls: bool = False
    inside_tls: tuple[str, ...] = ()
    alone: tuple[str, ...] = ("password",)
    followed: tuple[tuple[str, tuple[str, ...]], ...] = (("GSSAPI", ("kerberos",)),)

    def may_start_tls(self) -> bool:
        return self.tls

    def may_start_sasl(self, name: str, in_tls: bool) -> bool:
        return name in self.sasl and (in_tls or not (self.require_tls or name in self.inside_tls))

    def asked_after(self, name: str) -> tuple[str, ...]:
        """The types that `authenticate` names once the mechanism `name` has said who it is."""
        return tuple(type for type in dict(self.followed).get(name, ()) if type in self.types)

    def asked(self) -> tuple[str, ...]:
        """The types to name in `authenticate`; they are the same inside and outside a layer."""
        return self.types

    def may_take(self, type: str, *, in_tls: bool, authenticated: bool, confidential: bool) -> bool:
        """Whether to accept a credential of that type in the present state of the session."""
        if type not in self.types or not confidential or (self.require_tls and not in_tls):
            return False
        return in_tls if type in self.alone else authenticated

    def may_sign_in(self, *, in_tls: bool, confidential: bool) -> bool:
        """Whether to accept an authentication: it needs TLS around it or its own confidential layer."""
        return confidential and (in_tls or not self.require_tls)
