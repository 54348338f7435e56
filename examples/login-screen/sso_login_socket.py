"""A third-party login driver for Console SSO: it tells a screen on a terminal, socket_login, whom to log in.

The screen connects to SOCKET when it is shown, and says its terminal. The driver sends the user's name, once.
The screen answers TAKEN and becomes login(1), or hangs up because somebody has typed a name. One packet is
one message.
"""

import os
import signal
import socket
from collections.abc import Callable

from sso.daemon import local
from sso.daemon.reactor import Reactor
from sso.guest.config import GuestConfig
from sso.guest.records import is_login_name
from sso.guest.seat.logind import Seat, Seated

SOCKET = "/run/console-sso/socket-login.sock"
TAKEN = b"taken"
PACKET_MAX = 255  # bytes of what a screen says


class SocketDriver:
    """One login screen on the terminal that guest.toml names; docs/login-screens.md explains each method."""

    token = unlocks = False
    retry = 0.0

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat, path: str = SOCKET) -> None:
        self.service, self.place = config.service or "login", config.tty
        self._reactor, self._path = reactor, path
        self._listener: socket.socket | None = None
        self._screen: socket.socket | None = None  # the one that is shown; the latest counts
        self._awaited = b""  # what it has to say next: its terminal; nothing; TAKEN
        self._life = (
            self._login
        ) = -1  # pidfds: of the screen, and of the login that a screen has become for us
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._listener = local.listen(self._path)  # mode 600, in a folder that only root can change
        self._reactor.readable(self._listener.fileno(), self._accept)

    def ready(self, user: str) -> bool:
        return self._screen is not None and not self._awaited and is_login_name(user)

    def trigger(self, user: str, token: str) -> bool:
        try:
            told = self._screen is not None and self._screen.send(user.encode()) > 0
        except OSError:
            return False  # the screen has gone, and _hear is called soon
        self._awaited = TAKEN
        return told

    def settled(self) -> None:
        if self._login >= 0:
            os.close(self._login)
        self._login = -1

    def failed(self) -> None:
        """login(1) would ask for another name itself now, and no screen of ours would be there."""
        if self._login >= 0:
            try:
                signal.pidfd_send_signal(self._login, signal.SIGKILL)
            except OSError:
                pass  # it is gone
        self.settled()

    def cancel(self) -> None:
        """Take the word back; if the screen has become the login already, end that one, and no other."""
        if self._screen is not None and self._awaited == TAKEN:
            # From here on its TAKEN fails; it may have been sent before.
            self._screen.shutdown(socket.SHUT_RD)
            self._hear()
        self.failed()

    def lock(self, session: Seated) -> bool:
        return False

    def is_locked(self, session: Seated) -> bool:
        return session.locked

    def close(self) -> None:
        self.settled()
        self._forget()
        if self._listener is not None:
            self._reactor.forget(self._listener.fileno())
            local.hang_up(self._listener, self._path)
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            link, _ = self._listener.accept()
        except OSError:
            return
        peer = local.peer(link)
        try:
            life = os.pidfd_open(peer.pid) if peer.uid == 0 else -1
        except OSError:
            life = -1
        if life < 0:
            link.close()
            return
        self._forget()
        link.setblocking(False)
        self._screen, self._life, self._awaited = link, life, self.place.encode()
        self._reactor.readable(link.fileno(), self._hear)

    def _hear(self) -> None:
        """What the screen has to say next; else it is gone, since a name was typed or its terminal ended."""
        assert self._screen is not None
        try:
            good = self._screen.recv(PACKET_MAX) == self._awaited != b""
        except OSError:
            good = False
        if good and self._awaited != TAKEN:
            self._awaited = b""
            self._changed()
            return
        if good:
            self.settled()
            self._login, self._life = self._life, -1
        self._forget()

    def _forget(self) -> None:
        """Forget the screen; what it has become goes on."""
        if self._screen is not None:
            self._reactor.forget(self._screen.fileno())
            self._screen.close()
        if self._life >= 0:
            os.close(self._life)
        self._screen, self._life, self._awaited = None, -1, b""
