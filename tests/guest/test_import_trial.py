"""The first import of code that is not ours: an explicit word counts, of a process that is as before."""

import os
import signal
import socket
import threading
from collections.abc import Callable

import pytest

from sso.daemon.confine import die_with_parent
from sso.errors import ConfigError
from sso.guest.import_trial import tried

SECONDS = 60.0


def fork_and_go_on() -> None:
    """A fork whose child forgets to end."""
    if os.fork():
        os.wait()


def fork_and_leave() -> None:
    parent = os.getpid()
    if not os.fork():
        die_with_parent(parent)
        signal.pause()


def end_of_nobody() -> None:
    class Odd(BaseException):
        pass

    raise Odd("secret")


def raises(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


WORKS: dict[str, tuple[Callable[[], object], str]] = {
    "good": (lambda: None, ""),
    "opens a file": (lambda: os.open("/dev/null", os.O_RDONLY), ""),
    "a child of its own that it waits for": (fork_and_go_on, ""),
    "ends": (lambda: os._exit(0), "it ended its process (0), or closed its descriptors"),
    "ends with 3": (lambda: os._exit(3), "it ended its process (3), or closed its descriptors"),
    "dies": (
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        "it ended its process (-9), or closed its descriptors",
    ),
    "closes all": (lambda: os.closerange(0, 256), "it ended its process (1), or closed its descriptors"),
    "closes one": (lambda: os.close(0), "it changes what its process has: open files"),
    "puts one aside": (lambda: os.dup2(os.open("/dev/zero", os.O_RDONLY), 0), "open files"),
    "threads": (lambda: threading.Thread(target=signal.pause, daemon=True).start(), "threads"),
    "child": (fork_and_leave, "children"),
    "SIGCHLD": (lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN), "signals"),
    "SIGTERM": (lambda: signal.signal(signal.SIGTERM, lambda number, frame: None), "signals"),
    "blocks": (lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}), "signals"),
    "alarm": (lambda: signal.alarm(1000), "timers"),
    "user": (lambda: os.setresuid(0, 4001, 0), "user"),
    "folder": (lambda: os.chdir("/usr"), "folder"),
    "sockets": (lambda: socket.setdefaulttimeout(5), "timeout of sockets"),
    "kerberos": (lambda: os.environ.update(KRB5RCACHEDIR="/tmp"), "environment"),
    "SystemExit": (raises(SystemExit(0)), "SystemExit"),
    "KeyboardInterrupt": (raises(KeyboardInterrupt()), "KeyboardInterrupt"),
    "of no known kind": (end_of_nobody, "Odd"),
    "an exception": (raises(ZeroDivisionError("secret")), "ZeroDivisionError"),
    "one of ours": (raises(ConfigError("write this\nthere")), "write this there"),
}


@pytest.mark.parametrize("what", WORKS)
def test_only_what_ends_well_and_leaves_all_as_it_was_is_taken(what: str) -> None:
    work, why = WORKS[what]
    if what == "user" and os.geteuid():
        why = "PermissionError"  # only root can change that
    said = tried(work, SECONDS)
    assert said == why or (why and said == f"it changes what its process has: {why}")


def test_what_hangs_is_ended() -> None:
    assert tried(signal.pause, 0.1) == "it was not loaded within 0.1 s"
