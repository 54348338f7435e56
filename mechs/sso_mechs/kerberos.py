"""SASL GSSAPI (RFC 4752) on Kerberos 5, with TGT delegation and channel bindings (PROTOCOL.md section 8).

Only the functions of `gssapi.raw` are used. The classes built on them delay the errors of a step until the
context is used again, so that a replay seems to succeed; also, each of their calls takes as long again as
the library itself. The library has a trap too: an acceptor with channel bindings accepts an initiator that
sent none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sso.credential import Credential
from sso.errors import MechanismError
from sso.mech import (
    ALWAYS,
    AS_KDC_SAYS,
    CONFIDENTIALITY,
    FRAME_MAX,
    INTEGRITY,
    KERBEROS,
    NO,
    NO_LAYER,
    TICKET,
    Mechanism,
    Pair,
    Setting,
)
from sso_mechs import enctypes
from sso_mechs.collection import chosen
from sso_mechs.enctypes import AES
from sso_mechs.gss_errors import expiry_as_skew, gss_errors
from sso_mechs.gssapi_raw import raw

LAYERS = {NO_LAYER: 1, INTEGRITY: 2, CONFIDENTIALITY: 4}  # RFC 4752 section 3.3
KRB5 = raw.MechType.kerberos
PRINCIPAL = raw.NameType.kerberos_principal
Flag = raw.RequirementFlag
FORWARDED_MAX = 65507  # bytes of a KRB-CRED in an AP-REQ; the length has 16 bits (RFC 4121 section 4.1.1)
CHANNEL_BOUND = 0x800  # GSS_C_CHANNEL_BOUND_FLAG
SESSION_KEY = raw.OID.from_int_seq("1.2.840.113554.1.2.2.5.5")  # GSS_C_INQ_SSPI_SESSION_KEY

# The flags that a context must have, as one number, because arithmetic on enum flags is slow.
PROTECTION = int(
    Flag.mutual_authentication
    | Flag.integrity
    | Flag.confidentiality
    | Flag.out_of_sequence_detection
    | Flag.replay_detection
)
DELEGATED = int(Flag.delegate_to_peer)

_DELEGATION = {NO: 0, AS_KDC_SAYS: int(Flag.ok_as_delegate), ALWAYS: DELEGATED}


class _Layered(Mechanism):
    """Base of the three classes below: `wrap` and `unwrap` after the exchange."""

    _context: Any = None

    def wrap(self, data: bytes) -> bytes:
        confidential = self.layer == CONFIDENTIALITY
        with gss_errors():
            done = raw.wrap(self._context, data, confidential)
        if done.encrypted != confidential:
            raise MechanismError("layer", "a frame would leave without its protection")
        return done.message

    def unwrap(self, data: bytes) -> bytes:
        return self._unwrap(data, self.layer == CONFIDENTIALITY)

    def _unwrap(self, data: bytes, confidential: bool) -> bytes:
        with gss_errors():
            # unwrap modifies the bytes of an integrity-only token, so pass a copy.
            done = raw.unwrap(self._context, bytes(bytearray(data)))
        if confidential and not done.encrypted:
            raise MechanismError("layer", "a frame came without confidentiality")
        return done.message

    def _wrap_clear(self, data: bytes) -> bytes:
        """Wrap the offer of layers or the answer, which RFC 4752 sends with integrity only."""
        with gss_errors():
            return raw.wrap(self._context, data, False).message

    def _start_layer(self, layer: str, peer_maximum: int) -> None:
        self.layer = layer
        if layer != NO_LAYER:
            size = raw.wrap_size_limit(self._context, min(peer_maximum, FRAME_MAX), layer == CONFIDENTIALITY)
            if size < 1:
                raise MechanismError("layer", "the peer takes no frame of a usable size")
            self.plain_max = size
        self.complete = True

    def _check_established(self, flags: int, mech: Any) -> None:
        """Check what every established context must have, before any decision depends on it."""
        if flags & PROTECTION != PROTECTION or mech != KRB5:
            raise MechanismError("gssapi", "the context lacks a protection that is required")
        key = raw.inquire_sec_context_by_oid(self._context, SESSION_KEY)
        if len(key) < 2 or enctypes.of_key(bytes(key[1])) not in AES:
            raise MechanismError("weak-key", "the context's key is no AES key")

    def dispose(self) -> None:
        super().dispose()
        self._context = None


class Initiator(_Layered):
    """The client's half.

    `spn` is service/host, with @REALM or in the default realm. `delegate` is "no", "policy" (forward the
    TGT only if the KDC sets ok-as-delegate) or "always". `layer` is the layer to choose from the guest's
    offer. `ccache` names a credential cache or a collection, None the default one; in a collection the cache
    for the service is used, or the cache of the principal `own` (sso_mechs.collection). `own_name` is the
    principal of that cache. After the context is established, `delegated` says whether a TGT was sent.
    `key_version` is the version of the service's key, once we have its ticket.
    The constructor and `step` raise MechanismError, for example "no-ticket".
    """

    def __init__(
        self,
        *,
        spn: str,
        delegate: str = AS_KDC_SAYS,
        layer: str = CONFIDENTIALITY,
        ccache: str | None = None,
        own: str = "",
    ) -> None:
        self.ccache = ccache = chosen(spn, ccache, own)
        with gss_errors("no-ticket"):
            self._credentials = _acquire("initiate", {"ccache": ccache} if ccache else None)
            found = raw.inquire_cred(self._credentials, name=True, lifetime=True, usage=False, mechs=False)
            self.own_name = _text_of(found.name)
            self.lifetime = found.lifetime or 0
        with gss_errors("unknown-service"):
            self._target = raw.canonicalize_name(raw.import_name(spn.encode(), PRINCIPAL), KRB5)
        if self.lifetime <= 0:
            raise MechanismError("ticket-expired", "the Kerberos ticket has expired")
        self._wanted = layer
        self._flags = PROTECTION | _DELEGATION[delegate]
        self._binding: raw.ChannelBindings | None = None
        self._established = False
        self._spn = spn

    def bind(self, binding: bytes) -> None:
        self._binding = raw.ChannelBindings(application_data=binding)

    def step(self, token: bytes) -> bytes:
        if self._established:
            return self._choose(token)
        first = self._context is None
        with self._named_size(), gss_errors("kdc-refused" if first else "gssapi", enctypes.is_error(token)):
            done = raw.init_sec_context(
                self._target,
                creds=self._credentials,
                context=self._context,
                mech=KRB5,
                flags=self._flags,
                channel_bindings=self._binding,
                input_token=token or None,
            )
            self._context = done.context
            if not done.more_steps:
                self._establish(int(done.flags), done.mech)
        if first:
            self.key_version = enctypes.check(done.token or b"").version  # before any byte is sent
        return done.token or b""

    @contextmanager
    def _named_size(self) -> Iterator[None]:
        """Context manager: report the size of a TGT that is too large to forward (RFC 4121 section 4.1.1)."""
        try:
            yield
        except MechanismError as error:
            if error.cause != "too-long":
                raise
            from sso_mechs import own_tgt

            with gss_errors(), own_tgt.alone(self._credentials) as (_, ticket):
                size = len(ticket.ticket)
            detail = f"a ticket of {size} bytes, and at most {FORWARDED_MAX} can be forwarded"
            raise MechanismError("too-long", detail, minor=error.minor) from None

    def _establish(self, flags: int, mech: Any) -> None:
        """Check the context after the guest proved its key; the guest must be the service we asked for."""
        self._check_established(flags, mech)
        target = raw.inquire_context(
            self._context,
            initiator_name=False,
            lifetime=False,
            mech=False,
            flags=False,
            locally_init=False,
            complete=False,
        ).target_name
        if target is None or not raw.compare_name(self._target, target):
            raise MechanismError("target", "the KDC gave a ticket for another service")
        self.peer = _text_of(target)
        self.delegated = bool(flags & DELEGATED)
        self._established = True

    def newest_key(self) -> int:
        """Ask the KDC for the version of the service's key; `key_version` is that of the ticket we send."""
        from sso_mechs import own_tgt  # here, because only sso doctor needs it

        with gss_errors("kdc-refused"), own_tgt.alone(self._credentials) as (cache, _):
            other = Initiator(spn=self._spn, delegate=NO, ccache=cache)
            other.bind(b"")
            other.step(b"")
            other.dispose()
            return other.key_version

    def _choose(self, token: bytes) -> bytes:
        """Answer the guest's offer of layers (RFC 4752 section 3.1)."""
        if self.complete:
            raise MechanismError("gssapi", "a token after the last one")
        offer = self._unwrap(token, confidential=False)
        if len(offer) != 4 or not offer[0] & LAYERS[self._wanted]:
            raise MechanismError("layer", f"the guest does not offer the layer {self._wanted}")
        maximum = 0 if self._wanted == NO_LAYER else FRAME_MAX
        # The authzid after it is empty: we act as the authenticated principal itself.
        answer = self._wrap_clear(bytes([LAYERS[self._wanted]]) + maximum.to_bytes(3, "big"))
        self._start_layer(self._wanted, int.from_bytes(offer[1:], "big"))
        return answer


