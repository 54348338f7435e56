"""Fields of fixed size in the records between the guest's processes."""

import struct
from typing import Any

from sso.errors import LocalProtocolError, RemoteProtocolError


def fits(text: str, size: int) -> bool:
    """Whether a text can stand in a field of that many octets."""
    return text.isprintable() and len(text.encode(errors="replace")) < size and _is_utf8(text)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def put(text: str, size: int) -> bytes:
    """A text for a field of that many octets; raises LocalProtocolError when it does not fit."""
    if not fits(text, size):
        raise LocalProtocolError("a text does not fit its field of a record")
    return text.encode()


def get(field: bytes) -> str:
    """The text of a field; raises RemoteProtocolError when it is not one."""
    text, _, rest = field.partition(b"\0")
    if len(text) == len(field) or rest.strip(b"\0"):
        raise RemoteProtocolError("a text of a record is not ended and padded with NUL")
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("a text of a record is not UTF-8") from None
    if not decoded.isprintable():
        raise RemoteProtocolError("a text of a record has control characters")
    return decoded


def unpack(layout: struct.Struct, data: bytes, *fixed: object) -> tuple[Any, ...]:
    """The fields behind the fixed ones, which have to be as they are here, else RemoteProtocolError."""
    values = layout.unpack(data)
    if values[: len(fixed)] != fixed:
        raise RemoteProtocolError("a record does not begin as its kind does")
    return values[len(fixed) :]
