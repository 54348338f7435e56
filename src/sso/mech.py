"""The Mechanism interface, and the registry that finds mechanisms by name without importing them.

All mechanisms (TLS, Kerberos, passwords) work alike: pass tokens to `step` until `complete`, then use `wrap`
and `unwrap` if there is a layer, and `credential` if the peer sent one (RFC 4422 section 3; the words
initiate and accept are GSS-API's). An entry point of the group `sso.mechs` names a Pair: the initiator's
half and the acceptor's half.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sso.credential import Credential
from sso.errors import ConfigError, MechanismError

ENTRY_POINTS = "sso.mechs"
FRAME_MAX = 65535  # bytes of a wrapped frame; both sides advertise this cap (RFC 4752)
# Cap in bytes of a token in the exchange. An AP-REQ may hold two tickets of 64 KiB: the service's and a TGT.
TOKEN_MAX = 192 * 1024
NO_LAYER, INTEGRITY, CONFIDENTIALITY = "none", "int", "conf"
NO, AS_KDC_SAYS, ALWAYS = "no", "policy", "always"  # whether a ticket is handed over (delegation)
SAID = "said-"  # begins the cause of a MechanismError that only the peer names, and nobody has signed


class Mechanism:
    """One half of a mechanism for one session; it has no reference to the session.

    Once `complete` is true: `layer` is "none", "int" or "conf"; `peer` names the authenticated peer ("" if
    there is none); `credential` is the credential that the peer sent, or None; `binding` is the channel
    binding for an inner mechanism (b"" if there is none). Every method reports failure by MechanismError.
    """

    complete: bool = False
    layer: str = NO_LAYER
    peer: str = ""
    credential: Credential | None = None
    binding: bytes = b""
    plain_max: int = 16384  # cap in bytes of the data for one `wrap`

    def bind(self, binding: bytes) -> None:
        """Set the channel binding, before the first step; a mechanism that has no use for it ignores it."""

    def step(self, token: bytes) -> bytes | bytearray:
        """Process the peer's token (b"" in the initiator's first step) and return the answer, b"" for none.

        Raises MechanismError; its `token`, if any, may still be sent to the peer.
        """
        raise MechanismError("not-implemented")

    def wrap(self, data: bytes) -> bytes:
        """Protect at most `plain_max` bytes; allowed only after `complete`, if there is a layer."""
        raise MechanismError("no-layer")

    def unwrap(self, data: bytes) -> bytes | bytearray:
        """Reverse the peer's `wrap`: `data` is one frame for SASL, any chunk of the stream for TLS."""
        raise MechanismError("no-layer")

    def export(self) -> bytes:
        """After `complete`: return the state that Pair.resume needs to continue the layer elsewhere."""
        raise MechanismError("not-exportable")

    def finish(self) -> bytes:
        """Return the bytes that tell the peer that the stream ends on purpose (TLS close_notify), or b""."""
        return b""

    def dispose(self) -> None:
        """Wipe and drop all secrets; a second call does no harm."""
        if self.credential is not None:
            self.credential.wipe()


class Pair(NamedTuple):
    """The object that an entry point names: the two halves, and data about what they need and provide.

    `kind` is "tls", "sasl" or "credential" (one token, the blob of `credentials TYPE`).
    `initiate` and `accept` create the halves; each mechanism defines their keyword arguments.
    `confidential` says that the tokens themselves are secret, so they need a conf layer around them.
    `provides` names the credential types that `credential` may have. `resume` turns the result of `export`
    into a complete mechanism that has the layer but no long-term key. `prepare` is called once, before
    privileges are dropped. TLS gets its key files as arguments, and `accept(context=...)` takes the result;
    other mechanisms get no arguments and import what they would import later.
    """

    name: str
    kind: str
    initiate: Callable[..., Mechanism]
    accept: Callable[..., Mechanism]
    confidential: bool = False
    provides: tuple[str, ...] = ()
    resume: Callable[[bytes], Mechanism] | None = None
    prepare: Callable[..., Any] | None = None


# Our own mechanisms by name, so that the spawned client never scans the installed distributions: the scan
# alone takes as long as loading GSS-API.
_OURS = {
    "TLS": "sso_mechs.tls:TLS",
    "GSSAPI": "sso_mechs.kerberos:GSSAPI",
    "kerberos": "sso_mechs.krb_cred:KRB_CRED",
    "password": "sso_mechs.password:PASSWORD",
}


def names() -> dict[str, str]:
    """Map the name of every installed mechanism to "module:attribute", without importing any."""
    from importlib.metadata import entry_points

    found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return {**found, **_OURS}


def load(name: str, allowed: Collection[str] | None = None) -> Pair:
    """Import one mechanism by name.

    `allowed` is the guest's allow-list: a name outside it is never imported. Raises ConfigError for a name
    that is not allowed or not installed, and MechanismError("unavailable", reason) when its library is
    missing.
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
