"""Serves the users' programs at the socket of `sso-ssh-agent`: who may connect, one request at a time.

A program must belong to the user whose session is in front at seat0 and not locked; when that changes, its
connection is closed. Connections do not wait for one another: each has its own number on the port
(sso.ssh_agent), and one that does not read its answer is closed.
"""

import socket
from collections.abc import Callable

from sso.daemon.listener import Listener
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor, Timer
from sso.errors import FramingError
from sso.guest.refusals import Refusals
from sso.guest.seat.logind import Seat
from sso.ssh_agent import (
    CLOSE,
    CONNECTIONS_MAX,
    DATA,
    FAILURE,
    MESSAGE_MAX,
    PENDING_MAX,
    Frame,
    Frames,
    GuestEnd,
    framed,
    may_pass,
)

NEWCOMERS_MAX = 16  # callers for whom we wait for the seat's state; more wait in the kernel's queue
OPEN_TIME = 10.0  # seconds for the viewer's plug-in to accept a connection, which it does without waiting
GIVE_TIME, GIVE_AGAIN = 10.0, 0.05  # seconds for a program to read its answer, and between two tries
_READ = 65536


class Caller:
    """One connection of a user's program; `number` is its number on the port, 0 before it is let in."""

    def __init__(self, link: socket.socket, peer: Peer) -> None:
        self.link, self.peer, self.uid = link, peer, peer.uid
        self.number = 0
        self.requests = Frames()
        self.busy = False  # a request is open, or its answer is not written yet
        self.answer = b""
        self.until = 0.0  # deadline for reading the answer
        self.opening: Timer | None = None  # runs until the client accepts the connection
        self.giving: Timer | None = None  # runs until the next try to write
        self.heard = False

    @property
    def gone(self) -> bool:
        return self.link.fileno() < 0


