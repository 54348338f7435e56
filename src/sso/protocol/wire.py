"""The octets of one session: the layers around its lines, what waits to be written, and the raw search.

No rule of the conversation is here; Session says what crosses (PROTOCOL.md sections 6 and 7).
"""

from collections.abc import Iterator

from sso.errors import RemoteProtocolError
from sso.framing import wipe
from sso.mech import CONFIDENTIALITY, Mechanism
from sso.protocol.greeting import read_signature, words_of
from sso.protocol.layer import Layer, TLSLayer
from sso.protocol.messages import SIGNATURE_MAX, SIGNATURE_PREFIX, Code, Signature
from sso.protocol.reset import ResetScanner

# Octets both ways, so that short lines with longer answers fill no memory either.
CLEAR_MAX = 256 * 1024  # before the first layer stands: greetings, and one handshake
TOTAL_MAX = 1024 * 1024  # in a whole session: a login needs less than a fifth of it


class Wire:
    """Layers, output and input of one session; `layers` holds the outermost first."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self._output = bytearray()
        self._crossed = 0
        self._scanner = ResetScanner(SIGNATURE_PREFIX, SIGNATURE_MAX)
        self._scanner.scan(b"\n")  # a SIGNATURE may be the very first octets

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
        """Count what was received; RemoteProtocolError (413) when too much has crossed."""
        self._crossed += len(data)
        if self._crossed > (TOTAL_MAX if self.layers else CLEAR_MAX):
            raise RemoteProtocolError("too many octets", Code.TOO_LONG)

    def signatures(self, data: bytes) -> Iterator[tuple[int, Signature, list[str]]]:
        """Every well-formed SIGNATURE in the raw octets, below every layer: where it ends, and its words."""
        offset = 0
        while (hit := self._scanner.scan(data, offset)) is not None:
            offset, line = hit
            words = words_of(line)
            signature = read_signature(words)
            if signature is not None:
                yield offset, signature, words

    def open(self, data: bytes | bytearray) -> bytes | bytearray:
        """Undo the layers, outermost first; MechanismError or RemoteProtocolError when one refuses."""
        for layer in self.layers:
            data = layer.decrypt(bytes(data))
        return data

    def write(self, data: bytes | bytearray) -> None:
        """Protect octets by every layer and put them into the output."""
        if data:
            for layer in self.layers[::-1]:
                data = layer.encrypt(data)
            self._output += data
            self._crossed += len(data)

    def take(self) -> bytes:
        """Everything that is to be written now; the inner copy is wiped."""
        if not self._output:
            return b""
        data = bytes(self._output)
        wipe(self._output)
        self._output = bytearray()
        return data

    def finish(self) -> None:
        """Write what tells the peer that each layer ends here on purpose."""
        for layer in reversed(self.layers):
            self._output += layer.mechanism.finish()

    def dispose(self) -> None:
        """Drop the keys of every layer."""
        for layer in self.layers:
            layer.mechanism.dispose()
