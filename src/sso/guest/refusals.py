"""What the agent's sockets say of callers that they turn away: one place, and a limit.

Everybody may connect to some of these sockets, as often as they like; they must not fill the journal.
"""

from collections.abc import Callable

from sso.daemon.local import Peer
from sso.guest import log

NOTE_EVERY = 1.0  # seconds between two lines of one socket


class Pace:
    """Allows one line in each NOTE_EVERY seconds of `clock`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._next = clock, 0.0

    def due(self) -> bool:
        """Whether a line may be written now; if so, the next one has to wait."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + NOTE_EVERY
        return True


class Refusals:
    """The refusals of one socket: the first of each NOTE_EVERY seconds is logged, with who it was.

    `id` is the event's word, `clock` gives seconds, `note` takes the event.
    """

    def __init__(self, id: str, clock: Callable[[], float], note: Callable[..., None] | None = None) -> None:
        self._id, self._pace, self._note = id, Pace(clock), note

    def note(self, peer: Peer, **values: object) -> None:
        """Somebody was turned away; `values` say what else is known, such as why."""
        if self._pace.due():
            (self._note or log.note)(self._id, uid=peer.uid, pid=peer.pid, **values)
