"""What a service manager tells us and wants to hear: readiness, a pulse, listening sockets that it holds.

Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). Without systemd all of it does nothing.
The environment's variables are removed once they are read, so that no process that we start takes them
for its own.
"""

import os
import socket
from functools import cache

from sso.printable import one_line

FIRST_FD = 3  # SD_LISTEN_FDS_START
FDS_MAX = 64
STATUS_MAX = 256  # characters


@cache
def _manager() -> socket.socket | None:
    """A datagram socket to who started us; None without one, also where it cannot be reached."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        link.connect("\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        link.close()
        return None
    return link


def ready(status: str = "") -> None:
    """The start is complete: what depends on us may begin. `status` is what `systemctl status` shows."""
    _tell("READY=1", _status(status))


def status(text: str) -> None:
    """What `systemctl status` shows from now on."""
    _tell(_status(text))


def alive() -> None:
    """The loop turns; to be said once every `watchdog()` seconds at the latest."""
    _tell("WATCHDOG=1")


def stopping() -> None:
    """The end has begun."""
    _tell("STOPPING=1")


@cache
def watchdog() -> float | None:
    """Seconds between two `alive`, half of what the service manager waits; None when it does not."""
    given, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    if not _is_number(given) or (pid and pid != str(os.getpid())):
        return None
    return int(given) / 2_000_000 or None


def inherited() -> dict[str, socket.socket]:
    """The listening unix sockets that were handed to us, by path, non-blocking and close-on-exec.

    A second call finds none. What is handed over besides is closed to other programs, and stays unused.
    """
    pid, count = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS"))
    os.environ.pop("LISTEN_FDNAMES", None)
    found: dict[str, socket.socket] = {}
    if pid != str(os.getpid()) or not _is_number(count):
        return found
    for fd in range(FIRST_FD, FIRST_FD + min(int(count), FDS_MAX)):
        try:
            os.set_inheritable(fd, False)
            listener = socket.socket(fileno=fd)
        except OSError:
            continue  # no socket, or nothing at all
        path = _path(listener)
        if path in found or not path:
            listener.detach()
            continue
        listener.setblocking(False)
        found[path] = listener
    return found


def _path(listener: socket.socket) -> str:
    """Where a socket listens in the file system, or ""."""
    if listener.family != socket.AF_UNIX or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return ""
    address = listener.getsockname()
    return address if isinstance(address, str) else ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19


def _status(text: str) -> str:
    return "STATUS=" + one_line(text)[:STATUS_MAX]


def _tell(*words: str) -> None:
    link = _manager()
    if link is None:
        return
    try:
        link.send("\n".join(words).encode(errors="replace"))
    except OSError:
        pass  # it is busy or restarts itself: the next pulse gets through, or it starts us anew
