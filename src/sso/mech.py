"""The Mechanism interface, and the registry that finds mechanisms by name without importing them.

All mechanisms (TLS, Kerberos, passwords) work alike: pass tokens to `step` until `complete`, then use `wrap`
and `unwrap` if there is a layer, and `credential` if the peer sent one (RFC 4422 section 3; the words
initiate and accept are GSS-API's). An entry point of the group `sso.mechs` names a Pair: the initiator's
half and the acceptor's half.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sso.errors import ConfigError, MechanismError
from sso.settings import VALUE_KINDS

if TYPE_CHECKING:  # the root agent reads the tables of guest.toml, and nothing that parses
    from sso.credential import Credential

ENTRY_POINTS = "sso.mechs"
FRAME_MAX = 65535  # bytes of a wrapped frame; both sides advertise this cap (RFC 4752)
# Cap in bytes of a token in the exchange. An AP-REQ may hold two tickets of 64 KiB: the service's and a TGT.
TOKEN_MAX = 192 * 1024
NO_LAYER, INTEGRITY, CONFIDENTIALITY = LAYERS = ("none", "int", "conf")
KINDS = ("tls", "sasl", "credential")
TICKET, PASSWORD, IDENTITY = GIVES = ("ticket", "password", "identity")
KERBEROS = "kerberos"  # the namespace of Kerberos principals, and the type of a ticket that is handed over
NO, AS_KDC_SAYS, ALWAYS = "no", "policy", "always"  # whether a ticket is handed over (delegation)
SAID = "said-"  # begins the cause of a MechanismError that only the peer names, and nobody has signed

# What a name may be on the wire (RFC 4422 section 3.1, PROTOCOL.md section 2): its letters, and how many.
NAMES = {
    "tls": ("TLS", 3),
    "sasl": ("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", 20),
    "credential": ("abcdefghijklmnopqrstuvwxyz0123456789-", 32),
}
NAMESPACE_OCTETS = 63  # what a record of the guest has room for
KEY_MAX, TEXT_MAX, ITEMS_MAX = 64, 4096, 256  # letters of a key and of a text, and texts of a list
Value = str | int | bool | tuple[str, ...]
Table = Mapping[str, Value]  # [mechanism.NAME] of a configuration file


class Mechanism:
    """One half of a mechanism for one session; it has no reference to the session.

    Once `complete` is true: `layer` is "none", "int" or "conf"; `peer` names the authenticated peer ("" if
    there is none); `credential` is the credential that the peer sent, or None; `binding` is the channel
    binding for an inner mechanism (b"" if there is none). `ended` is true once the peer has said that its
    stream ends on purpose (TLS close_notify). Every method reports failure by MechanismError.

    An initiating half knows `own_name`, its own principal ("" if unknown), and `lifetime`, the seconds from
    now for which its credential is good (0: without an end). After `complete`, `delegated` says whether the
    peer received a credential to act for the user. `ccache` and `key_version` belong to Kerberos: the cache,
    and the version of the service's key for which the ticket was made.
    """

    complete: bool = False
    layer: str = NO_LAYER
    peer: str = ""
    credential: "Credential | None" = None
    binding: bytes = b""
    ended: bool = False
    plain_max: int = 16384  # cap in bytes of the data for one `wrap`
    own_name: str = ""
    lifetime: int = 0
    delegated: bool = False
    ccache: str | None = None
    key_version: int = 0

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

    def newest_key(self) -> int:
        """The version of the service's key that the authority behind it has now; `sso doctor` asks."""
        return self.key_version

    def dispose(self) -> None:
        """Wipe and drop all secrets; a second call does no harm."""
        if self.credential is not None:
            self.credential.wipe()


class Setting(NamedTuple):
    """One key of the table [mechanism.NAME], as a half declares it.

    `kind` is str, bool, int or tuple, which stands for a list of texts. `write` says what to write there, in
    the words of an error message. `default` None: the key has to be there.
    """

    name: str
    kind: type
    write: str
    default: Value | None = None


