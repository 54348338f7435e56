"""The bytes of one session: its layers, its output buffer and the raw search (PROTOCOL.md sections 6 and 7).

This module holds no protocol rules; Session decides what to send.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sso.errors import RemoteProtocolError
from sso.framing import wipe
from sso.mech import CONFIDENTIALITY, Mechanism
from sso.protocol.greeting import read_signature, words_of
from sso.protocol.layer import Layer, TLSLayer
from sso.protocol.messages import SIGNATURE_MAX, SIGNATURE_PREFIX, Code, Signature
from sso.protocol.reset import ResetScanner

# Bytes of both directions together, so that short lines with longer answers cannot fill the memory either.
CLEAR_MAX = 256 * 1024  # before the first layer: greetings and one handshake
TOTAL_MAX = 1024 * 1024  # in a whole session; a login needs less than a fifth of it


class Candidate(NamedTuple):
    """A SIGNATURE in the raw bytes: offsets of its first LF and behind its last one, message and words.

    `begin` is negative when it began in bytes that were searched before.
    """

    begin: int
    end: int
    signature: Signature
    words: list[str]


class Wire:
    """Applies the layers to input and output of one session; `layers` has the outermost first."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self._output = bytearray()
        self._crossed = 0
        self._scanner = ResetScanner(SIGNATURE_PREFIX, SIGNATURE_MAX)
        self._scanner.scan(b"\n")  # a SIGNATURE may begin with the first byte received

    @property
    def tls(self) -> Mechanism | None:
        for layer in self.layers:
            if isinstance(layer, TLSLayer):
                return layer.mechanism
        return None

    @property
    def confidential(self) -> bool:
        return any(layer.mechanism.layer == CONFIDENTIALITY for layer in self.layers)

    def count(self, data: bytes) -> None:
        """Count received bytes. Raises RemoteProtocolError (413) when CLEAR_MAX or TOTAL_MAX is passed."""
        self._crossed += len(data)
        if self._crossed > (TOTAL_MAX if self.layers else CLEAR_MAX):
            raise RemoteProtocolError("too many bytes", Code.TOO_LONG)

    def signatures(self, data: bytes) -> Iterator[Candidate]:
        """Yield every well-formed SIGNATURE that ends in these raw bytes."""
        offset = 0
        while (hit := self._scanner.scan(data, offset)) is not None:
            offset, line = hit
            words = words_of(line)
            signature = read_signature(words)
            if signature is not None:
                yield Candidate(offset - len(line), offset, signature, words)

    @property
    def begun(self) -> int:
        """Bytes at the end of all that was searched that may become a SIGNATURE, the LF before it too."""
        return self._scanner.begun

    @property
    def ended(self) -> bool:
        """Whether the peer has said inside a layer that its stream ends (TLS close_notify)."""
        return any(layer.mechanism.ended for layer in self.layers)

    def open(self, data: bytes | bytearray) -> bytes | bytearray:
        """Remove the layers, outermost first. Raises MechanismError or RemoteProtocolError."""
        for layer in self.layers:
            data = layer.decrypt(bytes(data))
        return data

    def write(self, data: bytes | bytearray) -> None:
        """Protect bytes with every layer and append them to the output."""
        if data:
            for layer in self.layers[::-1]:
                data = layer.encrypt(data)
            self._output += data
            self._crossed += len(data)

    def take(self) -> bytes:
        """Return all bytes to write now, and wipe the internal copy."""
        if not self._output:
            return b""
        data = bytes(self._output)
        wipe(self._output)
        self._output = bytearray()
        return data

    def finish(self) -> None:
        """Append each layer's end mark (TLS close_notify), so that the peer knows the end is intended."""
        for layer in reversed(self.layers):
            self._output += layer.mechanism.finish()

    def dispose(self) -> None:
        """Dispose of every layer, with its keys."""
        for layer in self.layers:
            layer.mechanism.dispose()
