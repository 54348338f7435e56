"""Where octets come from: one stream of non-blocking reads and writes, whatever lies under it.

A port is closed by its owner; `read` says None when nothing is there now and b"" at a hang-up.
"""

import _socket  # not socket: that one costs every login 2 ms for enums that nobody needs here
import os
import select
import stat
import time
from contextlib import suppress
from errno import EBUSY
from typing import TYPE_CHECKING

from sso.errors import ConfigError, PortClosed

if TYPE_CHECKING:
    import socket

DEVICES = "/dev/virtio-ports/"
READ_MAX = 65536
DEVICE_WRITE_MAX = 32 * 1024  # what the kernel's virtio_console takes in one write
FLUSH_MAX = 1024 * 1024  # octets that one flush drops at most, so that a flooding peer cannot hold us
CONNECT_TIME = 10  # seconds
REOPEN_TRIES, REOPEN_WAIT = 20, 0.01  # a device is busy for a moment while its last holder dies
FORMS = (
    "stdio, fd:N, unix:PATH, tcp:HOST:PORT (an IPv6 address in brackets), virtio:NAME, "
    "or the path of a device"
)


class Port:
    """One stream; what is common to sockets, pipes and devices. `name` is for messages."""

    name = ""
    connected = True

    def fileno(self) -> int:
        raise NotImplementedError

    def write_fileno(self) -> int:
        return self.fileno()

    def read(self, size: int = READ_MAX) -> bytes | None:
        """What has come: None for nothing now, b"" for a hang-up."""
        raise NotImplementedError

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """How many octets were taken, 0 when it would block; PortClosed when the port is gone."""
        raise NotImplementedError

    def flush_input(self) -> None:
        """Drop what the peer has sent so far."""
        for _ in range(FLUSH_MAX // READ_MAX):
            if not self.read():
                return

    def close(self) -> None:
        raise NotImplementedError


class SocketPort(Port):
    """A connected stream socket. Its flags stay as they are, since O_NONBLOCK would be set for everybody
    who shares it (stdio); each call says MSG_DONTWAIT instead."""

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
        self._stream.close()


class ListenPort(SocketPort):
    """A socket that waits for one client at a time, as QEMU's chardev does; the next waits in the backlog.

    `fileno` is the listening socket while nobody is connected. `accept`, or a `read`, takes the next
    client; `flush_input` after a hang-up lets it go.
    """

    def __init__(self, name: str, listener: "socket.socket", path: str = "") -> None:
        super().__init__(name, listener)
        self._listener, self._path = listener, path
        self._owner = os.getpid()
        self.connected = False

    def accept(self) -> bool:
        """Take a waiting client; False when there is none."""
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
        if poll.poll(0):  # told even when more was left unread than one flush drops
            self._stream.close()
            self._stream, self.connected = self._listener, False

    def close(self) -> None:
        self._stream.close()
        self._listener.close()
        # A forked child closes its copies; only who made the socket removes its name.
        if self._path and os.getpid() == self._owner:
            with suppress(OSError):
                os.unlink(self._path)


class FilePort(Port):
    """One or two descriptors: pipes, a terminal, two different sockets. Their flags are restored at close."""

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
            os.set_blocking(fd, blocking)
            os.close(fd)
        self._flags = {}
        self._reader = self._writer = -1


class DevicePort(FilePort):
    """A virtio port of the guest: non-blocking always, because a blocking write would wait for the next
    client and be delivered to it.

    A read of b"" means that no client is there: it left, or none has come since the port was opened
    (PortWatch tells when one does). An unplugged port reads as b"" too, and its reopening fails.
    """

    write_max = DEVICE_WRITE_MAX

    def __init__(self, path: str) -> None:
        fd = _open_device(path)
        super().__init__(path, fd, fd)

    def flush_input(self) -> None:
        """Close and reopen: the kernel drops what was queued, which nothing else makes it do.

        Raises PortClosed when the device is gone, or is still busy after some tries.
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
    raise ConfigError(f"{path} is no device")  # a mistyped path must not be written into


def open_port(address: str, listen: bool = False) -> Port:
    """Open a port by its address; with `listen`, unix: and tcp: wait for clients instead of connecting.

    Raises ConfigError for an address that has none of the known forms, PortClosed when it cannot be
    opened.
    """
    kind, _, rest = address.partition(":")
    try:
        if address == "stdio":
            return _of_descriptors(address, 0, 1)
        if kind == "fd":
            return _of_descriptors(address, _number(rest), _number(rest))
        if kind == "unix" and rest and "\0" not in rest:  # a NUL would cut the path, or make it abstract
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
        pass  # no number, no host name, or an octet that no name can have
    raise ConfigError(f"port {address!r} has none of the known forms: {FORMS}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def _of_descriptors(name: str, reader: int, writer: int) -> Port:
    ends = os.fstat(reader), os.fstat(writer)
    # Some parents make stdin and stdout two sockets: those are like two pipes.
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
            # The backlog may be full: wait, but not for ever.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", CONNECT_TIME, 0))
            stream.connect(path)
            return SocketPort(name, stream)
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)  # left over from a former run
        os.fchmod(stream.fileno(), 0o600)  # on Linux the name gets this mode, with no moment in between
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
    # Short lines go to and fro: none waits for the acknowledgement of the one before. Clients inherit it.
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _listening(name, stream) if listen else SocketPort(name, stream)


def _listening(name: str, stream: "socket.socket", path: str = "") -> ListenPort:
    stream.listen(1)
    stream.setblocking(False)
    return ListenPort(name, stream, path)
