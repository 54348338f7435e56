"""The rules of a login: who was authenticated, who that is here, and whether the screen opens for her."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sso.guest import ccache
from sso.guest.account import Finding
from sso.guest.attempts import Attempts, Outcomes
from sso.guest.forked import Forked
from sso.guest.grant import Grant, Grants
from sso.guest.journal import note
from sso.guest.login import LoginDriver
from sso.guest.mapping import Mapped
from sso.guest.pam import Connection, Stage
from sso.guest.reactor import Reactor, Timer
from sso.guest.records import PASSWORD_MAX, SECRET_MAX, Authenticated, Kind, Request, Verdict

SCREEN_SECONDS = 5.0  # for a login screen to be there at all
TRIGGERS_MAX = 3  # how often one login is begun on a screen that comes and goes

_FINDINGS = {
    Finding.NO_USER: "login-unknown-user",
    Finding.NOT_AUTHORISED: "login-not-authorised",
    Finding.BROKEN: "login-mapping-failed",
}


@dataclass
class SignedIn:
    """The session that we opened, and that lives as long as its PAM connection."""

    connection: Connection
    user: str
    uid: int
    principal: str
    digest: bytes
    expires: int
    path: str = ""
    refreshed: float = float("-inf")


@dataclass
class Login:
    """What is being decided for the current peer session."""

    claim: Authenticated
    secret: int | None
    user: str = ""
    uid: int = -1
    mapping: Forked | None = None
    connection: Connection | None = None
    triggers: int = 0
    timers: list[Timer] = field(default_factory=list)


class Mapping(Protocol):
    """Starts the answer to who a principal is here (sso.guest.mapping.Mapper)."""

    def ask(self, kind: Kind, principal: str, done: Callable[[Mapped], None]) -> Forked: ...


class Judge:
    """Decides for one console. `answer(id, code)` tells the acceptor; `withdraw` is that of the PamServer.

    One peer session is served at a time and gets one decision. Every secret's descriptor that comes in
    is closed on every way, here, by Grants, or by the PamServer.
    """

    def __init__(
        self,
        reactor: Reactor,
        driver: LoginDriver,
        mapper: Mapping,
        answer: Callable[[int, int], None],
        withdraw: Callable[[Connection], bool],
        attempts: Attempts,
        *,
        accept_identity: bool = False,
        grant_seconds: float = 30.0,
    ) -> None:
        self._reactor, self._driver, self._mapper = reactor, driver, mapper
        self._answer, self._withdraw, self._attempts = answer, withdraw, attempts
        self._accept_identity, self._grant_seconds = accept_identity, grant_seconds
        self._grants = Grants(reactor.clock)
        self._outcomes = Outcomes(reactor.clock)
        self._current: int | None = None  # the peer session that may still claim something
        self._login: Login | None = None
        self.signed_in: SignedIn | None = None

    # Peer sessions

    def begin(self, id: int) -> None:
        """A peer session begins; whatever an older one had is revoked."""
        self._revoke()
        self._current = id

    def end(self, id: int) -> None:
        """A peer session is over: nothing that it was granted is left when this returns."""
        if self._login is not None and self._login.claim.id == id:
            self._revoke()
        if self._current == id:
            self._current = None

    def close(self) -> None:
        """Revoke everything."""
        self._revoke()
        self._grants.close()

    def decide(self, claim: Authenticated, secret: int | None) -> None:
        """Decide on what the acceptor says; the descriptor `secret` is ours from here on."""
        if claim.id != self._current or self._login is not None:
            _close(secret)
            return
        self._current = None  # one claim a session
        self._login = Login(claim, secret)
        known = self._outcomes.find(claim.attempt, claim.principal, claim.digest)
        if known is not None:
            self._conclude("login-repeated", known)
        elif not _usable(claim.kind, secret):
            self._conclude("login-secret-unusable", Verdict.CREDENTIAL_REFUSED)
        else:
            self._login.mapping = self._mapper.ask(claim.kind, claim.principal, self._mapped)

    def _mapped(self, mapped: Mapped) -> None:
        login = self._login
        assert login is not None  # a revoked login has cancelled its worker
        login.mapping = None
        claim = login.claim
        if mapped.finding is not Finding.GOOD:
            broken = mapped.finding is Finding.BROKEN
            id = _FINDINGS.get(mapped.finding, "login-account-refused")
            self._conclude(
                id, Verdict.INTERNAL if broken else Verdict.DENIED, reason=mapped.finding.name.lower()
            )
            return
        login.user, login.uid = mapped.user, mapped.uid
        refusal = self._attempts.refusal(login.user, self._driver.place, claim.digest)
        if self.signed_in is not None:
            self._visit(login, self.signed_in)
        elif claim.kind is Kind.IDENTITY and not self._accept_identity:
            self._conclude("login-no-ticket", Verdict.NO_TICKET)
        elif refusal is not None:
            later = refusal is Verdict.TRY_LATER
            self._conclude("login-try-later" if later else "login-secret-failed-before", refusal)
        else:
            self._arm(login)

    # Somebody is signed in

    def _visit(self, login: Login, signed_in: SignedIn) -> None:
        claim = login.claim
        # A password is proved by PAM alone, and no login happens now; so it has to be the one that opened.
        unproved = claim.kind is Kind.PASSWORD and claim.digest != signed_in.digest
        if login.uid != signed_in.uid or unproved:
            self._conclude("login-other-signed-in", Verdict.DENIED)
        elif self._is_renewal(claim, signed_in):
            self._refresh(login, signed_in)
        else:
            self._conclude("login-already-signed-in", Verdict.LOGGED_IN)

    def _is_renewal(self, claim: Authenticated, signed_in: SignedIn) -> bool:
        return (
            claim.kind is Kind.KERBEROS
            and bool(signed_in.path)
            and claim.principal == signed_in.principal
            and claim.expires > signed_in.expires
            and self._reactor.clock() >= signed_in.refreshed + ccache.REFRESH_EVERY
        )

    def _refresh(self, login: Login, signed_in: SignedIn) -> None:
        secret, login.secret = login.secret, None
        assert secret is not None
        signed_in.refreshed = self._reactor.clock()

        def done(good: bool) -> None:
            if good:
                signed_in.expires = login.claim.expires
            id = "ticket-refreshed" if good else "ticket-not-refreshed"
            if self._login is login:
                self._conclude(id, Verdict.LOGGED_IN if good else Verdict.INTERNAL)
            else:
                note(id, session=login.claim.id)

        try:
            ccache.refresh(self._reactor, signed_in.path, signed_in.uid, secret, done)
        finally:
            os.close(secret)

    # Nobody is

    def _arm(self, login: Login) -> None:
        claim, driver = login.claim, self._driver
        grant = Grant(claim.id, driver.service, driver.place, login.user, claim.kind, login.secret)
        login.secret = None
        self._grants.arm(grant, self._grant_seconds)
        login.timers.append(self._reactor.after(self._grant_seconds, self._expired))
        login.timers.append(self._reactor.after(SCREEN_SECONDS, self._screen_is_late))
        note("login-asked", session=claim.id, user=login.user, tty=driver.place)
        self.screen_changed()

    def screen_changed(self) -> None:
        """The login screen may be ready: begin the login that waits for it."""
        login = self._login
        if login is None or not len(self._grants) or login.triggers >= TRIGGERS_MAX:
            return
        if self._driver.ready(login.user) and self._driver.trigger(login.user):
            login.triggers += 1

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

    def answer(self, connection: Connection, request: Request) -> Grant | None:
        """What a GET gets."""
        grant = self._grants.take(request.service, request.tty, request.user, request.token)
        if grant is not None and self._login is not None:
            self._login.connection = connection
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
            if connection.stage is Stage.ESTABLISHED:
                self._established(login, connection, path)
            else:
                self._failed(login)
        elif signed_in is not None and signed_in.connection is connection:
            signed_in.path = path or signed_in.path
            if connection.stage is Stage.ENDED:
                self.signed_in = None
                note("session-over", user=signed_in.user)

    def _established(self, login: Login, connection: Connection, path: str) -> None:
        claim = login.claim
        self.signed_in = SignedIn(
            connection, login.user, login.uid, claim.principal, claim.digest, claim.expires, path
        )
        self._attempts.succeeded(login.user, self._driver.place)
        self._driver.settled()
        self._conclude("login-opened", Verdict.LOGGED_IN)

    def _failed(self, login: Login) -> None:
        claim = login.claim
        self._attempts.failed(login.user, self._driver.place, claim.digest)
        self._driver.settled()
        wrong = claim.kind is Kind.PASSWORD
        self._conclude("login-failed", Verdict.NOT_AUTHENTICATED if wrong else Verdict.DENIED)

    # Ends

    def _take_back(self, login: Login) -> bool:
        """Withdraw what was handed out; False when it turns out that she is signed in."""
        assert login.connection is not None
        if not self._withdraw(login.connection):
            return False
        self._attempts.unknown(login.user, self._driver.place, login.claim.digest)
        return True

    def _revoke(self) -> None:
        """End the login that is under way, without an answer: nobody waits for it any more."""
        login = self._login
        if login is None or (login.connection is not None and not self._take_back(login)):
            return
        if login.triggers:
            self._driver.cancel()
        note("login-revoked", session=login.claim.id)
        self._forget(login)

    def _conclude(self, message: str, code: int, **values: object) -> None:
        login = self._login
        assert login is not None
        claim = login.claim
        user = {"user": login.user} if login.user else {"principal": claim.principal}
        note(message, session=claim.id, **user, code=int(code), **values)
        self._forget(login)
        if message != "login-repeated":
            self._outcomes.keep(claim.attempt, claim.principal, claim.digest, code)
        self._answer(claim.id, code)

    def _forget(self, login: Login) -> None:
        """Nothing of a login is left: worker, timers, grant, secret."""
        self._login = None
        if login.mapping is not None:
            login.mapping.cancel()
        for timer in login.timers:
            timer.cancel()
        self._grants.revoke(login.claim.id)
        _close(login.secret)


def _usable(kind: Kind, secret: int | None) -> bool:
    """Whether the secret is a plain file of a size that the PAM module takes; its octets are not read."""
    if secret is None:
        return not kind.files
    found = os.fstat(secret)
    most = PASSWORD_MAX if kind is Kind.PASSWORD else SECRET_MAX
    return stat.S_ISREG(found.st_mode) and 0 < found.st_size <= most


def _close(secret: int | None) -> None:
    if secret is not None:
        os.close(secret)
