"""The terminal of sso-greetd: prompts, lines and passwords, and nothing in them that could control it."""

import errno
import os
import select
import termios
from collections.abc import Sequence

from sso.guest.screens.typed import forget_typed
from sso.printable import escaped

ANSWER_SECONDS = 60.0  # for a person to answer, as in login(1)
ABORT = 3  # Ctrl-C


class GreeterTerminal:
    """Reads lines from a terminal. Ctrl-C aborts a line and drops it.

    Raises OSError or termios.error when it is not a terminal or has hung up.
    """

    def __init__(self, fd: int = 0) -> None:
        self.fd = fd
        self._sane = termios.tcgetattr(fd)
        self._sane[0] |= termios.ICRNL | termios.BRKINT
        self._sane[1] |= termios.OPOST | termios.ONLCR
        self._sane[3] |= termios.ICANON | termios.ISIG | termios.IEXTEN
        self._sane[3] |= termios.ECHO | termios.ECHOE | termios.ECHOK
        self._sane[6][termios.VEOL] = b"\0"

    def begin(self) -> None:
        self._set(echo=True)

    def give_back(self) -> None:
        """Restore normal terminal settings."""
        termios.tcsetattr(self.fd, termios.TCSANOW, self._sane)

    def forget(self) -> None:
        """Drop what was typed so far."""
        termios.tcflush(self.fd, termios.TCIFLUSH)
        self.show("\n")

    def show(self, text: str) -> None:
        os.write(self.fd, plain(text).encode(errors="replace"))

    def read(self, buffer: bytearray) -> int:
        """Read a line into the buffer and return its length, -1 when it was aborted.

        Raises OSError when the terminal has hung up.
        """
        count = os.readv(self.fd, [buffer])
        if not count and _hung_up(self.fd):
            raise OSError(errno.EIO, "hung up")
        last = buffer[count - 1] if count else ABORT
        if last == ABORT:
            self.show("\n")
            return -1
        return count - (last == ord("\n"))

    def ask(self, prompt: str, echo: bool, answer: bytearray, others: Sequence[int] = ()) -> int:
        """Ask one question; return the length of the text in `answer`, -1 without an answer.

        When one of the descriptors `others` becomes readable, the question and the typed text are dropped.
        """
        self._set(echo)
        self.show(prompt)
        try:
            ready = select.select([self.fd, *others], [], [], ANSWER_SECONDS)[0]
            if ready != [self.fd]:
                forget_typed(self.fd)
                return -1
            return self.read(answer)
        finally:
            self._set(echo=True)
            if not echo:
                self.show("\n")

    def _set(self, echo: bool) -> None:
        mode = [*self._sane[:6], [*self._sane[6]]]
        mode[3] &= ~(termios.ISIG if echo else termios.ISIG | termios.ECHO)
        mode[6][termios.VEOL] = bytes((ABORT,))
        termios.tcsetattr(self.fd, termios.TCSADRAIN if echo else termios.TCSAFLUSH, mode)


def plain(text: str) -> str:
    """Make text of PAM or greetd safe to show: keep lines, escape what could control the terminal."""
    return escaped(text.replace("\r\n", "\n"), keep="\n\t")


def _hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
