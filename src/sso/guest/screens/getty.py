"""The getty driver: controls sso-getty (getty_program), which shows the prompt and then becomes login(1)."""

import os
import signal
import socket
from collections.abc import Callable

from sso.daemon.listener import Listener, only
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor, Timer
from sso.errors import RemoteProtocolError
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.log import note
from sso.guest.records import Go, Hello, Taken, is_login_name
from sso.guest.refusals import Refusals
from sso.guest.seat.logind import Seat, Seated

HELLO_SECONDS = 2.0  # limit for a login screen to send HELLO with its terminal


class _Screen:
    """One sso-getty. It later becomes the login process, so its pidfd stays valid for the login."""

    def __init__(self, link: socket.socket, pid: int, life: int, timer: Timer) -> None:
        self.link, self.pid, self.life, self.timer = link, pid, life, timer


class GettyDriver:
    """Listens for login screens that run as root; the one on our terminal can begin a login."""

    token = unlocks = False
    retry = 0.0

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat | None = None) -> None:
        self.service, self.place = config.service or "login", config.tty
        self._path, self._reactor = config.getty_socket, reactor
        self._refusals = Refusals("screen-refused", reactor.clock)
        self._listener: Listener | None = None
        self._unknown: set[_Screen] = set()  # have not sent their terminal yet
        self._waiting: _Screen | None = None  # on our terminal
        self._told: _Screen | None = None  # knows the user, has not answered TAKEN yet
        self._login: _Screen | None = None  # has become login(1) for our user
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._listener = Listener(
            self._path,
            self._reactor,
            self._let_in,
            why_not=only(0),
            refused=lambda peer, why: self._refusals.note(peer),
        )

    def ready(self, user: str) -> bool:
        return self._waiting is not None and is_login_name(user)

    def trigger(self, user: str, token: str) -> bool:
        screen = self._waiting
        if screen is None or not records.send(screen.link, Go(user)):
            return False
        self._waiting, self._told = None, screen
        return True

    def settled(self) -> None:
        screen, self._login = self._login, None
        if screen is not None:
            os.close(screen.life)

    def failed(self) -> None:
        """End login(1): it would ask for another name for a minute, while every sign-on has to wait."""
        screen, self._login = self._login, None
        if screen is not None:
            _end_login(screen)

    def cancel(self) -> None:
        """Withdraw the request from a screen, or end the login that it became; never end a typed login.

        The login is ended at once, because it may be asking the user a question, such as for a new password.
        Its children can only be PAM's helpers: the session's shell starts after OPENED, when there is nothing
        to cancel any more.
        """
        if self._told is not None:
            # From here on the screen cannot send TAKEN, and stays a prompt. It may have sent it before.
            self._told.link.shutdown(socket.SHUT_RD)
            self._on_packet(self._told)
        self.failed()

    def lock(self, session: Seated) -> bool:
        return False

    def is_locked(self, session: Seated) -> bool:
        return session.locked

    def close(self) -> None:
        self.settled()
        for screen in [*self._unknown, *filter(None, (self._waiting, self._told))]:
            self._drop(screen)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _let_in(self, link: socket.socket, peer: Peer) -> None:
        try:
            life = os.pidfd_open(peer.pid)
        except OSError:
            link.close()
            self._refusals.note(peer)
            return
        timer = self._reactor.after(HELLO_SECONDS, lambda: self._drop(screen))
        screen = _Screen(link, peer.pid, life, timer)
        self._unknown.add(screen)
        self._reactor.readable(link.fileno(), lambda: self._on_packet(screen))

    def _on_packet(self, screen: _Screen) -> None:
        try:
            received = records.receive(screen.link, Taken if screen is self._told else Hello)
        except BlockingIOError:
            return
        except RemoteProtocolError:
            received = None
        if received is not None and screen is self._told:
            self._hang_up(screen)
            self.settled()
            self._told, self._login = None, screen
        elif received is not None and screen in self._unknown and received[0].text == self.place:
            self._wait_for_word(screen)
        else:
            self._drop(screen)

    def _wait_for_word(self, screen: _Screen) -> None:
        if self._waiting is not None:
            self._drop(self._waiting)
        screen.timer.cancel()
        self._unknown.remove(screen)
        self._waiting = screen
        note("screen-ready", tty=self.place)
        self._changed()

    def _drop(self, screen: _Screen) -> None:
        """Forget a screen that has hung up or is not ours."""
        self._hang_up(screen)
        os.close(screen.life)
        self._unknown.discard(screen)
        if screen is self._waiting:
            self._waiting = None
            note("screen-ended", tty=self.place)
        elif screen is self._told:
            self._told = None

    def _hang_up(self, screen: _Screen) -> None:
        screen.timer.cancel()
        self._reactor.forget(screen.link.fileno())
        screen.link.close()


def _end_login(screen: _Screen) -> None:
    try:
        signal.pidfd_send_signal(screen.life, signal.SIGKILL)
    except OSError:
        pass  # it has ended
    finally:
        os.close(screen.life)
