"""A plug-in's process: a unix socket as stdin and stdout, and its states as lines on descriptor 3.

docs/plug-ins.md is the contract.
"""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from sso.printable import one_line

from .event_loop import EventLoop, Watch

STATES_FD = 3
STATE_MAX = 1024  # octets of a state, above which the rest of the line is dropped
PATIENCE = 2.0  # seconds after the end of its input, and again after SIGTERM

# What Python ignores, and what a shell may have let us ignore, the plug-in is to have as usual.
_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class PluginProcess:
    """One running plug-in. `exited` is called once with its exit code (negative: minus the signal).

    `state` is called with each line of printable text that it says on descriptor 3. Raises OSError when it
    cannot be started. `socket` is our end, non-blocking; what it said last may still be read there after
    its exit, so `close` is up to the caller.
    """

    def __init__(
        self,
        argv: Sequence[str],
        loop: EventLoop,
        *,
        states: bool,
        state: Callable[[str], None],
        exited: Callable[[int], None],
    ) -> None:
        self._loop, self._state, self._exited = loop, state, exited
        self._line, self._dropping = bytearray(), False
        self._states_watch: Watch | None = None
        self._patience: Watch | None = None
        self._states = -1
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self.pid = self._spawn(argv, theirs, states)
        except BaseException:
            self.close()
            raise
        self.socket.setblocking(False)
        self._pidfd = os.pidfd_open(self.pid)
        self._exit_watch = loop.readable(self._pidfd, self._over)

    def _spawn(self, argv: Sequence[str], theirs: socket.socket, states: bool) -> int:
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), (os.POSIX_SPAWN_DUP2, theirs.fileno(), 1)]
        writer = -1
        try:
            if states:
                self._states, writer = os.pipe()
                os.set_blocking(self._states, False)
                actions.append((os.POSIX_SPAWN_DUP2, writer, STATES_FD))
            pid = os.posix_spawn(argv[0], tuple(argv), os.environ, file_actions=actions, setsigdef=_SIGNALS)
        finally:
            if writer >= 0:
                os.close(writer)
        if states:
            self._states_watch = self._loop.readable(self._states, self._listen)
        return pid

    def end(self) -> None:
        """End its input; if it does not go, SIGTERM, and then SIGKILL, each after PATIENCE."""
        if self._patience is None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self._insist(signal.SIGTERM, signal.SIGKILL)

    def kill(self) -> None:
        """End it at once, and wait for that; `exited` is called."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._over()

    def _insist(self, *signals: signal.Signals) -> None:
        def send() -> None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signals[0])
            if signals[1:]:
                self._insist(*signals[1:])

        self._patience = self._loop.after(PATIENCE, send)

    def _over(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        while self._states_watch is not None and self._hear():
            pass  # its last words
        self._exit_watch.cancel()
        os.close(self._pidfd)
        if self._patience is not None:
            self._patience.cancel()
        self._close_states()
        self._exited(os.waitstatus_to_exitcode(status))

    def close(self) -> None:
        """Close the socket, after the exit."""
        self.socket.close()
        self._close_states()

    def _close_states(self) -> None:
        if self._states_watch is not None:
            self._states_watch.cancel()
            self._states_watch = None
        if self._states >= 0:
            os.close(self._states)
            self._states = -1

    def _listen(self) -> None:
        self._hear()

    def _hear(self) -> bool:
        """Read some of its states; False when there is nothing now."""
        try:
            said = os.read(self._states, STATE_MAX)
        except BlockingIOError:
            return False
        if not said:
            self._close_states()
            return False
        *lines, rest = said.split(b"\n")
        for line in lines:
            self._add(line)
            if not self._dropping or self._line:
                self._state(one_line(self._line.decode(errors="replace")))
            self._line, self._dropping = bytearray(), False
        self._add(rest)
        return True

    def _add(self, part: bytes) -> None:
        if not self._dropping:
            self._line += part[: STATE_MAX - len(self._line)]
            self._dropping = len(self._line) == STATE_MAX
