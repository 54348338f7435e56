"""Asking the login screen: what its PAM module will fetch is armed, and the screen is told to begin."""

from collections.abc import Callable

from sso.daemon.reactor import Reactor
from sso.guest.agent.grant import Grant, Grants
from sso.guest.agent.opening import Opening, new_token
from sso.guest.log import note
from sso.guest.records import Kind
from sso.guest.screens.driver import LoginDriver

SCREEN_SECONDS = 20.0  # for a login screen to be there at all: the machine may just be booting
TRIGGERS_MAX = 3  # how often one login is begun on a screen that comes and goes


class Asking:
    """The screen's part of one login at a time. The timers that it starts end with the login."""

    def __init__(self, reactor: Reactor, driver: LoginDriver, grants: Grants, seconds: float) -> None:
        self._reactor, self._driver, self._grants, self._seconds = reactor, driver, grants, seconds

    def begin(self, login: Opening, late: Callable[[], None]) -> None:
        """Arm the credential of a login, and tell the screen when it is ready; `late` if it never is."""

        def is_there() -> None:
            if not login.triggers and login.connection is None:
                late()

        self._grant(login, self._seconds)
        login.timers.append(self._reactor.after(SCREEN_SECONDS, is_there))
        if self._driver.retry:
            login.timers.append(self._reactor.after(self._driver.retry, lambda: self._retry(login)))
        note("login-asked", session=login.claim.id, user=login.user, tty=self._driver.place)
        self.screen_changed(login)

    def screen_changed(self, login: Opening) -> None:
        """The screen may be ready: begin the login that waits for it."""
        if not len(self._grants) or login.triggers >= TRIGGERS_MAX:
            return
        if login.triggers and self._driver.retry:
            return  # it was told, and may still ask
        self._trigger(login)

    def _grant(self, login: Opening, seconds: float) -> None:
        driver, claim = self._driver, login.claim
        login.token = new_token() if driver.token else ""
        # A ticket for the default cache stays here until the session opens: PAM gets the identity alone.
        kind, secret = (Kind.IDENTITY, None) if login.store else (claim.kind, login.copy_secret())
        grant = Grant(claim.id, driver.service, driver.place, login.user, kind, secret, login.token)
        self._grants.arm(grant, seconds)

    def _trigger(self, login: Opening) -> None:
        if self._driver.ready(login.user) and self._driver.trigger(login.user, login.token):
            login.triggers += 1

    def _retry(self, login: Opening) -> None:
        """A screen that was told and has not asked is told again, with another token."""
        if login.triggers and len(self._grants):
            self._grant(login, self._seconds - self._driver.retry)
            self._trigger(login)