class Callers:
    """Lets users' programs in at `path` while a viewer serves the port.

    It calls `send` when there are bytes for the port, and `lost` when the port's other end does not answer an
    OPEN in time.
    """

    def __init__(self, path: str, seat: Seat, reactor: Reactor, log: Callable[[str], None]) -> None:
        self.send: Callable[[], None] = lambda: None
        self.lost: Callable[[], None] = lambda: None
        self._seat, self._reactor = seat, reactor
        self._refusals = Refusals("refused", reactor.clock, note=lambda id, **who: log(_refusal(**who)))
        self._end: GuestEnd | None = None
        self._newcomers: set[Caller] = set()
        self._callers: dict[int, Caller] = {}
        self._listener = Listener(
            path,
            reactor,
            self._let_in,
            why_not=lambda peer: "" if self._end is not None else "no-viewer",
            most=NEWCOMERS_MAX + CONNECTIONS_MAX,
            mode=0o666,
            kind=socket.SOCK_STREAM,
        )
        seat.watch(self._seat_changed)

    def close(self) -> None:
        """Hang up on everybody, and stop listening."""
        self.cut()
        self._listener.close()

    # Called by the port's side

    def serve(self, end: GuestEnd) -> None:
        """Start to let programs in, after the client's echo."""
        self._end = end

    def cut(self) -> None:
        """Close all connections, because the viewer has gone."""
        self._end = None
        for caller in (*self._newcomers, *self._callers.values()):
            self._hang_up(caller)
        self._newcomers.clear()
        self._callers.clear()
        self._listen()

    def take(self, frame: Frame) -> None:
        """Handle a frame of the client for an open connection."""
        caller = self._callers[frame.number]
        _stop(caller.opening)
        if frame.kind == CLOSE:
            self._drop(caller)
        elif frame.kind == DATA:
            self._give(caller, frame.message)
            self._carry_on(caller)

    def resume(self) -> None:
        """Go on after the port has accepted the pending bytes."""
        self._listen()
        for caller in list(self._callers.values()):
            self._carry_on(caller)

    # New connections

    def _listen(self) -> None:
        """Accept connections, unless too many newcomers wait or the port accepts nothing."""
        self._listener.accept(len(self._newcomers) < NEWCOMERS_MAX and not self._full)

    @property
    def _full(self) -> bool:
        return self._end is not None and len(self._end.out) >= PENDING_MAX

    def _let_in(self, link: socket.socket, peer: Peer) -> None:
        caller = Caller(link, peer)
        self._newcomers.add(caller)
        self._seat.look(lambda found: self._admit(caller))
        self._listen()

    def _admit(self, caller: Caller) -> None:
        self._newcomers.discard(caller)
        self._listen()
        if self._end is None or caller.gone:
            return
        if caller.uid != self._uid_in_front():
            self._refuse(caller, "not the user in front at the console, or the screen is locked")
        elif len(self._callers) >= CONNECTIONS_MAX:
            self._refuse(caller, f"{CONNECTIONS_MAX} connections are open")
        else:
            caller.number = self._end.open()
            self._callers[caller.number] = caller
            caller.opening = self._reactor.after(OPEN_TIME, self.lost)
            self.send()
            self._carry_on(caller)

    def _refuse(self, caller: Caller, why: str) -> None:
        self._refusals.note(caller.peer, why=why)
        self._hang_up(caller)

    def _uid_in_front(self) -> int | None:
        found = self._seat.found
        session = found.active
        if not found.known or session is None or session.greeter or session.locked:
            return None
        return session.uid

    def _seat_changed(self) -> None:
        front = self._uid_in_front()
        for caller in list(self._callers.values()):
            if caller.uid != front:
                self._drop(caller)

    # Requests and answers

    def _hear(self, caller: Caller) -> None:
        try:
            data = caller.link.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(caller)
            return
        caller.requests.add(data)
        self._carry_on(caller)

    def _carry_on(self, caller: Caller) -> None:
        """Send the caller's next complete request, if there is one and it may be sent now."""
        while not (caller.busy or caller.gone or self._full or self._end is None):
            try:
                request = caller.requests.next()
            except FramingError:
                self._drop(caller)
                return
            if request is None:
                break
            if may_pass(request):
                caller.busy = True
                self._end.ask(caller.number, request)
                self.send()
            else:
                self._give(caller, bytes([FAILURE]))
        self._read_ahead(caller)

    def _read_ahead(self, caller: Caller) -> None:
        """Read from a waiting caller, to notice its hang-up; keep at most one message."""
        wanted = len(caller.requests) < 4 + MESSAGE_MAX  # message and length
        if caller.gone or wanted == caller.heard:
            return
        caller.heard = wanted
        if wanted:
            self._reactor.readable(caller.link.fileno(), lambda: self._hear(caller))
        else:
            self._reactor.forget(caller.link.fileno())

    def _give(self, caller: Caller, answer: bytes) -> None:
        caller.busy, caller.answer = True, framed(answer)
        caller.until = self._reactor.clock() + GIVE_TIME
        self._hand_over(caller)

    def _hand_over(self, caller: Caller) -> None:
        try:
            caller.answer = caller.answer[caller.link.send(caller.answer) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(caller)
            return
        if not caller.answer:
            caller.busy = False
        elif self._reactor.clock() >= caller.until:
            self._drop(caller)
        else:
            caller.giving = self._reactor.after(GIVE_AGAIN, lambda: self._again(caller))

    def _again(self, caller: Caller) -> None:
        self._hand_over(caller)
        self._carry_on(caller)

    def _drop(self, caller: Caller) -> None:
        """Close one connection, here and at the agent."""
        self._hang_up(caller)
        self._callers.pop(caller.number, None)
        if self._end is not None:
            self._end.close(caller.number)
            self.send()

    def _hang_up(self, caller: Caller) -> None:
        _stop(caller.opening)
        _stop(caller.giving)
        if not caller.gone:
            self._reactor.forget(caller.link.fileno())
            caller.link.close()


def _stop(timer: Timer | None) -> None:
    if timer is not None:
        timer.cancel()


def _refusal(uid: int, pid: int, why: str) -> str:
    return f"refused uid {uid}, pid {pid}: {why}"
