"""Asking the login screen: what its PAM module will fetch is armed, and the screen is told to begin."""

from collections.abc import Callable

from sso.daemon.reactor import Reactor
from sso.guest.agent.grant import Grant, Grants
from sso.guest.agent.opening import Opening, new_token
from sso.guest.agent.rules_end import ScreenEvent, ScreenFacts, ScreenStep, screen_step
from sso.guest.log import note
from sso.guest.records import Kind
from sso.guest.screens.driver import LoginDriver

SCREEN_SECONDS = 20.0  # for a login screen to be there at all: the machine may just be booting


class Asking:
    """The screen's part of one login at a time. The timers that it starts end with the login."""

    def __init__(self, reactor: Reactor, driver: LoginDriver, grants: Grants, seconds: float) -> None:
        self._reactor, self._driver, self._grants, self._seconds = reactor, driver, grants, seconds

    def begin(self, login: Opening, late: Callable[[], None]) -> None:
        """Arm the credential of a login, and tell the screen when it is ready; `late` if it never is."""

        def is_there() -> None:
            if self._step(login, ScreenEvent.TOO_LATE) is ScreenStep.NO_SCREEN:
                late()

        self._grant(login, self._seconds)
        login.timers.append(self._reactor.after(SCREEN_SECONDS, is_there))
        if self._driver.retry:
            retry = self._reactor.after(self._driver.retry, lambda: self.happens(login, ScreenEvent.RETRY))
            login.timers.append(retry)
        note("login-asked", session=login.claim.id, user=login.user, tty=self._driver.place)
        self.happens(login, ScreenEvent.READY)

    def happens(self, login: Opening, event: ScreenEvent) -> None:
        """Tell the screen of the login that waits for it, if this is a reason to."""
        step = self._step(login, event)
        if step is ScreenStep.TELL_AGAIN:
            self._grant(login, self._seconds - self._driver.retry)
        if step in (ScreenStep.TELL, ScreenStep.TELL_AGAIN):
            self._trigger(login)

    def _step(self, login: Opening, event: ScreenEvent) -> ScreenStep:
        armed, fetched = bool(len(self._grants)), login.connection is not None
        return screen_step(ScreenFacts(event, armed, fetched, login.triggers, bool(self._driver.retry)))

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
