"""Memory of attempts: who has to pause, which passwords failed, and what was answered already.

All of it is lost with the agent, and nothing of it tells a secret: a digest comes here only as
sso.guest.agent.proof has sealed it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from sso.guest.agent.rules_pause import ByHand, PauseFacts, PauseStep, UnseenStep, is_kept, pause, unseen_end
from sso.guest.records import Authenticated, Kind, Verdict, Who
from sso.guest.seat import utmp

PAUSES = (30.0, 120.0, 600.0)  # seconds after the first, second, third and further failures
STOP_AFTER = 3  # failures of a user, until the user signs in by hand
OUTCOME_SECONDS = 120.0
CONSOLE_SECONDS = 3600.0  # without a failure, after its pause: then the console begins anew
KEPT_SECONDS = 86400.0  # a younger record is not dropped for a new user's
ENTRIES_MAX = 1024  # entries of each memory
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


class Guess(NamedTuple):
    """One claim, as the limiter sees it: who shows what.

    `user` is the account, "" for a name that is none. `digest` is a password's, sealed, else NO_DIGEST.
    """

    user: str
    kind: Kind
    digest: bytes = NO_DIGEST

    def __repr__(self) -> str:
        return f"<Guess {self.user} {self.kind.name}>"


class _Record:
    """What went wrong for a user or at the console since the last success."""

    def __init__(self) -> None:
        self.failures = self.unknown = 0
        self.until = self.last = 0.0
        self.stopped_at = 0.0  # wall clock
        self.failed: list[bytes] = []  # the last STOP_AFTER sealed digests


class Attempts:
    """The limiter: back-off for each user and kind of proof, for passwords also for the console.

    A pause of 30, 120, 600 s follows the first, second and further failures. After three of them a user
    is stopped until a sign-in by hand, which `by_hand(user, since)` tells. Who goes on guessing passwords in
    a user's pause makes it longer: it does not end before PAUSES[0] seconds without a guess.

    A success forgets what went wrong for that user by that kind of proof, and takes it from the console's
    account; what went wrong for others there stays. So nobody guesses at many users' passwords and signs in
    with an own one in between to be free again.

    An attempt whose end nobody saw (the peer left meanwhile) is free once for a user and once at the console;
    the next one counts as a failure: otherwise hanging up would be the way around the pauses.

    A record that is younger than KEPT_SECONDS is never dropped for another user's: where ENTRIES_MAX of them
    are full, a password of a user without a record has to wait.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        by_hand: Callable[[str, float], bool] = utmp.signed_in_since,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._by_hand, self._wall = clock, by_hand, wall
        self._users: Bounded[tuple[str, Kind], _Record] = Bounded()
        self._console = _Record()  # a guest has one; what all users' passwords have cost there

    def paused(self, guess: Guess) -> bool:
        """Whether nothing may be compared or tried for this guess now."""
        record, now = self._users.get((guess.user, guess.kind)), self._clock()
        facts = self._remembered(guess, now)
        step = pause(facts)
        if step is PauseStep.ASK_BY_HAND and record is not None:
            by_hand = self._by_hand(guess.user, record.stopped_at)
            step = pause(facts._replace(by_hand=ByHand.YES if by_hand else ByHand.NO))
        if step is PauseStep.FORGET:
            self.succeeded(guess)
            step = pause(self._remembered(guess, now))
        if step is PauseStep.LONGER and record is not None:
            record.until = max(record.until, now + PAUSES[0])
        return step is not PauseStep.FREE

    def _remembered(self, guess: Guess, now: float) -> PauseFacts:
        record = self._users.get((guess.user, guess.kind))
        return PauseFacts(
            guess.kind,
            stopped=record is not None and record.failures >= STOP_AFTER,
            by_hand=ByHand.NOT_ASKED,
            in_pause=record is not None and now < record.until,
            remembered=record is not None,
            full=self._is_full(now),
            console_in_pause=now < self._console.until,
        )

    def failed_before(self, guess: Guess) -> tuple[bytes, ...]:
        """The sealed digests of this user that failed since the last success."""
        record = self._users.get((guess.user, guess.kind))
        return tuple(record.failed) if record is not None else ()

    def failed(self, guess: Guess) -> None:
        """An attempt failed: who made it pauses, and the secret is not tried again."""
        if guess.kind is Kind.PASSWORD:
            self._pause(self._at_console())
        if guess.user:
            record = self._of_user(guess)
            self._pause(record)
            if guess.digest != NO_DIGEST:
                record.failed = [*record.failed, guess.digest][-STOP_AFTER:]

    def again(self, guess: Guess) -> None:
        """A password that has failed was shown once more: that costs a pause, and is no new failure."""
        until = self._clock() + PAUSES[0]
        for record in (self._of_user(guess), self._at_console()):
            record.until = max(record.until, until)

    def unknown(self, guess: Guess) -> None:
        """A credential was handed out and nobody saw what became of it."""
        record, on_console = self._of_user(guess), 0
        record.unknown += 1
        if guess.kind is Kind.PASSWORD:
            console = self._at_console()
            console.unknown += 1
            on_console = console.unknown
        step = unseen_end(guess.kind, record.unknown, on_console)
        if step is UnseenStep.FAIL:
            self.failed(guess)
        elif step is UnseenStep.PAUSE_CONSOLE:
            self._pause(self._at_console())

    def succeeded(self, guess: Guess) -> None:
        """The user has proved it: forget the failures of this kind of proof."""
        record = self._users.pop((guess.user, guess.kind), None)
        if record is None or guess.kind is not Kind.PASSWORD:
            return
        console = self._console
        console.failures = max(0, console.failures - record.failures)
        console.unknown = max(0, console.unknown - record.unknown)
        if not console.failures:
            console.until = 0.0

    def _pause(self, record: _Record) -> None:
        now = self._clock()
        record.until = now + PAUSES[min(record.failures, len(PAUSES) - 1)]
        record.failures += 1
        record.unknown = 0
        record.stopped_at = self._wall()

    def _of_user(self, guess: Guess) -> _Record:
        key = guess.user, guess.kind
        record = self._users[key] = self._users.get(key) or _Record()  # now the youngest entry
        record.last = self._clock()
        return record

    def _at_console(self) -> _Record:
        now = self._clock()
        if now >= max(self._console.until, self._console.last) + CONSOLE_SECONDS:
            self._console = _Record()
        self._console.last = now
        return self._console

    def _is_full(self, now: float) -> bool:
        if len(self._users) < ENTRIES_MAX:
            return False
        oldest = next(iter(self._users.values()))
        return now < oldest.last + KEPT_SECONDS


