"""The users' programs at the socket of `sso-ssh-agent`: who may come in, and one request of each at a time.

A program has to be of the user whose session is in front at seat0 and not locked; its connection is cut when
that changes. Nobody waits for anybody else: each has a number of its own on the port (sso.ssh_agent), and one
that does not take its answer is cut.
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

NEWCOMERS_MAX = 16  # of whom the seat is asked at a time; more wait in the kernel's queue
OPEN_TIME = 10.0  # seconds for the viewer's plug-in to take a connection: it waits for nobody meanwhile
GIVE_TIME, GIVE_AGAIN = 10.0, 0.05  # seconds for a program to take its answer, and between two tries
_READ = 65536


class Caller:
    """One connection of a user's program; `number` is its own on the port, 0 before it is let in."""

    def __init__(self, link: socket.socket, peer: Peer) -> None:
        self.link, self.peer, self.uid = link, peer, peer.uid
        self.number = 0
        self.requests = Frames()
        self.busy = False  # its request is on its way, or its answer not taken
        self.answer = b""
        self.until = 0.0  # when it has to have taken it
        self.opening: Timer | None = None  # until the client has taken the connection
        self.giving: Timer | None = None  # until the next try
        self.heard = False

    @property
    def gone(self) -> bool:
        return self.link.fileno() < 0


class Callers:
    """Lets users' programs in at `path`, while there is an end of the port to ask.

    `send` is called when that end has octets to send, `lost` when the other end of the port leaves an opening
    without an answer.
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

    # For the port's side

    def serve(self, end: GuestEnd) -> None:
        """From here on programs are let in: the client has echoed."""
        self._end = end

    def cut(self) -> None:
        """The viewer is gone: everybody is."""
        self._end = None
        for caller in (*self._newcomers, *self._callers.values()):
            self._hang_up(caller)
        self._newcomers.clear()
        self._callers.clear()
        self._listen()

    def take(self, frame: Frame) -> None:
        """What the client says of a connection that is open."""
        caller = self._callers[frame.number]
        _stop(caller.opening)
        if frame.kind == CLOSE:
            self._drop(caller)
        elif frame.kind == DATA:
            self._give(caller, frame.message)
            self._carry_on(caller)

    def resume(self) -> None:
        """The port has taken what was to be sent."""
        self._listen()
        for caller in list(self._callers.values()):
            self._carry_on(caller)

    # Coming in

    def _listen(self) -> None:
        """Listen, unless there are enough newcomers, or the port takes nothing."""
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

    # Being served

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
        """Send its next request, if it has one that is whole, and nothing keeps it from being sent."""
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
        """Hear it, and so its hang-up, also while it waits; but keep no more of it than one message."""
        wanted = len(caller.requests) < 4 + MESSAGE_MAX  # with its length
        if caller.gone or wanted == caller.heard:
            return
        caller.heard = wanted
        if wanted:
            self._reactor.watch(caller.link.fileno(), lambda: self._hear(caller))
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
        """End one connection, here and at the agent."""
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
