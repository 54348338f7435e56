"""Cuts a byte stream into the lines of the protocol, in Python; it defines what the compiled twin must do.

This module does not interpret messages. Only `credentials TYPE BLOB` is special, because its secret goes
into a buffer that can be wiped (PROTOCOL.md section 2).
"""

import binascii
import re
from collections.abc import Sequence

from sso.errors import FramingError

LF, CR = 0x0A, 0x0D
Words = tuple[str | bytearray | memoryview, ...]  # all are str, except the secret at the end of `credentials`
_WORDS = re.compile(rb"[!-~]++(?: [!-~]++)*+")
_VERB = re.compile(rb"[A-Za-z0-9-]{1,32}(?: |\Z)")
_SECRET_VERB = re.compile(rb"credentials(?: |\Z)")
_SECRET = re.compile(rb"credentials ([a-z0-9-]{1,32}) ([!-~]+)")
_FIRST_SIZE = 4096  # bytes; most sessions never need more

# For a length that is a multiple of 4: the unused bits before the padding are zero.
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*+(?:(?<=[AQgw])==|(?<=[AEIMQUYcgkosw048])=)?")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES = bytes(max(_ALPHABET.find(octet), 0) for octet in range(256))


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a writable buffer with zeros."""
    view = memoryview(buffer).cast("B")
    view[:] = bytes(len(view))


def b64encode(data: bytes | bytearray | memoryview) -> bytearray:
    """Encode bytes as canonical base64 (RFC 4648 section 4), in a buffer that the caller may wipe."""
    return bytearray(binascii.b2a_base64(data, newline=False))


def credentials_line(type: str, secret: bytearray | memoryview) -> bytearray:
    """Build the `credentials` line in a buffer that the caller wipes."""
    line = bytearray(f"credentials {type} ".encode())
    encoded = b64encode(secret)
    line += encoded
    line += b"\n"
    wipe(encoded)
    return line


def b64decode(data: bytes | bytearray | memoryview, max_length: int = 65536) -> bytearray:
    """Decode canonical base64 into a buffer that the caller wipes.

    Raises FramingError("base64") for anything that `b64encode` would not have written, and
    FramingError("secret") for more than `max_length` bytes.
    """
    view = memoryview(data).cast("B")
    if len(view) % 4 or not _BASE64.fullmatch(view):
        raise FramingError("base64")
    pads = list(view[-2:]).count(0x3D)
    size = len(view) // 4 * 3 - pads
    if size > max_length:
        raise FramingError("secret")
    # binascii is 20 times as fast, but it leaves the secret in a bytes object that cannot be wiped.
    # Here no value is above 255: Python caches all these integers, so no object holds a part of the secret.
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
    """Cuts chunks of any size into lines, and lines into tuples of words.

    Caps: `max_line` bytes of a line without its end, `max_secret` bytes of a decoded secret. `feed` raises
    FramingError.
    """

    def __init__(self, max_line: int = 4096, max_secret: int = 65536) -> None:
        self._max_line, self._max_secret = max_line, max_secret
        self._buffer = bytearray(_FIRST_SIZE)
        self._start = 0  # where the current line begins
        self._searched = 0  # there is no LF before this offset
        self._end = 0  # after the last byte that was fed
        self._skipped = 0  # bytes of the empty lines after the last message of this chunk
        self.error = ""

    @property
    def unread(self) -> int:
        """Bytes after the last message: of a line that has not ended, of empty lines in the last chunk."""
        return self._skipped + self._end - self._start

    def feed(self, chunk: bytes | bytearray | memoryview) -> Sequence[Words]:
        """Return the lines that these bytes complete: tuples of words, all str except a decoded secret.

        Empty lines are skipped. A malformed line ends the framer: the lines before it are returned, `error`
        has the reason, and the next call raises FramingError.
        """
        if self.error:
            raise FramingError(self.error)
        if self._end + len(chunk) > len(self._buffer):
            self._make_room(len(chunk))
        # Slice assignment from a bytearray would first copy it into another bytearray; a view avoids that.
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
        """Copy the unread bytes into a larger buffer and wipe the old one: a bytearray that grows by itself
        may leave a copy of a secret behind."""
        old, unread = self._buffer, self._end - self._start
        self._buffer = bytearray(max(_FIRST_SIZE, 2 * (unread + size)))
        with memoryview(self._buffer) as new, memoryview(old) as view:
            new[:unread] = view[self._start : self._end]
        wipe(old)
        self._searched -= self._start
        self._start, self._end = 0, unread

    def _check_length(self) -> None:
        """Raise FramingError as soon as an unfinished line is too long; a CR may still belong to its end."""
        length = self._end - self._start
        ends_in_cr = length > 0 and self._buffer[self._end - 1] == CR
        if length - ends_in_cr > self._max_line:
            raise FramingError("line")

    def wipe(self) -> None:
        """Wipe all contents; later calls of feed raise FramingError."""
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
