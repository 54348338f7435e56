"""SASL GSSAPI (RFC 4752) on Kerberos 5, with TGT delegation and channel bindings (PROTOCOL.md section 8).

Two measured traps of python-gssapi shape this file: `step` returns the error token of a failed step
and raises only later, and an acceptor with bindings accepts an initiator that sent none.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gssapi
from gssapi import raw

from sso.credential import Credential
from sso.errors import MechanismError
from sso.mech import CONFIDENTIALITY, FRAME_MAX, INTEGRITY, NO_LAYER, Mechanism, Pair

LAYERS = {NO_LAYER: 1, INTEGRITY: 2, CONFIDENTIALITY: 4}  # RFC 4752 section 3.3
AES = frozenset({17, 18, 19, 20})  # RFC 3962, RFC 8009
KRB5 = gssapi.MechType.kerberos
PRINCIPAL = gssapi.NameType.kerberos_principal
Flag = gssapi.RequirementFlag
CHANNEL_BOUND = 0x800  # GSS_C_CHANNEL_BOUND_FLAG
SESSION_KEY = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2.5.5")  # GSS_C_INQ_SSPI_SESSION_KEY

NO, POLICY, ALWAYS = "no", "policy", "always"
_DELEGATION = {NO: 0, POLICY: Flag.ok_as_delegate, ALWAYS: Flag.delegate_to_peer}

# Kerberos error numbers (krb5_err.et, counted from its base) to the words that exit codes use.
_ERROR_BASE = 2529638912
_CAUSES = {
    7: "unknown-service",
    31: "wrong-key",
    32: "ticket-expired",
    33: "clock-skew",  # not yet valid: whoever says so is behind
    34: "replay",
    35: "wrong-key",
    37: "clock-skew",
    38: "wrong-address",
    141: "no-ticket",
    154: "unknown-realm",
    156: "kdc-unreachable",
    181: "no-keytab",
    195: "no-ticket",
}


_Store = dict[bytes | str, bytes | str]


class _Context(gssapi.SecurityContext):
    """A context whose errors are raised where they happen."""


# Behind the class, not in it: the library's metaclass overwrites what a class body says here.
_Context.__DEFER_STEP_ERRORS__ = False  # type: ignore[attr-defined]


class _Layered(Mechanism):
    """What remains of GSSAPI when the exchange is over: wrap and unwrap."""

    _context: Any = None

    def wrap(self, data: bytes) -> bytes:
        with _gss_errors():
            done = self._context.wrap(data, self.layer == CONFIDENTIALITY)
        if done.encrypted != (self.layer == CONFIDENTIALITY):
            raise MechanismError("layer", "a frame would leave without its protection")
        return bytes(done.message)

    def unwrap(self, data: bytes) -> bytes:
        return self._unwrap(data, self.layer == CONFIDENTIALITY)

    def _unwrap(self, data: bytes, confidential: bool) -> bytes:
        with _gss_errors():
            # unwrap writes into the octets of an integrity-only token: give it a copy of its own.
            done = self._context.unwrap(bytes(bytearray(data)))
        if confidential and not done.encrypted:
            raise MechanismError("layer", "a frame came without confidentiality")
        return bytes(done.message)

    def _start_layer(self, layer: str, peer_maximum: int) -> None:
        self.layer = layer
        if layer != NO_LAYER:
            size = self._context.get_wrap_size_limit(min(peer_maximum, FRAME_MAX), layer == CONFIDENTIALITY)
            if size < 1:
                raise MechanismError("layer", "the peer takes no frame of a usable size")
            self.plain_max = size
        self.complete = True

    def _check_established(self) -> None:
        """Everything that has to hold before anything is decided on an established context."""
        flags = self._context.actual_flags
        needed = Flag.mutual_authentication | Flag.integrity | Flag.confidentiality
        needed |= Flag.out_of_sequence_detection | Flag.replay_detection
        if flags & needed != needed or self._context.mech != KRB5:
            raise MechanismError("gssapi", "the context lacks a protection that is required")
        key = raw.inquire_sec_context_by_oid(self._context, SESSION_KEY)
        if len(key) < 2 or _encryption_type(bytes(key[1])) not in AES:
            raise MechanismError("weak-key", "the session key is no AES key")

    def dispose(self) -> None:
        super().dispose()
        self._context = None


class Initiator(_Layered):
    """The client's half.

    `spn` is service/host, with @REALM or in the default realm. `delegate` is "no", "policy" (forward the
    TGT only where the KDC says ok-as-delegate) or "always". `layer` is what is chosen from the guest's
    offer. `ccache` names a credential cache other than the default one. `own_name` is who we are;
    `delegated` says, after the first step, whether a TGT went along.
    Raises MechanismError("no-ticket") and the like from here on.
    """

    def __init__(
        self, *, spn: str, delegate: str = POLICY, layer: str = CONFIDENTIALITY, ccache: str | None = None
    ) -> None:
        store: _Store | None = {"ccache": ccache} if ccache else None
        with _gss_errors("no-ticket"):
            self._credentials = gssapi.Credentials(usage="initiate", mechs=[KRB5], store=store)
            self.own_name = str(self._credentials.name)
            self.lifetime: int = self._credentials.lifetime or 0
        with _gss_errors("unknown-service"):
            self._target = gssapi.Name(spn, PRINCIPAL)
            self._target_name = str(self._target.canonicalize(KRB5))
        if self.lifetime <= 0:
            raise MechanismError("ticket-expired", "the Kerberos ticket has expired")
        self._wanted = layer
        self._flags = int(_DELEGATION[delegate])
        self._binding: raw.ChannelBindings | None = None
        self.delegated = False

    def bind(self, binding: bytes) -> None:
        self._binding = raw.ChannelBindings(application_data=binding)

    def step(self, token: bytes) -> bytes:
        if self._context is None:
            self._context = self._new_context()
            return self._step(b"", otherwise="kdc-refused")
        if not self._context.complete:
            answer = self._step(token)
            if self._context.complete:
                self._check_established()
                self._check_target()
            return answer
        return self._choose(token)

    def _new_context(self) -> _Context:
        flags = Flag.mutual_authentication | Flag.replay_detection | Flag.out_of_sequence_detection
        flags |= Flag.confidentiality | Flag.integrity | self._flags
        return _Context(
            name=self._target,
            creds=self._credentials,
            flags=flags,
            mech=KRB5,
            usage="initiate",
            channel_bindings=self._binding,
        )

    def _step(self, token: bytes, otherwise: str = "gssapi") -> bytes:
        with _gss_errors(otherwise):
            answer = self._context.step(token or None)
            complete = self._context.complete  # reading this raises a deferred error
        if complete:
            self.delegated = bool(self._context.actual_flags & Flag.delegate_to_peer)
        return bytes(answer or b"")

    def _check_target(self) -> None:
        if str(self._context.target_name) != self._target_name:
            raise MechanismError("target", "the KDC gave a ticket for another service")
        self.peer = self._target_name

    def _choose(self, token: bytes) -> bytes:
        """Answer the guest's offer of layers (RFC 4752 section 3.1)."""
        if self.complete:
            raise MechanismError("gssapi", "a token after the last one")
        offer = self._unwrap(token, confidential=False)
        if len(offer) != 4 or not offer[0] & LAYERS[self._wanted]:
            raise MechanismError("layer", f"the guest does not offer the layer {self._wanted}")
        maximum = 0 if self._wanted == NO_LAYER else FRAME_MAX
        choice = bytes([LAYERS[self._wanted]]) + maximum.to_bytes(
            3, "big"
        )  # authzid empty: the authcid's own
        with _gss_errors():
            answer = bytes(self._context.wrap(choice, False).message)
        self._start_layer(self._wanted, int.from_bytes(offer[1:], "big"))
        return answer


