"""Does for a terminal what init does: runs a login screen in its own session, and a new one when it ends."""

import fcntl
import os
import signal
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

SCREEN = (sys.executable, "-I", "-m", "sso.guest.screens.getty_program")


def main(screen: Sequence[str]) -> NoReturn:
    """Run that program on the terminal that is standard input, again and again, until a signal ends it."""
    tty = os.ttyname(0)
    # login(1) hangs the terminal up to end other programs on it; this process has to go on.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        pid = os.fork()
        if pid == 0:
            _become_screen(tty, screen)
        os.waitpid(pid, 0)


def _become_screen(tty: str, screen: Sequence[str]) -> NoReturn:
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        _forget_login_uid()
        os.setsid()
        terminal = os.open(tty, os.O_RDWR)
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 1)
        for fd in range(3):
            os.dup2(terminal, fd)
        os.execv(screen[0], list(screen))
    finally:
        os._exit(1)


def _forget_login_uid() -> None:
    """Be nobody's login, as what init starts is: the PAM socket refuses a screen inside a login, for
    example one by ssh, from which a developer runs the demo."""
    with suppress(OSError), open("/proc/self/loginuid", "w") as file:
        file.write("4294967295")


if __name__ == "__main__":
    main(sys.argv[1:] or SCREEN)
