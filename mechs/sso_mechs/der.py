"""Reads the part of DER (X.690 section 10) that Kerberos needs, with limits against hostile peers.

Tags have one byte, lengths are definite and in their shortest form; everything else raises ValueError.
"""

INTEGER, OCTET_STRING, OBJECT, SEQUENCE = 0x02, 0x04, 0x06, 0x30
CONSTRUCTED = 0x20
CREDENTIAL_MAX = 64 * 1024  # bytes of a KRB-CRED, the largest message that we read
LENGTH_OCTETS_MAX = 3  # of a long length: up to 16 MiB, more than any of our messages


def application(number: int) -> int:
    """Return the tag [APPLICATION number], constructed."""
    return 0x60 | number


def context(number: int) -> int:
    """Return the tag [number], constructed."""
    return 0xA0 | number


class Reader:
    """Reads values from the front of some bytes; the caller names the expected tag of each."""

    __slots__ = ("_at", "_end", "_octets")

    def __init__(self, octets: bytes | bytearray, at: int = 0, end: int | None = None) -> None:
        self._octets, self._at = octets, at
        self._end = len(octets) if end is None else end

    @property
    def left(self) -> int:
        return self._end - self._at

    def starts_with(self, tag: int) -> bool:
        return self.left > 0 and self._octets[self._at] == tag

    def take(self, tag: int) -> "Reader":
        """Return a reader for the contents of the next value, which must have that tag."""
        if not self.starts_with(tag):
            raise ValueError("another tag was due")
        start, size = _contents(self._octets, self._at, self._end)
        self._at = start + size
        return Reader(self._octets, start, self._at)

    def only(self, *tags: int) -> "Reader":
        """Return a reader for the innermost of nested values with these tags, each alone in the outer one."""
        inner = self
        for tag in tags:
            outer, inner = inner, inner.take(tag)
            outer.finish()
        return inner

    def skip(self, size: int) -> bytes:
        """Read that many bytes without interpreting them."""
        if size > self.left:
            raise ValueError("it ends early")
        self._at += size
        return bytes(self._octets[self._at - size : self._at])

    def rest(self) -> bytes:
        return self.skip(self.left)

    def integer(self) -> int:
        """Read all bytes as an INTEGER of at most 5 bytes, since a UInt32 may need one for its sign."""
        octets = self.rest()
        if not 0 < len(octets) <= 5:
            raise ValueError("no small integer")
        return int.from_bytes(octets, "big", signed=True)

    def finish(self) -> None:
        """Raise ValueError if bytes are left."""
        if self.left:
            raise ValueError("bytes behind the end")


def _contents(octets: bytes | bytearray, at: int, end: int) -> tuple[int, int]:
    """Return the offset and the length of the contents of the value at `at`."""
    if end - at < 2 or octets[at] & 0x1F == 0x1F:
        raise ValueError("no value of a short tag")
    size, start = octets[at + 1], at + 2
    if size >= 0x80:
        count = size - 0x80
        start += count
        if not 0 < count <= LENGTH_OCTETS_MAX or start > end:
            raise ValueError("no length")
        size = int.from_bytes(octets[at + 2 : start], "big")
        if size < 0x80 or size >> 8 * (count - 1) == 0:
            raise ValueError("a length that could be shorter")
    if size > end - start:
        raise ValueError("it ends early")
    return start, size


def check_count(octets: bytes | bytearray, most: int) -> None:
    """Raise ValueError unless the bytes are complete values, at most `most` at all depths together.

    This bounds the work of a decoder that builds an object for each value.
    """
    ends, at = [len(octets)], 0
    while ends:
        if at == ends[-1]:
            ends.pop()
            continue
        most -= 1
        if most < 0:
            raise ValueError("too many values")
        start, size = _contents(octets, at, ends[-1])
        if octets[at] & CONSTRUCTED:
            ends.append(start + size)
            at = start
        else:
            at = start + size