class Acceptor(_Layered):
    """The guest's half, with the keytab.

    `spn` names the only key that is accepted (None: any key of the keytab, for tests), `layers` what is
    offered. `require_binding` False is for conformance tests with peers that set none. After
    `complete`, `peer` is the principal and `credential` its forwarded TGT as the octets of a FILE
    ccache, or None. `folder` is where the library writes that file for the moment.
    """

    def __init__(
        self,
        *,
        spn: str | None = None,
        keytab: str | None = None,
        layers: tuple[str, ...] = (CONFIDENTIALITY,),
        require_binding: bool = True,
        folder: str | None = None,
    ) -> None:
        self._layers, self._require_binding, self._folder = layers, require_binding, folder
        self._binding: raw.ChannelBindings | None = None
        self._offered = False
        with _gss_errors("no-keytab"):
            name = gssapi.Name(spn, PRINCIPAL) if spn else None
            store: _Store | None = {"keytab": keytab} if keytab else None
            self._credentials = gssapi.Credentials(usage="accept", name=name, mechs=[KRB5], store=store)

    def bind(self, binding: bytes) -> None:
        self._binding = raw.ChannelBindings(application_data=binding)

    def step(self, token: bytes) -> bytes:
        if self._context is None:
            self._context = _Context(creds=self._credentials, usage="accept", channel_bindings=self._binding)
        if not self._context.complete:
            return self._accept(token)
        return self._offer(token) if not self._offered else self._conclude(token)

    def _accept(self, token: bytes) -> bytes:
        with _expiry_as_skew(), _gss_errors():
            answer = self._context.step(token)
            complete = self._context.complete  # reading this raises a deferred error
        if not complete:
            raise MechanismError("gssapi", "Kerberos needs one token only")
        self._check_established()
        if self._require_binding and not int(self._context.actual_flags) & CHANNEL_BOUND:
            raise MechanismError("binding", "the client did not bind itself to this channel")
        return bytes(answer or b"") if answer else self._offer(b"")

    def _offer(self, token: bytes) -> bytes:
        """The empty token of the client, then our layers and frame size (RFC 4752 section 3.2)."""
        if token:
            raise MechanismError("gssapi", "a token where an empty one was due")
        self._offered = True
        mask = sum(LAYERS[layer] for layer in self._layers)
        offer = bytes([mask]) + (FRAME_MAX if mask > 1 else 0).to_bytes(3, "big")
        with _gss_errors():
            return bytes(self._context.wrap(offer, False).message)

    def _conclude(self, token: bytes) -> bytes:
        """The client's choice: only now the session key is proven, and the login may be believed."""
        if self.complete:
            raise MechanismError("gssapi", "a token after the last one")
        choice = self._unwrap(token, confidential=False)
        layer = next((name for name in self._layers if choice[:1] == bytes([LAYERS[name]])), None)
        if layer is None or len(choice) < 4:
            raise MechanismError("layer", "the client chose a layer that was not offered")
        maximum = int.from_bytes(choice[1:4], "big")
        if layer == NO_LAYER and maximum:
            raise MechanismError("layer", "a frame size without a layer")
        with _gss_errors():
            principal = str(self._context.initiator_name)
        if choice[4:] not in (b"", principal.encode()):
            raise MechanismError("authzid", "the client wants to be another one")
        self.peer = principal
        self.credential = self._delegated(principal)
        self._peer_maximum = maximum
        self._start_layer(layer, maximum)
        return b""

    def _delegated(self, principal: str) -> Credential | None:
        credentials = self._context.delegated_creds
        if credentials is None:
            return None
        with _gss_errors("delegation"):
            if str(credentials.name) != principal:
                raise MechanismError("delegation", "the forwarded ticket belongs to another principal")
            expires = int(time.time()) + (credentials.lifetime or 0)
            try:
                secret = self._octets_of(credentials)
            except OSError as error:
                raise MechanismError(
                    "delegation", f"the forwarded ticket is lost: {error.strerror}"
                ) from None
        return Credential("kerberos", principal, secret, expires)

    def _octets_of(self, credentials: gssapi.Credentials) -> bytearray:
        import tempfile  # late: only this needs it

        # The library stores to a path only: a folder of our own (0700), read back, removed at once.
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = os.path.join(folder, "ccache")
            credentials.store({"ccache": "FILE:" + path}, usage="initiate", overwrite=True)
            with open(path, "r+b") as file:
                secret = bytearray(os.fstat(file.fileno()).st_size)
                file.readinto(secret)
                file.seek(0)
                file.write(bytes(len(secret)))
        return secret

    def export(self) -> bytes:
        """layer mask, peer's maximum, length and text of the principal, exported context (RFC 2743)."""
        if not self.complete:
            raise MechanismError("not-exportable")
        name = self.peer.encode()
        head = bytes([LAYERS[self.layer]]) + self._peer_maximum.to_bytes(4, "big")
        head += len(name).to_bytes(2, "big") + name
        return head + (b"" if self.layer == NO_LAYER else bytes(self._context.export()))


