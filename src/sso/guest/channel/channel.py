"""The channel process: it owns the port and reads nothing of it; each peer session is a forked child.

A child is forked when somebody connects or speaks, and ended on hang-up, on a reset, or when its pulse
stops. The agent confirms that everything of an ended session is revoked before the next one begins.
"""

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from sso.daemon import notify
from sso.daemon.forked import watched
from sso.errors import RemoteProtocolError
from sso.guest import records
from sso.guest.channel import child
from sso.ports.port import Port
from sso.ports.watch import PortWatch

PULSE_TIME = 2.0  # seconds of silence after which a child is ended
CONFIRM_TIME = 10.0  # seconds for the agent to revoke and lock
BURST, PER_SECOND = 5, 1.0  # forks: five at once, then one a second


class Life(NamedTuple):
    """A running child: its number, its process, and the pipe of its pulse."""

    id: int
    pid: int
    pidfd: int
    pulse: int
    beating: bool = True  # until it has closed its pulse


class Rate:
    """A bucket of forks: BURST at once, then PER_SECOND."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._left, self._at = clock, float(BURST), clock()

    def wait(self) -> float:
        """Seconds until the next fork is allowed; 0 takes it."""
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / PER_SECOND


class Channel:
    """The loop over the port's edges, the child, and the two other processes.

    `serve(connection, pulse)` is what a child does; its result is the child's exit code.
    """

    def __init__(
        self,
        port: Port,
        watch: PortWatch,
        agent: socket.socket,
        acceptor: socket.socket,
        serve: Callable[[socket.socket, int], int],
        note: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port, self._watch, self._agent, self._acceptor = port, watch, agent, acceptor
        self._serve, self._note, self._clock = serve, note, clock
        self._rate = Rate(clock)
        self._life: Life | None = None
        self._number = 0
        self._wanted = False  # a child is due, as soon as the rate and the agent allow
        self._heard = 0.0  # when the child's pulse was last felt
        self._unconfirmed = 0  # ends that the agent has not confirmed
        self._gone = False  # the agent knows that the client has left, and has not confirmed
        self._confirming: float | None = None  # until when it has to
        self._due = 0.0  # when the next fork is allowed

    # The loop

    def run(self) -> None:
        """Serve until the agent or the acceptor is gone; the running child is ended on every way out."""
        try:
            while self._turn():
                pass
        finally:
            self._end_child("channel-ends")

    def _turn(self) -> bool:
        """One wait and what it brings; False when the other processes are gone."""
        notify.alive()
        fds = {self._agent.fileno(), self._acceptor.fileno(), self._watch.fileno()}
        if self._life is not None:
            fds |= {self._life.pidfd, self._life.pulse} if self._life.beating else {self._life.pidfd}
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(self._timeout())}
        if self._agent.fileno() in ready and not self._on_agent():
            return False
        if self._acceptor.fileno() in ready:
            return False  # it never speaks to us: this is its end
        self._on_child(ready)
        if self._watch.fileno() in ready:
            for edge in self._watch.events():
                self._on_edge(edge)
        self._on_time()
        return True

    def _timeout(self) -> int | None:
        """Milliseconds until something is due; None while the port is idle and no watchdog is awake."""
        now, due = self._clock(), []
        if (pulse := notify.watchdog()) is not None:
            due.append(pulse)
        if self._life is not None:
            due.append(self._heard + PULSE_TIME - now)
        if self._confirming is not None:
            due.append(self._confirming - now)
        elif self._wanted and self._life is None:
            due.append(self._due - now)
        return max(0, int(min(due) * 1000) + 1) if due else None

    def _on_edge(self, edge: str) -> None:
        if edge == "closed":
            self._wanted = False
            self._end_child("peer-gone")
            self._flush(gone=True)
            self._tell_gone()
        elif self._life is None:
            self._wanted = True

    def _on_child(self, ready: set[int]) -> None:
        life = self._life
        if life is None:
            return
        if life.pulse in ready:
            if os.read(life.pulse, 64):
                self._heard = self._clock()
            else:  # closed, as at every exit; the exit code tells how it ended
                self._life = life._replace(beating=False)
        if life.pidfd in ready:
            self._child_ended(life)

    def _on_time(self) -> None:
        now = self._clock()
        if self._life is not None and now >= self._heard + PULSE_TIME:
            self._note("child-stopped", "its pulse stopped")
            self._end_child("child-stopped")
            self._flush()
        if self._confirming is not None and now >= self._confirming:
            self._note("agent-late", "the end of a session was not confirmed: nobody is served until it is")
            self._confirming = now + CONFIRM_TIME
        if self._wanted and self._life is None and self._confirming is None and now >= self._due:
            wait = self._rate.wait()
            self._due = now + wait
            if not wait:
                self._begin_child()

    def _on_agent(self) -> bool:
        try:
            received = records.receive(self._agent, records.Confirm)
            if received is not None and not self._unconfirmed:
                # If it counted, it would confirm the end of the next session before that one is revoked.
                raise RemoteProtocolError("a confirmation that nobody waits for")
        except RemoteProtocolError as error:
            self._note("record-malformed", str(error))
            return False
        if received is None:
            return False
        self._unconfirmed -= 1
        if self._unconfirmed == 0:
            self._confirming, self._gone = None, False
        return True

    # Children

    def _begin_child(self) -> None:
        self._wanted = False
        self._number += 1
        records.send(self._agent, records.Begin(self._number))
        try:
            self._life = self._fork()
        except OSError as error:  # processes or descriptors are short: a moment later there may be some
            self._note("child-not-made", errno.errorcode.get(error.errno or 0, "OSError"))
            self._wanted, self._due = True, self._clock() + 1 / PER_SECOND
            self._tell(records.End(self._number))
            return
        self._heard = self._clock()
        self._note("session-begin", session=self._number)

    def _fork(self) -> Life:
        """Make the child, its socket to the acceptor and its pulse; on OSError nothing of them is left."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            with ours:
                records.send(self._acceptor, records.Child(self._number), [ours.fileno()])
            pulse, beat = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                pid = os.fork()
                if pid == 0:
                    self._be_child(theirs, pulse, beat)
                return Life(self._number, pid, watched(pid), pulse)
            except OSError:
                os.close(pulse)
                raise
            finally:
                os.close(beat)

    def _be_child(self, acceptor: socket.socket, pulse: int, beat: int) -> NoReturn:
        """What the forked child does; whatever happens, it never returns into the parent's loop."""
        status = child.ENDED
        try:
            os.close(pulse)
            for end in (self._agent, self._acceptor):
                end.close()
            self._watch.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            status = self._serve(acceptor, beat)
        except BaseException as error:
            # The type alone: a traceback could carry what the peer sent.
            self._note("child-failed", type(error).__name__)
        finally:
            os._exit(status)

    def _child_ended(self, life: Life) -> None:
        status = os.waitstatus_to_exitcode(os.waitpid(life.pid, 0)[1])
        self._forget(life)
        self._note("session-end", session=life.id, status=status)
        if status not in (child.DONE, child.SILENT):
            self._flush()
        self._wanted = status == child.RESET
        if self._wanted:
            self._tell_gone()  # another client, for all that is known
        self._watch.rearm()

    def _end_child(self, reason: str) -> None:
        life = self._life
        if life is not None:
            signal.pidfd_send_signal(life.pidfd, signal.SIGKILL)
            os.waitpid(life.pid, 0)
            self._forget(life)
            self._note("session-end", session=life.id, reason=reason)

    def _forget(self, life: Life) -> None:
        """Close what belonged to a child, and have the agent revoke what it was granted."""
        os.close(life.pidfd)
        os.close(life.pulse)
        self._life = None
        self._due = self._clock()
        self._tell(records.End(life.id))

    def _tell(self, record: records.End | records.Gone) -> None:
        """Say that something is over; until the agent has confirmed it nobody is served."""
        records.send(self._agent, record)  # where that fails, its end comes next and confirms nothing
        self._unconfirmed += 1
        self._confirming = self._clock() + CONFIRM_TIME

    def _tell_gone(self) -> None:
        """Say that the client has left; once, however often it comes and goes before that is confirmed."""
        if not self._gone:
            self._gone = True
            self._tell(records.Gone(self._number))

    def _flush(self, gone: bool = False) -> None:
        """Drop what the last peer left behind; for a device that means to close and reopen it."""
        self._port.flush_input()
        self._watch.reopened(self._port, gone)
        if not self._port.connected:
            self._tell_gone()  # the hang-up was dropped with the rest
