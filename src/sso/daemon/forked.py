"""Work that may block or that another uid does: in a forked process, with a deadline, an answer by pipe."""

import os
import signal
from collections.abc import Callable, Sequence
from typing import NoReturn

from sso.daemon.reactor import Reactor, Timer

ENDING = (signal.SIGTERM, signal.SIGINT)
ANSWER_MAX = 1024  # far below a pipe's buffer: a worker never waits for us


class Forked:
    """One worker. `work()` runs in the child; its octets reach `done`, b"" when it failed or was late.

    `seconds` is its deadline; None gives it none before `within`. `killed_by` is the signal that ended
    it, if any.

    The child keeps standard input, output and error and the descriptors of `keep`, nothing else. It
    leaves by _exit, whatever happens in `work`. Raises OSError when processes or descriptors are short.
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
        # Until the child has its own way with them: our handlers would end us there, sockets and all.
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
        self._reactor.watch(self._life, self._ended)
        if seconds is not None:
            self.within(seconds)

    def within(self, seconds: float) -> None:
        """Give a worker without a deadline one, from now on."""
        self._timer = self._reactor.after(seconds, self.cancel_late)

    @property
    def alive(self) -> bool:
        """Whether its process is still to be reaped."""
        return self._life >= 0

    def cancel(self) -> None:
        """Kill it, and hear nothing of it any more; its process is reaped when it is gone."""
        self._done = None
        self._forget_deadline()
        self._kill()

    def cancel_late(self) -> None:
        """Kill it and say that it failed, at once: a process that hangs in the kernel dies when it may."""
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
            answer = b""  # a process that it left behind still holds the pipe
        os.close(self._pipe)
        done, self._done = self._done, None
        if done is not None:
            done(answer if status == 0 else b"")


def watched(pid: int) -> int:
    """A descriptor of a forked process; one that cannot be watched is ended. Raises OSError."""
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
        pass  # no traceback: it could show what belongs to somebody
    finally:
        os._exit(status)
