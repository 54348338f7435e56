"""Signs connection files, for sites and portals (docs/connection-file.md). No I/O."""

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
    """Return the group [x-sso-entry], signed with a site's private key of 32 bytes; append it unchanged.

    Raises ConfigError for an entry that no reader would accept, and NoLibrary.
    """
    text = _text(signed_group.ENTRY, entries.fields_of(entry) | {"key": key_text(public_of(seed))})
    group = text + _signature(seed, entries.PREFIX, memoryview(text))
    signed_group.find(memoryview(group), signed_group.ENTRY)  # each value was checked; now check the whole
    return group


def with_entry(file: memoryview, group: bytes) -> bytearray:
    """Append an entry to a connection file. If the file has a password, the caller wipes the result.

    Raises ConfigError if the file has an entry or an opening already, or becomes too long.
    """
    _refuse(file, signed_group.ENTRY, signed_group.OPENING)
    return _joined(file, group)


def with_opening(file: memoryview, seed: bytearray, principal: str, issued: int, expires: int) -> bytearray:
    """Append an opening for a principal to a connection file, signed with a portal's private key of 32 bytes.

    `issued` and `expires` are seconds since 1970, at most LIFE_MAX apart. If the file has a password, the
    caller wipes the result. Raises ConfigError for values that no reader would accept, and if the file has an
    opening already or becomes too long; and NoLibrary.
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
