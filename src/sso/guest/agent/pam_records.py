"""The records between the PAM module and the agent: a request, and the reply to each but CLOSED.

The module's side is pam/agent.c; sso.guest.agent.pam_socket says in which order they come.
"""

import struct
from enum import IntEnum
from typing import ClassVar, Self

from sso.errors import RemoteProtocolError
from sso.guest.fields import Record, get, put, unpack
from sso.guest.records import USER_SIZE, Kind

PAM_VERSION = 3


class Operation(IntEnum):
    """What the PAM module asks or reports."""

    GET = 1
    ESTABLISHED = 2
    OPENED = 3
    CLOSED = 4
    TRIED = 5
    PASSED = 6
    HELD = 7


class OtherVersion(RemoteProtocolError):
    """The record is one of another PAM_VERSION: the module and the agent were not upgraded together."""


class _PamRecord(Record):
    """A record with PAM_VERSION behind its tag."""

    @classmethod
    def check_version(cls, data: bytes) -> None:
        if data[:4] in (b"SSOP", b"SSOR") and len(data) > 4 and data[4] != PAM_VERSION:
            raise OtherVersion("a record of another version")


class Request(_PamRecord):
    """What the PAM module says: 704 bytes. Texts are "" where it knows nothing."""

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"4sBB2s64s64s{USER_SIZE}s72s240s")
    operation: Operation
    service: str = ""
    tty: str = ""
    user: str = ""
    token: str = ""
    path: str = ""

    def __repr__(self) -> str:
        return f"<Request {self.operation.name} {self.service} {self.tty}>"

    def pack(self) -> bytes:
        texts = (self.service, self.tty, self.user, self.token, self.path)
        fields = map(put, texts, (64, 64, USER_SIZE, 72, 240))
        return self.LAYOUT.pack(b"SSOP", PAM_VERSION, self.operation, b"", *fields)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        cls.check_version(data)
        operation, zero, *texts = unpack(cls.LAYOUT, data, b"SSOP", PAM_VERSION)
        if zero != b"\0\0" or operation not in list(Operation):
            raise RemoteProtocolError("a request of no known kind")
        return cls(Operation(operation), *map(get, texts))


class Reply(_PamRecord):
    """The answer to a GET: 320 bytes, with a descriptor for kinds 1 and 2.

    The answer to every later request but CLOSED is a yes: kind IDENTITY, with the user of the grant.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(f">4sBB2sI{USER_SIZE}s52s")
    kind: Kind = Kind.NONE
    length: int = 0
    user: str = ""

    @property
    def files(self) -> int:
        return self.kind.files

    def pack(self) -> bytes:
        user = put(self.user, USER_SIZE)
        return self.LAYOUT.pack(b"SSOR", PAM_VERSION, self.kind, b"", self.length, user, b"")

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        cls.check_version(data)
        kind, zero, length, user, rest = unpack(cls.LAYOUT, data, b"SSOR", PAM_VERSION)
        if zero != b"\0\0" or rest != bytes(52) or kind not in list(Kind):
            raise RemoteProtocolError("a reply of no known kind")
        return cls(Kind(kind), length, get(user))
