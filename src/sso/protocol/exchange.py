"""The exchange of tokens, from the guest's `ok` until the mechanism is complete (PROTOCOL.md section 7)."""

from collections.abc import Iterator
from contextlib import contextmanager

from sso.errors import FramingError, MechanismError, RemoteProtocolError
from sso.framing import MessageFramer, Words
from sso.mech import NO_LAYER, TOKEN_MAX, Mechanism
from sso.protocol.layer import ABORT, FrameReader, Layer, SASLLayer, TLSLayer, frame
from sso.protocol.messages import LINE_MAX, StartSASL, StartTLS
from sso.protocol.state import Role


@contextmanager
def disposing(mechanism: Mechanism) -> Iterator[None]:
    """Dispose of a mechanism that fails before its exchange begins: nobody else will."""
    try:
        yield
    except MechanismError:
        mechanism.dispose()
        raise


class Exchange:
    """Base of TLSExchange and SASLExchange; the client computes `first_token` before it sends the request."""

    kind = ""

    def __init__(self, role: Role, name: str, mechanism: Mechanism, first_token: bytes) -> None:
        self.role, self.name, self.mechanism = role, name, mechanism
        self._first_token = first_token

    def begin(self) -> bytes:
        """Return the bytes that the client sends directly after the guest's `ok`."""
        raise NotImplementedError

    def feed(self, data: bytes) -> bytes:
        """Pass the peer's bytes to the mechanism and return the answer; raises MechanismError."""
        raise NotImplementedError

    def refusal(self, error: MechanismError) -> bytes:
        """Return the bytes that tell the peer, in the form of this exchange, that the mechanism failed."""
        return error.token

    def layer(self) -> Layer | None:
        """Return the layer of the complete mechanism, or None if it has none."""
        raise NotImplementedError


class TLSExchange(Exchange):
    """Passes bytes through unchanged, because TLS has frames of its own."""

    kind = "tls"

    def begin(self) -> bytes:
        return self._first_token

    def feed(self, data: bytes) -> bytes:
        return bytes(self.mechanism.step(data))

    def layer(self) -> Layer:
        return TLSLayer(self.mechanism)


class SASLExchange(Exchange):
    """Exchanges one frame per turn; the guest's outcome line ends it (RFC 4422 section 4, our profile).

    At the client, `outcome` holds the words of that line after it has arrived, and `unanswered` is the size
    of the first token until the guest answers it. `rest` holds the bytes after the end of the exchange.
    A token of more than TOKEN_MAX bytes is never sent: MechanismError("too-long").
    """

    kind = "sasl"

    def __init__(self, role: Role, name: str, mechanism: Mechanism, first_token: bytes) -> None:
        super().__init__(role, name, mechanism, first_token)
        self._frames = FrameReader(TOKEN_MAX)
        self.outcome: Words | None = None
        self.rest = b""
        self.unanswered = 0
        self._first_frame = _framed(first_token)

    def begin(self) -> bytes:
        self.unanswered = len(self._first_token)
        return self._first_frame

    def feed(self, data: bytes) -> bytes:
        self._frames.feed(data)
        answers = b""
        while self.outcome is None and not (self.role is Role.GUEST and self.mechanism.complete):
            if self.role is Role.CLIENT and self._frames.starts_line():
                self._read_outcome()
                break
            token = self._frames.next_frame()
            if token is None:
                break
            self.unanswered = 0
            answer = self.mechanism.step(token)
            if answer or not self.mechanism.complete:
                answers += _framed(bytes(answer))
        if self.role is Role.GUEST and self.mechanism.complete:
            self.rest = self._frames.take_unread()
        return answers

    def _read_outcome(self) -> None:
        octets = self._frames.take_unread()
        line, end, self.rest = octets.partition(b"\n")
        if len(line.removesuffix(b"\r")) > LINE_MAX:
            raise FramingError("line")
        if not end:
            self._frames.feed(octets)
            return
        framer = MessageFramer(LINE_MAX, 0)
        found = framer.feed(line + end)
        if framer.error:
            raise FramingError(framer.error)
        if not found:
            raise RemoteProtocolError("an empty outcome")
        self.outcome, self.unanswered = found[0], 0

    def take_unread(self) -> bytes:
        """Remove and return the bytes after the last frame, for an exchange that ends early."""
        return self._frames.take_unread()

    def refusal(self, error: MechanismError) -> bytes:
        return ABORT if self.role is Role.CLIENT else b""

    def layer(self) -> Layer | None:
        return SASLLayer(self.mechanism) if self.mechanism.layer != NO_LAYER else None


def exchange_for(request: StartTLS | StartSASL, role: Role, mechanism: Mechanism, token: bytes) -> Exchange:
    """Return the exchange of a request for a layer; `token` is the client's first one."""
    if isinstance(request, StartTLS):
        return TLSExchange(role, "TLS", mechanism, token)
    return SASLExchange(role, request.mechanism, mechanism, token)


def _framed(token: bytes) -> bytes:
    """Frame a token. Check its size here, before the first byte of it is sent."""
    if len(token) > TOKEN_MAX:
        raise MechanismError("too-long", f"a token of {len(token)} bytes, and {TOKEN_MAX} are the most")
    return frame(token)
