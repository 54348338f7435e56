"""Carries out the rules of a login (sso.guest.agent.rules) at one console, from the claim to its answer."""

from collections.abc import Callable

from sso.daemon.reactor import Reactor
from sso.guest.agent import faillock, rules_end
from sso.guest.agent.asking import Asking
from sso.guest.agent.attempts import Attempts, Outcomes
from sso.guest.agent.desk import PamDesk
from sso.guest.agent.evidence import Evidence
from sso.guest.agent.grant import Grants
from sso.guest.agent.leaving import Leaving
from sso.guest.agent.mapping import Mapped, Mapping
from sso.guest.agent.newcomer import Newcomer
from sso.guest.agent.opening import Opening, SignedIn, close, under_way
from sso.guest.agent.pam_socket import PamConnection
from sso.guest.agent.proof import Proofs
from sso.guest.agent.rules import Action, AtSeat, Decision, LoginFacts, Renewal, decide
from sso.guest.agent.rules_end import AfterPam, AtLast, Late, ScreenEvent
from sso.guest.agent.rules_entry import Change, ClaimStep, UnderWay, enter, is_revoked
from sso.guest.agent.ticket import Tickets
from sso.guest.agent.tracking import Tracker
from sso.guest.agent.unlock import Checker, Unlocker
from sso.guest.config import DEFAULT, GuestConfig
from sso.guest.log import note
from sso.guest.records import Authenticated, Kind, Verdict, Who
from sso.guest.seat.logind import Found


