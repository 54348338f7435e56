"""Lines of the protocol out of octets, in Python: the source of truth for the compiled twin.

Nothing here knows a message; `credentials TYPE BLOB` alone is told apart, because its secret goes into
a buffer that can be wiped (PROTOCOL.md section 2).
"""

import binascii
import re

from sso.errors import FramingError

LF, CR = 0x0A, 0x0D
_WORDS = re.compile(rb"[!-~]+(?: [!-~]+)*")
_VERB = re.compile(rb"[A-Za-z0-9-]{1,32}(?: |\Z)")
_TYPE = re.compile(rb"[a-z0-9-]{1,32}\Z")
_SECRET = b"credentials "
_FIRST_SIZE = 4096  # octets: most sessions never need more


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a writable buffer with zeros."""
    view = memoryview(buffer).cast("B")
    view[:] = bytes(len(view))


def b64encode(data: bytes | bytearray | memoryview) -> bytes:
    """Canonical base64 (RFC 4648 section 4) of any octets."""
    return binascii.b2a_base64(data, newline=False)


def b64decode(data: bytes | bytearray | memoryview, max_length: int = 65536) -> bytearray:
    """Decode canonical base64 into a buffer that the caller wipes.

    Raises FramingError("base64") for anything that `b64encode` would not have written, and
    FramingError("secret") for more than `max_length` octets.
    """
    try:
        decoded = bytearray(binascii.a2b_base64(data, strict_mode=True))
    except (binascii.Error, ValueError):
        raise FramingError("base64") from None
    # The library takes pad bits that are not zero; the last group shows them.
    tail = len(decoded) % 3
    canonical = not tail or binascii.b2a_base64(decoded[-tail:], newline=False) == bytes(data[-4:])
    if not canonical or len(data) != (len(decoded) + 2) // 3 * 4:
        wipe(decoded)
        raise FramingError("base64")
    if len(decoded) > max_length:
        wipe(decoded)
        raise FramingError("secret")
    return decoded


class MessageFramer:
    """Whole lines as tuples of words, out of chunks of any size.

    Caps: `max_line` octets of a line without its end, `max_secret` octets of a decoded secret.
    """

    def __init__(self, max_line: int = 4096, max_secret: int = 65536) -> None:
        self._max_line, self._max_secret = max_line, max_secret
        self._buffer = bytearray(_FIRST_SIZE)
        self._start = 0  # where the line that is being read begins
        self._searched = 0  # up to where no LF is
        self._end = 0  # behind the last octet that was fed
        self._failed = ""

    @property
    def unread(self) -> int:
        """Octets that were fed and not yet returned as a message."""
        return self._end - self._start

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take received octets; FramingError when the framer has failed before."""
        self._check()
        if self._end + len(chunk) > len(self._buffer):
            self._make_room(len(chunk))
        self._buffer[self._end : self._end + len(chunk)] = chunk
        self._end += len(chunk)

    def _make_room(self, size: int) -> None:
        """Move what is unread into a buffer of twice its size: a bytearray that grows by itself may
        leave a copy of a secret behind, so the old one is wiped here."""
        old, unread = self._buffer, self.unread
        self._buffer = bytearray(max(_FIRST_SIZE, 2 * (unread + size)))
        self._buffer[:unread] = memoryview(old)[self._start : self._end]
        wipe(old)
        self._searched -= self._start
        self._start, self._end = 0, unread

    def next_message(self) -> tuple[str | bytearray, ...] | None:
        """The next line as its words, all str but the decoded secret; None when none is complete.

        Empty lines are skipped. After a FramingError the framer is dead and raises it again.
        """
        self._check()
        try:
            while True:
                end = self._buffer.find(LF, self._searched, self._end)
                if end < 0:
                    self._searched = self._end
                    self._check_length()
                    return None
                message = self._line(self._start, end)
                self._start = self._searched = end + 1
                if message is not None:
                    return message
        except FramingError as error:
            self.wipe()
            self._failed = error.reason
            raise

    def _check_length(self) -> None:
        """A line is too long before its end has come; a CR may still belong to that end."""
        ends_in_cr = self.unread > 0 and self._buffer[self._end - 1] == CR
        if self.unread - ends_in_cr > self._max_line:
            raise FramingError("line")

    def wipe(self) -> None:
        """Wipe all that is inside; the framer is dead afterwards."""
        wipe(self._buffer)
        self._buffer = bytearray()
        self._start = self._searched = self._end = 0
        self._failed = self._failed or "octet"

    def _check(self) -> None:
        if self._failed:
            raise FramingError(self._failed)

    def _line(self, start: int, end: int) -> tuple[str | bytearray, ...] | None:
        if end > start and self._buffer[end - 1] == CR:
            end -= 1
        if end - start > self._max_line:
            raise FramingError("line")
        if end == start:
            return None
        with memoryview(self._buffer) as view, view[start:end] as line:
            if not _WORDS.fullmatch(line) or not _VERB.match(line):
                raise FramingError("octet")
            if bytes(line[: len(_SECRET)]) == _SECRET or line == _SECRET[:-1]:
                return self._credentials(line)
            return tuple(bytes(line).decode("ascii").split(" "))

    def _credentials(self, line: memoryview) -> tuple[str | bytearray, ...]:
        head = bytes(line[: len(_SECRET) + 33])
        type, space, _ = head[len(_SECRET) :].partition(b" ")
        if not space or not _TYPE.match(type):
            raise FramingError("credentials")
        with line[len(_SECRET) + len(type) + 1 :] as blob:
            if re.search(b" ", blob):
                raise FramingError("credentials")
            secret = b64decode(blob, self._max_secret)
            wipe(blob)
        return "credentials", type.decode("ascii"), secret


class ResetScanner:
    """Finds whole candidates of a line in raw octets, over the borders of chunks.

    A candidate is `prefix` (it begins with LF), octets 0x20-0x7E, an optional CR, and LF, at most
    `max_length` octets in all. Not more than that is carried from one call to the next.
    """

    def __init__(self, prefix: bytes, max_length: int = 512) -> None:
        self._prefix, self._max = prefix, max_length
        self._carry = b""

    def scan(self, data: bytes | bytearray | memoryview, start: int = 0) -> tuple[int, bytes] | None:
        """The first candidate that ends in `data[start:]`: the offset behind it and its octets, or None."""
        octets = self._carry + bytes(memoryview(data)[start:])
        border = start - len(self._carry)
        at = octets.find(b"\n")
        while at >= 0:
            end = octets.find(b"\n", at + 1)
            line = octets[at : end + 1] if end >= 0 else octets[at:]
            if end < 0:
                self._carry = line if self._may_become(line) else b""
                return None
            if self._is_candidate(line):
                self._carry = b"\n"
                return border + end + 1, line
            at = end
        self._carry = b""
        return None

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
    return all(0x20 <= octet <= 0x7E for octet in octets)