class Acceptor(_Layered):
    """The guest's half, with the keytab.

    `spn` names the only key that is accepted (None: any key of the keytab, for tests); `layers` are those to
    offer. `require_binding` False is for conformance tests with peers that send no channel binding. After
    `complete`, `peer` is the principal, and `credential` is its forwarded TGT as the bytes of a FILE ccache,
    or None.
    """

    def __init__(
        self,
        *,
        spn: str | None = None,
        keytab: str | None = None,
        layers: tuple[str, ...] = (CONFIDENTIALITY,),
        require_binding: bool = True,
    ) -> None:
        self._layers, self._require_binding = layers, require_binding
        self._binding: raw.ChannelBindings | None = None
        self._initiator: Any = None
        self._forwarded: Any = None
        self._offered = False
        with gss_errors("no-keytab"):
            name = raw.import_name(spn.encode(), PRINCIPAL) if spn else None
            self._credentials = _acquire("accept", {"keytab": keytab} if keytab else None, name)

    def bind(self, binding: bytes) -> None:
        self._binding = raw.ChannelBindings(application_data=binding)

    def step(self, token: bytes) -> bytes:
        if self._initiator is None:
            return self._accept(token)
        return self._offer(token) if not self._offered else self._conclude(token)

    def _accept(self, token: bytes) -> bytes:
        if self._context is not None:
            raise MechanismError("gssapi", "a token after one that failed")
        self._context = raw.SecurityContext()
        with expiry_as_skew(), gss_errors():
            done = raw.accept_sec_context(
                token,
                acceptor_creds=self._credentials,
                context=self._context,
                channel_bindings=self._binding,
            )
        if done.more_steps:
            raise MechanismError("gssapi", "Kerberos needs one token only")
        enctypes.check(token)  # after the library has checked that the token is an AP-REQ
        with gss_errors():
            self._check_established(int(done.flags), done.mech)
        if self._require_binding and not int(done.flags) & CHANNEL_BOUND:
            raise MechanismError("binding", "the client did not bind itself to this channel")
        self._initiator, self._forwarded = done.initiator_name, done.delegated_creds
        return done.token or self._offer(b"")

    def _offer(self, token: bytes) -> bytes:
        """Answer the client's empty token with our layers and frame size (RFC 4752 section 3.2)."""
        if token:
            raise MechanismError("gssapi", "a token where an empty one was due")
        self._offered = True
        mask = sum(LAYERS[layer] for layer in self._layers)
        return self._wrap_clear(bytes([mask]) + (FRAME_MAX if mask > 1 else 0).to_bytes(3, "big"))

    def _conclude(self, token: bytes) -> bytes:
        """Process the client's choice of a layer: only this proves the session key and ends the exchange."""
        if self.complete:
            raise MechanismError("gssapi", "a token after the last one")
        choice = self._unwrap(token, confidential=False)
        layer = next((name for name in self._layers if choice[:1] == bytes([LAYERS[name]])), None)
        if layer is None or len(choice) < 4:
            raise MechanismError("layer", "the client chose a layer that was not offered")
        # Without a layer the size has no meaning: RFC 4752 wants 0, and gsasl and Java send one all the same.
        maximum = 0 if layer == NO_LAYER else int.from_bytes(choice[1:4], "big")
        with gss_errors():
            principal = _text_of(self._initiator)
        if choice[4:] not in (b"", principal.encode()):
            raise MechanismError("authzid", "the client wants to be another one")
        self.peer = principal
        self.credential = self._delegated(principal)
        self._peer_maximum = maximum
        self._start_layer(layer, maximum)
        return b""

    def _delegated(self, principal: str) -> Credential | None:
        credentials, self._forwarded = self._forwarded, None
        if credentials is None:
            return None
        from sso_mechs.forwarded import credential_of  # here, because only this needs it

        return credential_of(credentials, principal)

    def export(self) -> bytes:
        """Return layer mask, peer's maximum, length and text of the principal, the context (RFC 2743)."""
        if not self.complete:
            raise MechanismError("not-exportable")
        name = self.peer.encode()
        head = bytes([LAYERS[self.layer]]) + self._peer_maximum.to_bytes(4, "big")
        head += len(name).to_bytes(2, "big") + name
        return head + (b"" if self.layer == NO_LAYER else raw.export_sec_context(self._context))