class Resumed(_Layered):
    """The layer in the process that talks to the peer; it holds the session key and nothing else."""

    def __init__(self, exported: bytes) -> None:
        layer = next(name for name, mask in LAYERS.items() if mask == exported[0])
        end = 7 + int.from_bytes(exported[5:7], "big")
        self.peer = exported[7:end].decode()
        if layer != NO_LAYER:
            self._context = _Context(token=exported[end:])
        self._start_layer(layer, int.from_bytes(exported[1:5], "big"))


@contextmanager
def _gss_errors(otherwise: str = "gssapi") -> Iterator[None]:
    """Every error of the library as ours; `otherwise` is the cause where its number says nothing."""
    try:
        yield
    except gssapi.exceptions.GSSError as error:
        raise _failure(error, otherwise) from None


@contextmanager
def _expiry_as_skew() -> Iterator[None]:
    """A client sends no ticket that has expired by its own clock: then ours is ahead."""
    try:
        yield
    except MechanismError as error:
        if error.cause == "ticket-expired":
            error.cause = "clock-skew"
        raise


def _failure(error: Any, otherwise: str) -> MechanismError:
    """A GSS error as ours: a word for the cause, the library's text as the detail."""
    minor = int(getattr(error, "min_code", 0) or 0)
    known = {
        gssapi.exceptions.ExpiredCredentialsError: "ticket-expired",
        gssapi.exceptions.MissingCredentialsError: "no-ticket",
        gssapi.exceptions.BadChannelBindingsError: "binding",
        gssapi.exceptions.DuplicateTokenError: "replay",
    }
    cause = _CAUSES.get(minor - _ERROR_BASE) or known.get(type(error), otherwise)
    detail = " ".join(str(error.get_all_statuses(minor, False)[0]).split()) if minor else type(error).__name__
    detail = "" if detail == "Success" else detail  # a number that the library itself cannot name
    return MechanismError(cause, detail, minor=minor)


def _encryption_type(oid: bytes) -> int:
    """The last arc of 1.2.840.113554.1.2.2.5.5.ETYPE is the key's type; AES fits one octet."""
    return oid[-1] if oid and oid[-1] < 0x80 else 0


def prepare() -> None:
    """Import what taking a ticket needs: the process that calls it may not be able to read it later."""
    import tempfile  # noqa: F401


GSSAPI = Pair("GSSAPI", "sasl", Initiator, Acceptor, provides=("kerberos",), resume=Resumed, prepare=prepare)
