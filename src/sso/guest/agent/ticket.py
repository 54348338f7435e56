"""The Kerberos cache of the open session: refresh it in place, park it, delete it at the end.

What is done when is said by sso.guest.agent.rules_ticket.
"""

import os
from collections.abc import Callable

from sso.daemon.reactor import Reactor
from sso.guest.agent import ccache, default_cache, rules_ticket
from sso.guest.agent.opening import Opening, SignedIn, close
from sso.guest.agent.rules import Renewal
from sso.guest.agent.rules_ticket import CacheEvent, CacheFacts, CacheStep, Place, RenewalFacts
from sso.guest.log import note
from sso.guest.records import Authenticated


class Tickets:
    """All that happens to a session's cache; `park` takes it away while the client is gone.

    `default`: a ticket goes into the user's default cache, where krb5.conf names one of a kind that is known.
    """

    def __init__(self, reactor: Reactor, park: bool = False, default: bool = False) -> None:
        self._reactor, self._park, self._default = reactor, park, default
        self._busy = 0  # workers that change a cache
        self._waiting: list[Callable[[], None]] = []  # for those

    def renewal(self, claim: Authenticated, session: SignedIn | None) -> Renewal:
        """Whether a claim's ticket is to take the place of the session's; `session` may be none."""
        if session is None:
            return Renewal.NONE
        due = self._reactor.clock() >= session.refreshed + ccache.REFRESH_EVERY
        same, later = claim.who == session.who, claim.expires > session.expires
        facts = RenewalFacts(claim.kind, bool(session.path), same, session.parked, due, later)
        return rules_ticket.renewal(facts)

    def place(self, login: Opening, name: str) -> str:
        """The default cache, called `name`, if the login's ticket is to go there, else ""."""
        found = rules_ticket.place(self._default, login.claim.kind, default_cache.is_known(name))
        if found is Place.UNKNOWN:
            kind = name.partition(":")[0]
            note("ticket-store-unknown", session=login.claim.id, principal=login.principal, kind=kind)
        return name if found is Place.DEFAULT else ""

    def store(self, login: Opening, secret: int, go_on: Callable[[bool], bool]) -> None:
        """Put the ticket `secret`, whose descriptor stays the caller's, into the user's default cache.

        `go_on` is told whether it is there, and says whether the session has opened: else it does not stay.
        What an earlier session or login has begun comes first: its removal would find the same principal's.
        """
        if self._step(CacheEvent.STORE, login) is CacheStep.WAIT:
            kept = os.dup(secret)
            self._waiting.append(lambda: self._store_late(login, kept, go_on))
            return

        def stored(name: str) -> None:
            login.path = name
            note("ticket-stored" if name else "ticket-not-stored", session=login.claim.id, user=login.user)
            if not go_on(bool(name)) and name:
                self._remove(login)
                login.path = ""
            self._done()

        default_cache.store(self._reactor, login.uid, secret, stored)
        self._busy += 1

    def _store_late(self, login: Opening, secret: int, go_on: Callable[[bool], bool]) -> None:
        try:
            self.store(login, secret, go_on)
        finally:
            close(secret)

    def _step(self, event: CacheEvent, holder: SignedIn | Opening) -> CacheStep:
        parked = isinstance(holder, SignedIn) and holder.parked
        facts = CacheFacts(event, self._busy > 0, self._park, bool(holder.path), parked)
        return rules_ticket.cache_step(facts)

    def _done(self) -> None:
        """A worker is at its end: whoever waits looks again."""
        self._busy -= 1
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()

    def refresh(
        self, claim: Authenticated, session: SignedIn, secret: int, done: Callable[[bool], None]
    ) -> None:
        """Put the ticket `secret`, whose descriptor stays the caller's, into the session's cache."""
        session.refreshed = self._reactor.clock()

        def replaced(good: bool) -> None:
            if good:
                session.expires, session.parked = claim.expires, False
            note("ticket-refreshed" if good else "ticket-not-refreshed", session=claim.id, user=session.user)
            done(good)
            self._done()

        kind = ccache if session.path.startswith("/") else default_cache
        kind.refresh(self._reactor, session.path, session.uid, secret, replaced, parked=session.parked)
        self._busy += 1

    def client_gone(self, session: SignedIn, done: Callable[[], None]) -> None:
        """Take the ticket away, if that is wanted, and go on."""

        def removed(good: bool) -> None:
            session.parked = good
            note("ticket-parked" if good else "ticket-not-parked", user=session.user)
            done()

        match self._step(CacheEvent.LEFT, session):
            case CacheStep.WAIT:
                self._waiting.append(lambda: self.client_gone(session, done))
            case CacheStep.REMOVE:
                session.parked = True  # already: a cache that is still there makes the refill fail
                self._remove(session, removed)
            case _:
                done()

    def session_over(self, session: SignedIn) -> None:
        """Remove what the PAM module left: it does so itself unless its process was killed."""
        # The module has mostly removed a file: that is worth no line. A default cache is ours to remove.
        is_file = session.path.startswith("/")

        def removed(good: bool) -> None:
            if not good or not is_file:
                note("ticket-removed" if good else "ticket-not-removed", user=session.user)

        match self._step(CacheEvent.OVER, session):
            case CacheStep.WAIT:
                self._waiting.append(lambda: self.session_over(session))
            case CacheStep.REMOVE:
                self._remove(session, removed, missing_ok=is_file)

    def login_over(self, login: Opening, session: SignedIn | None) -> None:
        """Remove what a login has left that has come to nothing; `session` is open, if it is not None."""
        shared = session is not None and session.path == login.path
        if rules_ticket.is_left_over(bool(login.path), login.opened, shared):
            self._remove(login)

    def _remove(
        self,
        holder: SignedIn | Opening,
        done: Callable[[bool], None] = lambda good: None,
        *,
        missing_ok: bool = False,
    ) -> None:
        """Remove the cache of a session, or of a login that has come to none.

        `done` says if it is gone; a file that was not there counts as gone with `missing_ok` only.
        """
        path, uid = holder.path, holder.uid

        def removed(good: bool) -> None:
            done(good)
            self._done()

        if path.startswith("/"):
            ccache.remove(self._reactor, path, uid, removed, missing_ok=missing_ok)
        else:
            default_cache.remove(self._reactor, path, uid, holder.principal, removed)
        self._busy += 1
