"""The rules of a login: who was authenticated, who that is here, and whether the screen opens for her."""

from collections.abc import Callable

from sso.guest import faillock
from sso.guest.account import Finding
from sso.guest.asking import Asking
from sso.guest.attempts import NO_DIGEST, Attempts, Outcomes
from sso.guest.config import GuestConfig
from sso.guest.console import Console
from sso.guest.grant import Grant, Grants
from sso.guest.journal import note
from sso.guest.logind import Found, Seated
from sso.guest.mapping import Mapped, Mapping
from sso.guest.newcomer import Newcomer
from sso.guest.opening import Opening, SignedIn, close, usable
from sso.guest.pam import Connection, Stage
from sso.guest.proof import Proofs
from sso.guest.reactor import Reactor
from sso.guest.records import Authenticated, Kind, Request, Verdict
from sso.guest.ticket import Tickets
from sso.guest.unlock import Checker, Unlocker

SCREEN_SECONDS = 20.0  # for a login screen to be there at all: the machine may just be booting
UNLOCKED_SECONDS = 5.0  # for a session to be unlocked once PAM has nothing more to say
OPENED_SECONDS = 60.0  # for a session to be open once PAM has accepted the user

_FINDINGS = {
    Finding.NO_USER: "login-unknown-user",
    Finding.NOT_AUTHORISED: "login-not-authorised",
    Finding.BROKEN: "login-mapping-failed",
}
_REFUSALS = {Verdict.TRY_LATER: "login-try-later", Verdict.DENIED: "login-other-signed-in"}


