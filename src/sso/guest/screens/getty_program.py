"""`sso-getty`: the login screen on a terminal that the guest agent can use.

`agetty --skip-login --login-program /usr/bin/sso-getty` starts it instead of login(1); any other program may
start it with a terminal as standard input. It shows "HOST login: " and becomes `login` when the user types a
name or the agent names a user. Without an agent it works like the normal login prompt.
"""

import argparse
import os
import select
import signal
import socket
import sys
import termios
from typing import NoReturn

from sso.daemon import local
from sso.errors import RemoteProtocolError
from sso.guest import records
from sso.guest.records import Go, Hello, Taken, is_login_name
from sso.guest.screens.typed import LINE_MAX, forget_typed

SOCKET = "/run/console-sso/getty.sock"
LOGIN = "/bin/login"
DIAL_EVERY = 1.0  # seconds between two tries to reach an agent
# Variables that login passes on to the session, in addition to its own. None of them can load code.
ENVIRONMENT = ("TERM", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "COLORTERM")


class Getty:
    """The login screen: waits for a typed line or for the agent, whichever comes first."""

    def __init__(self, path: str, terminal: int = 0) -> None:
        self._path, self._terminal = path, terminal
        self._tty = os.ttyname(terminal).removeprefix("/dev/")
        self._agent: socket.socket | None = None

    def wait(self) -> str | None:
        """Return the name to log in, or None when the terminal has hung up."""
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
                # Drop what was typed so far: it must not become input of this login.
                termios.tcflush(self._terminal, termios.TCIFLUSH)
                self._show("\n")
                return user

    def close(self) -> None:
        """Close the connection to the agent."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def _read(self) -> bytes:
        """Read a typed line; b"" at the end of input or after a hang-up."""
        try:
            return os.read(self._terminal, LINE_MAX)
        except OSError:
            return b""

    def _dial(self) -> None:
        self._agent = local.dial(self._path)
        if self._agent is not None and not records.send(self._agent, Hello(self._tty)):
            self.close()

    def _hear(self) -> str | None:
        """Read the user name from the agent; None when there is no valid message or the agent is gone."""
        assert self._agent is not None
        try:
            received = records.receive(self._agent, Go)
        except BlockingIOError:
            return None
        except RemoteProtocolError:
            received = None
        obeys = received is not None and is_login_name(received[0].text)
        # If the agent has withdrawn its request in the meantime, sending TAKEN fails: do not log in then.
        if received is None or not obeys or not records.send(self._agent, Taken(received[0].text)):
            self.close()
            return None
        return received[0].text

    def _prompt(self) -> None:
        self._show(f"{socket.gethostname().partition('.')[0]} login: ")

    def _show(self, text: str) -> None:
        os.write(self._terminal, text.encode(errors="replace"))


def _name(line: bytes) -> str:
    """Return the typed name; "" for none, or for one that login would read as an option."""
    name = line.strip().decode(errors="replace")
    return "" if name.startswith("-") or not name.isprintable() else name


def _make_sane(terminal: int) -> None:
    """Set the terminal to lines with echo, whatever the last program left (termios(3))."""
    mode = termios.tcgetattr(terminal)
    mode[0] |= termios.ICRNL | termios.BRKINT
    mode[1] |= termios.OPOST | termios.ONLCR
    mode[3] |= termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ISIG | termios.IEXTEN
    termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)


def become_login(program: str, name: str) -> NoReturn:
    """Replace this process by login for that name, with an environment of a few harmless variables."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores these, and the session would inherit that
    keep = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
    # -p lets login keep these; it sets PATH, HOME and the like itself.
    os.execve(program, [program, "-p", "--", name], keep)


def main(arguments: list[str] | None = None) -> int:
    """Show the login screen and become login; 0 when the terminal has hung up, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="sso-getty", description="A login screen that the guest agent can use."
    )
    parser.add_argument("--socket", default=SOCKET, help=f"where the agent listens (default: {SOCKET})")
    parser.add_argument(
        "--login", default=LOGIN, metavar="PROGRAM", help=f"the login program (default: {LOGIN})"
    )
    parser.add_argument("-p", action="store_true", help="accepted for agetty, and ignored")
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
