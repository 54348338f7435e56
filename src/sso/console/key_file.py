"""Reads GLib's key files, groups of KEY=VALUE, in place, so that a secret is never copied to a str."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from sso.errors import ConfigError
from sso.framing import wipe

ENTRIES_MAX = 500  # keys of a file
# As GLib 2.74 reads it: a key is any text without brackets before "=". Many writers use ; for a comment line;
# GLib reads such a line as an unknown key.
_LINE = re.compile(
    rb"[ \t\r\f\v]*+(?:[#;][^\n]*+"
    rb"|\[([^\[\]\x00-\x1f\x7f\n]{1,64}+)\][ \t\r\f\v]*+"
    rb"|([^\x00-\x20\x7f=\[\]](?:[^\x00-\x1f\x7f=\[\]]{0,253}[^\x00-\x20\x7f=\[\]])?+"
    rb"(?:\[[A-Za-z0-9._@-]{1,32}+\])?+)[ \t]*+=[ \t]*+([^\n]*+)"
    rb")?+(?:\n|\Z)"
)
# Well-formed UTF-8 (RFC 3629 section 4), and no NUL.
_UTF_8 = re.compile(
    rb"(?:[\x01-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2})*+"
)
_BOM = b"\xef\xbb\xbf"
_ESCAPES = {ord("s"): 0x20, ord("n"): 0x0A, ord("t"): 0x09, ord("r"): 0x0D, ord("\\"): 0x5C}


class Entry(NamedTuple):
    """One key. `value` is a view of the file's buffer, with its escapes."""

    group: str
    key: str
    value: memoryview


def entries(buffer: bytearray, size: int) -> Iterator[Entry | str]:
    """Yield the keys of the first `size` bytes in order, and each group's name as a str; `key[de]` stays so.

    Raises ConfigError with the number of the line at the first error: no key file, more than ENTRIES_MAX
    keys, or a NUL. The message holds no byte of the file.
    """
    if buffer.startswith(_BOM):
        raise ConfigError("it begins with a byte order mark: save it as UTF-8 without one")
    at, count, number, group = 0, 0, 0, ""
    while at < size:
        number += 1
        line = _LINE.match(buffer, at, size)
        nul = buffer.find(0, at, line.end() if line else size)
        if line is None or nul >= 0:
            raise ConfigError(f"line {number}: {_trouble(buffer, at, size)}")
        at = line.end()
        if line.start(1) >= 0:
            yield (group := _name(line[1], number))
        elif line.start(2) >= 0:
            count += 1
            if not group:
                raise ConfigError(f"line {number}: a key before the first [group]")
            if count > ENTRIES_MAX:
                raise ConfigError(f"line {number}: more than {ENTRIES_MAX} keys")
            start, end = line.span(3)
            yield Entry(group, _name(line[2], number), memoryview(buffer)[start:end])


def _name(octets: bytes, number: int) -> str:
    try:
        return str(octets, "utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"line {number}: it is no UTF-8") from None


def _trouble(buffer: bytearray, start: int, size: int) -> str:
    end = buffer.find(b"\n", start, size)
    if buffer.find(0, start, size if end < 0 else end) >= 0:
        return "it has a NUL"
    return "it is neither KEY=VALUE nor a [group] nor a comment"


def unescaped(value: memoryview, key: str) -> bytearray:
    """Return a value without its escapes and without the carriage return of its line.

    Raises ConfigError that names `key` for an unknown escape, and for invalid UTF-8. If the value is a
    secret, the caller wipes it.
    """
    plain = bytearray(sum(1 for _ in _octets(value, key)))  # never resized: that may leave a copy behind
    for at, octet in enumerate(_octets(value, key)):
        plain[at] = octet
    if not is_text(plain):
        wipe(plain)
        raise ConfigError(f"{key}: it is no UTF-8")
    return plain


def is_text(octets: bytearray) -> bool:
    """Whether these bytes are UTF-8 without a NUL; makes no copy of a secret."""
    return _UTF_8.fullmatch(octets) is not None


def _octets(value: memoryview, key: str) -> Iterator[int]:
    rest = iter(value[:-1] if value and value[-1] == 0x0D else value)
    for octet in rest:
        if octet == 0x5C:
            octet = _ESCAPES.get(next(rest, 0), 0)
            if not octet:
                raise ConfigError(f"{key}: after a backslash only s, n, t, r and another one are known")
        yield octet
