"""The records between the guest's processes: fixed sizes, strict checks, descriptors beside them.

All of them are one packet on an AF_UNIX SOCK_SEQPACKET socket. A record is a four-byte tag and fields
of fixed size; a text is UTF-8 without control characters, ended by NUL and padded with NUL.

    LINK              agent -> channel, acceptor   begin: a fingerprint of the agent's configuration, with the
                                                   socket to the other one
    BEGIN END CHILD   channel -> agent, acceptor   a peer session
    GONE              channel -> agent             the client has left the port: lock
    CONFIRM           agent -> channel             everything of an ended session is revoked, and locked
    AUTHENTICATED     acceptor -> agent            who was authenticated, with the secret's descriptor; before
                                                   that, from a worker of the acceptor to the acceptor
    OUTCOME           agent -> acceptor            0, or an error code of PROTOCOL.md section 4
    HELLO GO TAKEN    getty -> agent -> getty ->   a login screen, the user for it, and that it obeys
    SIGNIN            agent -> greeter             the user for it, with a token for PAM
    SSOP SSOR         PAM module -> agent -> ...   asks and is answered (agent/pam_records.py)
"""

import os
import socket
import struct
from array import array
from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar, NamedTuple, Self, TypeVar

from sso.errors import LocalProtocolError, RemoteProtocolError
from sso.guest.fields import Record, fits, get, put, unpack

FILES_MAX = 4  # descriptors that a packet may bring before the kernel drops the rest
SECRET_MAX = 128 * 1024  # bytes of a ticket's cache: a ticket of 64 KiB, and the names around it
PASSWORD_MAX = 511  # PAM_MAX_RESP_SIZE without its NUL
USER_SIZE = 256  # LOGIN_NAME_MAX (limits.h), with its NUL
PRINCIPAL_SIZE = 512
MECHANISM_SIZE = 64  # bytes of a mechanism's name and of its namespace, with their NUL


class Kind(IntEnum):
    """What comes with an authentication, or with a reply to the PAM module."""

    NONE = 0
    PASSWORD = 1
    KERBEROS = 2
    IDENTITY = 3

    @property
    def files(self) -> int:
        """How many descriptors come along."""
        return int(self in (Kind.PASSWORD, Kind.KERBEROS))


def is_login_name(name: str) -> bool:
    """Whether a name is safe to hand to login and PAM: no option, no path, no field separator, 255 bytes.

    Blanks stand in names that directory services make up, and each login screen here takes them, but for
    those at an end: some screens drop these.
    """
    plain = name == name.strip() and name[:1] != "-" and not set(name) & set(":/")
    return bool(name) and plain and fits(name, USER_SIZE)


class Verdict(IntEnum):
    """The outcomes that the agent has: the codes of PROTOCOL.md section 4, without its parser."""

    LOGGED_IN = 0
    NOT_AUTHENTICATED = 402
    DENIED = 403
    NO_TICKET = 409
    TRY_LATER = 410
    NO_LOGIN_SCREEN = 411
    CREDENTIAL_REFUSED = 412
    CONSOLE_ASKS = 414
    INTERNAL = 500


# Records


class _Session(Record):
    """A record that names a peer session and nothing else."""

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(">4sQ")
    TAG: ClassVar[bytes]
    FILES: ClassVar[int] = 0
    id: int

    @property
    def files(self) -> int:
        return self.FILES

    def pack(self) -> bytes:
        return self.LAYOUT.pack(self.TAG, self.id)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        (id,) = unpack(cls.LAYOUT, data, cls.TAG)
        return cls(id)


class Begin(_Session):
    """A peer session has begun."""

    TAG = b"BEGN"


class End(_Session):
    """A peer session is over: what it was granted is to be revoked."""

    TAG = b"ENDS"


class Gone(_Session):
    """The client of this or an earlier peer session has left the port, or is another one now."""

    TAG = b"GONE"


class Confirm(_Session):
    """Nothing of an ended session is left."""

    TAG = b"CONF"


