"""SIGNATURE: who begins, what is a repeat, what begins anew, what confirms (PROTOCOL.md section 6)."""

from collections.abc import Callable, Sequence

from sso.errors import FramingError, RemoteProtocolError
from sso.protocol.messages import NONCE_SIZE, VERSION, Code, Signature, parse
from sso.protocol.state import Role

SIGNATURES_MAX = 6  # the client's first one and five repeats


class Greeting:
    """The nonces, the offers and the greeting lines of one session; knows nothing of octets.

    `lines` are the guest's SIGNATURE and the line behind it, as words, which it says again when the
    client repeats itself, and which the client then drops.
    """

    def __init__(
        self, role: Role, mechanisms: Sequence[str], attempt: bytes | None, random: Callable[[int], bytes]
    ) -> None:
        self.role = role
        self._peer = "guest" if role is Role.CLIENT else "client"  # as a SIGNATURE says it
        self.attempt = attempt
        self.lines: list[list[str]] = []
        self.peer_mechanisms: tuple[str, ...] = ()
        self._mechanisms = tuple(mechanisms)
        self._nonce = random(NONCE_SIZE)
        self._client_nonce = self._nonce if role is Role.CLIENT else b""
        self._said = 0

    def say(self) -> Signature | None:
        """The own SIGNATURE while nothing has answered it; None once it was said SIGNATURES_MAX times."""
        self._said += 1
        return self.own() if self._said <= SIGNATURES_MAX else None

    def own(self, transcript: bytes | None = None) -> Signature:
        guest = self.role is Role.GUEST
        return Signature(
            "guest" if guest else "client",
            self._nonce,
            (self._client_nonce or None) if guest else None,
            self._mechanisms,
            VERSION,
            VERSION,
            None if guest and transcript is None else self.attempt,
            transcript,
        )

    def accepts(self, signature: Signature) -> bool:
        """Whether a session can begin with it: the client's, or the guest's with our nonce."""
        if signature.role != self._peer:
            return False
        return signature.echo == (None if self.role is Role.GUEST else self._nonce)

    def begins_anew(self, signature: Signature) -> bool:
        """Whether the peer, in the middle of a session, has begun another one."""
        if signature.role != self._peer:
            return False
        if self.role is Role.CLIENT:
            return signature.echo != self._nonce
        return signature.echo is None and signature.nonce != self._client_nonce

    def repeats(self, signature: Signature, words: list[str]) -> bool:
        """Whether the peer says again what it said: nobody heard us, or the guest answered twice."""
        if self.role is Role.CLIENT:
            return words == self.lines[0]
        return signature.role == "client" and signature.nonce == self._client_nonce

    def learn(self, signature: Signature) -> None:
        """Take over what the peer's SIGNATURE says."""
        if self.role is Role.GUEST:
            self._client_nonce, self.attempt = signature.nonce, signature.attempt
        self.peer_mechanisms = signature.mechanisms

    def check_version(self, signature: Signature) -> None:
        if not signature.minimum <= VERSION <= signature.maximum:
            raise RemoteProtocolError("no version in common", Code.VERSION)

    def confirm(self, signature: Signature, transcript: bytes) -> None:
        """The guest's SIGNATURE inside a layer: it heard every line as we said it, or all is over."""
        if self.role is Role.GUEST or not self.accepts(signature):
            raise RemoteProtocolError("SIGNATURE inside a layer")
        if signature.transcript != transcript:
            raise RemoteProtocolError("the guest heard other lines than we said: somebody changed them")
        if signature.attempt != self.attempt:
            raise RemoteProtocolError("the guest answers another attempt")
        self.peer_mechanisms = signature.mechanisms


def words_of(line: bytes) -> list[str]:
    return line.strip(b"\r\n").decode("ascii").split(" ")


def read_signature(words: list[str]) -> Signature | None:
    """The SIGNATURE that a raw search found, or None when it is not well-formed."""
    try:
        message = parse(tuple(words))
    except (RemoteProtocolError, FramingError):
        return None
    return message if isinstance(message, Signature) else None
