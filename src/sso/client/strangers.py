"""Mechanisms that are not ours, at the client: whether one may be started, and its half with its settings.

Their code is imported and called in a process of its own (sso.client.apart), which has a deadline.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sso.client.apart import Apart, in_time
from sso.client.halves import Load, Tables, is_verified, may_send
from sso.errors import ConfigError, MechanismError, PolicyError
from sso.framing import wipe
from sso.mech import CONFIDENTIALITY, NO_LAYER, OURS, TEXT_MAX, TOKEN_MAX, Mechanism, Pair, settings_of
from sso.policy import ClientPolicy, Source
from sso.protocol.messages import SECRET_MAX
from sso.protocol.session import Session

_KINDS = {"layer": str, "peer": str, "plain_max": int, "own_name": str, "lifetime": int}


class Guarded(Mechanism):
    """A half that is not ours, which may do anything: whatever it raises or gives becomes a MechanismError.

    That has the cause "failed", the mechanism's name and the kind of the exception. Its words stay unsaid,
    since they may hold a secret. Only an interruption by a person goes through.
    """

    def __init__(self, pair: Pair, make: Callable[[], Mechanism]) -> None:
        self._pair = pair
        half = self._guard(make, passes=(KeyboardInterrupt, ConfigError))
        if not isinstance(half, Mechanism):
            raise MechanismError("failed", f"{pair.name}: what it makes is no Mechanism")
        self._half = half
        self._guard(self._learn)

    def bind(self, binding: bytes) -> None:
        self._guard(self._half.bind, binding)

    def step(self, token: bytes) -> bytes:
        answer = self._bytes_of(self._half.step, token)
        self._guard(self._learn)
        return answer

    def wrap(self, data: bytes) -> bytes:
        return self._bytes_of(self._half.wrap, data)

    def unwrap(self, data: bytes) -> bytes:
        return self._bytes_of(self._half.unwrap, data)

    def finish(self) -> bytes:
        return b""  # TLS alone says that a stream ends

    def dispose(self) -> None:
        with suppress(MechanismError):  # the session is over, and how is known
            self._guard(self._half.dispose)

    def _learn(self) -> None:
        """Take over what it says of itself now."""
        for name, kind in _KINDS.items():
            value = getattr(self._half, name)
            if not isinstance(value, kind):
                raise TypeError
            if isinstance(value, str) and len(value) > TEXT_MAX:
                raise ValueError
            setattr(self, name, value)
        self.complete, self.delegated = bool(self._half.complete), bool(self._half.delegated)
        # Which layer it has is only known then.
        if self.plain_max < 1 or (self.complete and self.layer not in self._pair.layers):
            raise ValueError

    def _bytes_of(self, work: Callable[..., Any], *arguments: bytes) -> bytes:
        found = self._guard(work, *arguments)
        if not isinstance(found, bytes | bytearray):
            raise MechanismError("failed", f"{self._pair.name}: it gave no bytes")
        if len(found) > TOKEN_MAX:
            raise MechanismError("too-long", f"{len(found)} bytes, and {TOKEN_MAX} are the most")
        return bytes(found)

    def _guard(
        self,
        work: Callable[..., Any],
        *arguments: bytes,
        passes: tuple[type[BaseException], ...] = (KeyboardInterrupt,),
    ) -> Any:
        try:
            with in_time(self._pair.asks):
                return work(*arguments)
        except passes:
            raise
        except BaseException as error:
            if isinstance(error, MechanismError) and isinstance(error.cause, str):
                raise
            raise MechanismError("failed", f"{self._pair.name}: {type(error).__name__}") from None


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
    # Only Kerberos can tell whether the user is the one that `only_for` names.
    if name in OURS or policy.only_for or name not in (*session.peer_mechanisms, *types):
        raise PolicyError("not-offered", f"the guest does not offer {name}")
    return Apart(name, lambda: _half(name, load, policy, session, types, tables, source))


def _half(
    name: str,
    load: Load,
    policy: ClientPolicy,
    session: Session,
    types: tuple[str, ...],
    tables: Tables,
    source: Source,
) -> Mechanism:
    """The same in the process of that half."""
    unknown = PolicyError("not-offered", f"the guest does not offer {name}")
    pair, verified = loaded(name, load), is_verified(session)
    if not policy.may_start(source=source, inside_only=pair.inside_only, tls_verified=verified):
        raise PolicyError("needs-tls", f"{name} needs a verified TLS")
    if pair.kind == "sasl" and name in session.peer_mechanisms:
        return made(pair, tables, session)
    sendable = name in types and may_send(policy, session, name, source)
    if pair.kind != "credential" or not pair.alone or not sendable:
        raise unknown
    return made(pair, tables, session)


def loaded(name: str, load: Load) -> Pair:
    """The pair of a listed mechanism. Raises ConfigError, and MechanismError when it cannot be imported."""
    try:
        with in_time():
            return load(name)
    except MechanismError as error:
        raise MechanismError("failed", str(error).removeprefix(f"{error.cause}: ")) from None


def made(pair: Pair, tables: Tables, session: Session) -> Mechanism:
    """The initiating half with its settings. Raises ConfigError that names the key and what to write."""
    settings: dict[str, Any] = dict(settings_of(pair.name, pair.initiates, tables.get(pair.name, {})))
    if pair.kind == "sasl" and pair.layers != (NO_LAYER,):
        bare = is_verified(session) and NO_LAYER in pair.layers
        settings["layer"] = NO_LAYER if bare else CONFIDENTIALITY
    return Guarded(pair, lambda: pair.initiate(**settings))


def blob(half: Mechanism) -> bytearray:
    """The one token of a credential type, a secret of the caller's; ends the half. Raises MechanismError."""
    try:
        secret = bytearray(half.step(b""))
    finally:
        half.dispose()
    if len(secret) > SECRET_MAX:
        wipe(secret)
        raise MechanismError("too-long", f"{SECRET_MAX} bytes are the most")
    return secret


def blob_of(type: str, load: Load, session: Session, tables: Tables) -> bytearray:
    """The token of a listed type that follows a mechanism. Raises as `half` and `blob` do."""
    return blob(Apart(type, lambda: made(loaded(type, load), tables, session)))
