"""GLib's key files: groups of KEY=VALUE, read in place so that a secret in one is never copied to a str."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from sso.errors import ConfigError

ENTRIES_MAX = 500  # keys of a file
_LINE = re.compile(
    rb"[ \t\r\f\v]*+(?:#[^\n]*+"
    rb"|\[([^\[\]\x00-\x1f\x7f\n]{1,64}+)\][ \t\r\f\v]*+"
    rb"|([A-Za-z0-9._-]{1,64}+(?:\[[A-Za-z0-9._@-]{1,32}+\])?+)[ \t]*+=[ \t]*+([^\n]*+)"
    rb")?+(?:\n|\Z)"
)
# Well-formed UTF-8 (RFC 3629 section 4) up to the first octet that is not, and no NUL.
_UTF_8 = re.compile(
    rb"(?:[\x01-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2})*+"
)
_BOM = b"\xef\xbb\xbf"
_ESCAPES = {ord("s"): 0x20, ord("n"): 0x0A, ord("t"): 0x09, ord("r"): 0x0D, ord("\\"): 0x5C}


class Entry(NamedTuple):
    """One key: `value` is a view of the file's buffer, still with its escapes."""

    group: str
    key: str
    value: memoryview


def entries(buffer: bytearray, size: int) -> Iterator[Entry]:
    """The keys of the first `size` octets in their order, until something is wrong; `key[de]` as it stands.

    Raises ConfigError with the line for what is no key file, has more than ENTRIES_MAX keys, or is not
    UTF-8 or has a NUL; without an octet of the file.
    """
    if buffer.startswith(_BOM):
        raise ConfigError("it begins with a byte order mark: save it as UTF-8 without one")
    good = _UTF_8.match(buffer, 0, size)
    sound = good.end() if good else 0
    at, count, number, group = 0, 0, 0, ""
    while at < size:
        number += 1
        line = _LINE.match(buffer, at, size)
        if line is None or line.end() > sound:
            raise ConfigError(f"line {number}: {_trouble(buffer, at, sound, size)}")
        at = line.end()
        if line.start(1) >= 0:
            group = str(line[1], "utf-8")
        elif line.start(2) >= 0:
            count += 1
            if not group:
                raise ConfigError(f"line {number}: a key before the first [group]")
            if count > ENTRIES_MAX:
                raise ConfigError(f"line {number}: more than {ENTRIES_MAX} keys")
            start, end = line.span(3)
            yield Entry(group, str(line[2], "ascii"), memoryview(buffer)[start:end])


def _trouble(buffer: bytearray, start: int, sound: int, size: int) -> str:
    end = buffer.find(b"\n", start, size)
    if sound < size and (end < 0 or sound <= end):
        return "it is no UTF-8" if buffer[sound] else "it has a NUL"
    return "it is neither KEY=VALUE nor a [group] nor a # comment"


def unescaped(value: memoryview, key: str) -> bytearray:
    """A value without its escapes and the carriage return of its line; raises ConfigError that names `key`.

    The caller wipes it where it is a secret.
    """
    plain = bytearray(sum(1 for _ in _octets(value, key)))  # never resized, which may leave a copy behind
    for at, octet in enumerate(_octets(value, key)):
        plain[at] = octet
    return plain


def _octets(value: memoryview, key: str) -> Iterator[int]:
    rest = iter(value[:-1] if value and value[-1] == 0x0D else value)
    for octet in rest:
        if octet == 0x5C:
            octet = _ESCAPES.get(next(rest, 0), 0)
            if not octet:
                raise ConfigError(f"{key}: after a backslash only s, n, t, r and another one are known")
        yield octet
