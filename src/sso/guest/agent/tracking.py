"""The session that the agent has opened: tracked from OPENED until its PAM connection ends.

logind tells whether the screen shows it; until then no client is told "signed in".
"""

from collections.abc import Callable

from sso.daemon.reactor import Reactor
from sso.guest.agent.leaving import Leaving
from sso.guest.agent.opening import Opening, SignedIn, close
from sso.guest.agent.pam_socket import PamConnection
from sso.guest.agent.rules import AtSeat, Ours
from sso.guest.agent.ticket import Tickets
from sso.guest.log import note
from sso.guest.seat.logind import Found, Seated

APPEAR_SECONDS = 60.0  # for a session that was opened to come to the front
SWITCH_SECONDS = 10.0  # for a screen to end an unlocking that was taken back while it ran


class Tracker:
    """At most one session, and its ticket."""

    def __init__(self, reactor: Reactor, console: Leaving, tickets: Tickets) -> None:
        self._reactor, self._console, self._tickets = reactor, console, tickets
        self._switching = float("-inf")
        self.session: SignedIn | None = None
        console.expects = self._expects

    def begin(self, login: Opening, connection: PamConnection) -> None:
        """PAM has opened the login's session."""
        claim, now = login.claim, self._reactor.clock()
        who = login.user, login.uid, claim.who
        self.session = SignedIn(connection, *who, login.guess.digest, claim.expires, now, login.path)
        login.opened = True

    def has(self, connection: PamConnection) -> bool:
        """Whether the session is that of a PAM connection."""
        return self.session is not None and self.session.connection is connection

    def over(self) -> None:
        """PAM has ended the session."""
        session, self.session = self.session, None
        assert session is not None
        note("session-over", user=session.user)
        self._tickets.session_over(session)

    def store(self, login: Opening, go_on: Callable[[bool], bool]) -> None:
        """Put the login's ticket into the user's default cache; `go_on` as in Tickets.store."""
        secret = login.take_secret()
        assert secret is not None
        try:
            self._tickets.store(login, secret, go_on)
        finally:
            close(secret)

    def refresh(self, login: Opening, done: Callable[[bool], None]) -> None:
        """Put the login's ticket into the session's cache."""
        secret = login.copy_secret()
        assert secret is not None and self.session is not None
        try:
            self._tickets.refresh(login.claim, self.session, secret, done)
        finally:
            close(secret)

    def client_gone(self, done: Callable[[], None]) -> None:
        """Park the ticket, if that is wanted: the session is locked, and its client has left."""
        if self.session is None:
            done()
        else:
            self._tickets.client_gone(self.session, done)

    # Where it is

    def is_shown(self) -> bool:
        """Whether it is what the screen shows, and nobody has to unlock it."""
        session = self.session
        return session is not None and self._console.shows(session.uid, session.connection.pid)

    def look(self) -> None:
        """The seat has changed."""
        session = self.session
        if session is not None and self._console.has_appeared(session.uid, session.connection.pid):
            session.appeared = True

    def unlocking_revoked(self) -> None:
        """Expect an open session: PAM has said yes to a screen, which may still unlock."""
        self._switching = self._reactor.clock() + SWITCH_SECONDS

    def whose(self, uid: int) -> Ours:
        """Whose the session is, beside the user `uid`."""
        if self.session is None:
            return Ours.NONE
        return Ours.OWN if self.session.uid == uid else Ours.OTHER

    def at_seat(self, user: str, uid: int, found: Found) -> AtSeat:
        """Who is at the seat by what a look has found, beside that user."""
        seated = found.user
        if seated is None:
            return AtSeat.NOBODY
        if not seated.belongs_to(user, uid):
            return AtSeat.OTHER if seated.user else AtSeat.UNTOLD
        if found.known and self._console.is_locked(seated):
            return AtSeat.LOCKED
        if not found.known or seated is found.active:
            return AtSeat.IN_FRONT
        return AtSeat.BEHIND if _is_behind(seated, found.active) else AtSeat.ASIDE

    def _expects(self) -> bool:
        """Whether a session may still come to the front that could not be locked before."""
        self.look()
        now, session = self._reactor.clock(), self.session
        coming = session is not None and not session.appeared and now < session.since + APPEAR_SECONDS
        return coming or now < self._switching


def _is_behind(seated: Seated, active: Seated | None) -> bool:
    """Whether something else than a greeter is in front of a session: no login brings it back."""
    return seated.graphical and active is not None and seated.id != active.id and not active.greeter
