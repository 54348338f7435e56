"""Writes the signed form of a connection file, for sites and portals (docs/connection-file.md). No I/O."""

from collections.abc import Mapping

from sso.console import entry as entries
from sso.console import opening as openings
from sso.console import signed_group
from sso.console.ed25519 import in_one, key_text, public_of, sign
from sso.console.entry import GuestEntry
from sso.console.opening import CountedOpening
from sso.console.signed import FILE_MAX
from sso.errors import ConfigError
from sso.framing import b64encode, wipe


def entry_group(entry: GuestEntry, seed: bytearray) -> bytes:
    """The group [x-sso-entry] under a site's private key of 32 octets, to be put into files as it stands.

    Raises ConfigError for an entry that no reader would take, and NoLibrary.
    """
    text = _text(signed_group.ENTRY, entries.fields_of(entry) | {"key": key_text(public_of(seed))})
    group = text + _signature(seed, entries.PREFIX, memoryview(text))
    signed_group.find(memoryview(group), signed_group.ENTRY)  # each value is right; now the whole is, too
    return group


def with_entry(file: memoryview, group: bytes) -> bytearray:
    """A connection file and an entry behind it; the caller wipes the result where the file has a password.

    Raises ConfigError for a file that has an entry or an opening already, and for one that grows too long.
    """
    _refuse(file, signed_group.ENTRY, signed_group.OPENING)
    return _joined(file, group)


def with_opening(file: memoryview, seed: bytearray, principal: str, issued: int, expires: int) -> bytearray:
    """A connection file under a portal's private key of 32 octets, good for that principal.

    `issued` and `expires` are seconds since 1970, LIFE_MAX apart at most. The caller wipes the result where
    the file has a password. Raises ConfigError for values that no reader would take, for a file that has an
    opening already, and for one that grows too long; and NoLibrary.
    """
    _refuse(file, signed_group.OPENING)
    opening = CountedOpening(principal, issued, expires, public_of(seed))
    signed = _joined(file, _text(signed_group.OPENING, openings.fields_of(opening)))
    try:
        return _joined(signed, _signature(seed, openings.PREFIX, memoryview(signed)))
    finally:
        wipe(signed)


def _text(name: str, fields: Mapping[str, str]) -> bytes:
    return "".join((f"[{name}]\n", *(f"{key}={value}\n" for key, value in fields.items()))).encode()


def _signature(seed: bytearray, prefix: bytes, octets: memoryview) -> bytes:
    return b"signature=" + bytes(b64encode(sign(seed, prefix, octets))) + b"\n"


def _refuse(file: memoryview, *names: str) -> None:
    for name in names:
        if signed_group.is_there(file, name):
            raise ConfigError(f"the file has a group [{name}] already")


def _joined(file: memoryview | bytearray, group: bytes) -> bytearray:
    gap = b"" if not len(file) or file[-1] == 0x0A else b"\n"
    if len(file) + len(gap) + len(group) > FILE_MAX:
        raise ConfigError(f"the file would have more than {FILE_MAX // 1024} KiB")
    return in_one(file, gap, group)
