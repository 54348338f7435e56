"""The getty driver: a login screen on a terminal, and the login that it becomes (getty_program)."""

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

HELLO_SECONDS = 2.0  # for a login screen to say where it is


class _Screen:
    """One sso-getty: it becomes the login process later, so its pidfd is that of the login."""

    def __init__(self, link: socket.socket, pid: int, life: int, timer: Timer) -> None:
        self.link, self.pid, self.life, self.timer = link, pid, life, timer


class GettyDriver:
    """Listens for login screens of root; the one on our terminal can take a login."""

    token = unlocks = False
    retry = 0.0

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat | None = None) -> None:
        self.service, self.place = config.service or "login", config.tty
        self._path, self._reactor = config.getty_socket, reactor
        self._refusals = Refusals("screen-refused", reactor.clock)
        self._listener: Listener | None = None
        self._unknown: set[_Screen] = set()  # they have not said where they are
        self._waiting: _Screen | None = None  # on our terminal
        self._told: _Screen | None = None  # knows the user, and has not obeyed yet
        self._login: _Screen | None = None  # has become login, for our user
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
        """End login(1): it would ask for another name itself, for a minute, and keep every ticket waiting."""
        screen, self._login = self._login, None
        if screen is not None:
            _end_login(screen)

    def cancel(self) -> None:
        """Take the word back from a screen, or end the login that it became; a person's own login stays.

        It is ended at once: it may be asking the user something, such as a new password. Whatever children it
        has are helpers of PAM: the session's shell comes after OPENED, and then there is nothing to cancel.
        """
        if self._told is not None:
            # From here on the screen's TAKEN fails, and it stays what it is. It may have been sent before.
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
        self._reactor.watch(link.fileno(), lambda: self._on_packet(screen))

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
        """Forget a screen that is gone, or that is not ours."""
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
        pass  # it is gone
    finally:
        os.close(screen.life)
