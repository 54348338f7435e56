"""Search for the line that resets the session, in the raw bytes below every layer (PROTOCOL.md section 6)."""


class ResetScanner:
    """Finds candidate lines in raw bytes, also when a line spans several chunks.

    A candidate is `prefix` (it begins with LF), then bytes 0x20-0x7E, an optional CR, and LF: together at
    most `max_length` bytes. At most that many bytes are kept between two calls.
    """

    def __init__(self, prefix: bytes, max_length: int = 512) -> None:
        self._prefix, self._max = prefix, max_length
        self._carry = b""

    @property
    def begun(self) -> int:
        """Bytes at the end of all that was scanned that may become a candidate."""
        return len(self._carry)

    def scan(self, data: bytes | bytearray, start: int = 0) -> tuple[int, bytes] | None:
        """Return the first candidate that ends in `data[start:]`, as (offset after it, its bytes), or None.

        To continue in the same data, call again with `start` at that offset; each byte is read only once.
        """
        while True:
            if not self._carry:
                begin = self._begin(data, start)
                self._carry, start = bytes(data[begin : begin + 1]), begin + 1
            end = data.find(b"\n", start)
            line = self._carry + bytes(data[start : end + 1 if end >= 0 else len(data)])
            if end < 0:
                self._carry = line if self._may_become(line) else b""
                return None
            if self._is_candidate(line):
                self._carry = b"\n"  # its last LF may be the first byte of the next candidate
                return end + 1, line
            self._carry, start = b"", end

    def _begin(self, data: bytes | bytearray, start: int) -> int:
        """Return where the next candidate can begin: at a prefix, else at the last LF."""
        begin = data.find(self._prefix, start)
        if begin < 0:
            begin = data.rfind(b"\n", start)
        return begin if begin >= 0 else len(data)

    def _is_candidate(self, line: bytes) -> bool:
        body = line[len(self._prefix) : -1].removesuffix(b"\r")
        return len(line) <= self._max and line.startswith(self._prefix) and _printable(body)

    def _may_become(self, line: bytes) -> bool:
        if len(line) >= self._max:
            return False
        if len(line) <= len(self._prefix):
            return self._prefix.startswith(line)
        return line.startswith(self._prefix) and _printable(line[len(self._prefix) :].removesuffix(b"\r"))


def _printable(octets: bytes) -> bool:
    return octets.isascii() and octets.decode("ascii").isprintable()