class Pair(NamedTuple):
    """The object that an entry point names: the two halves, and data about them, all of which is enforced.

    `kind` is "tls", "sasl" or "credential" (one token, the blob of `credentials TYPE`).
    `initiate` and `accept` create the halves. Their keyword arguments are the settings that `initiates` and
    `accepts` declare, and those of the session: a "sasl" half that can give a layer gets `layer`, the wanted
    one, or `layers`, the allowed ones; the accepting half of a type that is not `alone` gets `principal`.
    `confidential` says that the tokens themselves are secret: they need a conf layer around them. `layers`
    are those that the halves can give; a mechanism that cannot give "conf" runs only inside TLS.
    `provides` names the types that `credential` may have; another type is an error.
    `gives` says what PAM gets: "ticket" (a Kerberos cache, of the namespace "kerberos"), "password", or
    "identity" (nothing: the peer was verified, and the guest has to be configured to accept that).
    `namespace` says to which names `peer` belongs; "" stands for the mechanism's own name.
    `alone` marks a credential type that proves its owner by itself, so that nobody authenticated before. Any
    other type has to belong to the user whom a mechanism of the same namespace has authenticated.
    `resume` turns the result of `export` into a complete mechanism that has the layer but no long-term key;
    without it the guest accepts only the layer "none". `prepare` is called once, before privileges are
    dropped. TLS gets its key files as arguments, and `accept(context=...)` takes the result; other mechanisms
    get no arguments and import what they would import later.
    `asks` says that the client's half asks the user something, who may take any time: it has no deadline.
    """

    name: str
    kind: str
    initiate: Callable[..., Mechanism]
    accept: Callable[..., Mechanism]
    confidential: bool = False
    provides: tuple[str, ...] = ()
    resume: Callable[[bytes], Mechanism] | None = None
    prepare: Callable[..., Any] | None = None
    layers: tuple[str, ...] = (NO_LAYER,)
    initiates: tuple[Setting, ...] = ()
    accepts: tuple[Setting, ...] = ()
    gives: str = IDENTITY
    namespace: str = ""
    alone: bool = False
    asks: bool = False

    @property
    def names(self) -> str:
        """The namespace of its peers."""
        return self.namespace or self.name

    @property
    def inside_only(self) -> bool:
        """Whether it may only run inside another confidential layer."""
        return self.confidential or CONFIDENTIALITY not in self.layers


# Our own mechanisms by name, so that the spawned client never scans the installed distributions: the scan
# alone takes as long as loading GSS-API.
OURS = {
    "TLS": "sso_mechs.tls:TLS",
    "GSSAPI": "sso_mechs.kerberos:GSSAPI",
    "kerberos": "sso_mechs.krb_cred:KRB_CRED",
    "password": "sso_mechs.password:PASSWORD",
}


def names() -> dict[str, str]:
    """Map the name of every installed mechanism to "module:attribute", without importing any."""
    from importlib.metadata import entry_points

    found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return {**found, **OURS}


def load(name: str, allowed: Collection[str] | None = None) -> Pair:
    """Import one mechanism by name.

    `allowed` is the guest's allow-list: a name outside it is never imported. Raises ConfigError for a name
    that is not allowed, not installed or installed twice, or a Pair that contradicts itself, and
    MechanismError("unavailable", reason) when it cannot be imported.
    """
    if allowed is not None and name not in allowed:
        raise ConfigError(f"mechanism {name} is not in the list of allowed mechanisms")
    value = OURS.get(name) or _installed(name)
    pair = _import(name, value)
    if not isinstance(pair, Pair) or pair.name != name:
        raise ConfigError(f"mechanism {name}: {value} is not a Pair of that name")
    _check_pair(pair)
    return pair


