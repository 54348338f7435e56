"""A new client on a stream that nobody hung up: it is who is signed in, or the screen that it finds locks.

The host's side of such a port stays connected when one client leaves and the next comes (the stream of a VNC
or browser console), so the beginning of a session is all that tells of it: PROTOCOL.md section 10.3.
"""

from collections.abc import Callable
from enum import Enum, auto

from sso.daemon.reactor import Reactor, Timer
from sso.guest.agent.leaving import Leaving
from sso.guest.log import note
from sso.guest.records import Authenticated, Kind, Who
from sso.guest.seat.logind import Found

RENEWAL_SECONDS = 10.0  # from its beginning, as for a step of the protocol: a renewal asks no person


class _State(Enum):
    NOBODY = auto()  # no new client, or none that found anything open
    LOOKING = auto()  # logind has not answered yet what it finds
    WATCHED = auto()  # it found an open session, and has not proved anything
    LOCKING = auto()  # until the screen is locked


class Newcomer:
    """The client of the present peer session, as far as it has not proved to be who is signed in.

    `left` is called when the console is taken from who was there before: nothing that was granted to that
    client counts any more.
    """

    def __init__(self, reactor: Reactor, console: Leaving, left: Callable[[], None]) -> None:
        self._reactor, self._console, self._left = reactor, console, left
        self._state = _State.NOBODY
        self._began = 0  # a number, so that an answer about an earlier client is recognised
        self._opening = False  # a login of the client before goes on, and may open a session any moment
        self._waiting: list[Callable[[], None]] = []
        self._timer: Timer | None = None

    @property
    def locking(self) -> bool:
        """Whether what is open is being locked, so that what was found is about to change."""
        return self._state is _State.LOCKING

    def begin(self, opening: bool) -> None:
        """A peer session begins. Its client is answered only when it is known what it finds open.

        `opening`: a login that another client has begun goes on, which is as good as an open session.
        """
        if self._state is _State.LOCKING or not self._console.guarded:
            return
        self._forget()
        self._opening = opening
        self._state = _State.LOOKING
        self._began += 1
        self._timer = self._reactor.after(RENEWAL_SECONDS, lambda: self.lock(lambda: None))
        began = self._began
        self._console.seat.look(lambda found: self._looked(began, found))

    def hear(
        self, claim: Authenticated, signed_in: Who | None, repeated: bool, go_on: Callable[[], None]
    ) -> None:
        """What the client has shown; `go_on` when it may be judged.

        It may be a renewal by who is `signed_in`, or by anybody where nobody knows (None) who that is:
        then it is judged first, and `settle` or `lock` follows. A password never is one: PAM alone proves it.
        But the attempt that has opened the session may be `repeated`, by the client that waited for it.
        """
        if repeated or (claim.kind is not Kind.PASSWORD and signed_in in (None, claim.who)):
            go_on()
        else:
            self.lock(go_on)

    def settle(self) -> None:
        """Watch no more: the client has proved to be who is signed in, or has left, and all is locked."""
        if self._state is not _State.LOCKING:
            self._forget()

    def lock(self, done: Callable[[], None]) -> None:
        """Lock what the client found open, then call back; at once if it found nothing open."""
        if self._state is _State.NOBODY:
            done()
            return
        self._waiting.append(done)
        if self._state is _State.WATCHED:
            self._lock()

    def _looked(self, began: int, found: Found) -> None:
        if began != self._began or self._state is not _State.LOOKING:
            return
        if not self._opening and not self._console.is_open(found):
            self._forget()
            return
        self._state = _State.WATCHED
        if self._waiting:
            self._lock()

    def _lock(self) -> None:
        self._state = _State.LOCKING
        note("client-unproved")
        self._left()
        self._console.lock(self._forget)

    def _forget(self) -> None:
        self._state = _State.NOBODY
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done()
