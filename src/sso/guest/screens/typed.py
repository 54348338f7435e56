"""What was typed for a program that has ended, and is nobody's now."""

import os
import select
import termios
from collections.abc import Sequence

QUIET_SECONDS = 0.5  # without a key, after which who was typing has noticed
LINE_MAX = 4096  # octets that a terminal hands over at once


def forget_typed(terminal: int, others: Sequence[int] = ()) -> None:
    """Drop what was typed so far, without showing it, until nobody goes on typing or another is readable.

    The last program may have ended while it asked for a secret. Who types it does not look, and would give
    the rest of it to a prompt that shows it. The terminal is left without echo and without lines.
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
