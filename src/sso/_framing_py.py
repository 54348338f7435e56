"""Lines of the protocol out of octets, in Python: the source of truth for the compiled twin.

Nothing here knows a message; `credentials TYPE BLOB` alone is told apart, because its secret goes into
a buffer that can be wiped (PROTOCOL.md section 2).
"""

import binascii
import re
from collections.abc import Sequence

from sso.errors import FramingError

LF, CR = 0x0A, 0x0D
Words = tuple[str | bytearray | memoryview, ...]  # the last of `credentials` is its secret, all else is str
_WORDS = re.compile(rb"[!-~]++(?: [!-~]++)*+")
_VERB = re.compile(rb"[A-Za-z0-9-]{1,32}(?: |\Z)")
_SECRET_VERB = re.compile(rb"credentials(?: |\Z)")
_SECRET = re.compile(rb"credentials ([a-z0-9-]{1,32}) ([!-~]+)")
_FIRST_SIZE = 4096  # octets: most sessions never need more

# With a length that 4 divides: the characters before the padding leave no bit over that is not zero.
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*+(?:(?<=[AQgw])==|(?<=[AEIMQUYcgkosw048])=)?")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES = bytes(max(_ALPHABET.find(octet), 0) for octet in range(256))


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a writable buffer with zeros."""
    view = memoryview(buffer).cast("B")
    view[:] = bytes(len(view))


def b64encode(data: bytes | bytearray | memoryview) -> bytearray:
    """Canonical base64 (RFC 4648 section 4) of any octets, in a buffer that the caller may wipe."""
    return bytearray(binascii.b2a_base64(data, newline=False))


def credentials_line(type: str, secret: bytearray | memoryview) -> bytearray:
    """The line that hands a secret over, in a buffer that the caller wipes."""
    line = bytearray(f"credentials {type} ".encode())
    encoded = b64encode(secret)
    line += encoded
    line += b"\n"
    wipe(encoded)
    return line


def b64decode(data: bytes | bytearray | memoryview, max_length: int = 65536) -> bytearray:
    """Decode canonical base64 into a buffer that the caller wipes.

    Raises FramingError("base64") for anything that `b64encode` would not have written, and
    FramingError("secret") for more than `max_length` octets.
    """
    view = memoryview(data).cast("B")
    if len(view) % 4 or not _BASE64.fullmatch(view):
        raise FramingError("base64")
    pads = list(view[-2:]).count(0x3D)
    size = len(view) // 4 * 3 - pads
    if size > max_length:
        raise FramingError("secret")
    # binascii would be 20 times as fast and leave the secret in a bytes object that nobody can wipe.
    # Here no value is above 255, so none is more than one of the integers that Python keeps anyway.
    groups = bytearray(size + pads)
    values = map(_VALUES.__getitem__, view)
    at = 0
    for a, b, c, d in zip(values, values, values, values, strict=True):
        groups[at] = a << 2 | b >> 4
        groups[at + 1] = (b & 15) << 4 | c >> 2
        groups[at + 2] = (c & 3) << 6 | d
        at += 3
    decoded = groups[:size]
    wipe(groups)
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
        self._skipped = 0  # octets of the empty lines behind the last message of this chunk
        self.error = ""

    @property
    def unread(self) -> int:
        """Octets behind the last message: of a line that has not ended, of empty ones in the last chunk."""
        return self._skipped + self._end - self._start

    def feed(self, chunk: bytes | bytearray | memoryview) -> Sequence[Words]:
        """The messages that these octets complete, each a tuple of words, all str but a decoded secret.

        Empty lines are skipped. What is malformed is the end: what stood before it is returned, `error` says
        why, and the next call raises FramingError.
        """
        if self.error:
            raise FramingError(self.error)
        if self._end + len(chunk) > len(self._buffer):
            self._make_room(len(chunk))
        # Through a view: a bytearray would copy the octets into one more bytearray first.
        with memoryview(self._buffer) as view:
            view[self._end : self._end + len(chunk)] = chunk
        self._end += len(chunk)
        self._skipped = 0
        found: list[Words] = []
        try:
            self._read(found)
        except FramingError as error:
            self.wipe()
            self.error = error.reason
        return found

    def _read(self, found: list[Words]) -> None:
        while (end := self._buffer.find(LF, self._searched, self._end)) >= 0:
            message = self._line(self._start, end)
            if message is None:
                self._skipped += end + 1 - self._start
            else:
                self._skipped = 0
                found.append(message)
            self._start = self._searched = end + 1
        self._searched = self._end
        self._check_length()

    def _make_room(self, size: int) -> None:
        """Move what is unread into a buffer of twice its size: a bytearray that grows by itself may
        leave a copy of a secret behind, so the old one is wiped here."""
        old, unread = self._buffer, self._end - self._start
        self._buffer = bytearray(max(_FIRST_SIZE, 2 * (unread + size)))
        with memoryview(self._buffer) as new, memoryview(old) as view:
            new[:unread] = view[self._start : self._end]
        wipe(old)
        self._searched -= self._start
        self._start, self._end = 0, unread

    def _check_length(self) -> None:
        """A line is too long before its end has come; a CR may still belong to that end."""
        length = self._end - self._start
        ends_in_cr = length > 0 and self._buffer[self._end - 1] == CR
        if length - ends_in_cr > self._max_line:
            raise FramingError("line")

    def wipe(self) -> None:
        """Wipe all that is inside; the framer is dead afterwards."""
        wipe(self._buffer)
        self._buffer = bytearray()
        self._start = self._searched = self._end = self._skipped = 0
        self.error = self.error or "octet"

    def _line(self, start: int, end: int) -> Words | None:
        if end > start and self._buffer[end - 1] == CR:
            end -= 1
        if end - start > self._max_line:
            raise FramingError("line")
        if end == start:
            return None
        with memoryview(self._buffer) as view, view[start:end] as line:
            if not _WORDS.fullmatch(line) or not _VERB.match(line):
                raise FramingError("octet")
            if _SECRET_VERB.match(line):
                return self._credentials(line)
            return tuple(bytes(line).decode("ascii").split(" "))

    def _credentials(self, line: memoryview) -> Words:
        match = _SECRET.fullmatch(line)
        if match is None:
            raise FramingError("credentials")
        type = bytes(line[match.start(1) : match.end(1)]).decode("ascii")
        with line[match.start(2) :] as blob:
            secret = b64decode(blob, self._max_secret)
            wipe(blob)
        return "credentials", type, secret