class Judge:
    """Decides for one console. `answer(id, code)` tells the acceptor; `withdraw` is that of the PamServer.

    One peer session is served at a time and gets one decision. Every secret's descriptor that comes in
    is closed on every way, here, by Grants, or by the PamServer.
    """

    def __init__(
        self,
        reactor: Reactor,
        console: Console,
        mapper: Mapping,
        answer: Callable[[int, int], None],
        withdraw: Callable[[Connection], bool],
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
        self._tickets = Tickets(reactor, config.park_tickets)
        self.unlocker = Unlocker(reactor, console, checker, config)
        self._newcomer = Newcomer(reactor, console, self._replaced)
        self._current: int | None = None  # the peer session that may still claim something
        self._present = ""  # the principal who has signed in and not left since
        self._login: Opening | None = None
        self.signed_in: SignedIn | None = None
        console.expects = self._expects
        console.seat.watch(self._seat_changed)

    # Peer sessions

    def begin(self, id: int) -> None:
        """A peer session begins; whatever an older one had is revoked."""
        self._revoke()
        self._current = id
        self._newcomer.begin()

    def end(self, id: int, done: Callable[[], None] = lambda: None) -> None:
        """A peer session is over: nothing that it was granted is left when this returns.

        `done` is called when the next one finds nothing open that this one's client has not proved to be its own.
        """
        if self._login is not None and self._login.claim.id == id:
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

        def locked() -> None:
            if self.signed_in is None:
                done()
            else:
                self._tickets.client_gone(self.signed_in, done)

        self._console.leave(locked)

    def _replaced(self) -> None:
        """Whoever was let in before is not the client any more."""
        self._present = ""
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
        if claim.id != self._current or self._login is not None:
            close(secret)
            return
        self._current = None  # one claim a session
        login = self._login = Opening(claim, secret)
        if self._may_renew(claim):
            self._map(login)
        else:
            self._newcomer.lock(lambda: self._map(login))

    def _may_renew(self, claim: Authenticated) -> bool:
        """Whether it may be the principal who is signed in; no password is a renewal."""
        signed_in = self._present or (self.signed_in.principal if self.signed_in is not None else "")
        return claim.kind is not Kind.PASSWORD and signed_in in ("", claim.principal)

    def _map(self, login: Opening) -> None:
        claim = login.claim
        if self._login is not login:
            return
        if not usable(claim.kind, login.secret):
            self._conclude("login-secret-unusable", Verdict.CREDENTIAL_REFUSED)
        else:
            login.worker = self._mapper.ask(claim.kind, claim.principal, self._mapped)

    def _mapped(self, mapped: Mapped) -> None:
        login = self._login
        assert login is not None  # a revoked login has cancelled its worker
        login.worker = None
        good = mapped.finding is Finding.GOOD
        login.guess = self._proofs.guess(login.claim, mapped.user if good else "", self._driver.place)
        if not good:
            self._unknown_name(login, mapped.finding)
            return
        login.user, login.uid = mapped.user, mapped.uid
        if not self._repeated(login):
            self._console.seat.look(lambda found: self._seen(login, found))

    def _unknown_name(self, login: Opening, finding: Finding) -> None:
        """Nobody who may sign in: with a password that is a guess at this console, as a wrong one is."""
        broken = finding is Finding.BROKEN
        if not broken and login.claim.kind is Kind.PASSWORD:
            if self._refused(login):
                return
            self._proofs.failed(login.guess)
        id = _FINDINGS.get(finding, "login-account-refused")
        self._conclude(id, Verdict.INTERNAL if broken else Verdict.DENIED, reason=finding.name.lower())

    def _repeated(self, login: Opening) -> bool:
        """Whether the answer that this attempt has got, or a refusal, was given."""
        known = self._outcomes.find(login.claim)
        if known is None:
            return False
        if not self._refused(login, known.digest):
            self._conclude("login-repeated", known.code)
        return True

    def _seen(self, login: Opening, found: Found) -> None:
        """Somebody may be signed in: the same user visits or unlocks, anybody else is refused."""
        if self._login is not login:
            return
        seated, ours = found.user, self.signed_in
        if (seated is not None and not seated.belongs_to(login.user, login.uid)) or (
            ours is not None and ours.uid != login.uid
        ):
            late = seated is not None and not seated.user  # logind is, with its answer
            self._conclude("login-other-signed-in", Verdict.TRY_LATER if late else Verdict.DENIED)
        elif self._present == login.claim.principal:
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
        # A password is proved by PAM alone, and no login happens now; so it has to be the one that opened.
        if self._refused(login, ours.digest if ours is not None else NO_DIGEST):
            return
        self._newcomer.settle()
        if ours is not None and self._tickets.is_renewal(claim, ours):
            self._refresh(login, ours, lambda good: self._refreshed(login, good))
        else:
            if seated is not None:
                self.unlocker.offer(login, seated)
            self._conclude("login-already-signed-in", Verdict.LOGGED_IN)

    def _renew(self, login: Opening, ours: SignedIn | None) -> None:
        """She has not left since she signed in: what comes is a renewal, and opens and unlocks nothing."""
        if ours is None and self._console.seat.found.user is None:
            self._conclude("login-not-again", Verdict.NO_LOGIN_SCREEN)
        else:
            self._visit(login, ours, None)

    def _refresh(self, login: Opening, ours: SignedIn, done: Callable[[bool], None]) -> None:
        secret = login.copy_secret()
        assert secret is not None
        try:
            self._tickets.refresh(login.claim, ours, secret, done)
        finally:
            close(secret)

    def _refreshed(self, login: Opening, good: bool) -> None:
        if self._login is login:
            self._conclude("login-already-signed-in", Verdict.LOGGED_IN if good else Verdict.INTERNAL)

    def _unlock(self, login: Opening, seated: Seated) -> None:
        """Her session is locked; what was parked is there again before anything of hers runs on."""
        if not self._may_try(login):
            return
        login.unlocking, ours = seated, self.signed_in
        if ours is not None and ours.parked and self._tickets.is_renewal(login.claim, ours):
            self._refresh(login, ours, lambda good: self._prove(login, seated))
        else:
            self._prove(login, seated)

    def _prove(self, login: Opening, seated: Seated) -> None:
        """Unlock by the screen's PAM, or by logind once PAM has nothing against it."""
        if self._login is not login:
            return
        if self._driver.unlocks:
            self._arm(login)
            return
        login.timers.append(self._reactor.after(self._config.grant_seconds, self._expired))

        def checked(code: Verdict) -> None:
            if self._login is not login:
                return
            login.worker = None
            if code is Verdict.NOT_AUTHENTICATED:
                self._failed(login)
            elif code is not Verdict.LOGGED_IN:
                self._uncertain(login)
                self._conclude("login-account-refused", code)

        login.worker = self.unlocker.check(login, seated, checked)

    def _seat_changed(self) -> None:
        login, found = self._login, self._console.seat.found
        if login is not None and login.unlocking is not None:
            seated = next((one for one in found.users if one.id == login.unlocking.id), None)
            if seated is not None and found.known and not self._console.is_locked(seated):
                self._unlocked(login)
        if login is not None and not login.triggers:
            self.screen_changed()

    def _unlocked(self, login: Opening) -> None:
        """The session that was locked is hers again; its cache gets the ticket, if that is a newer one."""
        ours = self.signed_in
        self._proofs.succeeded(login.guess)
        self._driver.settled()
        if ours is not None and self._tickets.is_renewal(login.claim, ours) and login.secret is not None:
            self._refresh(login, ours, lambda good: None)
        self._conclude("session-unlocked", Verdict.LOGGED_IN)

    # Nobody is, or the screen has to ask PAM

    def _refused(self, login: Opening, known: bytes | None = None) -> bool:
        """Whether what was shown counts for nothing (see Proofs.refusal); answers if so."""
        refusal = self._proofs.refusal(login.guess, known)
        if refusal is not None:
            wrong = "login-secret-failed-before" if known is None else "login-failed"
            self._conclude(_REFUSALS.get(refusal, wrong), refusal)
        return refusal is not None

    def _may_try(self, login: Opening) -> bool:
        """Whether an attempt may be made; answers when not."""
        claim = login.claim
        if claim.kind is Kind.IDENTITY and not self._config.accept_identity:
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
        login.timers.append(self._reactor.after(self._config.grant_seconds, self._expired))
        login.timers.append(self._reactor.after(SCREEN_SECONDS, self._screen_is_late))
        self._asking.begin(login)

    def screen_changed(self) -> None:
        """The login screen may be ready: begin the login that waits for it."""
        if self._login is not None:
            self._asking.screen_changed(self._login)

    def _screen_is_late(self) -> None:
        if self._login is not None and not self._login.triggers and self._login.connection is None:
            self._conclude("login-no-screen", Verdict.NO_LOGIN_SCREEN)

    def _expired(self) -> None:
        login = self._login
        if login is None or (login.connection is not None and not self._take_back(login)):
            return
        self._driver.cancel()
        self._conclude("login-expired", Verdict.NO_LOGIN_SCREEN)

    # The PAM module's side (sso.guest.pam.Desk)

    def unlocking(self) -> int:
        """Whom a lock screen is to prove again. Only with a token: without one any root process could ask."""
        login = self._login
        return login.uid if login is not None and login.unlocking is not None and login.token else -1

    def answer(self, connection: Connection, request: Request) -> Grant | None:
        """What a GET gets."""
        grant = self._grants.take(request.service, request.tty, request.user, request.token)
        if grant is not None and self._login is not None:
            self._login.connection = connection
            if self._login.unlocking is None:
                close(self._login.take_secret())
            note(
                "login-given",
                session=grant.session,
                user=grant.user,
                service=request.service,
                tty=request.tty,
            )
        return grant

    def moved(self, connection: Connection, before: Stage, path: str) -> None:
        """What a step of the PAM module means."""
        login, signed_in = self._login, self.signed_in
        if login is not None and login.connection is connection:
            if connection.stage is not Stage.ESTABLISHED:
                self._ended(login)
            elif login.unlocking is not None:
                self._unlocked(login)
            else:
                self._established(login, connection, path)
        elif signed_in is not None and signed_in.connection is connection:
            signed_in.path = path or signed_in.path
            signed_in.opened = signed_in.opened or connection.stage is Stage.OPENED
            if connection.stage is Stage.ENDED:
                self.signed_in = None
                note("session-over", user=signed_in.user)
                self._tickets.session_over(signed_in)

    def _established(self, login: Opening, connection: Connection, path: str) -> None:
        claim = login.claim
        now, who = self._reactor.clock(), (login.user, login.uid, claim.principal)
        self.signed_in = SignedIn(connection, *who, login.guess.digest, claim.expires, now, path)
        self._proofs.succeeded(login.guess)
        self._driver.settled()
        self._conclude("login-opened", Verdict.LOGGED_IN)

    def _expects(self) -> bool:
        """Whether a session that PAM has accepted is still to appear."""
        signed_in = self.signed_in
        if signed_in is None or signed_in.opened:
            return False
        return self._reactor.clock() < signed_in.since + OPENED_SECONDS

    def _ended(self, login: Opening) -> None:
        """PAM has left without a word. Some lockers do so although they unlock: the seat will tell."""
        if login.unlocking is None:
            self._failed(login)
            return
        login.connection = None
        login.timers.append(self._reactor.after(UNLOCKED_SECONDS, lambda: self._failed(login)))
        self._console.seat.hint()

    def _failed(self, login: Opening) -> None:
        claim = login.claim
        self._proofs.failed(login.guess)
        self._driver.settled()
        wrong = claim.kind is Kind.PASSWORD
        self._conclude("login-failed", Verdict.NOT_AUTHENTICATED if wrong else Verdict.DENIED)

    # Ends

    def _take_back(self, login: Opening) -> bool:
        """Withdraw what was handed out; False when it turns out that she is signed in."""
        assert login.connection is not None
        if not self._withdraw(login.connection):
            return False
        self._uncertain(login)
        return True

    def _uncertain(self, login: Opening) -> None:
        self._proofs.unknown(login.guess)

    def _revoke(self) -> None:
        """End the login that is under way, without an answer: nobody waits for it any more."""
        login = self._login
        if login is None or (login.connection is not None and not self._take_back(login)):
            return
        if login.triggers:
            self._driver.cancel()
        if login.unlocking is not None and login.worker is not None:
            self._uncertain(login)
        note("login-revoked", session=login.claim.id)
        self._forget(login)

    def _conclude(self, message: str, code: int, **values: object) -> None:
        login = self._login
        assert login is not None
        claim = login.claim
        user = {"user": login.user} if login.user else {"principal": claim.principal}
        note(message, session=claim.id, **user, code=int(code), **values)
        self._forget(login)
        if code == Verdict.LOGGED_IN:
            self._present = claim.principal
            self._console.back()
        if message != "login-repeated":
            self._outcomes.keep(claim, code, login.guess.digest)
        if code == Verdict.LOGGED_IN:
            self._newcomer.settle()
        self._newcomer.lock(lambda: self._answer(claim.id, code))

    def _forget(self, login: Opening) -> None:
        """Nothing of a login is left: worker, timers, grant, secret."""
        self._login = None
        self._grants.revoke(login.claim.id)
        login.forget()
