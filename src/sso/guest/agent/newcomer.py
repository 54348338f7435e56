"""A new client on a stream that nobody hung up: it is who is signed in, or the screen that it finds locks.

The host's side of such a port stays connected when one client leaves and the next comes (the stream of a VNC
or browser console), so the beginning of a session is all that tells of it: PROTOCOL.md section 10.3.
"""

from collections.abc import Callable

from sso.daemon.reactor import Reactor, Timer
from sso.guest.agent.leaving import Leaving
from sso.guest.agent.rules_entry import AFTER, ClientState, Sight, WatchFacts, WatchStep, watch
from sso.guest.log import note
from sso.guest.seat.logind import Found

RENEWAL_SECONDS = 10.0  # from its beginning, as for a step of the protocol: a renewal asks no person


class Newcomer:
    """The client of the present peer session, as far as it has not proved to be who is signed in.

    `left` is called when the console is taken from who was there before: nothing that was granted to that
    client counts any more. `parks` takes the session's ticket away, if that is wanted, when all is locked.
    """

    def __init__(
        self,
        reactor: Reactor,
        console: Leaving,
        left: Callable[[], None],
        parks: Callable[[Callable[[], None]], None],
    ) -> None:
        self._reactor, self._console, self._left, self._parks = reactor, console, left, parks
        self._watch = ClientState.NOBODY
        self._began = 0  # a number, so that an answer about an earlier client is recognised
        self._opening = False  # a login of the client before goes on, and may open a session any moment
        self._waiting: list[Callable[[], None]] = []
        self._timer: Timer | None = None

    @property
    def locking(self) -> bool:
        """Whether what is open is being locked, so that what was found is about to change."""
        return self._watch is ClientState.LOCKING

    @property
    def unproved(self) -> bool:
        """Whether a new client looks on that has not proved to be who is signed in."""
        return self._watch is not ClientState.NOBODY

    def begin(self, opening: bool) -> None:
        """A peer session begins. Its client is answered only when it is known what it finds open.

        `opening`: a login that another client has begun goes on, which is as good as an open session.
        """
        if self._step(Sight.BEGINS) is WatchStep.LOOK:
            self._look(opening)

    def settle(self) -> None:
        """Watch no more: the client has proved to be who is signed in, or has left, and all is locked."""
        self._happens(Sight.PROVED)

    def lock(self, done: Callable[[], None]) -> None:
        """Lock what the client found open, then call back; at once if it found nothing open."""
        step = self._step(Sight.TO_LOCK)
        if step is WatchStep.CALL:
            done()
            return
        self._waiting.append(done)
        self._do(step)

    def _look(self, opening: bool) -> None:
        self._do(WatchStep.FREE)
        self._opening, self._watch = opening, AFTER[WatchStep.LOOK]
        self._began += 1
        self._timer = self._reactor.after(RENEWAL_SECONDS, lambda: self.lock(lambda: None))
        began = self._began
        self._console.seat.look(lambda found: self._looked(began, found))

    def _looked(self, began: int, found: Found) -> None:
        if began == self._began:
            is_open = self._opening or self._console.is_open(found)
            self._happens(Sight.FOUND_OPEN if is_open else Sight.FOUND_SHUT)

    def _step(self, sight: Sight) -> WatchStep:
        return watch(WatchFacts(self._watch, sight, self._console.guarded, bool(self._waiting)))

    def _happens(self, sight: Sight) -> None:
        self._do(self._step(sight))

    def _do(self, step: WatchStep) -> None:
        self._watch = AFTER.get(step, self._watch)
        if step is WatchStep.LOCK:
            note("client-unproved")
            self._left()
            self._console.lock(lambda: self._parks(lambda: self._happens(Sight.LOCKED)))
        elif step is WatchStep.FREE:
            if self._timer is not None:
                self._timer.cancel()
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done()
