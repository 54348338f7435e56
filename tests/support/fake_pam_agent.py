"""A scripted guest agent: it answers the PAM module as told and records what it receives."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

GET, ESTABLISHED, OPENED, CLOSED, TRIED, PASSED, HELD = 1, 2, 3, 4, 5, 6, 7
VERSION = 3
NONE, PASSWORD, KERBEROS, IDENTITY = 0, 1, 2, 3

_REQUEST = struct.Struct("4sBB2s64s64s256s72s240s")
_REPLY = struct.Struct(">4sBB2sI256s52s")
_JOIN_SECONDS = 10.0


@dataclass(frozen=True)
class Heard:
    """One request of the module."""

    operation: int
    service: str
    tty: str
    user: str
    token: str
    path: str


def read_request(packet: bytes) -> Heard:
    """Parse a request; every byte outside the texts must be as the contract says."""
    assert len(packet) == _REQUEST.size == 704
    magic, version, operation, zero, *texts = _REQUEST.unpack(packet)
    assert (magic, version, zero) == (b"SSOP", VERSION, b"\0\0")
    for text in texts:
        assert text.endswith(b"\0") and b"\0" not in text.rstrip(b"\0")
    return Heard(operation, *(text.rstrip(b"\0").decode() for text in texts))


@dataclass(frozen=True)
class Answer:
    """The answer for one connection. The first fields form a correct reply, the others break it."""

    kind: int = NONE
    user: str = ""
    secret: bytes = field(default=b"", repr=False)
    length: int | None = None  # what the reply claims; None = the truth
    files: int | None = None  # how many descriptors come along; None = as many as is right
    spoil: Callable[[bytes], bytes] = bytes
    silent: bool = False
    hang_up_after: int | None = None  # the operation that the agent hears as its last; 0 = none

    def send(self, connection: socket.socket) -> None:
        """Send the reply with its descriptors."""
        length = len(self.secret) if self.length is None else self.length
        packet = _REPLY.pack(b"SSOR", VERSION, self.kind, b"", length, self.user.encode(), b"")
        count = int(self.kind in (PASSWORD, KERBEROS)) if self.files is None else self.files
        files = [_memory_file(self.secret) for _ in range(count)]
        with contextlib.suppress(BrokenPipeError):
            socket.send_fds(connection, [self.spoil(packet)], files)
        for file in files:
            os.close(file)

    def send_yes(self, connection: socket.socket) -> None:
        """Send the answer to a later question."""
        with contextlib.suppress(BrokenPipeError):
            connection.send(_REPLY.pack(b"SSOR", VERSION, IDENTITY, b"", 0, self.user.encode(), b""))


class Agent:
    """Listens on a SOCK_SEQPACKET socket; the N-th connection gets the N-th answer, the last one repeats.

    `stories` has one list per connection with what was heard. Leaving the context waits until all
    connections are over.
    """

    def __init__(self, path: Path, *answers: Answer, uid: int = 0) -> None:
        self.stories: list[list[Heard]] = []
        self._answers = answers
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        path.chmod(0o600)
        # The kernel keeps the uid of this moment for SO_PEERCRED.
        os.seteuid(uid)
        self._listener.listen()
        os.seteuid(0)
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
            assert not thread.is_alive(), "a connection to the agent was left open"
        self._listener.close()
        self._path.unlink(missing_ok=True)

    @property
    def operations(self) -> list[list[int]]:
        """The operations of each connection in order, without the questions that change nothing (HELD)."""
        return [[heard.operation for heard in story if heard.operation != HELD] for story in self.stories]

    def hang_up(self) -> None:
        """Close all connections that are open now."""
        for connection in self._connections:
            # The other end may be gone already.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            answer = self._answers[min(len(self.stories), len(self._answers) - 1)]
            self._connections.append(connection)
            self.stories.append([])
            self._start(self._serve, connection, answer, self.stories[-1])

    def _serve(self, connection: socket.socket, answer: Answer, story: list[Heard]) -> None:
        with connection:
            if answer.hang_up_after == 0:
                return
            # A module that exits with unread data resets the connection.
            with contextlib.suppress(ConnectionResetError):
                while packet := connection.recv(1024):
                    story.append(read_request(packet))
                    if story[-1].operation == answer.hang_up_after:
                        return
                    if answer.silent or story[-1].operation == CLOSED:
                        continue
                    if story[-1].operation == GET:
                        answer.send(connection)
                    else:
                        answer.send_yes(connection)


def _memory_file(content: bytes) -> int:
    file = os.memfd_create("secret")
    os.write(file, content)
    return file