class Resumed(_Layered):
    """The layer in the process that talks to the peer; its only key is the session key.

    Raises MechanismError("not-exportable") for data that `export` did not write.
    """

    def __init__(self, exported: bytes) -> None:
        layer = next((name for name, mask in LAYERS.items() if bytes([mask]) == exported[:1]), None)
        end = 7 + int.from_bytes(exported[5:7], "big")
        if layer is None or len(exported) < end:
            raise MechanismError("not-exportable", "it is no exported layer")
        try:
            self.peer = exported[7:end].decode()
        except UnicodeDecodeError:
            raise MechanismError("not-exportable", "its principal is no text") from None
        with gss_errors("not-exportable"):
            if layer != NO_LAYER:
                self._context = raw.import_sec_context(exported[end:])
            self._start_layer(layer, int.from_bytes(exported[1:5], "big"))


def _acquire(usage: str, store: dict[bytes | str, bytes | str] | None, name: Any = None) -> Any:
    """Acquire Kerberos credentials from a cache or a keytab, or from the default one."""
    if store is None:
        return raw.acquire_cred(name, mechs=[KRB5], usage=usage).creds
    coded: dict[bytes | str, bytes | str] = {
        key.encode(): value.encode()
        for key, value in store.items()
        if isinstance(key, str) and isinstance(value, str)
    }
    return raw.acquire_cred_from(coded, name, mechs=[KRB5], usage=usage).creds


def _text_of(name: Any) -> str:
    """Return a name as text. Raises MechanismError("gssapi") if it is not UTF-8, as in old KDCs."""
    try:
        return raw.display_name(name, name_type=False).name.decode()
    except UnicodeDecodeError:
        raise MechanismError("gssapi", "a Kerberos name is no UTF-8") from None


def prepare() -> None:
    """Load what Acceptor needs now: a confined process may not be able to read the files later."""
    import sso_mechs.forwarded  # noqa: F401  # else each worker loads it anew
    from sso_mechs.krb5_memory import hold_configuration

    hold_configuration()


GSSAPI = Pair(
    "GSSAPI",
    "sasl",
    Initiator,
    Acceptor,
    provides=("kerberos",),
    resume=Resumed,
    prepare=prepare,
    layers=(NO_LAYER, INTEGRITY, CONFIDENTIALITY),
    accepts=(
        Setting("spn", str, "service/host of the keytab, such as host/guest.example.org"),
        Setting("keytab", str, "the path of the keytab"),
    ),
    gives=TICKET,
    namespace=KERBEROS,
)
