"""The rules of a login: who was authenticated, who that is here, and whether the screen opens for her."""

from collections.abc import Callable

from sso.daemon.reactor import Reactor
from sso.guest.agent import faillock
from sso.guest.agent.account import Eligibility
from sso.guest.agent.asking import Asking
from sso.guest.agent.attempts import NO_DIGEST, Attempts, Outcomes, is_repeated
from sso.guest.agent.desk import PamDesk
from sso.guest.agent.grant import Grants
from sso.guest.agent.leaving import Leaving
from sso.guest.agent.mapping import FINDINGS, Mapped, Mapping
from sso.guest.agent.newcomer import Newcomer
from sso.guest.agent.opening import Opening, SignedIn, close, usable
from sso.guest.agent.pam_socket import PamConnection, Stage
from sso.guest.agent.proof import MESSAGES, Proofs
from sso.guest.agent.ticket import Tickets
from sso.guest.agent.tracking import Tracker
from sso.guest.agent.unlock import Checker, Unlocker
from sso.guest.config import DEFAULT, GuestConfig
from sso.guest.log import note
from sso.guest.records import Authenticated, Kind, Verdict, Who
from sso.guest.seat.logind import Found, Seated


class Judge:
    """Decides for one console. `answer(id, code)` tells the acceptor; `withdraw` is that of the PamServer,
    whose desk is `desk`. `login` is what is under way.

    One peer session is served at a time and gets one decision. Every secret's descriptor that comes in
    is closed on every way, here, by Grants, or by the PamServer.
    """

    def __init__(
        self,
        reactor: Reactor,
        console: Leaving,
        mapper: Mapping,
        answer: Callable[[int, int], None],
        withdraw: Callable[[PamConnection], None],
        attempts: Attempts,
        config: GuestConfig,
        *,
        checker: Checker,
        would_lock: Callable[[str], bool] = faillock.would_lock,
    ) -> None:
        self._reactor, self._console, self._driver = reactor, console, console.driver
        self._mapper, self._answer, self._withdraw, self._proofs = mapper, answer, withdraw, Proofs(attempts)
        self._config, self._would_lock = config, would_lock
        self._grants = Grants(reactor.clock)
        self._asking = Asking(reactor, console.driver, self._grants, config.grant_seconds)
        self._outcomes = Outcomes(reactor.clock)
        self._tickets = Tickets(reactor, config.park_tickets, config.ticket_store == DEFAULT)
        self._tracker = Tracker(reactor, console, self._tickets)
        self.desk = PamDesk(reactor, self._grants, self._tracker, self)
        self.unlocker = Unlocker(reactor, console, checker, config)
        self._newcomer = Newcomer(reactor, console, self._replaced)
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

        A login that goes on at the console waits until it is clear who comes: its own client gets its
        outcome (`decide`), and by anybody else it is revoked.
        """
        if self.login is not None and not self.login.told:
            self._revoke()
        self._current = id
        self._newcomer.begin(opening=self.login is not None)

    def end(self, id: int, done: Callable[[], None] = lambda: None) -> None:
        """A peer session is over: nothing that it was granted is left when this returns.

        What its client was told to do at the console goes on, unless this was somebody else's. `done` is
        called when the next client finds nothing open but what this one has proved to be its own.
        """
        login = self.login
        if login is not None and login.told is not (login.claim.id == id):
            self._revoke()
        if self._current == id:
            self._current = None
        self._newcomer.lock(done)

    def gone(self, done: Callable[[], None]) -> None:
        """The client has left: nothing that it was granted is left, and `done` when nobody can go on."""
        self._revoke()
        self._current = None
        self._newcomer.settle()
        self._replaced()
        self._console.leave(lambda: self._tracker.client_gone(done))

    def _replaced(self) -> None:
        """Whoever was let in before is not the client any more, nor who had a login begun that goes on."""
        if self.login is not None and self.login.told:
            self._revoke()
        self._present = None
        self._outcomes.left()
        self.unlocker.forget()

    def close(self) -> None:
        """Revoke everything."""
        self._revoke()
        self._newcomer.settle()
        self._grants.close()
        self._console.close()

    def decide(self, claim: Authenticated, secret: int | None) -> None:
        """Decide on what the acceptor says; the descriptor `secret` is ours from here on."""
        if claim.id != self._current or (self.login is not None and not self.login.told):
            close(secret)
            return
        self._current = None  # one claim a session
        if self._goes_on(claim):
            close(secret)
            return
        if self.login is not None:
            self._revoke()
            self._newcomer.begin(opening=False)  # what it may find is what is open now
        login = self.login = Opening(claim, secret)
        signed_in = self._present or (self.signed_in.who if self.signed_in is not None else None)
        self._newcomer.hear(claim, signed_in, self._outcomes.let_in(claim), lambda: self._map(login))

    def _goes_on(self, claim: Authenticated) -> bool:
        """Whether the client of a login that goes on at the console is there again, and waits for it."""
        login = self.login
        if login is None or not is_repeated(claim, login.claim):
            return False
        guess = self._proofs.guess(claim, login.user, self._driver.place)
        if self._proofs.refusal(guess, login.guess.digest) is not None:
            return False
        login.claim, login.told = claim, False
        self._newcomer.settle()
        login.timers.append(self._reactor.after(self._config.grant_seconds, self._late))
        self._look_for(login)
        return True

    def _map(self, login: Opening) -> None:
        claim = login.claim
        if self.login is not login:
            return
        if not usable(claim, login.secret):
            self._conclude("login-secret-unusable", Verdict.CREDENTIAL_REFUSED)
        else:
            login.worker = self._mapper.ask(claim.who, self._mapped)

    def _mapped(self, mapped: Mapped) -> None:
        login = self.login
        assert login is not None  # a revoked login has cancelled its worker
        login.worker = None
        good = mapped.finding is Eligibility.GOOD
        login.guess = self._proofs.guess(login.claim, mapped.user if good else "", self._driver.place)
        if not good:
            self._unknown_name(login, mapped.finding)
            return
        login.user, login.uid, login.store = mapped.user, mapped.uid, self._tickets.place(login, mapped.store)
        if not self._repeated(login):
            self._console.seat.look(lambda found: self._seen(login, found))

    def _unknown_name(self, login: Opening, finding: Eligibility) -> None:
        """Nobody who may sign in: with a password that is a guess at this console, as a wrong one is."""
        broken = finding is Eligibility.BROKEN
        if not broken and login.claim.kind is Kind.PASSWORD:
            if self._refused(login):
                return
            self._proofs.failed(login.guess)
        id = FINDINGS.get(finding, "login-account-refused")
        self._conclude(id, Verdict.INTERNAL if broken else Verdict.DENIED, reason=finding.name.lower())

    def _repeated(self, login: Opening) -> bool:
        """Whether the answer that this attempt has got, or a refusal, was given."""
        known = self._outcomes.find(login.claim)
        if known is not None and not self._refused(login, known.digest):
            self._conclude("login-repeated", known.code)
        return known is not None

    def _seen(self, login: Opening, found: Found) -> None:
        """Somebody may be signed in: the same user visits or unlocks, anybody else is refused."""
        if self.login is not login:
            return
        if self._newcomer.locking:
            self._newcomer.lock(lambda: self._console.seat.look(lambda found: self._seen(login, found)))
            return
        seated, ours = found.user, self.signed_in
        if (seated is not None and not seated.belongs_to(login.user, login.uid)) or (
            ours is not None and ours.uid != login.uid
        ):
            late = seated is not None and not seated.user  # logind is, with its answer
            self._conclude("login-other-signed-in", Verdict.TRY_LATER if late else Verdict.DENIED)
        elif self._present == login.claim.who:
            self._renew(login, ours)
        elif seated is not None and found.known and self._console.is_locked(seated):
            self._unlock(login, seated)
        elif ours is not None or (seated is not None and (seated is found.active or not found.known)):
            self._visit(login, ours, seated)
        elif self._may_try(login):
            self._arm(login)

    # She is signed in

    def _visit(self, login: Opening, ours: SignedIn | None, seated: Seated | None) -> None:
        claim = login.claim
        if claim.kind is not Kind.PASSWORD:
            self._newcomer.settle()
        if self._tracker.is_behind(seated):
            self._conclude("login-not-in-front", Verdict.NO_LOGIN_SCREEN)
            return
        # A password is proved by PAM alone, and no login happens now; so it has to be the one that opened.
        if self._refused(login, ours.digest if ours is not None else NO_DIGEST):
            return
        self._proofs.succeeded(login.guess)
        if ours is not None and self._tickets.is_renewal(claim, ours):
            self._tracker.refresh(login, lambda good: self._refreshed(login, good))
        else:
            if seated is not None:
                self.unlocker.offer(login, seated)
            self._conclude("login-already-signed-in", Verdict.LOGGED_IN)

    def _renew(self, login: Opening, ours: SignedIn | None) -> None:
        """The user has not left since: what comes is a renewal, and opens and unlocks nothing."""
        if ours is None and self._console.seat.found.user is None:
            self._conclude("login-not-again", Verdict.NO_LOGIN_SCREEN)
        else:
            self._visit(login, ours, None)

    def _refreshed(self, login: Opening, good: bool) -> None:
        if self.login is login:
            self._conclude("login-already-signed-in", Verdict.LOGGED_IN if good else Verdict.INTERNAL)

    def _unlock(self, login: Opening, seated: Seated) -> None:
        """Her session is locked; what was parked is there again before anything of hers runs on."""
        if not self._may_try(login):
            return
        login.unlocking, ours = seated, self.signed_in
        if ours is not None and ours.parked and self._tickets.is_renewal(login.claim, ours):
            self._tracker.refresh(login, lambda good: self._prove(login, seated))
        else:
            self._prove(login, seated)

    def _prove(self, login: Opening, seated: Seated) -> None:
        """Unlock by the screen's PAM, or by logind once PAM has nothing against it."""
        if self.login is not login:
            return
        if self._driver.unlocks:
            self._arm(login)
            return
        login.timers.append(self._reactor.after(self._config.grant_seconds, self._late))

        def checked(code: Verdict) -> None:
            if self.login is not login:
                return
            login.worker = None
            login.proved = code is Verdict.LOGGED_IN
            if code is Verdict.NOT_AUTHENTICATED:
                self.failed(login)
            elif code is not Verdict.LOGGED_IN:
                if code is Verdict.INTERNAL:
                    self._uncertain(login)
                self._conclude("login-account-refused", code)

        login.worker = self.unlocker.check(login, seated, checked)

    def _seat_changed(self) -> None:
        self._tracker.look()
        if self.login is not None:
            self._look_for(self.login)
        if self.login is not None and not self.login.triggers:
            self.screen_changed()

    def _look_for(self, login: Opening) -> None:
        """Say yes as soon as the session is what the screen shows, and nobody has to unlock it."""
        found = self._console.seat.found
        proved = login.proved or login.claim.kind is not Kind.PASSWORD  # somebody may unlock it by hand
        if login.awaited and self._tracker.is_shown():
            self._conclude("login-opened", Verdict.LOGGED_IN)
        elif login.unlocking is not None and not login.opened and proved:
            seated = next((one for one in found.users if one.id == login.unlocking.id), None)
            if seated is not None and found.known and self._console.is_in_front(seated):
                self._unlocked(login)

    def _unlocked(self, login: Opening) -> None:
        """The session that was locked is the user's again; its cache gets the ticket, if that is newer."""
        ours = self.signed_in
        self._proofs.succeeded(login.guess)
        self._driver.settled()
        if ours is not None and self._tickets.is_renewal(login.claim, ours) and login.secret is not None:
            self._tracker.refresh(login, lambda good: None)
        self._conclude("session-unlocked", Verdict.LOGGED_IN)

    # Nobody is, or the screen has to ask PAM

    def _refused(self, login: Opening, known: bytes | None = None) -> bool:
        """Whether what was shown counts for nothing (see Proofs.refusal); answers if so."""
        refusal = self._proofs.refusal(login.guess, known)
        if refusal is not None:
            self._conclude(MESSAGES[refusal, known is not None], refusal)
        return refusal is not None

    def _may_try(self, login: Opening) -> bool:
        """Whether an attempt may be made; answers when not."""
        claim = login.claim
        if claim.kind is Kind.IDENTITY and not self._config.accepts_identity(claim.mechanism):
            self._conclude("login-no-ticket", Verdict.NO_TICKET)
        elif self._refused(login):
            return False
        elif claim.kind is Kind.PASSWORD and self._would_lock(login.user):
            # A wrong one now would be the failure that locks her out.
            self._conclude("login-locked-out", Verdict.TRY_LATER)
        else:
            return True
        return False

    def _arm(self, login: Opening) -> None:
        login.timers.append(self._reactor.after(self._config.grant_seconds, self._late))
        self._asking.begin(login, lambda: self._conclude("login-no-screen", Verdict.NO_LOGIN_SCREEN))

    def screen_changed(self) -> None:
        """The login screen may be ready: begin the login that waits for it."""
        if self.login is not None:
            self._asking.screen_changed(self.login)

    def _late(self) -> None:
        """The time of the grant is over, and with it the client's: what PAM has begun goes on."""
        login = self.login
        if login is None:
            return
        if login.connection is not None and not login.opened and not login.proved:
            self._tell(login)
            return
        if not login.opened:
            self._take_back(login)
        id = "login-not-in-front" if login.opened or login.proved else "login-expired"
        self._conclude(id, Verdict.NO_LOGIN_SCREEN)

    def _tell(self, login: Opening) -> None:
        """Let the client know that the login goes on at the console, where somebody is asked something."""
        claim, code = login.claim, Verdict.CONSOLE_ASKS
        login.told = True
        note("login-asks", session=claim.id, user=login.user, code=int(code))
        self._answer(claim.id, code)

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

    def _uncertain(self, login: Opening) -> None:
        """A password was tried, and nobody saw what became of it; a ticket never counts."""
        if login.claim.kind is Kind.PASSWORD:
            self._proofs.unknown(login.guess)

    # Ends

    def _revoke(self) -> None:
        """End the login that is under way, without an answer: nobody waits for it any more."""
        login = self.login
        if login is None:
            return
        if login.opened:  # it is a session, and the console locks it
            note("login-opened", session=login.claim.id, user=login.user, reason="client-gone")
        else:
            self._take_back(login)
            note("login-revoked", session=login.claim.id, **({"user": login.user} if login.user else {}))
        self._forget(login)

    def _take_back(self, login: Opening) -> None:
        """Withdraw what was handed out, and bring the screen back to its start."""
        unlocking = login.unlocking is not None
        if unlocking and (login.proved or login.connection is not None):
            self._tracker.unlocking_revoked()
        asked = unlocking and login.worker is not None
        if self._let_go(login) is Stage.TRIED or asked:
            self._uncertain(login)
        if login.triggers:
            self._driver.cancel()

    def _let_go(self, login: Opening) -> Stage:
        """Leave a connection that has opened no session: whatever its screen does, nothing comes of it."""
        connection, login.connection = login.connection, None
        if connection is None:
            return Stage.WAITING
        if not login.opened and connection.stage is not Stage.ENDED:
            self._withdraw(connection)
        return connection.stage

    def _conclude(self, message: str, code: int, **values: object) -> None:
        login = self.login
        assert login is not None
        claim = login.claim
        user = {"user": login.user} if login.user else {"principal": claim.principal}
        note(message, session=claim.id, **user, code=int(code), **values)
        self._forget(login)
        if code == Verdict.LOGGED_IN:
            self._present = claim.who
            self._console.back()
            if not login.told:  # else another client may be there by now
                self._newcomer.settle()
        if message != "login-repeated":
            self._outcomes.keep(claim, code, login.guess.digest)
        if not login.told:
            self._newcomer.lock(lambda: self._answer(claim.id, code))

    def _forget(self, login: Opening) -> None:
        """Nothing of a login is left: worker, timers, grant, secret, and a cache that no session has."""
        self.login = None
        self._grants.revoke(login.claim.id)
        self._let_go(login)
        login.forget()
        if login.path and not login.opened and (self.signed_in is None or self.signed_in.path != login.path):
            self._tickets.remove(login)
