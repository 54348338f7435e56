"""Where octets come from: one stream of non-blocking reads and writes, whatever lies under it.

A port is closed by its owner; `read` says None when nothing is there now and b"" at a hang-up.
"""

import os
import socket
import stat
from contextlib import suppress

from sso.errors import ConfigError, PortClosed

DEVICES = "/dev/virtio-ports/"
READ_MAX = 65536
DEVICE_WRITE_MAX = 32 * 1024  # what the kernel's virtio_console takes in one write
FLUSH_MAX = 1024 * 1024  # octets that one flush drops at most, so that a flooding peer cannot hold us
FORMS = "stdio, fd:N, unix:PATH, tcp:HOST:PORT, virtio:NAME or the path of a device"


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
    """A connected stream socket; never its flags are changed, since others may share them (stdio)."""

    def __init__(self, name: str, connection: socket.socket) -> None:
        self.name = name
        self._stream = connection

    def fileno(self) -> int:
        return self._stream.fileno()

    def read(self, size: int = READ_MAX) -> bytes | None:
        try:
            return self._stream.recv(size, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._stream.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise PortClosed(f"{self.name}: {error.strerror}") from None

    def close(self) -> None:
        self._stream.close()


class ListenPort(SocketPort):
    """A socket that waits for one client at a time, as QEMU's chardev does; the next waits in the backlog.

    `fileno` is the listening socket while nobody is connected. `accept` takes the next client;
    `flush_input` after a hang-up lets it go.
    """

    def __init__(self, name: str, listener: socket.socket, path: str = "") -> None:
        super().__init__(name, listener)
        self._listener, self._path = listener, path
        self._owner = os.getpid()
        self.connected = False

    def accept(self) -> bool:
        """Take a waiting client; False when there is none."""
        try:
            self._stream, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        self.connected = True
        return True

    def read(self, size: int = READ_MAX) -> bytes | None:
        return super().read(size) if self.connected else None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        return super().write(data) if self.connected else 0

    def flush_input(self) -> None:
        for _ in range(FLUSH_MAX // READ_MAX):
            octets = self.read()
            if octets == b"":
                self._stream.close()
                self._stream, self.connected = self._listener, False
            if not octets:
                return

    def close(self) -> None:
        self._stream.close()
        self._listener.close()
        # A forked child closes its copies; only who made the socket removes its name.
        if self._path and os.getpid() == self._owner:
            with suppress(OSError):
                os.unlink(self._path)


class FilePort(Port):
    """Two descriptors that are no sockets: pipes or a terminal; their flags are restored at close."""

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
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return os.write(self._writer, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise PortClosed(f"{self.name}: {error.strerror}") from None

    def close(self) -> None:
        for fd, blocking in self._flags.items():
            os.set_blocking(fd, blocking)
            os.close(fd)
        self._flags = {}


class DevicePort(Port):
    """A virtio port of the guest: non-blocking always, because a blocking write would wait for the next
    client and be delivered to it. A read of b"" means that no client is there."""

    def __init__(self, path: str) -> None:
        self.name = self._path = path
        self._fd = _open_device(path)

    def fileno(self) -> int:
        return self._fd

    def read(self, size: int = READ_MAX) -> bytes | None:
        try:
            return os.read(self._fd, size)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return os.write(self._fd, data[:DEVICE_WRITE_MAX])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise PortClosed(f"{self.name}: {error.strerror}") from None

    def flush_input(self) -> None:
        """Close and reopen: the kernel drops what was queued, which nothing else makes it do."""
        os.close(self._fd)
        self._fd = _open_device(self._path)

    def close(self) -> None:
        os.close(self._fd)


def _open_device(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        hint = {"EBUSY": "another program has it open"}.get(_errno_name(error), error.strerror or "")
        raise PortClosed(f"{path}: {hint}") from None


def _errno_name(error: OSError) -> str:
    from errno import errorcode

    return errorcode.get(error.errno or 0, "")


def open_port(address: str, listen: bool = False) -> Port:
    """Open a port by its address; with `listen`, unix: and tcp: wait for clients instead of connecting.

    Raises ConfigError for an address that has none of the known forms, PortClosed when it cannot be
    opened.
    """
    kind, _, rest = address.partition(":")
    try:
        if address == "stdio":
            return _of_descriptors(address, 0, 1)
        if kind == "fd" and rest.isdigit():
            return _of_descriptors(address, int(rest), int(rest))
        if kind == "unix" and rest:
            return _unix(address, rest, listen)
        if kind == "tcp" and rest.rpartition(":")[2].isdigit():
            return _tcp(address, rest, listen)
    except OSError as error:
        raise PortClosed(f"{address}: {error.strerror}") from None
    if kind == "virtio" and rest and "/" not in rest:
        return DevicePort(DEVICES + rest)
    if address.startswith("/"):
        return DevicePort(address)
    raise ConfigError(f"port '{address}' has none of the known forms: {FORMS}")


def _of_descriptors(name: str, reader: int, writer: int) -> Port:
    if stat.S_ISSOCK(os.fstat(reader).st_mode):
        return SocketPort(name, socket.socket(fileno=os.dup(reader)))
    return FilePort(name, os.dup(reader), os.dup(writer))


def _unix(name: str, path: str, listen: bool) -> Port:
    stream = socket.socket(socket.AF_UNIX)
    try:
        if not listen:
            stream.connect(path)
            return SocketPort(name, stream)
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)  # left over from a former run
        before = os.umask(0o177)
        try:
            stream.bind(path)
        finally:
            os.umask(before)
        return _listening(name, stream, path)
    except BaseException:
        stream.close()
        raise


def _tcp(name: str, rest: str, listen: bool) -> Port:
    host, _, number = rest.rpartition(":")
    target = (host.strip("[]"), int(number))
    if not listen:
        return SocketPort(name, socket.create_connection(target))
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    return _listening(name, socket.create_server(target, family=family, backlog=1))


def _listening(name: str, stream: socket.socket, path: str = "") -> ListenPort:
    stream.listen(1)
    stream.setblocking(False)
    return ListenPort(name, stream, path)
