"""Finds out the facts that the rules ask for (sso.guest.agent.rules), and decides nothing."""

from collections.abc import Callable

from sso.guest.agent.attempts import NO_DIGEST, Outcomes, is_repeated
from sso.guest.agent.leaving import Leaving
from sso.guest.agent.mapping import Mapped
from sso.guest.agent.newcomer import Newcomer
from sso.guest.agent.opening import Opening, under_way, usable
from sso.guest.agent.proof import Proofs
from sso.guest.agent.rules import Action, AtSeat, Eligibility, LoginFacts, Worth
from sso.guest.agent.rules_end import SeatFacts
from sso.guest.agent.rules_entry import EntryFacts, SignedInAs
from sso.guest.agent.ticket import Tickets
from sso.guest.agent.tracking import Tracker
from sso.guest.config import GuestConfig
from sso.guest.records import Authenticated, Who
from sso.guest.seat.logind import Found


class Evidence:
    """Each method returns a login's facts with one more known, and keeps in the login what belongs to it.

    `questions` has those that are answered at once; one that compares or counts may cost a pause.
    """

    def __init__(
        self,
        proofs: Proofs,
        outcomes: Outcomes,
        tracker: Tracker,
        tickets: Tickets,
        newcomer: Newcomer,
        console: Leaving,
        config: GuestConfig,
        would_lock: Callable[[str], bool],
    ) -> None:
        self._proofs, self._outcomes, self._tracker, self._tickets = proofs, outcomes, tracker, tickets
        self._newcomer, self._console, self._config, self._would_lock = newcomer, console, config, would_lock
        self._driver = console.driver
        self.questions: dict[Action, Callable[[Opening], LoginFacts]] = {
            Action.COMPARE_ANSWER: self.compared_with_answer,
            Action.COMPARE_SESSION: self.compared_with_session,
            Action.ASK_LIMITER: self.limited,
            Action.ASK_FAILLOCK: self.counted_by_faillock,
            Action.COUNT: self.failed,
        }

    def claimed(self, login: Opening) -> LoginFacts:
        """Return what costs nothing to know: claim, configuration, and the size of the secret."""
        claim = login.claim
        worth = Worth.NOT_ASKED if usable(claim, login.secret) else Worth.UNUSABLE
        accepted = self._config.accepts_identity(claim.mechanism)
        return LoginFacts(claim.kind, accepted, self._driver.unlocks, worth)

    def mapped(self, login: Opening, mapped: Mapped) -> LoginFacts:
        """Add which local user it is, and whether this attempt was answered before."""
        good = mapped.finding is Eligibility.GOOD
        login.guess = self._proofs.guess(login.claim, mapped.user if good else "")
        if good:
            login.user, login.uid = mapped.user, mapped.uid
            login.store = self._tickets.place(login, mapped.store)
        login.known = self._outcomes.find(login.claim)
        return login.facts._replace(account=mapped.finding, answered=login.known is not None)

    def seen(self, login: Opening, found: Found, present: Who | None) -> LoginFacts:
        """Add who is at the seat; `present` was let in and has not left since."""
        login.seated, session = found.user, self._tracker.session
        locking, at_seat = self._newcomer.locking, self._tracker.at_seat
        return login.facts._replace(
            seat=AtSeat.LOCKING if locking else at_seat(login.user, login.uid, found),
            ours=self._tracker.whose(login.uid),
            here=present == login.claim.who,
            renewal=self._tickets.renewal(login.claim, session),
        )

    def entering(
        self, claim: Authenticated, login: Opening | None, current: bool, in_: Who | None
    ) -> EntryFacts:
        """What a claim is beside what is under way; `in_` is who is known to be signed in."""
        same = login is not None and is_repeated(claim, login.claim)
        signed_in = SignedInAs.UNKNOWN if in_ is None else SignedInAs.OTHER
        if in_ == claim.who:
            signed_in = SignedInAs.SAME
        let_in = self._outcomes.let_in(claim)
        return EntryFacts(current, under_way(login), claim.kind, same, Worth.NOT_ASKED, let_in, signed_in)

    def compared_with_login(self, claim: Authenticated, login: Opening) -> Worth:
        """What the secret of a repeated claim is beside that of the login which it names."""
        guess = self._proofs.guess(claim, login.user)
        return self._proofs.worth(guess, login.guess.digest)

    def at_last(self, login: Opening, found: Found) -> SeatFacts:
        """What the seat shows now of a login."""
        unlocking = login.unlocking
        seated = next((one for one in found.users if unlocking is not None and one.id == unlocking.id), None)
        return SeatFacts(
            login.claim.kind,
            login.awaited,
            self._tracker.is_shown(),
            unlocking is not None,
            login.proved,
            login.opened,
            in_front=seated is not None and found.known and self._console.is_in_front(seated),
        )

    def compared_with_answer(self, login: Opening) -> LoginFacts:
        """Add whether the secret is the one that was answered before."""
        return self._compared(login, login.known.digest if login.known is not None else NO_DIGEST)

    def compared_with_session(self, login: Opening) -> LoginFacts:
        """Add whether the secret is the one that has opened the session."""
        session = self._tracker.session
        return self._compared(login, session.digest if session is not None else NO_DIGEST)

    def limited(self, login: Opening) -> LoginFacts:
        """Add whether the limiter allows an attempt."""
        return login.facts._replace(worth=self._proofs.worth(login.guess))

    def counted_by_faillock(self, login: Opening) -> LoginFacts:
        """Add whether one more failure would lock the account."""
        locks = self._would_lock(login.user)
        return login.facts._replace(worth=Worth.LOCKED_OUT if locks else Worth.ALLOWED)

    def failed(self, login: Opening) -> LoginFacts:
        """Count a guess at a name without an account as a failure."""
        self._proofs.failed(login.guess)
        return login.facts._replace(worth=Worth.COUNTED)

    def _compared(self, login: Opening, known: bytes) -> LoginFacts:
        return login.facts._replace(worth=self._proofs.worth(login.guess, known))
