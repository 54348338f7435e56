"""The greetd driver: the agent's end of `sso-greetd` (greetd_greeter.py), a greeter that waits for the agent.

The greeter sends HELLO and waits. On SIGNIN it makes greetd begin a login of that user. The PAM module asks
nothing: it finds the credential by (service, user). The greeter shows the questions of other modules, such as
for a new password. When we hang up, it makes greetd cancel the login, and shows its prompt again.

greetd could carry a token, but we use none. PAM could only ask for it with a prompt, which users of another
greeter would see at every login, and a stack without our module would try the token as a password. A token
would distinguish two greetd services of one machine. Without it, anybody who types the user's name at the
other service at that moment opens the session there, for that same user.

Each request is sent once. A login that greetd cancels at PAM's question for a password may count as a failure
(pam_faillock), so a greeter that returns from one does not get the same request again.

greetd tells PAM no terminal before the user is authenticated, so the place is "", and a request that names
a terminal does not get the credential.
"""

import os
import pwd
import socket
import stat
from collections.abc import Callable

from sso.daemon.listener import Listener, only
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor, Timer
from sso.errors import ConfigError, RemoteProtocolError
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.log import note
from sso.guest.records import Hello, SignIn, Taken, is_login_name
from sso.guest.refusals import Refusals
from sso.guest.seat.logind import Seat, Seated

HELLO = "greetd"  # the greeter's kind, as its HELLO names it
HELLO_SECONDS = 2.0  # limit for a greeter to send HELLO


class _Greeter:
    """One connection of a greeter; it serves for one login."""

    def __init__(self, link: socket.socket, timer: Timer) -> None:
        self.link, self.timer = link, timer


class GreetdDriver:
    """Listens for greeters of `greeter_user`; of several that wait, the newest gets the login."""

    token = unlocks = False
    retry = 0.0
    place = ""

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat | None = None) -> None:
        self.service = config.service or "greetd"
        self._path, self._user, self._reactor = config.greeter_socket, config.greeter_user, reactor
        self._listener: Listener | None = None
        self._greeters: set[_Greeter] = set()
        self._waiting: list[_Greeter] = []
        self._told: _Greeter | None = None
        self._in_vain = False  # the greeter that got the request has hung up by itself
        self._refusals = Refusals("screen-refused", reactor.clock)
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        try:
            uid = pwd.getpwnam(self._user).pw_uid
        except KeyError:
            raise ConfigError(
                f"greeter_user: there is no user {self._user}: install greetd, or name its greeter's user"
            ) from None
        self._listener = Listener(
            self._path,
            self._reactor,
            self._let_in,
            why_not=only(0, uid),
            refused=lambda peer, why: self._refusals.note(peer),
            descriptors=False,
        )
        try:
            self._admit(uid)
        except ConfigError:
            self.close()
            raise

    def ready(self, user: str) -> bool:
        busy = self._told is not None or self._in_vain
        return bool(self._waiting) and not busy and is_login_name(user)

    def trigger(self, user: str, token: str) -> bool:
        while self.ready(user):
            greeter = self._waiting.pop()
            if records.send(greeter.link, SignIn(user, token)):
                self._told = greeter
                return True
            self._drop(greeter)
        return False

    def settled(self) -> None:
        # The greeter still has to start the session; it hangs up when that is done or has failed.
        self._told, self._in_vain = None, False

    failed = settled

    def cancel(self) -> None:
        """Hang up: a greeter starts a session only while we are connected, else it shows its prompt again."""
        if self._told is not None:
            self._drop(self._told)
        self._in_vain = False

    def lock(self, session: Seated) -> bool:
        return False

    def is_locked(self, session: Seated) -> bool:
        return session.locked

    def close(self) -> None:
        for greeter in list(self._greeters):
            self._drop(greeter)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _admit(self, uid: int) -> None:
        """Give the greeter's user access to our own socket; the service manager's socket is open to all."""
        try:
            if not os.stat(self._path).st_mode & stat.S_IWOTH:
                os.chown(self._path, uid, -1)
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be given to {self._user}: {error.strerror}; "
                "start console-sso-greeter.socket first"
            ) from None

    def _let_in(self, link: socket.socket, peer: Peer) -> None:
        greeter = _Greeter(link, self._reactor.after(HELLO_SECONDS, lambda: self._drop(greeter)))
        self._greeters.add(greeter)
        self._reactor.readable(link.fileno(), lambda: self._on_packet(greeter))

    def _on_packet(self, greeter: _Greeter) -> None:
        # The timer runs until HELLO arrives. TAKEN needs no answer: that the greeter could send it is enough.
        awaited: type[Hello] | type[Taken] = Taken if greeter.timer.cancelled else Hello
        try:
            received = records.receive(greeter.link, awaited)
        except BlockingIOError:
            return
        except RemoteProtocolError:
            received = None
        if received is None or greeter in self._waiting:
            self._drop(greeter)
        elif awaited is Hello and received[0].text == HELLO:
            greeter.timer.cancel()
            self._waiting.append(greeter)
            note("screen-ready", tty=HELLO)
            self._changed()
        elif awaited is Hello:
            self._drop(greeter)

    def _drop(self, greeter: _Greeter) -> None:
        """Forget a greeter that has hung up or is not ours."""
        greeter.timer.cancel()
        self._greeters.discard(greeter)
        self._reactor.forget(greeter.link.fileno())
        greeter.link.close()
        if greeter in self._waiting:
            self._waiting.remove(greeter)
            note("screen-ended", tty=HELLO)
        if greeter is self._told:
            self._told, self._in_vain = None, True
