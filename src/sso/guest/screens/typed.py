"""Drops input that was typed for a program which has ended."""

import os
import select
import termios
from collections.abc import Sequence

QUIET_SECONDS = 0.5  # without a key press, after which the user has noticed and stopped typing
LINE_MAX = 4096  # bytes that a terminal returns at once


def forget_typed(terminal: int, others: Sequence[int] = ()) -> None:
    """Drop typed input, without showing it, until typing stops or one of `others` is readable.

    The last program may have ended while it asked for a secret. A user who goes on typing would show the rest
    of it at the next prompt. The terminal is left without echo and without line mode.
    """
    mode = termios.tcgetattr(terminal)
    mode[3] &= ~(termios.ICANON | termios.ECHO)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(terminal, termios.TCSANOW, mode)
    seconds = 0.0
    while select.select([terminal, *others], [], [], seconds)[0] == [terminal]:
        try:
            if not os.read(terminal, LINE_MAX):
                return
        except OSError:
            return
        seconds = QUIET_SECONDS
