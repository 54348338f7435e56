"""Unlocking where the login screen does not: PAM is asked without a screen, then logind or the locker acts.

The session's own programs unlock it when logind says so. A locker that does not listen asks us instead
when its user presses a key, and gets a verdict: yes, for this user, once (sso.guest.agent.locker_socket).
What is done when is said by sso.guest.agent.rules_unlock.
"""

from collections.abc import Callable
from typing import Protocol

from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor
from sso.guest.agent import rules_unlock
from sso.guest.agent.account import Checked
from sso.guest.agent.leaving import Leaving
from sso.guest.agent.opening import Opening
from sso.guest.agent.rules_unlock import Offered, OfferFacts, VerdictFacts, VerdictStep
from sso.guest.config import GuestConfig
from sso.guest.records import Kind, Verdict
from sso.guest.seat.logind import Seated

_VERDICTS = {
    Checked.GOOD: Verdict.LOGGED_IN,
    Checked.WRONG: Verdict.NOT_AUTHENTICATED,
    Checked.REFUSED: Verdict.DENIED,
    Checked.BROKEN: Verdict.INTERNAL,
}


class Checker(Protocol):
    """Asks PAM in a forked process (sso.guest.agent.verify)."""

    def account(self, service: str, user: str, tty: str, done: Callable[[Checked], None]) -> Forked:
        """Whether the account may be used now (pam_acct_mgmt)."""

    def password(self, service: str, user: str, secret: int, done: Callable[[Checked], None]) -> Forked:
        """The same after one attempt with the password of a file."""


class Unlocker:
    """One offer at a time: who may unlock, until when. It outlives the peer session, not its client.

    `revoked` is called when the client has left: who got a yes is to hear no from then on. `unproved` tells
    whether another client may be there already: nobody gets a yes then.
    """

    def __init__(
        self,
        reactor: Reactor,
        console: Leaving,
        checker: Checker,
        config: GuestConfig,
        unproved: Callable[[], bool],
    ) -> None:
        self._reactor, self._console, self._checker, self._config = reactor, console, checker, config
        self._unproved = unproved
        self._service = config.service or console.driver.service
        self._offer: tuple[int, str, float] | None = None  # uid, user, until when
        self._asking: Forked | None = None  # whether an offer may be made
        self.revoked: Callable[[], None] = lambda: None

    def check(self, login: Opening, seated: Seated, done: Callable[[Verdict], None]) -> Forked:
        """Ask PAM about the user; unlock the session if PAM says yes. `done` gets PAM's answer."""

        def checked(found: Checked) -> None:
            if found is Checked.GOOD:
                self._arm(login)
                self._console.seat.unlock(seated.id)
            done(_VERDICTS[found])

        if login.claim.kind is Kind.PASSWORD and login.secret is not None:
            return self._checker.password(self._service, login.user, login.secret, checked)
        return self._checker.account(self._service, login.user, seated.tty, checked)

    def offer(self, login: Opening, seated: Seated) -> None:
        """Keep a verdict for a locker that asks: a screen may be locked although logind does not know it."""
        claim = login.claim
        accepted, unlocks = self._config.accepts_identity(claim.mechanism), self._console.driver.unlocks
        if not rules_unlock.is_offered(OfferFacts(claim.kind, accepted, seated.graphical, unlocks)):
            return
        self._withdraw()

        def checked(found: Checked) -> None:
            if found is Checked.GOOD:
                self._arm(login)

        self._asking = self._checker.account(self._service, login.user, seated.tty, checked)

    def verdict(self, uid: int, user: str, service: str) -> bool:
        """Whether a locker of `uid` may unlock for `user`, once."""
        offer, offered = self._offer, Offered.NOTHING
        if offer is not None:
            offered = Offered.OWN if offer[:2] == (uid, user) else Offered.OTHER
        in_time = offer is not None and self._reactor.clock() < offer[2]
        step = rules_unlock.verdict(
            VerdictFacts(offered, service in self._config.lockers, self._unproved(), in_time)
        )
        if step is not VerdictStep.NO:
            self._offer = None
        return step is VerdictStep.YES

    def forget(self) -> None:
        """The client has left: nobody is unlocked by what it has shown, nor by what PAM says of it later."""
        self._withdraw()
        self.revoked()

    def _withdraw(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        self._offer = self._asking = None

    def _arm(self, login: Opening) -> None:
        self._offer = login.uid, login.user, self._reactor.clock() + self._config.grant_seconds
