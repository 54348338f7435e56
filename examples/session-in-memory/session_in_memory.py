"""Two Sessions talk in memory: greeting, a tiny mechanism, its layer, and the guest's ok.

    python3 session_in_memory.py

No port, no process, no clock: whoever owns a Session carries its bytes. The mechanism is made to be read, not
to be used: both halves know one secret, prove it with HMAC, and protect every frame with HMAC (no secrecy).
"""

import hmac
import os
import sys
from collections.abc import Callable

from sso import Mechanism, MechanismError, Pair, Role, Session
from sso.mech import INTEGRITY
from sso.protocol.events import Event, LayerStarted
from sso.protocol.messages import Ok, Signature, StartSASL
from sso.protocol.state import State

NAME = "X-TINY"
NONCE, TAG = 16, 32  # bytes


class Half(Mechanism):
    """What both halves share. `own` and `other` are one byte each, so that a proof is nobody else's."""

    own = other = b""

    def __init__(self, secret: bytes) -> None:
        self._secret, self._binding, self._nonces = secret, b"", b""
        self._sent = self._received = 0

    def bind(self, binding: bytes) -> None:
        """Keep what the proofs are tied to: here a hash of all that was said so far."""
        self._binding = binding

    def wrap(self, data: bytes) -> bytes:
        self._sent += 1
        return data + self._tag(self.own, b"layer", self._sent.to_bytes(8), data)

    def unwrap(self, data: bytes) -> bytes:
        self._received += 1
        plain, tag = data[:-TAG], data[-TAG:]
        _check(tag, self._tag(self.other, b"layer", self._received.to_bytes(8), plain))
        return plain

    def _proof(self, side: bytes) -> bytes:
        return self._tag(side, b"proof", self._binding)

    def _tag(self, *parts: bytes) -> bytes:
        return hmac.digest(self._secret, self._nonces + b"".join(parts), "sha256")

    def _stand(self, peer: str) -> None:
        self.peer, self.layer, self.complete = peer, INTEGRITY, True


class Initiator(Half):
    """The client's half: nonce; then, when the guest has proved that it knows the secret, its own proof."""

    own, other = b"C", b"G"

    def step(self, token: bytes) -> bytes:
        if not self._nonces:
            self._nonces = os.urandom(NONCE)
            return self._nonces
        self._nonces += token[:NONCE]
        _check(token[NONCE:], self._proof(self.other))
        self._stand("the guest")
        return self._proof(self.own)


class Acceptor(Half):
    """The guest's half: nonce and proof; then it checks the client's."""

    own, other = b"G", b"C"

    def step(self, token: bytes) -> bytes:
        if not self._nonces:
            nonce = os.urandom(NONCE)
            self._nonces = token[:NONCE] + nonce
            return nonce + self._proof(self.own)
        _check(token, self._proof(self.other))
        self._stand("alice")
        return b""


TINY = Pair(NAME, "sasl", Initiator, Acceptor)


def _check(tag: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(tag, expected):
        raise MechanismError("tiny", "the peer does not know the secret")


def client_hears(client: Session, event: Event, secret: bytes) -> None:
    """Ask for the layer as soon as the guest is ready."""
    if isinstance(event, Ok) and client.state is State.READY:
        client.request_layer(StartSASL(NAME), TINY.initiate(secret))


def guest_hears(guest: Session, event: Event, secret: bytes) -> None:
    """Greet, accept the layer, and say ok to whoever stands behind it."""
    if isinstance(event, StartSASL):
        guest.accept_layer(event, TINY.accept(secret))
    elif isinstance(event, Signature | LayerStarted):
        guest.send(Ok())


def carry(one: Session, other: Session, hears: Callable[[Session, Event], None]) -> bool:
    """Carry what one end has to say to the other; False when it had nothing to say."""
    data = one.data_to_send()
    if data:
        other.receive_data(data)
    while (event := other.next_event()) is not None:
        print(f"{other.role.value:6} hears {type(event).__name__}")
        hears(other, event)
    return bool(data)


def main(client_secret: bytes = b"open sesame", guest_secret: bytes = b"open sesame") -> int:
    """Run one session; 0 when the guest said ok inside the layer."""
    client = Session(Role.CLIENT, attempt=os.urandom(16))
    guest = Session(Role.GUEST, mechanisms=[NAME])
    guest.start()
    client.start()
    moved = True
    while moved:
        moved = carry(client, guest, lambda end, event: guest_hears(end, event, guest_secret))
        moved |= carry(guest, client, lambda end, event: client_hears(end, event, client_secret))
    peer = guest.authenticated.peer if client.state is State.DONE and guest.authenticated else ""
    print(f"signed in: {peer}" if peer else "not signed in")
    return 0 if peer else 1


if __name__ == "__main__":
    sys.exit(main())
