"""The first import of code that is not ours: in a forked process, with a deadline, and looked at afterwards.

The processes that import it go on for long and fork for each session. Code that ends its process, or leaves
threads, children or other signal handlers behind, is therefore refused before it comes to that.
"""

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from sso.daemon.forked import watched
from sso.errors import SSOError

REASON_MAX = 400  # bytes of what is said of one that cannot be used
LOADED = b"loaded"  # said explicitly: an exit status of 0 is nothing that code could not give by itself
_DEFAULTS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = ("SigBlk", "SigIgn", "SigCgt")  # proc(5): a library in C tells Python nothing


def tried(work: Callable[[], object], seconds: float) -> str:
    """Do something in a forked process; "" when it went well, else why not, in one line. Raises OSError."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(reader, "rb") as answer:
        pid = os.fork()
        if pid == 0:
            _try(work, writer)
        os.close(writer)
        life = watched(pid)
        try:
            poll = select.poll()
            poll.register(life, select.POLLIN)
            late = not poll.poll(seconds * 1000)
            if late:
                signal.pidfd_send_signal(life, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        finally:
            os.close(life)
        if late:
            return f"it was not loaded within {round(seconds, 1):g} s"
        os.set_blocking(answer.fileno(), False)  # what it has left behind may hold the other end
        said = answer.read(REASON_MAX) or b""
    if said == LOADED and not status:
        return ""
    words = " ".join(said.decode(errors="replace").split()) if said != LOADED else ""
    return words or f"it ended its process ({status}), or closed its descriptors"


def _try(work: Callable[[], object], writer: int) -> NoReturn:
    """What the forked process does."""
    own, status = os.getpid(), 1
    try:
        for number in _DEFAULTS:
            signal.signal(number, signal.SIG_DFL)
        said = _outcome(work)
        if os.getpid() == own:  # a child that the code has forked says nothing
            os.write(writer, said)
            status = 0
    finally:
        os._exit(status)


def _outcome(work: Callable[[], object]) -> bytes:
    before = _state()
    try:
        work()
        after = _state()
    except SSOError as error:
        return str(error).encode(errors="replace")[:REASON_MAX]
    except BaseException as error:
        return type(error).__name__.encode()[:REASON_MAX]
    after["open files"] = {fd: after["open files"].get(fd) for fd in before["open files"]}  # it may open more
    changed = [words for words in before if before[words] != after[words]]
    return f"it changes what its process has: {', '.join(changed)}".encode() if changed else LOADED


def _state() -> dict[str, dict[Any, Any]]:
    """What an import has to leave as it was, by the words for it."""
    status = Path("/proc/self/status").read_text().splitlines()
    handlers: dict[Any, Any] = {number: signal.getsignal(number) for number in signal.valid_signals()}
    masks = dict(line.split(":\t") for line in status if line.startswith(_SIGNALS))
    kerberos = {name: value for name, value in os.environ.items() if name.startswith("KRB5")}
    return {
        "open files": _files(),
        "threads": {"all": len(os.listdir("/proc/self/task"))},
        "children": {"any": _has_children()},
        "signals": handlers | masks,
        "timers": {timer: signal.getitimer(timer)[0] > 0 for timer in _TIMERS},
        "user": {"ids": (os.getresuid(), os.getresgid())},
        "folder": {"now": os.getcwd()},
        "timeout of sockets": {"default": socket.getdefaulttimeout()},
        "environment": kerberos,
    }


def _files() -> dict[int, tuple[int, int]]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one by which the folder was read
            about = os.fstat(int(name))
            found[int(name)] = about.st_dev, about.st_ino
    return found


def _has_children() -> bool:
    """Whether there are children that were not waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
