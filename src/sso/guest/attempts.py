"""Memory of attempts: which secrets failed, who has to pause, and what was answered already.

All of it is lost with the agent, and nothing of it tells a secret: digests are keyed by the acceptor's
key of this start, and once more by ours.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from sso.guest import utmp
from sso.guest.records import Verdict

PAUSES = (30.0, 120.0, 600.0)  # seconds after the first, second, third and further failures
STOP_AFTER = 3  # failures of a user, until she signs in by hand
OUTCOME_SECONDS = 120.0
ENTRIES_MAX = 1024  # of each memory; the oldest go first
DIGEST_SIZE = 32
NO_DIGEST = bytes(DIGEST_SIZE)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Bounded(OrderedDict[Key, Value], Generic[Key, Value]):
    """A dict that forgets its oldest entries beyond ENTRIES_MAX."""

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > ENTRIES_MAX:
            self.popitem(last=False)


class _Record:
    """What went wrong for a user or on a console since the last success."""

    def __init__(self) -> None:
        self.failures = self.unknown = 0
        self.until = 0.0
        self.stopped_at = 0.0  # wall clock


class Attempts:
    """Back-off for each user and each console, and the secrets that failed.

    A pause of 30, 120, 600 s follows the first, second and further failures, of a user or on a console.
    After three failures a user is stopped until she signs in by hand, which `by_hand(user, since)` tells.
    A success, also by hand, forgets all of it for that user; for a console any success does. Who goes on
    guessing passwords in her pause waits on: it does not end before PAUSES[0] seconds without one.

    An attempt whose end nobody saw (the peer left meanwhile) is free once; the next one counts as a
    failure: otherwise hanging up would be the way around the pauses.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        by_hand: Callable[[str, float], bool] = utmp.signed_in_since,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._by_hand, self._wall = clock, by_hand, wall
        self._key = os.urandom(DIGEST_SIZE)
        self._users: Bounded[str, _Record] = Bounded()
        self._consoles: Bounded[str, _Record] = Bounded()
        self._failed: Bounded[tuple[str, bytes], None] = Bounded()

    def refusal(self, user: str, console: str, digest: bytes = NO_DIGEST) -> Verdict | None:
        """Why no attempt may be made now: TRY_LATER, or NOT_AUTHENTICATED for a known bad secret."""
        record = self._users.get(user)
        if record is not None and record.failures >= STOP_AFTER:
            if not self._by_hand(user, record.stopped_at):
                return self._known(user, digest) or Verdict.TRY_LATER
            self.succeeded(user, console)
        if known := self._known(user, digest):
            return known
        now, record = self._clock(), self._users.get(user)
        if record is not None and now < record.until and digest != NO_DIGEST:
            record.until = max(record.until, now + PAUSES[0])
        for found in (record, self._consoles.get(console)):
            if found is not None and now < found.until:
                return Verdict.TRY_LATER
        return None

    def failed(self, user: str, console: str, digest: bytes = NO_DIGEST) -> None:
        """An attempt failed: both pause, and the secret is not tried again."""
        for records, name in ((self._users, user), (self._consoles, console)):
            record = records.setdefault(name, _Record())
            pause = PAUSES[min(record.failures, len(PAUSES) - 1)]
            record.failures += 1
            record.unknown = 0
            record.until = self._clock() + pause
            record.stopped_at = self._wall()
            records[name] = record
        if digest != NO_DIGEST:
            self._failed[user, self._keyed(user, digest)] = None

    def unknown(self, user: str, console: str, digest: bytes = NO_DIGEST) -> None:
        """A credential was handed out and nobody saw what became of it."""
        record = self._users.setdefault(user, _Record())
        record.unknown += 1
        if record.unknown > 1:
            self.failed(user, console, digest)

    def succeeded(self, user: str, console: str) -> None:
        """Somebody signed in: her failures and those of the console are over."""
        self._users.pop(user, None)
        self._consoles.pop(console, None)
        for entry in [entry for entry in self._failed if entry[0] == user]:
            del self._failed[entry]

    def _known(self, user: str, digest: bytes) -> Verdict | None:
        bad = digest != NO_DIGEST and (user, self._keyed(user, digest)) in self._failed
        return Verdict.NOT_AUTHENTICATED if bad else None

    def _keyed(self, user: str, digest: bytes) -> bytes:
        import hmac  # late: see Grant.fits

        return hmac.digest(self._key, user.encode() + b"\0" + digest, "sha256")


class Outcomes:
    """What was answered in the last 120 s, by attempt id, principal and digest (PROTOCOL.md section 10.2)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: Bounded[tuple[bytes, str, bytes], tuple[float, int]] = Bounded()

    def keep(self, attempt: bytes, principal: str, digest: bytes, code: int) -> None:
        """Remember an answer; an attempt id of zeros is none."""
        if any(attempt):
            self._kept[attempt, principal, digest] = self._clock() + OUTCOME_SECONDS, code

    def left(self) -> None:
        """The client has left, and the console is locked: that it was let in is no answer any more."""
        for key in [key for key, (_, code) in self._kept.items() if code == Verdict.LOGGED_IN]:
            del self._kept[key]

    def find(self, attempt: bytes, principal: str, digest: bytes) -> int | None:
        """The same answer for the same key, or None."""
        until, code = self._kept.get((attempt, principal, digest), (0.0, 0))
        return code if any(attempt) and self._clock() < until else None
