"""Security layers over the byte stream of a port: TLS records, or SASL frames with a length.

A layer gives a complete mechanism the methods `encrypt` and `decrypt` (RFC 4422 section 3.7,
PROTOCOL.md section 7).
"""

from sso.errors import RemoteProtocolError
from sso.framing import wipe
from sso.mech import FRAME_MAX, Mechanism
from sso.protocol.messages import Code

LENGTH_SIZE = 4
ABORT = b"\xff\xff\xff\xff"


class FrameReader:
    """Cuts a byte stream into frames: a 4-byte length, then at most `most` bytes."""

    __slots__ = ("_buffer", "_most")

    def __init__(self, most: int) -> None:
        self._buffer, self._most = bytearray(), most

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def unread(self) -> int:
        return len(self._buffer)

    def take_unread(self) -> bytes:
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def starts_line(self) -> bool:
        """Whether the next byte begins a line: the length of a frame under the cap begins with 0x00."""
        return bool(self._buffer) and self._buffer[0] not in (0x00, 0xFF)

    def next_frame(self) -> bytes | None:
        """Return the next whole frame, or None. Raises RemoteProtocolError: an abort, or too long (413)."""
        if len(self._buffer) < LENGTH_SIZE:
            return None
        head = bytes(self._buffer[:LENGTH_SIZE])
        if head == ABORT:
            raise RemoteProtocolError("the peer aborted the mechanism")
        end = LENGTH_SIZE + int.from_bytes(head, "big")
        if end > LENGTH_SIZE + self._most:
            # With another first byte this is no length but a line or noise, which gets no answer.
            code = Code.TOO_LONG if head[0] == 0 else Code.MALFORMED
            raise RemoteProtocolError(f"a frame is longer than {self._most} bytes", code)
        if len(self._buffer) < end:
            return None
        token = bytes(self._buffer[LENGTH_SIZE:end])
        del self._buffer[:end]
        return token


def frame(token: bytes) -> bytes:
    """Put the 4-byte length before a token."""
    return len(token).to_bytes(LENGTH_SIZE, "big") + token


class Layer:
    """Base of TLSLayer and SASLLayer: holds the complete mechanism."""

    def __init__(self, mechanism: Mechanism) -> None:
        self.mechanism = mechanism

    def encrypt(self, data: bytes | bytearray) -> bytes:
        raise NotImplementedError

    def decrypt(self, data: bytes) -> bytes | bytearray:
        raise NotImplementedError


class TLSLayer(Layer):
    """Passes chunks to the mechanism unchanged, because TLS has records of its own."""

    def encrypt(self, data: bytes | bytearray) -> bytes:
        return self.mechanism.wrap(data)  # type: ignore[arg-type]  # a copy could not be wiped

    def decrypt(self, data: bytes) -> bytes | bytearray:
        return self.mechanism.unwrap(data)


class SASLLayer(Layer):
    """Uses the frames of RFC 4422 section 3.7; a line may span frames, and a frame may hold many lines."""

    def __init__(self, mechanism: Mechanism) -> None:
        super().__init__(mechanism)
        self._frames = FrameReader(FRAME_MAX)

    def encrypt(self, data: bytes | bytearray) -> bytes:
        size, parts = self.mechanism.plain_max, range(0, len(data), self.mechanism.plain_max)
        with memoryview(data) as view:
            return b"".join(frame(self.mechanism.wrap(bytes(view[i : i + size]))) for i in parts)

    def decrypt(self, data: bytes) -> bytearray:
        self._frames.feed(data)
        plain = bytearray()
        while (token := self._frames.next_frame()) is not None:
            part = self.mechanism.unwrap(token)
            joined = plain + part
            wipe(plain)
            if isinstance(part, bytearray):
                wipe(part)
            plain = joined
        return plain