class Link(Record):
    """The process may begin: beside it comes its socket to the other process.

    `fingerprint` is of the agent's configuration (sso.guest.links), 64 bits.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(">4sQ")
    TAG: ClassVar[bytes] = b"LINK"
    fingerprint: int

    @property
    def files(self) -> int:
        return 1

    def pack(self) -> bytes:
        return self.LAYOUT.pack(self.TAG, self.fingerprint)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        (fingerprint,) = unpack(cls.LAYOUT, data, cls.TAG)
        return cls(fingerprint)


class Child(_Session):
    """A peer session for the acceptor, with the socket of its child."""

    TAG = b"CHLD"
    FILES = 1


class Who(NamedTuple):
    """Somebody, as mechanisms name them: the same text in two namespaces names two."""

    namespace: str
    principal: str


class Authenticated(Record):
    """Who was authenticated: `principal` is user@REALM, for a password the user name.

    Whose names `principal` is one of says `namespace`, "kerberos" for user@REALM; `mechanism` is the one that
    brought it. One of the two that does not fit its field goes as "", which is none that there is.
    A principal that does not fit its field goes as "", which names nobody; so a peer with a strange name
    ends only its own session. `digest` is the keyed one of a password, or zeros; `expires` the end of
    the ticket in seconds since the epoch. The secret's descriptor comes along for kinds 1 and 2.
    """

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(
        f">4sQ16sB{PRINCIPAL_SIZE}s32sQ{MECHANISM_SIZE}s{MECHANISM_SIZE}s"
    )
    id: int
    attempt: bytes
    kind: Kind
    principal: str
    digest: bytes
    expires: int
    mechanism: str = "GSSAPI"
    namespace: str = "kerberos"

    def __repr__(self) -> str:
        return f"<Authenticated {self.id} {self.kind.name} {self.mechanism} {self.principal}>"

    @property
    def who(self) -> Who:
        return Who(self.namespace, self.principal)

    @property
    def files(self) -> int:
        return self.kind.files

    def pack(self) -> bytes:
        principal = self.principal.encode() if fits(self.principal, PRINCIPAL_SIZE) else b""
        names = (
            text.encode() if fits(text, MECHANISM_SIZE) else b"" for text in (self.mechanism, self.namespace)
        )
        expires = max(0, min(self.expires, 2**64 - 1))
        head = (b"AUTH", self.id, self.attempt, self.kind, principal, self.digest, expires)
        return self.LAYOUT.pack(*head, *names)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        values = unpack(cls.LAYOUT, data, b"AUTH")
        id, attempt, kind, principal, digest, expires, *names = values
        if kind not in (Kind.PASSWORD, Kind.KERBEROS, Kind.IDENTITY):
            raise RemoteProtocolError("an authentication of no known kind")
        return cls(id, attempt, Kind(kind), get(principal), digest, expires, *map(get, names))


class Outcome(Record):
    """What became of an authentication: 0 for logged in, else an error code."""

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(">4sQI")
    id: int
    code: int

    def pack(self) -> bytes:
        return self.LAYOUT.pack(b"OUTC", self.id, self.code)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        id, code = unpack(cls.LAYOUT, data, b"OUTC")
        if not is_code(code):
            raise RemoteProtocolError("an outcome that is none")
        return cls(id, code)


def is_code(code: int) -> bool:
    """Whether an outcome is 0 or may stand behind `error` (PROTOCOL.md section 4): three digits, no delay."""
    return code == 0 or 400 <= code <= 599


class _Name(Record):
    """A record of one text."""

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"4s{USER_SIZE}s")
    TAG: ClassVar[bytes]
    text: str

    def pack(self) -> bytes:
        return self.LAYOUT.pack(self.TAG, put(self.text, USER_SIZE))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        (text,) = unpack(cls.LAYOUT, data, cls.TAG)
        return cls(get(text))


class Hello(_Name):
    """A login screen waits on the terminal `text` (without /dev/)."""

    TAG = b"HELO"


class Go(_Name):
    """The login screen is to log in the user `text`."""

    TAG = b"LOGN"


class SignIn(Record):
    """A greeter is to sign in `user`, and to hand `token` to PAM."""

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"4s{USER_SIZE}s72s")
    user: str
    token: str

    def pack(self) -> bytes:
        return self.LAYOUT.pack(b"SIGN", put(self.user, USER_SIZE), put(self.token, 72))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*map(get, unpack(cls.LAYOUT, data, b"SIGN")))


class Taken(_Name):
    """The login screen becomes login for the user `text` now."""

    TAG = b"TAKN"


# Packets

Received = TypeVar("Received", bound=Record)
_FILES_ROOM = socket.CMSG_LEN(FILES_MAX * array("i").itemsize)


def send(connection: socket.socket, record: Record, fds: Sequence[int] = ()) -> bool:
    """Send one record with its descriptors, which stay open here; False when the other end takes nothing.

    That the other end is gone is no error: the next `receive` says so. On a non-blocking socket a full
    queue is False too. Raises LocalProtocolError when the number of descriptors or a text is wrong.
    """
    if len(fds) != record.files:
        raise LocalProtocolError("a record with a wrong number of descriptors")
    try:
        # Not socket.send_fds and recv_fds: they drop the flags that they are given.
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        connection.sendmsg([record.pack()], files, socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError, BlockingIOError):
        return False
    return True


def receive(connection: socket.socket, *types: type[Received]) -> tuple[Received, list[int]] | None:
    """One record of the given kinds and its descriptors (close-on-exec), or None after a hang-up.

    Raises RemoteProtocolError on anything else, with all descriptors closed, and BlockingIOError when
    nothing is there on a non-blocking socket.
    """
    largest = max(type.LAYOUT.size for type in types)
    try:
        data, parts, flags, _ = connection.recvmsg(largest + 1, _FILES_ROOM, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    fds = _descriptors(parts)
    try:
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            raise RemoteProtocolError("a packet that is larger than any record")
        if not data and not fds:
            return None
        record = _unpack(data, types)
        if len(fds) != record.files:
            raise RemoteProtocolError("a record with a wrong number of descriptors")
    except BaseException:
        close_all(fds)
        raise
    return record, fds


def _descriptors(parts: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """What came beside a packet (SCM_RIGHTS, unix(7))."""
    fds = array("i")
    for level, type, data in parts:
        if (level, type) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


def _unpack(data: bytes, types: Sequence[type[Received]]) -> Received:
    for type in types:
        type.check_version(data)  # first: a record of another version has another size
        tag = getattr(type, "TAG", data[:4])
        if len(data) == type.LAYOUT.size and data[:4] == tag:
            return type.unpack(data)
    raise RemoteProtocolError("a packet that is no record")


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)
