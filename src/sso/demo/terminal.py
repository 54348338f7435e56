"""Controls a program on a pseudo-terminal: types, waits for words, keeps all output."""

import codecs
import errno
import fcntl
import os
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence

from .lifetime import AutoClose
from .programs import BedError

_DEADLINE = 10.0
_HANGUP_SECONDS = 2.0
_TAIL = 1000
_READS = 64
# Wide, so that no line of ours wraps and an expected text stays in one piece.
_ROWS, _COLUMNS = 50, 200


class Terminal(AutoClose):
    """A program with its own terminal as stdin, stdout, stderr and controlling terminal.

    Use it as a context manager, or call `close()`. `pid` is the program, the leader of a new session.
    `transcript` is all that the terminal has shown so far, with CR LF as the terminal sent them.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._master, slave = os.openpty()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._text = ""
        self._seen = 0
        self._gone = False
        self._status: int | None = None
        try:
            os.set_blocking(self._master, False)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
            self.pid = self._start(argv, dict(os.environ if env is None else env), os.ttyname(slave))
            self._life = os.pidfd_open(self.pid)
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)

    @property
    def transcript(self) -> str:
        """All that the terminal has shown so far."""
        return self._text

    def send(self, line: str) -> None:
        """Type a line of at most 4095 bytes (a terminal takes no more at once), and press Enter."""
        os.write(self._master, line.encode() + b"\n")

    def expect(self, wanted: str | re.Pattern[str], deadline: float = _DEADLINE) -> re.Match[str]:
        """Wait until the terminal shows a text (or matches a pattern), and return the match.

        What stands before the end of the match is used up: the next call looks behind it.
        Raises BedError with the last words shown after `deadline` seconds, or when the program has ended.
        """
        pattern = re.compile(re.escape(wanted)) if isinstance(wanted, str) else wanted
        limit = time.monotonic() + deadline
        while True:
            match = pattern.search(self._text, self._seen)
            if match is not None:
                self._seen = match.end()
                return match
            if self._gone:
                raise BedError(f"the program ended before it showed {pattern.pattern!r}: {self._tail()}")
            if not self._read(limit):
                raise BedError(
                    f"not shown within {deadline:g} s: {pattern.pattern!r}; last words: {self._tail()}"
                )

    def wait(self, deadline: float = _DEADLINE) -> int:
        """Read on until the program ends, and return its exit status (negative: the signal that ended it).

        Raises BedError when it still runs after `deadline` seconds.
        """
        limit = time.monotonic() + deadline
        while not self._gone:
            if not self._read(limit):
                raise BedError(f"still running after {deadline:g} s; last words: {self._tail()}")
        return self._reap()

    def close(self) -> None:
        """Hang up: the program gets SIGHUP as on a real terminal. If it stays 2 s, its group is killed."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
            self._gone = True
            if not select.select([self._life], [], [], _HANGUP_SECONDS)[0]:
                os.killpg(self.pid, signal.SIGKILL)
            self._reap()
            os.close(self._life)

    def _start(self, argv: Sequence[str], env: dict[str, str], tty: str) -> int:
        # posix_spawn instead of forkpty: no Python code runs between fork and exec, so threads in this
        # process do no harm. The new session's first open of a terminal makes it the controlling one.
        try:
            return os.posix_spawnp(
                argv[0],
                list(argv),
                {"TERM": "dumb", **env},
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, tty, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
            )
        except OSError as error:
            raise BedError(f"cannot start {argv[0]}: {error.strerror}") from None

    def _read(self, limit: float) -> bool:
        """Wait for output or the end of the program; False when `limit` has passed and neither came."""
        left = max(0.0, limit - time.monotonic())
        ready = select.select([self._master, self._life], [], [], left)[0]
        before = len(self._text)
        open_elsewhere = self._drain()
        # What it wrote before its end is drained by now; a child of it may still hold the terminal.
        self._gone = self._life in ready
        if not open_elsewhere and not self._gone:
            # login(1) hangs its terminal up to end other programs on it, and opens it again without an
            # event. So look again soon; the end of the program is an event.
            select.select([self._life], [], [], min(left, 0.01))
        return self._gone or len(self._text) > before or left > 0

    def _drain(self) -> bool:
        """Take what the terminal shows now; False when nobody but us has it open."""
        # More than a terminal's buffer holds, yet bounded: a program may write faster than we read.
        for _ in range(_READS):
            try:
                self._text += self._decoder.decode(os.read(self._master, 65536))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return False
        return True

    def _reap(self) -> int:
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def _tail(self) -> str:
        return repr(self._text[-_TAIL:])


def spawn(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Terminal:
    """Start a program on a new terminal, with the caller's environment unless `env` gives another.

    Raises BedError when the program cannot be started.
    """
    return Terminal(argv, env)
