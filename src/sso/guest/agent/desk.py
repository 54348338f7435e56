"""The PAM module's side of a login: the grant is handed out, and each step finds its meaning."""

from collections.abc import Callable
from typing import Protocol

from sso.daemon.reactor import Reactor
from sso.guest.agent.grant import Grant, Grants
from sso.guest.agent.opening import Opening, close
from sso.guest.agent.pam_socket import PamConnection, Stage
from sso.guest.agent.steps import Meaning, meaning
from sso.guest.agent.tracking import Tracker
from sso.guest.log import note
from sso.guest.records import Request

UNLOCKED_SECONDS = 5.0  # for a session to be unlocked once PAM has nothing more to say


class Hearing(Protocol):
    """Who decides what becomes of the login that is under way."""

    login: Opening | None

    def opened(self, login: Opening) -> None:
        """The session is open, and tracked."""

    def proved(self, login: Opening) -> None:
        """The locked session may open any moment."""

    def refused(self, login: Opening) -> None:
        """Nothing comes of it, and no secret was wrong."""

    def failed(self, login: Opening) -> None:
        """The password was tried, and was wrong."""


class PamDesk:
    """The desk of the PamServer (sso.guest.agent.pam_socket.Desk)."""

    def __init__(self, reactor: Reactor, grants: Grants, tracker: Tracker, hearing: Hearing) -> None:
        self._reactor, self._grants, self._tracker, self._hearing = reactor, grants, tracker, hearing

    def unlocking(self) -> int:
        """Whom a lock screen is to prove again. Only with a token: without one any root process could ask."""
        login = self._hearing.login
        return login.uid if login is not None and login.unlocking is not None and login.token else -1

    def give_grant(self, connection: PamConnection, request: Request) -> Grant | None:
        """What a GET gets; from here on the time of the grant takes nothing back."""
        login = self._hearing.login
        grant = self._grants.take(request.service, request.tty, request.user, request.token)
        if grant is not None and login is not None:
            login.connection = connection
            if login.unlocking is None and not login.store:
                close(login.take_secret())
            where = {"service": request.service, "tty": request.tty}
            note("login-given", session=grant.session, user=grant.user, **where)
        return grant

    def prepare(self, connection: PamConnection, go_on: Callable[[bool], bool]) -> None:
        """PAM is about to open the session: a ticket for the default cache is put there first."""
        login = self._hearing.login
        if login is None or login.connection is not connection or not login.store or login.secret is None:
            go_on(True)
        else:
            self._tracker.store(login, go_on)

    def moved(self, connection: PamConnection, before: Stage, path: str) -> None:
        """What a step of the PAM module means, for the open session or for the login that is under way."""
        login = self._hearing.login
        if login is not None and login.connection is not connection:
            login = None
        if self._tracker.moved(connection, path):
            if login is not None and connection.stage is Stage.ENDED:
                self._hearing.refused(login)  # it was over before anybody saw it
        elif login is not None:
            login.path = path or login.path
            unlocking = login.unlocking is not None
            self._actions(before)[meaning(before, connection.stage, connection.kind, unlocking=unlocking)](
                login
            )

    def _actions(self, before: Stage) -> dict[Meaning, Callable[[Opening], None]]:
        hearing = self._hearing
        return {
            Meaning.WORKING: lambda login: None,
            Meaning.OPEN: self._open,
            Meaning.PROVED: hearing.proved,
            Meaning.LEFT: lambda login: self._wait_for_seat(login, before),
            Meaning.WRONG: hearing.failed,
            Meaning.REFUSED: hearing.refused,
        }

    def _open(self, login: Opening) -> None:
        assert login.connection is not None
        self._tracker.begin(login, login.connection)
        self._hearing.opened(login)

    def _wait_for_seat(self, login: Opening, before: Stage) -> None:
        """PAM has left without a word. Some screens do so although they unlock: the seat will tell."""
        login.left = before
        if before is not Stage.ESTABLISHED:
            kind = login.claim.kind
            end = self._actions(before)[meaning(before, Stage.ENDED, kind, unlocking=False)]
            login.timers.append(self._reactor.after(UNLOCKED_SECONDS, lambda: end(login)))
        self._hearing.proved(login)
