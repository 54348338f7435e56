"""Finds the groups [x-sso-entry] and [x-sso-signature] in a file (docs/connection-file.md section 1).

GLib accepts many forms; these groups have only one: no white space, no comment, no CR, and `signature` as the
last line. Another spelling of their header counts as the group and fails, so that all readers see the same.
"""

import re
from typing import NamedTuple

from sso.console.ed25519 import SIGNATURE_SIZE
from sso.errors import ConfigError, FramingError
from sso.framing import b64decode

ENTRY, OPENING = "x-sso-entry", "x-sso-signature"
GROUP_MAX = 16 * 1024  # bytes of one group
VALUE_MAX = 2048  # bytes of one value
_HEADER = re.compile(rb"^[ \t\r\f\v]*\[", re.MULTILINE)
_OURS = {name: re.compile(rb"^[ \t\r\f\v]*\[" + name.encode() + rb"\]", re.M) for name in (ENTRY, OPENING)}
_LINE = re.compile(r"([a-z][a-z0-9-]{0,31})=(\S|\S.*\S)")
_SIGNATURE = "signature"


class SignedGroup(NamedTuple):
    """One group: its keys without the signature, and the offsets of its start and of its signature's line."""

    fields: dict[str, str]
    start: int
    unsigned: int
    signature: bytes


def is_there(octets: memoryview, name: str) -> bool:
    """Whether the file has a header of that name, in any spelling."""
    return _OURS[name].search(octets) is not None


def find(octets: memoryview, name: str) -> SignedGroup | None:
    """Return the one group of that name, or None; raises ConfigError if its form is wrong.

    Nothing may follow [x-sso-signature]; only empty lines or another group may follow an entry's signature.
    Only the group itself is copied, since the rest of the file may hold a secret.
    """
    found = list(_OURS[name].finditer(octets))
    if not found:
        return None
    if len(found) > 1:
        raise ConfigError("there are two of them")
    start = found[0].start()
    after = _HEADER.search(octets, found[0].end())
    end = after.start() if after else len(octets)
    if name == OPENING and after:
        raise ConfigError("something follows it")
    if end - start > GROUP_MAX:
        raise ConfigError(f"it has more than {GROUP_MAX // 1024} KiB")
    try:
        text = str(octets[start:end], "utf-8")
    except UnicodeDecodeError:
        raise ConfigError("it is no UTF-8") from None
    return _parsed(text.rstrip("\n") + "\n" if name == ENTRY else text, name, start)


def _parsed(text: str, name: str, start: int) -> SignedGroup:
    header, *lines = text.split("\n")
    if header != f"[{name}]" or len(lines) < 2 or lines.pop():
        raise ConfigError("its first and last lines have to be the header and the signature, and no more")
    fields: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if not found or not line.isprintable() or len(line.encode()) > VALUE_MAX:
            raise ConfigError(f"its lines have to be KEY=VALUE, printable, of {VALUE_MAX} bytes at most")
        if found[1] in fields:
            raise ConfigError(f"{found[1]} is given twice")
        fields[found[1]] = found[2]
    if not lines[-1].startswith(f"{_SIGNATURE}="):
        raise ConfigError("its last line has to be the signature")
    unsigned = start + len(text.encode()) - len(lines[-1].encode()) - 1
    return SignedGroup(fields, start, unsigned, _signature(fields.pop(_SIGNATURE)))


def _signature(text: str) -> bytes:
    try:
        signature = bytes(b64decode(text.encode(), SIGNATURE_SIZE))
    except FramingError:
        signature = b""
    if len(signature) != SIGNATURE_SIZE:
        raise ConfigError("signature: it has to be 88 characters of canonical base64")
    return signature
