"""The getty driver, and `sso-getty`, its login screen on a terminal.

`agetty --skip-login --login-program /usr/bin/sso-getty` starts it in the place of login(1), or anything
else does with a terminal as standard input. It shows "HOST login: " and becomes `login` when a name is
typed or when the agent names a user. Without an agent it is the login screen as ever.
"""

import argparse
import os
import select
import signal
import socket
import sys
import termios
from collections.abc import Callable
from typing import NoReturn

from sso.daemon import local
from sso.daemon.reactor import Reactor, Timer
from sso.errors import RemoteProtocolError
from sso.guest import records
from sso.guest.agent.account import is_login_name
from sso.guest.config import GuestConfig
from sso.guest.log import note
from sso.guest.records import Go, Hello, Taken
from sso.guest.refusals import Refusals
from sso.guest.screens.typed import LINE_MAX, forget_typed
from sso.guest.seat.logind import Seat, Seated

SOCKET = "/run/console-sso/getty.sock"
LOGIN = "/bin/login"
HELLO_SECONDS = 2.0  # for a login screen to say where it is
DIAL_EVERY = 1.0  # seconds between two looks for an agent
# What login passes on to the session, beside what it sets itself. Nothing of this can load code.
ENVIRONMENT = ("TERM", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "COLORTERM")

# The agent's side


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
        self._listener: socket.socket | None = None
        self._unknown: set[_Screen] = set()  # they have not said where they are
        self._waiting: _Screen | None = None  # on our terminal
        self._told: _Screen | None = None  # knows the user, and has not obeyed yet
        self._login: _Screen | None = None  # has become login, for our user
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._listener = local.listen(self._path)
        self._reactor.watch(self._listener.fileno(), self._accept)

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
            self._reactor.forget(self._listener.fileno())
            local.hang_up(self._listener, self._path)
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            link, _ = self._listener.accept()
        except OSError:
            return
        link.setblocking(False)
        peer = local.peer(link)
        try:
            life = os.pidfd_open(peer.pid) if peer.uid == 0 and len(self._unknown) < local.BACKLOG else -1
        except OSError:
            life = -1
        if life < 0:
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


# The terminal's side


class Getty:
    """The login screen: waits for a line or for the agent, whichever comes first."""

    def __init__(self, path: str, terminal: int = 0) -> None:
        self._path, self._terminal = path, terminal
        self._tty = os.ttyname(terminal).removeprefix("/dev/")
        self._agent: socket.socket | None = None

    def wait(self) -> str | None:
        """The name to log in, or None when the terminal is at its end."""
        self._dial()
        forget_typed(self._terminal, [] if self._agent is None else [self._agent.fileno()])
        _make_sane(self._terminal)
        self._prompt()
        while True:
            if self._agent is None:
                self._dial()
            fds = [self._terminal] if self._agent is None else [self._terminal, self._agent.fileno()]
            ready = select.select(fds, [], [], DIAL_EVERY if self._agent is None else None)[0]
            if self._terminal in ready:
                line = self._read()
                if not line:
                    return None
                if name := _name(line):
                    return name
                self._prompt()
            elif ready and (user := self._hear()) is not None:
                # What was typed so far belongs to nobody.
                termios.tcflush(self._terminal, termios.TCIFLUSH)
                self._show("\n")
                return user

    def close(self) -> None:
        """Say nothing more to the agent."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def _read(self) -> bytes:
        """A typed line; b"" at the end, also when the terminal was hung up."""
        try:
            return os.read(self._terminal, LINE_MAX)
        except OSError:
            return b""

    def _dial(self) -> None:
        self._agent = local.dial(self._path)
        if self._agent is not None and not records.send(self._agent, Hello(self._tty)):
            self.close()

    def _hear(self) -> str | None:
        """The user that the agent names; None when it says nothing that counts, or is gone."""
        assert self._agent is not None
        try:
            received = records.receive(self._agent, Go)
        except BlockingIOError:
            return None
        except RemoteProtocolError:
            received = None
        obeys = received is not None and is_login_name(received[0].text)
        # What the agent has taken back meanwhile does not happen.
        if received is None or not obeys or not records.send(self._agent, Taken(received[0].text)):
            self.close()
            return None
        return received[0].text

    def _prompt(self) -> None:
        self._show(f"{socket.gethostname().partition('.')[0]} login: ")

    def _show(self, text: str) -> None:
        os.write(self._terminal, text.encode(errors="replace"))


def _name(line: bytes) -> str:
    """The typed name; "" for none, or for one that login would take for an option."""
    name = line.strip().decode(errors="replace")
    return "" if name.startswith("-") or not name.isprintable() else name


def _make_sane(terminal: int) -> None:
    """Whole lines with echo, whatever the last program left behind (termios(3))."""
    mode = termios.tcgetattr(terminal)
    mode[0] |= termios.ICRNL | termios.BRKINT
    mode[1] |= termios.OPOST | termios.ONLCR
    mode[3] |= termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ISIG | termios.IEXTEN
    termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)


def become_login(program: str, name: str) -> NoReturn:
    """Replace this process by login for that name, with an environment of a few harmless words."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and the session would inherit that
    keep = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
    # -p lets login keep these; it sets PATH, HOME and the like itself.
    os.execve(program, [program, "-p", "--", name], keep)


def main(arguments: list[str] | None = None) -> int:
    """Show the login screen, and become login; 0 when the terminal is at its end, 2 for a wrong use."""
    parser = argparse.ArgumentParser(
        prog="sso-getty", description="A login screen that the guest agent can use."
    )
    parser.add_argument("--socket", default=SOCKET, help=f"where the agent listens (default: {SOCKET})")
    parser.add_argument("--login", default=LOGIN, metavar="PROGRAM", help=f"what logs in (default: {LOGIN})")
    parser.add_argument("-p", action="store_true", help="ignored, for agetty: the environment is our choice")
    parser.add_argument("name", nargs="?", default="", help="log in this user at once, for agetty")
    given = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    name: str | None = given.name
    if not name:
        try:
            getty = Getty(given.socket)
        except OSError:
            print("sso-getty: standard input has to be a terminal", file=sys.stderr)
            return 2
        name = getty.wait()
        getty.close()
    if name is None:
        return 0
    if name.startswith("-"):
        print("sso-getty: a name does not begin with a dash", file=sys.stderr)
        return 2
    become_login(given.login, name)


if __name__ == "__main__":
    sys.exit(main())
