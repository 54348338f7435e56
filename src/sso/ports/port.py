"""Ports: byte streams with non-blocking reads and writes, over sockets, pipes and devices.

The owner of a port closes it. `read` returns None when there is nothing now, and b"" after a hang-up.
"""

import _socket  # not socket, which costs every login 2 ms for enums that are not needed here
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EBUSY
from typing import TYPE_CHECKING

from sso.errors import ConfigError, PortClosed

if TYPE_CHECKING:
    import socket

DEVICES = "/dev/virtio-ports/"
READ_MAX = 65536
DEVICE_WRITE_MAX = 32 * 1024  # bytes that the kernel's virtio_console accepts in one write
FLUSH_MAX = 1024 * 1024  # bytes that one flush drops at most, so that a peer that floods cannot block us
CONNECT_TIME = 10  # seconds
REOPEN_TRIES, REOPEN_WAIT = 20, 0.01  # seconds; a device is busy for a moment while its last user exits
FORMS = (
    "stdio, fd:N, unix:PATH, tcp:HOST:PORT (an IPv6 address in brackets), virtio:NAME, "
    "or the path of a device"
)


class Port:
    """Base of all ports: one byte stream. `name` is for messages."""

    name = ""
    connected = True

    def fileno(self) -> int:
        raise NotImplementedError

    def write_fileno(self) -> int:
        return self.fileno()

    def read(self, size: int = READ_MAX) -> bytes | None:
        """Read at most `size` bytes: None when there is nothing now, b"" after a hang-up."""
        raise NotImplementedError

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write; return how many bytes were accepted, 0 if it would block. Raises PortClosed."""
        raise NotImplementedError

    def flush_input(self) -> None:
        """Drop the bytes that the peer has sent so far."""
        for _ in range(FLUSH_MAX // READ_MAX):
            if not self.read():
                return

    def close(self) -> None:
        raise NotImplementedError


class SocketPort(Port):
    """A connected stream socket. Every call uses MSG_DONTWAIT, because O_NONBLOCK would also change the
    socket for other processes that share it (stdio)."""

    def __init__(self, name: str, stream: _socket.socket) -> None:
        self.name = name
        self._stream = stream

    def fileno(self) -> int:
        return self._stream.fileno()

    def read(self, size: int = READ_MAX) -> bytes | None:
        try:
            return self._stream.recv(size, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._stream.send(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PortClosed(f"{self.name}: {error.strerror}") from None

    def close(self) -> None:
        with suppress(OSError):  # other code has closed the descriptor
            self._stream.close()


class ListenPort(SocketPort):
    """Serves one client at a time, as QEMU's chardev does; the next client waits in the backlog.

    `fileno` is the listening socket while nobody is connected. `accept` or `read` accepts the next client;
    `flush_input` after a hang-up closes its connection.
    """

    def __init__(self, name: str, listener: "socket.socket", path: str = "") -> None:
        super().__init__(name, listener)
        self._listener, self._path = listener, path
        self._owner = os.getpid()
        self.connected = False

    def accept(self) -> bool:
        """Accept a waiting client; False when there is none."""
        try:
            self._stream, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        self.connected = True
        return True

    def read(self, size: int = READ_MAX) -> bytes | None:
        return super().read(size) if self.connected or self.accept() else None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        return super().write(data) if self.connected else 0

    def flush_input(self) -> None:
        if not self.connected:
            return
        super().flush_input()
        poll = select.poll()
        poll.register(self._stream, select.POLLRDHUP)
        if poll.poll(0):  # reported even when more is unread than one flush drops
            self._stream.close()
            self._stream, self.connected = self._listener, False

    def close(self) -> None:
        self._stream.close()
        self._listener.close()
        # A forked child closes only its copies; the process that made the socket removes its path.
        if self._path and os.getpid() == self._owner:
            with suppress(OSError):
                os.unlink(self._path)


class FilePort(Port):
    """Uses one or two descriptors (pipes, a terminal, two sockets) and restores their flags at close."""

    write_max = READ_MAX

    def __init__(self, name: str, reader: int, writer: int) -> None:
        self.name = name
        self._reader, self._writer = reader, writer
        self._flags = {fd: os.get_blocking(fd) for fd in (reader, writer)}
        for fd in self._flags:
            os.set_blocking(fd, False)

    def fileno(self) -> int:
        return self._reader

    def write_fileno(self) -> int:
        return self._writer

    def read(self, size: int = READ_MAX) -> bytes | None:
        try:
            return os.read(self._reader, size)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return os.write(self._writer, memoryview(data)[: self.write_max])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PortClosed(f"{self.name}: {error.strerror}") from None

    def close(self) -> None:
        for fd, blocking in self._flags.items():
            with suppress(OSError):  # other code has closed the descriptor
                os.set_blocking(fd, blocking)
                os.close(fd)
        self._flags = {}
        self._reader = self._writer = -1


class DevicePort(FilePort):
    """A virtio port of the guest. It is always non-blocking: a blocking write would wait for the next client
    and send it the bytes.

    b"" from `read` means that no client is there: it left, or none has come since the port was opened
    (PortWatch reports when one comes). An unplugged port reads as b"" too, and opening it again fails.
    """

    write_max = DEVICE_WRITE_MAX

    def __init__(self, path: str) -> None:
        fd = _open_device(path)
        super().__init__(path, fd, fd)

    def flush_input(self) -> None:
        """Close and reopen the device: only this makes the kernel drop queued bytes.

        Raises PortClosed when the device is gone, or still busy after REOPEN_TRIES.
        """
        self.close()
        fd = _open_device(self.name, REOPEN_TRIES)
        super().__init__(self.name, fd, fd)


def _open_device(path: str, tries: int = 1) -> int:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            break
        except OSError as error:
            tries -= 1
            if error.errno != EBUSY:
                raise PortClosed(f"{path}: {error.strerror}") from None
            if tries <= 0:
                raise PortClosed(f"{path}: another program has it open") from None
            time.sleep(REOPEN_WAIT)
    if stat.S_ISCHR(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise ConfigError(f"{path} is no device")  # never write into a file because of a mistyped path


def open_port(address: str, listen: bool = False) -> Port:
    """Open a port by its address; with `listen`, unix: and tcp: wait for clients instead of connecting.

    Raises ConfigError for an address that has none of the forms in FORMS, PortClosed when opening fails.
    """
    kind, _, rest = address.partition(":")
    try:
        if address == "stdio":
            return _of_descriptors(address, 0, 1)
        if kind == "fd":
            return _of_descriptors(address, _number(rest), _number(rest))
        if kind == "unix" and rest and "\0" not in rest:  # NUL would end the path, or make it abstract
            return _unix(address, rest, listen)
        if kind == "tcp":
            return _tcp(address, rest, listen)
        if kind == "virtio" and rest and "/" not in rest:
            return DevicePort(DEVICES + rest)
        if address.startswith("/"):
            return DevicePort(address)
    except OSError as error:
        raise PortClosed(f"{address}: {error.strerror or error}") from None
    except (OverflowError, ValueError):
        pass  # not a number, not a host name, or a character that names cannot have
    raise ConfigError(f"port {address!r} has none of the known forms: {FORMS}")


@contextmanager
def stdio_set_aside(address: str) -> Iterator[None]:
    """Keep what else runs here from an open port that is standard input or output, as `stdio` or `fd:N`.

    What it prints goes to standard error, and it reads nothing. One word printed by a library would be a
    line of the protocol.
    """
    own = {number: os.dup(number) for number in _standard(address)}
    if not own:
        yield
        return
    nothing = _nothing()
    try:
        for number in own:
            os.dup2(2 if number == 1 and _is_apart(2) else nothing, number)
        yield
    finally:
        with suppress(AttributeError, OSError, ValueError):  # there is no sys.stdout, or it is closed
            sys.stdout.flush()
        for number, kept in own.items():
            with suppress(OSError):  # other code has closed the descriptor
                os.dup2(kept, number)
                os.close(kept)
        with suppress(OSError):
            os.close(nothing)


def _standard(address: str) -> list[int]:
    """Which of the descriptors 0 and 1 an open port is."""
    kind, _, rest = address.partition(":")
    if kind != "fd":
        return [0, 1] if address == "stdio" else []
    port = os.fstat(_number(rest))
    found = []
    for number in (0, 1):
        with suppress(OSError):  # it is not open
            if os.path.samestat(os.fstat(number), port):
                found.append(number)
    return found


def _nothing() -> int:
    """Open what gives nothing and keeps nothing; in a folder tree without /dev, an empty file in memory."""
    try:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return os.memfd_create("nothing")


def _is_apart(number: int) -> bool:
    """Whether a descriptor is open, and on something else than standard output."""
    try:
        return not os.path.samestat(os.fstat(number), os.fstat(1))
    except OSError:
        return False


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def _of_descriptors(name: str, reader: int, writer: int) -> Port:
    ends = os.fstat(reader), os.fstat(writer)
    # Some parents pass two different sockets as stdin and stdout: treat those as two pipes.
    if not (stat.S_ISSOCK(ends[0].st_mode) and os.path.samestat(*ends)):
        own = os.dup(reader)
        return FilePort(name, own, own if writer == reader else os.dup(writer))
    stream = _socket.socket(fileno=os.dup(reader))
    if stream.type == _socket.SOCK_STREAM:
        return SocketPort(name, stream)
    stream.close()
    raise ConfigError(f"{name} is no stream: its socket has messages")


def _unix(name: str, path: str, listen: bool) -> Port:
    import socket
    import struct

    stream = socket.socket(socket.AF_UNIX)
    try:
        if not listen:
            # connect blocks while the backlog is full: limit that wait.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", CONNECT_TIME, 0))
            stream.connect(path)
            return SocketPort(name, stream)
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)  # left by an earlier run
        os.fchmod(stream.fileno(), 0o600)  # on Linux, bind creates the path with this mode
        stream.bind(path)
        return _listening(name, stream, path)
    except BaseException:
        stream.close()
        raise


def _tcp(name: str, rest: str, listen: bool) -> Port:
    import socket

    host, _, number = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    target = (host, _number(number))
    if not host or target[1] > 0xFFFF:
        raise ValueError
    if listen:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        stream = socket.create_server(target, family=family, backlog=1)
    else:
        stream = socket.create_connection(target, CONNECT_TIME)
        stream.settimeout(None)
    # Short lines go back and forth: do not wait for acknowledgements. Accepted sockets inherit this option.
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _listening(name, stream) if listen else SocketPort(name, stream)


def _listening(name: str, stream: "socket.socket", path: str = "") -> ListenPort:
    stream.listen(1)
    stream.setblocking(False)
    return ListenPort(name, stream, path)
