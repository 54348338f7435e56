"""The service manager's interface: readiness, watchdog, and the listening sockets that it passes to us.

Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). Without systemd these functions do nothing.
The environment variables are removed after reading, so that child processes do not use them.
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
    """Return a datagram socket to the service manager; None when there is none or it cannot be reached."""
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
    """Report that the start is complete. `status` is the text that `systemctl status` shows."""
    _tell("READY=1", _status(status))


def status(text: str) -> None:
    """Set the text that `systemctl status` shows."""
    _tell(_status(text))


def alive() -> None:
    """Tell the watchdog that the loop runs; call this at least every `watchdog()` seconds."""
    _tell("WATCHDOG=1")


def stopping() -> None:
    """Report that we are shutting down."""
    _tell("STOPPING=1")


@cache
def watchdog() -> float | None:
    """Return the seconds between two calls of `alive`: half the watchdog's limit; None without a watchdog."""
    given, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    if not _is_number(given) or (pid and pid != str(os.getpid())):
        return None
    return int(given) / 2_000_000 or None


def inherited() -> dict[str, socket.socket]:
    """Return the listening unix sockets that were passed to us, by path, non-blocking and close-on-exec.

    A second call finds none. Other descriptors that were passed become close-on-exec and are not used.
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
            continue  # not a socket, or not open
        path = _path(listener)
        if path in found or not path:
            listener.detach()
            continue
        listener.setblocking(False)
        found[path] = listener
    return found


def _path(listener: socket.socket) -> str:
    """Return the path of a listening unix socket, or ""."""
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
        pass  # it is busy or restarts: the next `alive` arrives, or it restarts us
