"""Local sockets for root only: SOCK_SEQPACKET in a folder that belongs to root; peers are checked by uid.

If the service manager passes us a socket (sd_listen_fds(3)), we listen on that one: it survives a restart.
"""

import contextlib
import os
import socket
import stat
import struct
from functools import cache
from typing import NamedTuple

from sso import trusted
from sso.daemon import notify
from sso.errors import ConfigError, RemoteProtocolError

BACKLOG = 64
SO_PASSRIGHTS = 83  # asm-generic/socket.h


class Peer(NamedTuple):
    """The peer's ids (SO_PEERCRED, unix(7)), as they were at its connect() or listen()."""

    pid: int
    uid: int
    gid: int


def peer(connection: socket.socket) -> Peer:
    """Return the ids of the process at the other end of a connected socket."""
    return Peer(*struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))


def listen(path: str, mode: int = 0o600, kind: int = socket.SOCK_SEQPACKET) -> socket.socket:
    """Return a non-blocking listener at `path`: the service manager's socket, unchanged, or a new one.

    A new socket gets `mode`; its folder is made (0755) if it is missing, and a socket without a listener is
    replaced. Raises ConfigError when another process listens, the folder is not safe, or the path cannot be
    used. Close it with `hang_up`.
    """
    if path in _inherited():
        return _inherited()[path].dup()
    folder = os.path.dirname(path)
    listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        _check(folder)
        if _is_alive(path, kind):
            raise ConfigError(f"{path}: another agent listens there")
        _remove(path)
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{path} cannot be listened on: {error.strerror or error}") from None
    except BaseException:
        listener.close()
        raise
    return listener


def refuse_descriptors(listener: socket.socket) -> None:
    """Refuse descriptors from clients: closing one that a client prepared may block us as long as it likes.

    Accepted sockets inherit this option. It needs Linux 6.16; older kernels ignore it.
    """
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)


def hang_up(listener: socket.socket, path: str) -> None:
    """Close the listener, and remove its path unless the service manager keeps it for the next agent."""
    listener.close()
    if path not in _inherited():
        _remove(path)


def dial(path: str) -> socket.socket | None:
    """Connect, non-blocking, to a listener that belongs to root or to our uid; None when there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
        if peer(connection).uid in (0, os.geteuid()):
            return connection
    except OSError:
        pass
    connection.close()
    return None


def packets_of(fd: int) -> socket.socket:
    """Take over the socket received with a record. Raises RemoteProtocolError if it is not SOCK_SEQPACKET."""
    try:
        found = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise RemoteProtocolError("a descriptor that is no socket") from None
    if (found.family, found.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
        found.close()
        raise RemoteProtocolError("a socket of another kind")
    return found


@cache
def _inherited() -> dict[str, socket.socket]:
    """The service manager's sockets by path; they stay open, so that we can listen on a path again."""
    return notify.inherited()


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _check(folder: str) -> None:
    found = os.stat(trusted.resolved(os.path.abspath(folder)))
    foreign = found.st_uid not in (0, os.geteuid())
    if foreign or (found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise ConfigError(f"{folder} can be changed by others: it has to be root's, mode 0755")


def _is_alive(path: str, kind: int) -> bool:
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # a full backlog means that a process listens
        except OSError:
            return False
        return True
