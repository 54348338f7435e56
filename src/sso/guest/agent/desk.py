"""The PAM module's side of a login: the grant is handed out, and each step finds its meaning."""

from collections.abc import Callable
from typing import Protocol

from sso.daemon.reactor import Reactor
from sso.guest.agent.grant import Grant, Grants
from sso.guest.agent.opening import Opening, SignedIn, close
from sso.guest.agent.pam_records import Request
from sso.guest.agent.pam_socket import PamConnection
from sso.guest.agent.steps import Meaning, PamStep, Stage, Whose, meaning, unseen
from sso.guest.agent.tracking import Tracker
from sso.guest.log import note

UNLOCKED_SECONDS = 5.0  # for a session to be unlocked once PAM has nothing more to say
# By whether a PAM connection is that of the login under way, and that of the open session.
_WHOSE = {
    (False, False): Whose.NOTHING,
    (True, False): Whose.LOGIN,
    (False, True): Whose.SESSION,
    (True, True): Whose.BOTH,
}


class Hearing(Protocol):
    """Who decides what becomes of the login that is under way."""

    login: Opening | None

    def opened(self, login: Opening) -> None:
        """The session is open, and tracked."""

    def proved(self, login: Opening) -> None:
        """The locked session may open any moment."""

    def refused(self, login: Opening) -> None:
        """The login has failed, and not because of a wrong secret."""

    def failed(self, login: Opening) -> None:
        """The password was tried, and was wrong."""


class PamDesk:
    """The desk of the PamServer (sso.guest.agent.pam_socket.Desk)."""

    def __init__(self, reactor: Reactor, grants: Grants, tracker: Tracker, hearing: Hearing) -> None:
        self._reactor, self._grants, self._tracker, self._hearing = reactor, grants, tracker, hearing

    def unlocking(self) -> int:
        """Return the uid that a lock screen with a token may ask for: without one any root process could."""
        login = self._hearing.login
        return login.uid if login is not None and login.unlocking is not None and login.token else -1

    def give_grant(self, connection: PamConnection, request: Request) -> Grant | None:
        """Return the grant for a GET; once it is handed out its time limit takes nothing back."""
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
        holder: SignedIn | Opening | None = self._tracker.session if self._tracker.has(connection) else login
        if holder is not None:
            holder.path = path or holder.path
        of = _WHOSE[login is not None, self._tracker.has(connection)]
        unlocking = login is not None and login.unlocking is not None
        found = meaning(PamStep(of, before, connection.stage, connection.kind, unlocking))
        if found in (Meaning.OVER, Meaning.OVER_UNSEEN):
            self._tracker.over()
        if login is not None:
            self._tell(login, found, before)

    def _tell(self, login: Opening, found: Meaning, before: Stage) -> None:
        match found:
            case Meaning.OPEN:
                self._open(login)
            case Meaning.PROVED:
                self._hearing.proved(login)
            case Meaning.LEFT:
                self._wait_for_seat(login, before)
            case Meaning.WRONG:
                self._hearing.failed(login)
            case Meaning.REFUSED | Meaning.OVER_UNSEEN:
                self._hearing.refused(login)

    def _open(self, login: Opening) -> None:
        assert login.connection is not None
        self._tracker.begin(login, login.connection)
        self._hearing.opened(login)

    def _wait_for_seat(self, login: Opening, before: Stage) -> None:
        """PAM has hung up without a result. Some screens do so although they unlock: wait for logind."""
        login.left, found = before, unseen(before)
        if found is not Meaning.WORKING:
            end = self._reactor.after(UNLOCKED_SECONDS, lambda: self._tell(login, found, before))
            login.timers.append(end)
        self._hearing.proved(login)
