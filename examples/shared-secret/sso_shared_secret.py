"""A third-party mechanism for Console SSO: both sides prove that they know one secret.

    client  user NUL nonce(16)
    guest   nonce(16) proof(32)      proof = HMAC(secret, "guest"  + both nonces + binding)
    client  proof(32)                proof = HMAC(secret, "client" + both nonces + binding)

It gives no layer of its own, so it belongs inside TLS; the proofs hold for that TLS only.
"""

import hmac
import os
from collections.abc import Callable

from sso.credential import Credential
from sso.errors import MechanismError
from sso.mech import Mechanism, Pair

NONCE, PROOF = 16, 32


class _Half(Mechanism):
    def __init__(self) -> None:
        self._bound_to = b""
        self._nonces = b""

    def bind(self, binding: bytes) -> None:
        self._bound_to = binding

    def _proof(self, secret: bytes, side: bytes) -> bytes:
        return hmac.digest(secret, side + self._nonces + self._bound_to, "sha256")


class Initiator(_Half):
    """The client's half: its user name and the secret."""

    def __init__(self, *, user: str, secret: bytes) -> None:
        super().__init__()
        self._user, self._secret = user, secret

    def step(self, token: bytes) -> bytes:
        if not self._nonces:
            self._nonces = os.urandom(NONCE)
            return self._user.encode() + b"\0" + self._nonces
        if self.complete or len(token) != NONCE + PROOF:
            raise MechanismError("shared-secret", "malformed")
        self._nonces += token[:NONCE]
        if not hmac.compare_digest(token[NONCE:], self._proof(self._secret, b"guest")):
            raise MechanismError("shared-secret", "the guest does not know the secret")
        self.peer, self.complete = "guest", True
        return self._proof(self._secret, b"client")


class Acceptor(_Half):
    """The guest's half: `secret_of` gives the secret of a user, or None."""

    def __init__(self, *, secret_of: Callable[[str], bytes | None]) -> None:
        super().__init__()
        self._secret_of = secret_of
        self._user, self._secret = "", b""

    def step(self, token: bytes) -> bytes:
        return self._answer(token) if not self._nonces else self._conclude(token)

    def _answer(self, token: bytes) -> bytes:
        user, _, nonce = token.partition(b"\0")
        if len(nonce) != NONCE:
            raise MechanismError("shared-secret", "malformed")
        self._user = user.decode("ascii", "replace")
        # An unknown user gets a proof too, of a secret that nobody knows.
        self._secret = self._secret_of(self._user) or os.urandom(PROOF)
        own = os.urandom(NONCE)
        self._nonces = nonce + own
        return own + self._proof(self._secret, b"guest")

    def _conclude(self, token: bytes) -> bytes:
        if self.complete or not hmac.compare_digest(token, self._proof(self._secret, b"client")):
            raise MechanismError("shared-secret", "the client does not know the secret")
        self.peer, self.complete = self._user, True
        self.credential = Credential("identity", self._user)
        return b""


SHARED_SECRET = Pair("X-SHARED-SECRET", "sasl", Initiator, Acceptor, provides=("identity",))