class Judge:
    """Has the facts of each claim collected (Evidence), and carries out what `rules.decide` says.

    `tell_outcome(id, code)` tells the acceptor; `withdraw` is that of the PamServer, whose desk is `desk`.
    `login` is what is under way.

    One peer session is served at a time and gets one decision. Every secret's descriptor that comes in
    is closed on every way, here, by Grants, or by the PamServer.
    """

    def __init__(
        self,
        reactor: Reactor,
        console: Leaving,
        mapper: Mapping,
        tell_outcome: Callable[[int, int], None],
        withdraw: Callable[[PamConnection], None],
        attempts: Attempts,
        config: GuestConfig,
        *,
        checker: Checker,
        would_lock: Callable[[str], bool] = faillock.would_lock,
    ) -> None:
        self._reactor, self._console, self._driver = reactor, console, console.driver
        self._mapper, self._tell_outcome, self._withdraw = mapper, tell_outcome, withdraw
        self._proofs, self._config = Proofs(attempts), config
        self._grants = Grants(reactor.clock)
        self._asking = Asking(reactor, console.driver, self._grants, config.grant_seconds)
        self._outcomes = Outcomes(reactor.clock)
        self._tickets = Tickets(reactor, config.park_tickets, config.ticket_store == DEFAULT)
        self._tracker = Tracker(reactor, console, self._tickets)
        self.desk = PamDesk(reactor, self._grants, self._tracker, self)
        self._newcomer = Newcomer(reactor, console, self._replaced, self._tracker.client_gone)
        self.unlocker = Unlocker(reactor, console, checker, config, lambda: self._newcomer.unproved)
        sources = self._proofs, self._outcomes, self._tracker, self._tickets, self._newcomer
        self._evidence = Evidence(*sources, console, config, would_lock)
        self._current: int | None = None  # the peer session that may still claim something
        self._present: Who | None = None  # who has signed in and not left since
        self.login: Opening | None = None
        console.seat.watch(self._seat_changed)

    @property
    def signed_in(self) -> SignedIn | None:
        """The session that was opened here, and still is open."""
        return self._tracker.session

    # Peer sessions

    def begin(self, id: int) -> None:
        """A peer session begins; whatever an older one had is revoked.

        A login that goes on at the console waits until the new client has shown who it is: the login's own
        client gets the outcome (`decide`); any other client revokes it.
        """
        self._happens(Change.BEGINS)
        self._current = id
        self._newcomer.begin(opening=self.login is not None)

    def end(self, id: int, done: Callable[[], None] = lambda: None) -> None:
        """A peer session is over: everything that it was granted is revoked when this returns.

        A login that goes on at the console is kept, unless another client began it. `done` is called when
        the next client finds no open session, except one that this client has proved to be its own.
        """
        own = self.login is not None and self.login.claim.id == id
        self._happens(Change.ENDS if own else Change.OTHER_ENDS)
        if self._current == id:
            self._current = None
        self._newcomer.lock(done)

    def gone(self, done: Callable[[], None]) -> None:
        """The client has left: revoke what it was granted; `done` when the console is locked."""
        self._happens(Change.GONE)
        self._current = None
        self._newcomer.settle()
        self._replaced()
        self._console.leave(lambda: self._tracker.client_gone(done))

    def _replaced(self) -> None:
        """Another client may be here: revoke what was granted to the one before, and a login that goes on."""
        self._happens(Change.UNPROVED)
        self._present = None
        self._outcomes.left()
        self.unlocker.forget()

    def close(self) -> None:
        """Revoke everything."""
        self._happens(Change.GONE)
        self._newcomer.settle()
        self._grants.close()
        self._console.close()

    def decide(self, claim: Authenticated, secret: int | None) -> None:
        """Decide on what the acceptor says; the descriptor `secret` is ours from here on."""
        current = claim.id == self._current
        signed_in = self._present or (self.signed_in.who if self.signed_in is not None else None)
        facts = self._evidence.entering(claim, self.login, current, signed_in)
        step = enter(facts)
        if step is ClaimStep.DROP:
            close(secret)
            return
        self._current = None  # one claim a session
        if step is ClaimStep.COMPARE_LOGIN and self.login is not None:
            facts = facts._replace(worth=self._evidence.compared_with_login(claim, self.login))
            step = enter(facts)
        if step is ClaimStep.GO_ON and self.login is not None:
            close(secret)
            self._go_on(claim, self.login)
            return
        if step is ClaimStep.REVOKE:
            self._revoke()
            self._newcomer.begin(opening=False)  # it can only find what is open now
            step = enter(facts._replace(login=UnderWay.NONE))
        login = self.login = Opening(claim, secret)
        if step is ClaimStep.LOCK_FIRST:
            self._newcomer.lock(lambda: self._heard(login))
        else:
            self._heard(login)

    def _go_on(self, claim: Authenticated, login: Opening) -> None:
        """The client of a login that goes on at the console is there again, and waits for it."""
        login.claim, login.told = claim, False
        self._newcomer.settle()
        login.timers.append(self._reactor.after(self._config.grant_seconds, self._late))
        self._look_for(login)

    def _happens(self, change: Change) -> None:
        """Something happens to peer sessions: the login that is under way ends by it, or goes on."""
        if is_revoked(change, under_way(self.login)):
            self._revoke()

    # What is known, and what follows from it (sso.guest.agent.rules)

    def _heard(self, login: Opening) -> None:
        """The claim may be judged."""
        if self.login is login:
            self._learn(login, self._evidence.claimed(login))

    def _learn(self, login: Opening, facts: LoginFacts) -> None:
        """More is known of a login: do what the rules say. What that finds out comes here again."""
        login.facts, decision = facts, decide(facts)
        question = self._evidence.questions.get(decision.action)
        if question is not None:
            self._learn(login, question(login))
            return
        match decision.action:
            case Action.MAP:
                login.worker = self._mapper.ask(login.claim.who, self._mapped)
            case Action.LOOK:
                self._look(login)
            case Action.LOCK:
                self._newcomer.lock(lambda: self._look(login))
            case Action.REFRESH | Action.REFILL:
                self._refresh(login, visiting=decision.action is Action.REFRESH)
            case Action.ASK_PAM:
                self._ask_pam(login)
            case Action.ASK_SCREEN:
                self._ask_screen(login)
            case _:
                self._finish(login, decision)

    def _mapped(self, mapped: Mapped) -> None:
        login = self.login
        assert login is not None  # a revoked login has cancelled its worker
        login.worker = None
        self._learn(login, self._evidence.mapped(login, mapped))

    def _look(self, login: Opening) -> None:
        def looked(found: Found) -> None:
            if self.login is login:
                self._learn(login, self._evidence.seen(login, found, self._present))

        self._console.seat.look(looked)

    def _finish(self, login: Opening, decision: Decision) -> None:
        """Tell the client the answer, after what its action wants done first."""
        action = decision.action
        code: int | None = decision.code
        if action is Action.REPEAT and login.known is not None:
            code = login.known.code
        elif action is Action.ANSWER_OWN:
            self._newcomer.settle()
        elif action in (Action.SIGNED_IN, Action.OFFER):
            self._proofs.succeeded(login.guess)
        if action is Action.OFFER and login.seated is not None:
            self.unlocker.offer(login, login.seated)
        assert code is not None
        self._conclude(decision.message, code, **({"reason": decision.reason} if decision.reason else {}))

    # The user is signed in

    def _refresh(self, login: Opening, *, visiting: bool) -> None:
        """Put the ticket into the session's cache: of a user who is in, or before the session is unlocked."""
        if visiting:
            self._newcomer.settle()
            self._proofs.succeeded(login.guess)
        else:
            login.unlocking = login.seated

        def refreshed(good: bool) -> None:
            if self.login is login:
                self._learn(login, login.facts._replace(renewal=Renewal.DONE if good else Renewal.FAILED))

        self._tracker.refresh(login, refreshed)

    def _ask_screen(self, login: Opening) -> None:
        """Have the login screen sign the user in, or unlock the session, by PAM."""
        login.unlocking = login.seated if login.facts.seat is AtSeat.LOCKED else None
        login.timers.append(self._reactor.after(self._config.grant_seconds, self._late))
        self._asking.begin(login, lambda: self._conclude("login-no-screen", Verdict.NO_LOGIN_SCREEN))

    def _ask_pam(self, login: Opening) -> None:
        """Ask PAM whether the user may come in, then have logind unlock the session."""
        seated = login.unlocking = login.seated
        assert seated is not None  # it is locked
        login.timers.append(self._reactor.after(self._config.grant_seconds, self._late))

        def checked(code: Verdict) -> None:
            if self.login is not login:
                return
            login.worker = None
            after = rules_end.after_pam(code)
            login.proved = after is AfterPam.WAIT
            if after is AfterPam.COUNT_FAILURE:
                self.failed(login)
            elif after is not AfterPam.WAIT:
                if after is AfterPam.COUNT_UNSEEN and login.claim.kind is Kind.PASSWORD:
                    self._proofs.unknown(login.guess)
                self._conclude("login-account-refused", code)

        login.worker = self.unlocker.check(login, seated, checked)

    def _seat_changed(self) -> None:
        self._tracker.look()
        if self.login is not None:
            self._look_for(self.login)
        if self.login is not None:
            self._asking.happens(self.login, ScreenEvent.SEAT)

    def _look_for(self, login: Opening) -> None:
        """Say yes as soon as the session is what the screen shows, and nobody has to unlock it."""
        match rules_end.at_last(self._evidence.at_last(login, self._console.seat.found)):
            case AtLast.OPENED:
                self._conclude("login-opened", Verdict.LOGGED_IN)
            case AtLast.UNLOCKED:
                self._unlocked(login)

    def _unlocked(self, login: Opening) -> None:
        """The session is unlocked; its cache gets the ticket, if that is newer."""
        self._proofs.succeeded(login.guess)
        self._driver.settled()
        renewal = self._tickets.renewal(login.claim, self.signed_in)
        if renewal is not Renewal.NONE and login.secret is not None:
            self._tracker.refresh(login, lambda good: None)
        self._conclude("session-unlocked", Verdict.LOGGED_IN)

    # The screen, and time

    def screen_changed(self) -> None:
        """The login screen may be ready: begin the login that waits for it."""
        if self.login is not None:
            self._asking.happens(self.login, ScreenEvent.READY)

    def _late(self) -> None:
        """The time of the grant is over, so the client gets its answer; what PAM has begun goes on."""
        login = self.login
        if login is None:
            return
        found = rules_end.late(login.progress)
        if found.code is Verdict.CONSOLE_ASKS:
            self._tell(login, found)
            return
        if found.take_back:
            self._take_back(login)
        self._conclude(found.message, found.code)

    def _tell(self, login: Opening, found: Late) -> None:
        """Let the client know that the login goes on at the console, where somebody is asked something."""
        claim, login.told = login.claim, True
        note(found.message, session=claim.id, user=login.user, code=int(found.code))
        self._tell_outcome(claim.id, found.code)

    # What PAM does (sso.guest.agent.desk)

    def opened(self, login: Opening) -> None:
        """The session is open, and tracked; whether it is in front, logind tells."""
        self._proofs.succeeded(login.guess)
        self._driver.settled()

        def looked(found: Found) -> None:
            login.awaited = True
            if self.login is login:
                self._look_for(login)

        self._console.seat.look(looked)

    def proved(self, login: Opening) -> None:
        """PAM lets the user back in; whether the session is open again, logind tells."""
        login.proved = True
        self._console.seat.hint()

    def refused(self, login: Opening) -> None:
        """The account may not sign in now, or the screen gave up: nobody's secret was wrong."""
        self._driver.settled()
        self._conclude("login-account-refused", Verdict.DENIED)

    def failed(self, login: Opening) -> None:
        """The password was tried, and was wrong."""
        self._proofs.failed(login.guess)
        self._driver.failed()
        self._conclude("login-failed", Verdict.NOT_AUTHENTICATED)

    # Ends

    def _revoke(self) -> None:
        """End the login that is under way, without an answer: nobody waits for it any more."""
        login = self.login
        if login is None:
            return
        end = rules_end.revoked(login.opened)
        if end.take_back:
            self._take_back(login)
        told = {name: text for name, text in (("user", login.user), ("reason", end.reason)) if text}
        note(end.message, session=login.claim.id, **told)
        self._forget(login)

    def _take_back(self, login: Opening) -> None:
        """Withdraw what was handed out, and bring the screen back to its start."""
        self._let_go(login)
        back = rules_end.take_back(login.progress)  # now: that the password was right may just have come
        if back.relock:
            self._tracker.unlocking_revoked()
        if back.counts:
            self._proofs.unknown(login.guess)
        if back.cancel:
            self._driver.cancel()

    def _let_go(self, login: Opening) -> None:
        """Give up a connection that has opened no session: it can open none from here on."""
        if login.connection is not None and rules_end.take_back(login.progress).hang_up:
            self._withdraw(login.connection)

    def _conclude(self, message: str, code: int, **values: object) -> None:
        login = self.login
        assert login is not None
        claim = login.claim
        user = {"user": login.user} if login.user else {"principal": claim.principal}
        note(message, session=claim.id, **user, code=int(code), **values)
        self._forget(login)
        after = rules_end.conclude(code, login.told, repeated=message == "login-repeated")
        if after.present:
            self._present = claim.who
            self._console.back()
        if after.settle:
            self._newcomer.settle()
        if after.keep:
            self._outcomes.keep(claim, code, login.guess.digest)
        if after.tell:
            self._newcomer.lock(lambda: self._tell_outcome(claim.id, code))

    def _forget(self, login: Opening) -> None:
        """Nothing of a login is left: worker, timers, grant, secret, and a cache that no session has."""
        self.login = None
        self._grants.revoke(login.claim.id)
        self._let_go(login)
        login.forget()
        self._tickets.login_over(login, self.signed_in)
