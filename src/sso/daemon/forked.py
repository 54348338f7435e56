"""Forked workers for work that may block or needs another uid; each has a deadline and answers by a pipe."""

import os
import signal
from collections.abc import Callable, Sequence
from typing import NoReturn

from sso.daemon.reactor import Reactor, Timer

ENDING = (signal.SIGTERM, signal.SIGINT)
ANSWER_MAX = 1024  # bytes; far below a pipe's buffer, so that a worker never waits for us


class Forked:
    """One worker. `work()` runs in the child; `done` gets the bytes it returns, b"" if it failed or was late.

    `seconds` is its deadline; with None there is no deadline until `within` sets one. `killed_by` is the
    signal that ended it, if any.

    The child keeps only standard input, output and error and the descriptors in `keep`. It always ends with
    _exit. Raises OSError when there are no more processes or descriptors.
    """

    def __init__(
        self,
        reactor: Reactor,
        work: Callable[[], bytes],
        done: Callable[[bytes], None],
        seconds: float | None,
        keep: Sequence[int] = (),
    ) -> None:
        self._reactor = reactor
        self._timer: Timer | None = None
        self.killed_by = 0
        self._done: Callable[[bytes], None] | None = done
        self._pipe, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Block signals until the child has reset them: our handlers in the child would close our sockets.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _work(work, writer, keep, mask)
            self._life = watched(self.pid)
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(writer)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._reactor.readable(self._life, self._ended)
        if seconds is not None:
            self.within(seconds)

    def within(self, seconds: float) -> None:
        """Set a deadline for a worker that has none, in seconds from now."""
        self._timer = self._reactor.after(seconds, self.cancel_late)

    @property
    def alive(self) -> bool:
        """Whether the process has not been reaped yet."""
        return self._life >= 0

    def cancel(self) -> None:
        """Kill the worker; `done` is not called. The process is reaped when it has ended."""
        self._done = None
        self._forget_deadline()
        self._kill()

    def cancel_late(self) -> None:
        """Kill the worker and report failure at once: a process stuck in the kernel may die much later."""
        done, self._done = self._done, None
        self._kill()
        if done is not None:
            done(b"")

    def _kill(self) -> None:
        if self._life >= 0:
            signal.pidfd_send_signal(self._life, signal.SIGKILL)

    def _forget_deadline(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _ended(self) -> None:
        self._forget_deadline()
        status = os.waitpid(self.pid, 0)[1]
        self.killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self._reactor.forget(self._life)
        os.close(self._life)
        self._life = -1
        try:
            answer = os.read(self._pipe, ANSWER_MAX)
        except BlockingIOError:
            answer = b""  # a process that the worker left behind still holds the pipe
        os.close(self._pipe)
        done, self._done = self._done, None
        if done is not None:
            done(answer if status == 0 else b"")


def watched(pid: int) -> int:
    """Return a pidfd of a forked process. If there is none, kill the process and raise OSError."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _work(
    work: Callable[[], bytes], writer: int, keep: Sequence[int], mask: set[signal.Signals | int]
) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        last = 2
        for fd in sorted({writer, *keep, os.sysconf("SC_OPEN_MAX")}):
            os.closerange(last + 1, fd)
            last = fd
        os.write(writer, work()[:ANSWER_MAX])
        status = 0
    except BaseException:
        pass  # no traceback: it could contain a user's data
    finally:
        os._exit(status)
