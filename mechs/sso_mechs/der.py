"""Finds values in the part of DER (X.690 section 10) that Kerberos needs, with limits against hostile peers.

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


def contents(octets: bytes, at: int, end: int, tag: int | None = None) -> tuple[int, int]:
    """Return where the contents of the value at `at` begin and end, which is where the next value begins.

    `end` is the end of what is around it, `tag` the tag that it must have.
    """
    if end - at < 2 or octets[at] & 0x1F == 0x1F:
        raise ValueError("no value of a short tag")
    if tag is not None and octets[at] != tag:
        raise ValueError("another tag was due")
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
    return start, start + size


def only(octets: bytes, at: int, end: int, *tags: int) -> tuple[int, int]:
    """Return where the contents are of the innermost of nested values with these tags, each alone in the
    outer one, and the first alone between `at` and `end`."""
    for tag in tags:
        at, inner_end = contents(octets, at, end, tag)
        if inner_end != end:
            raise ValueError("bytes behind the end")
    return at, end


def row(octets: bytes, at: int, end: int, *tags: int) -> list[tuple[int, int]]:
    """Return where the contents are of the values between `at` and `end`, which must have just these tags."""
    found = []
    for tag in tags:
        start, at = contents(octets, at, end, tag)
        found.append((start, at))
    if at != end:
        raise ValueError("bytes behind the end")
    return found


def integer(octets: bytes, at: int, end: int) -> int:
    """Read an INTEGER that is alone there, of at most 5 bytes, since a UInt32 may need one for its sign."""
    start, end = only(octets, at, end, INTEGER)
    if not 0 < end - start <= 5:
        raise ValueError("no small integer")
    return int.from_bytes(octets[start:end], "big", signed=True)


def check_count(octets: bytes, most: int) -> None:
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
        start, end = contents(octets, at, ends[-1])
        if octets[at] & CONSTRUCTED:
            ends.append(end)
            at = start
        else:
            at = end
