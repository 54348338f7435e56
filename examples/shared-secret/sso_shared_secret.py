"""A third-party mechanism for Console SSO: both sides prove that they know one secret.

    client  user NUL nonce(16)
    guest   nonce(16) proof(32)      proof = HMAC(secret, "guest"  + both nonces + binding)
    client  proof(32)                proof = HMAC(secret, "client" + both nonces + binding)

It gives no layer of its own, so it runs inside TLS alone; the proofs hold for that TLS only.
"""

import hmac
import os

from sso.credential import Credential
from sso.errors import MechanismError
from sso.mech import IDENTITY, Mechanism, Pair, Setting

NONCE, PROOF = 16, 32
FILE_MAX = 65536  # bytes of a file with secrets


class _Half(Mechanism):
    def __init__(self) -> None:
        self._bound_to = b""
        self._nonces = b""

    def bind(self, binding: bytes) -> None:
        self._bound_to = binding

    def _proof(self, secret: bytes, side: bytes) -> bytes:
        return hmac.digest(secret, side + self._nonces + self._bound_to, "sha256")


class Initiator(_Half):
    """The client's half: its user name, and the file that holds the secret alone."""

    def __init__(self, *, user: str, secret_file: str) -> None:
        super().__init__()
        self.own_name, self._secret = user, _read(secret_file).strip()

    def step(self, token: bytes) -> bytes:
        if not self._nonces:
            self._nonces = os.urandom(NONCE)
            return self.own_name.encode() + b"\0" + self._nonces
        if self.complete or len(token) != NONCE + PROOF:
            raise MechanismError("shared-secret", "malformed")
        self._nonces += token[:NONCE]
        if not hmac.compare_digest(token[NONCE:], self._proof(self._secret, b"guest")):
            raise MechanismError("wrong-key", "the guest does not know the secret")
        self.peer, self.complete = "guest", True
        return self._proof(self._secret, b"client")


class Acceptor(_Half):
    """The guest's half: `secrets` is a file with a line `user:secret` for each user."""

    def __init__(self, *, secrets: str) -> None:
        super().__init__()
        lines = (line.partition(b":") for line in _read(secrets).splitlines())
        self._secrets = {user: secret.strip() for user, _, secret in lines}
        self._user, self._secret = b"", b""

    def step(self, token: bytes) -> bytes:
        return self._answer(token) if not self._nonces else self._conclude(token)

    def _answer(self, token: bytes) -> bytes:
        self._user, _, nonce = token.partition(b"\0")
        if len(nonce) != NONCE:
            raise MechanismError("shared-secret", "malformed")
        # An unknown user gets a proof too, of a secret that nobody knows.
        self._secret = self._secrets.get(self._user) or os.urandom(PROOF)
        own = os.urandom(NONCE)
        self._nonces = nonce + own
        return own + self._proof(self._secret, b"guest")

    def _conclude(self, token: bytes) -> bytes:
        if self.complete or not hmac.compare_digest(token, self._proof(self._secret, b"client")):
            raise MechanismError("shared-secret", "the client does not know the secret")
        self.peer, self.complete = self._user.decode("ascii", "replace"), True
        self.credential = Credential("identity", self.peer)
        return b""


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(FILE_MAX)
    except OSError as error:
        raise MechanismError("shared-secret", f"{path}: {error.strerror}") from None


SHARED_SECRET = Pair(
    "X-SHARED-SECRET",
    "sasl",
    Initiator,
    Acceptor,
    provides=("identity",),
    initiates=(
        Setting("user", str, "your user name on the guest"),
        Setting("secret_file", str, "the path of a file that holds your secret"),
    ),
    accepts=(Setting("secrets", str, "the path of a file with a line user:secret for each user"),),
    gives=IDENTITY,
)
