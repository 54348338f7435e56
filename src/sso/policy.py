"""Policy: every yes-or-no question that security hangs on, for both ends (SECURITY.md says why).

Nothing here asks a person or the peer; what a peer offers or refuses never widens an answer. Every question
to ClientPolicy takes where the guest's service name came from, without a default: no path can forget it.
"""

from enum import StrEnum
from typing import NamedTuple

from sso.mech import CONFIDENTIALITY, KERBEROS, NO_LAYER
from sso.spn import is_spn

TLS, SASL_CONF = "tls", "sasl-conf"
NO, AS_KDC_SAYS, ALWAYS = "no", "policy", "always"
ORDER = ("GSSAPI", "password")  # the client's own list
WEAK_SERVICES = ("host", "sso")  # what a guest may name as its own service by `info spn`


class Source(StrEnum):
    """Where the name of the guest's service came from."""

    TYPED = "typed"
    CONFIGURED = "configured"
    FILE = "file"  # a connection file or a link, for which somebody has vouched
    SIGNED = "signed"  # such a file with signatures that count
    GUEST = "guest"  # its own word, asked outside any protection


class ClientPolicy(NamedTuple):
    """What the client's own side allows; all defaults are the strict ones.

    `require` is "tls" or "sasl-conf": the least protection under which anything secret leaves. `named` says
    where `spn` came from. `only_for` is the one principal that may sign in, "" for any.
    `spn_patterns` are shell patterns; "host/*" without a realm means our own realm. `mechanisms` is what the
    user is shown to the guest with, in this order; one that the guest refuses leads to the next one alone.
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
        """Only a TLS that can be verified is worth asking for."""
        return bool(self.tls_name or self.tls_pins)

    @property
    def goes_on_without_tls(self) -> bool:
        """A refusal or a missing offer never lowers what is required."""
        return self.required == SASL_CONF

    def may_use_spn(self, spn: str, own_realm: str, *, source: Source) -> bool:
        """Whether a ticket for that service may be shown; `own_realm` is that of the user's own ticket.

        A name of our own side has to match the allow-list. The guest's own is weak: a host or sso service of
        our own realm, nothing else; that a person agrees, or `trust_any_spn` is set, has to come on top.
        """
        name, at, realm = spn.partition("@")
        if source is Source.GUEST:
            weak = name.partition("/")[0] in WEAK_SERVICES
            return weak and is_spn(name) and (not at or realm == own_realm)
        from fnmatch import fnmatchcase

        patterns = (p if "@" in p else f"{p}@{own_realm}" for p in self.spn_patterns)
        return any(fnmatchcase(f"{name}@{realm or own_realm}", pattern) for pattern in patterns)

    def delegation(self, *, source: Source, agreed: bool) -> str:
        """Whether the TGT may go along: not at all, as the KDC says, or always.

        `agreed`: a person has said yes to a question that named console, service and ticket. Without it the
        guest's own word for its name gets nothing, whatever the KDC says of that name.
        """
        if source is Source.GUEST:
            return AS_KDC_SAYS if agreed and not self.trust_any_spn else NO
        return ALWAYS if self.offer_tgt else AS_KDC_SAYS

    def sasl_layer(self, tls_verified: bool, *, source: Source) -> str:
        """Confidentiality, unless there is a verified TLS around it and the name is not the guest's own."""
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
        """Whether a credential of that type may leave in the session as it stands.

        A ticket never goes to a service that only the guest has named; a password goes by TLS alone. Another
        type has to be listed, and goes by TLS or to whom a mechanism has authenticated.
        """
        if not confidential or (self.required == TLS and not tls_verified):
            return False
        if type == "password":
            return self.password and tls_verified
        if type == KERBEROS:
            return self.send_ticket and authenticated and source is not Source.GUEST
        return type in self.mechanisms and (tls_verified or authenticated)


class GuestPolicy(NamedTuple):
    """What the guest's configuration allows a peer to try.

    The last three say what the pairs of `sasl` and `types` declare: which mechanisms run inside TLS only,
    which types prove by themselves whose they are, and which types may follow after each mechanism.
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
        """The types that `authenticate` names, outside and inside a layer alike."""
        return self.types

    def may_take(self, type: str, *, in_tls: bool, authenticated: bool, confidential: bool) -> bool:
        """Whether a credential of that type counts in the session as it stands."""
        if type not in self.types or not confidential or (self.require_tls and not in_tls):
            return False
        return in_tls if type in self.alone else authenticated

    def may_sign_in(self, *, in_tls: bool, confidential: bool) -> bool:
        """Whether an authentication counts at all: inside TLS, or under a confidential layer of its own."""
        return confidential and (in_tls or not self.require_tls)
