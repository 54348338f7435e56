"""Runs a plug-in's process: a unix socket as stdin and stdout, and its states as lines on descriptor 3.

docs/plug-ins.md defines the contract.
"""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from sso.printable import one_line

from .event_loop import EventLoop, Watch

STATES_FD = 3
STATE_MAX = 1024  # bytes of a state; the rest of a longer line is dropped
PATIENCE = 2.0  # seconds after the end of its input, and again after SIGTERM

# Reset these for the plug-in: Python ignores some of them, and our shell may have made us ignore others.
_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class PluginProcess:
    """One running plug-in. Calls `exited` once with its exit code (negative: minus the signal).

    Calls `state` with each printable line that the plug-in writes to descriptor 3. Raises OSError if it
    cannot be started. `socket` is our end, non-blocking. Its last bytes can still be read there after the
    exit, so the caller has to `close` it.
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
        """End its input. If it does not exit, send SIGTERM and then SIGKILL, each after PATIENCE."""
        if self._patience is None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self._insist(signal.SIGTERM, signal.SIGKILL)

    def kill(self) -> None:
        """Kill it, wait for its exit, and call `exited`."""
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
            pass  # the last states
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
        """Read some of its states; return False if there are none now."""
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
