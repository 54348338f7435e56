"""Rules for SIGNATURE lines: greeting, repetition, reset and confirmation (PROTOCOL.md section 6)."""

from collections.abc import Callable, Sequence

from sso.errors import FramingError, RemoteProtocolError
from sso.protocol.messages import NONCE_SIZE, VERSION, Code, Signature, line_of, parse
from sso.protocol.state import Role

SIGNATURES_MAX = 6  # the client's first SIGNATURE and five repetitions


class Greeting:
    """Holds the nonces, the offered mechanisms and the greeting lines of one session; handles no raw bytes.

    `lines` are the guest's SIGNATURE and the line after it, as words. The guest repeats both when the client
    repeats its SIGNATURE; the client drops the repetition.
    """

    def __init__(
        self, role: Role, mechanisms: Sequence[str], attempt: bytes | None, random: Callable[[int], bytes]
    ) -> None:
        self.role = role
        self._peer = "guest" if role is Role.CLIENT else "client"  # the role as a SIGNATURE spells it
        self.attempt = attempt
        self.lines: list[list[str]] = []
        self.peer_mechanisms: tuple[str, ...] = ()
        self._mechanisms = tuple(mechanisms)
        self._nonce = random(NONCE_SIZE)
        self._client_nonce = self._nonce if role is Role.CLIENT else b""
        self._guest_nonce = b"" if role is Role.CLIENT else self._nonce
        self._said = 0
        self.dropping = False  # the client: the line behind a repeated SIGNATURE is a repetition too

    def say(self) -> Signature | None:
        """Return the own SIGNATURE to send, or None after SIGNATURES_MAX times without an answer."""
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
        """Whether this SIGNATURE may start a session: a client's, or a guest's that carries our nonce."""
        if signature.role != self._peer:
            return False
        return signature.echo == (None if self.role is Role.GUEST else self._nonce)

    def begins_anew(self, signature: Signature) -> bool:
        """Whether this SIGNATURE, in the middle of a session, starts a new session."""
        if signature.role != self._peer:
            return False
        if self.role is Role.CLIENT:
            return signature.echo != self._nonce
        return signature.echo is None and signature.nonce != self._client_nonce

    def repeats(self, signature: Signature, words: list[str]) -> bool:
        """Whether the peer repeats its SIGNATURE: it did not receive ours, or the guest answered twice."""
        if self.role is Role.CLIENT:
            return words == self.lines[0]
        return signature.role == "client" and signature.nonce == self._client_nonce

    def again(self, signature: Signature, words: list[str]) -> bytes:
        """Take a SIGNATURE in the middle of the lines; return what the guest answers, the client drops it.

        Raises RemoteProtocolError where it is no repetition.
        """
        if not self.repeats(signature, words):
            raise RemoteProtocolError("unexpected SIGNATURE")
        self.dropping = self.role is Role.CLIENT
        if self.dropping or len(self.lines) != 2:
            return b""
        return b"\n" + b"".join(line_of(line) for line in self.lines)

    def drop(self, words: list[str]) -> None:
        """Drop the line behind a repeated SIGNATURE. Raises RemoteProtocolError if it is another line."""
        self.dropping = False
        if words != self.lines[-1]:
            raise RemoteProtocolError("a repeated greeting differs")

    def learn(self, signature: Signature) -> None:
        """Store the nonces, the attempt id and the mechanisms of the peer's SIGNATURE."""
        if self.role is Role.GUEST:
            self._client_nonce, self.attempt = signature.nonce, signature.attempt
        else:
            self._guest_nonce = signature.nonce
        self.peer_mechanisms = signature.mechanisms

    def check_version(self, signature: Signature) -> None:
        if not signature.minimum <= VERSION <= signature.maximum:
            raise RemoteProtocolError("no version in common", Code.VERSION)

    def confirm(self, signature: Signature, transcript: bytes) -> None:
        """Check the guest's SIGNATURE inside a layer: nonce, attempt and transcript have to be as outside.

        Raises RemoteProtocolError.
        """
        if self.role is Role.GUEST or not self.accepts(signature):
            raise RemoteProtocolError("SIGNATURE inside a layer")
        if signature.nonce != self._guest_nonce:
            raise RemoteProtocolError("the guest has another nonce than outside")
        if signature.transcript != transcript:
            raise RemoteProtocolError("the guest heard other lines than we said: somebody changed them")
        if signature.attempt != self.attempt:
            raise RemoteProtocolError("the guest answers another attempt")
        self.peer_mechanisms = signature.mechanisms


def words_of(line: bytes) -> list[str]:
    return line.strip(b"\r\n").decode("ascii").split(" ")


def read_signature(words: list[str]) -> Signature | None:
    """Parse a SIGNATURE that the raw search found; None when it is malformed."""
    try:
        message = parse(tuple(words))
    except (RemoteProtocolError, FramingError):
        return None
    return message if isinstance(message, Signature) else None