def _installed(name: str) -> str:
    """Where a mechanism of a distribution is, as "module:attribute". Raises ConfigError."""
    from importlib.metadata import entry_points

    try:
        points = entry_points(group=ENTRY_POINTS, name=name)
    except Exception as error:  # of the metadata of any distribution
        raise MechanismError("unavailable", f"{name}: {type(error).__name__} in what is installed") from error
    found = {point.value for point in points}
    if len(found) > 1:  # which of them is meant, the order of folders on a path is not to decide
        owners = " and ".join(sorted(point.dist.name for point in points if point.dist is not None))
        raise ConfigError(f"mechanism {name} is installed by {owners}: uninstall all but one")
    if not found:
        raise ConfigError(f"no mechanism {name} is installed")
    return found.pop()


def _check_pair(pair: Pair) -> None:
    texts = all(isinstance(words, tuple) for words in (pair.layers, pair.provides))
    known = pair.kind in KINDS and pair.gives in GIVES and pair.layers and set(pair.layers) <= set(LAYERS)
    if not (texts and known):
        raise ConfigError(f"mechanism {pair.name}: its kind, layers or gives is a word that there is not")
    letters, most = NAMES[pair.kind]
    if pair.name.strip(letters) or len(pair.name) > most:  # one wrong name spoils a whole list on the wire
        raise ConfigError(f"mechanism {pair.name}: name a {pair.kind} by at most {most} of {letters}")
    if not pair.names.isprintable() or len(pair.names.encode(errors="replace")) > NAMESPACE_OCTETS:
        raise ConfigError(
            f"mechanism {pair.name}: its namespace is no name of at most {NAMESPACE_OCTETS} bytes"
        )
    if pair.gives == TICKET and pair.names != KERBEROS:
        raise ConfigError(
            f"mechanism {pair.name}: a ticket belongs to a name of Kerberos, not of {pair.names}"
        )


def settings_of(name: str, declared: Sequence[Setting], table: Table) -> dict[str, Value]:
    """The keyword arguments of a half: what stands in its table, and else the declared defaults.

    Raises ConfigError that names the table, the key and what to write.
    """
    known = {setting.name: setting for setting in declared}
    for key in table:
        if key not in known:
            write = f"write one of {', '.join(known)}" if known else "it has no options"
            raise ConfigError(f"[mechanism.{name}] {key}: there is no such option; {write}")
    found: dict[str, Value] = {}
    for key, setting in known.items():
        value = table.get(key, setting.default)
        if value is None:
            raise ConfigError(f"[mechanism.{name}] {key}: write {setting.write}")
        if type(value) is not setting.kind:  # not isinstance: true is no number here
            raise ConfigError(f"[mechanism.{name}] {key}: write {VALUE_KINDS[setting.kind]}: {setting.write}")
        found[key] = value
    return found


def table_value(name: str, key: str, value: object) -> Value:
    """The value of a key of [mechanism.NAME] as TOML gives it; a list of texts becomes a tuple.

    This looks at its shape alone, and imports nothing. Raises ConfigError.
    """
    if len(key) > KEY_MAX:
        raise ConfigError(f"[mechanism.{name}] {key[:KEY_MAX]}...: write a key of at most {KEY_MAX} letters")
    if isinstance(value, list) and len(value) <= ITEMS_MAX:
        value = tuple(value)
    items = value if isinstance(value, tuple) else (value,) if isinstance(value, str) else ()
    if not isinstance(value, str | int | tuple) or not all(
        isinstance(one, str) and len(one) <= TEXT_MAX for one in items
    ):
        raise ConfigError(
            f"[mechanism.{name}] {key}: write a text, a list of texts, a whole number, true or false"
            f" (texts of at most {TEXT_MAX} letters, and {ITEMS_MAX} of them)"
        )
    return value


def _import(name: str, value: str) -> Any:
    from importlib import import_module

    module, _, attribute = value.partition(":")
    try:
        return getattr(import_module(module), attribute, None)
    except KeyboardInterrupt:
        raise
    except ImportError as error:
        raise MechanismError("unavailable", f"{name}: {error}") from error
    except BaseException as error:  # whatever a stranger's module does; its words may hold what it has read
        raise MechanismError("unavailable", f"{name}: {type(error).__name__}") from error
