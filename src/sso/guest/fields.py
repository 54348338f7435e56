"""What the records between the guest's processes are made of: values by name, in fields of fixed size."""

import struct
from typing import Any, ClassVar, Self, dataclass_transform

from sso.errors import LocalProtocolError, RemoteProtocolError


@dataclass_transform(frozen_default=True)
class Record:
    """One kind of packet: values by name, equal by kind and values; `files` descriptors come with it.

    A dataclass without its price: code that is generated for each kind makes every start 5 ms longer.
    """

    LAYOUT: ClassVar[struct.Struct]
    NAMES: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.NAMES = tuple(name for name in cls.__annotations__ if name.islower()) or cls.NAMES

    def __init__(self, *values: Any, **named: Any) -> None:
        given = dict(zip(self.NAMES, values, strict=False)) | named
        for name in self.NAMES:
            value = given.pop(name) if name in given else getattr(type(self), name)
            object.__setattr__(self, name, value)
        if given or len(values) > len(self.NAMES):
            raise TypeError(f"{type(self).__name__} has {', '.join(self.NAMES)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of a record is not to be changed")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # values may be secret

    @property
    def files(self) -> int:
        return 0

    def pack(self) -> bytes:
        raise NotImplementedError

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        raise NotImplementedError

    @classmethod
    def check_version(cls, data: bytes) -> None:
        """Raise RemoteProtocolError for a packet of another version; most kinds of records have none."""


def fits(text: str, size: int) -> bool:
    """Whether a text can stand in a field of that many bytes."""
    return text.isprintable() and len(text.encode(errors="replace")) < size and _is_utf8(text)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def put(text: str, size: int) -> bytes:
    """A text for a field of that many bytes; raises LocalProtocolError when it does not fit."""
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