class Answered(NamedTuple):
    """An answer that is remembered; `digest` is the sealed one of the password that got it."""

    code: int
    digest: bytes

    def __repr__(self) -> str:
        return f"<Answered {self.code}>"


class Outcomes:
    """What was answered in the last 120 s, by attempt id, who it is and kind (PROTOCOL.md section 10.2).

    The first answer stays. Of a password only that it was right, or that the account was refused, is kept; it
    is for sso.guest.agent.proof to compare the digest: the attempt id travels in clear, and proves nothing.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: Bounded[tuple[bytes, Who, Kind], tuple[float, Answered]] = Bounded()

    def keep(self, claim: Authenticated, code: int, digest: bytes = NO_DIGEST) -> None:
        """Remember an answer, unless it is "later" or the attempt id is all zeros, which means none."""
        if is_kept(claim.kind, code, named=any(claim.attempt), answered=self.find(claim) is not None):
            self._kept[_key(claim)] = self._clock() + OUTCOME_SECONDS, Answered(code, digest)

    def left(self) -> None:
        """Forget which attempts were let in: the client has left, and the console is locked."""
        for key in [key for key, (_, kept) in self._kept.items() if kept.code == Verdict.LOGGED_IN]:
            del self._kept[key]

    def find(self, claim: Authenticated) -> Answered | None:
        """What was answered to this attempt, or None."""
        until, kept = self._kept.get(_key(claim), (0.0, None))
        return kept if any(claim.attempt) and self._clock() < until else None

    def let_in(self, claim: Authenticated) -> bool:
        """Whether this attempt has let its client in."""
        known = self.find(claim)
        return known is not None and known.code == Verdict.LOGGED_IN


def is_repeated(claim: Authenticated, before: Authenticated) -> bool:
    """Whether a claim names the attempt of an earlier one; whether it shows the same secret, Proofs tells."""
    return any(claim.attempt) and _key(claim) == _key(before)


def _key(claim: Authenticated) -> tuple[bytes, Who, Kind]:
    return claim.attempt, claim.who, claim.kind
