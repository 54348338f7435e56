"""The Mechanism interface, and the registry that finds mechanisms by name without importing them.

TLS, Kerberos and passwords all fit one exchange: `step` tokens until `complete`, then `wrap` and
`unwrap` if there is a layer, and a `credential` if one was handed over (RFC 4422 section 3; GSS-API's
words initiate and accept). An entry point of the group `sso.mechs` names a Pair of halves.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sso.credential import Credential
from sso.errors import ConfigError, MechanismError

ENTRY_POINTS = "sso.mechs"
FRAME_MAX = 65535  # octets of a wrapped frame: what both sides advertise (RFC 4752)
# Octets of a token in the exchange. An AP-REQ may hold two tickets of 64 KiB: the service's and a TGT.
TOKEN_MAX = 192 * 1024
NO_LAYER, INTEGRITY, CONFIDENTIALITY = "none", "int", "conf"
NO, AS_KDC_SAYS, ALWAYS = "no", "policy", "always"  # whether a ticket is handed over (delegation)
SAID = "said-"  # begins the cause of a MechanismError that only the peer names, and nobody has signed


class Mechanism:
    """One half of a mechanism for one session; a mechanism never holds the session.

    After `complete`: `layer` is "none", "int" or "conf"; `peer` names who was authenticated ("" if
    nobody); `credential` is what was handed over, or None; `binding` is what an inner mechanism
    binds itself to (b"" if this one gives nothing). Every failure is a MechanismError.
    """

    complete: bool = False
    layer: str = NO_LAYER
    peer: str = ""
    credential: Credential | None = None
    binding: bytes = b""
    plain_max: int = 16384  # octets that one `wrap` takes

    def bind(self, binding: bytes) -> None:
        """Receive the channel binding before the first step; a mechanism without one ignores it."""

    def step(self, token: bytes) -> bytes | bytearray:
        """Take the peer's token (b"" at the initiator's start) and return the answer, b"" for none.

        Raises MechanismError; its `token`, if any, may still be sent to the peer.
        """
        raise MechanismError("not-implemented")

    def wrap(self, data: bytes) -> bytes:
        """Protect at most `plain_max` octets; only after `complete` and with a layer."""
        raise MechanismError("no-layer")

    def unwrap(self, data: bytes) -> bytes | bytearray:
        """Undo the peer's `wrap`: one frame for SASL, any chunk of the stream for TLS."""
        raise MechanismError("no-layer")

    def export(self) -> bytes:
        """After `complete`: what Pair.resume needs to go on with the layer in another process."""
        raise MechanismError("not-exportable")

    def finish(self) -> bytes:
        """What tells the peer that the stream ends here on purpose (TLS close_notify)."""
        return b""

    def dispose(self) -> None:
        """Wipe and drop what is secret; may be called twice."""
        if self.credential is not None:
            self.credential.wipe()


class Pair(NamedTuple):
    """What an entry point names: the two halves and, as data, what they need and provide.

    `kind` is "tls", "sasl" or "credential" (one token, the blob of `credentials TYPE`).
    `initiate` and `accept` make the halves; their keyword arguments are the mechanism's own.
    `confidential` says that the tokens themselves are secret: only inside a conf layer.
    `provides` names the credential types that `credential` may have. `resume` turns what `export` gave
    into a mechanism that is complete and knows the layer, but no long-term key. `prepare` is called once,
    before privileges are dropped: for TLS with its key files, and `accept(context=...)` takes what it
    gives; for others without arguments, to import what they import late.
    """

    name: str
    kind: str
    initiate: Callable[..., Mechanism]
    accept: Callable[..., Mechanism]
    confidential: bool = False
    provides: tuple[str, ...] = ()
    resume: Callable[[bytes], Mechanism] | None = None
    prepare: Callable[..., Any] | None = None


# Ours by name, so that the spawned client never scans the installed distributions: that scan alone
# costs as much start-up as GSS-API itself.
_OURS = {
    "TLS": "sso_mechs.tls:TLS",
    "GSSAPI": "sso_mechs.kerberos:GSSAPI",
    "kerberos": "sso_mechs.krb_cred:KRB_CRED",
    "password": "sso_mechs.password:PASSWORD",
}


def names() -> dict[str, str]:
    """Every mechanism that is installed, name to "module:attribute", without importing any."""
    from importlib.metadata import entry_points

    found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return {**found, **_OURS}


def load(name: str, allowed: Collection[str] | None = None) -> Pair:
    """Import one mechanism by name.

    `allowed` is the guest's allow-list: a name outside it is never imported. Raises ConfigError for
    a name that is not allowed or not installed, MechanismError("unavailable") with the reason when
    its library is missing.
    """
    if allowed is not None and name not in allowed:
        raise ConfigError(f"mechanism {name} is not in the list of allowed mechanisms")
    value = _OURS.get(name) or names().get(name)
    if value is None:
        raise ConfigError(f"no mechanism {name} is installed")
    pair = _import(name, value)
    if not isinstance(pair, Pair) or pair.name != name:
        raise ConfigError(f"mechanism {name}: {value} is not a Pair of that name")
    return pair


def _import(name: str, value: str) -> Any:
    from importlib import import_module

    module, _, attribute = value.partition(":")
    try:
        return getattr(import_module(module), attribute, None)
    except ImportError as error:
        raise MechanismError("unavailable", f"{name}: {error}") from error
