"""`sso-greetd`: a greeter for greetd that waits for a person or for the agent, whichever comes first.

greetd starts it as the greeter's user. It shows "HOST login: " and PAM's questions. With --chain it runs
another greeter and takes over only when the agent names a user. Without an agent it works like any greeter.
"""

import argparse
import codecs
import os
import pwd
import select
import shlex
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from sso.daemon import local
from sso.daemon.confine import confine
from sso.errors import RemoteProtocolError, SSOError
from sso.framing import wipe
from sso.guest import records
from sso.guest.records import Hello, SignIn, Taken, is_login_name
from sso.guest.screens.ending import Ending
from sso.guest.screens.greetd_ipc import Greetd, GreetdReply
from sso.guest.screens.greeter_terminal import GreeterTerminal, plain
from sso.guest.screens.typed import LINE_MAX
from sso.printable import escaped

SOCKET = "/run/console-sso/greeter.sock"
HELLO = "greetd"  # the kind of this login screen
DIAL_EVERY = 1.0  # seconds between two tries to reach an agent
CHAIN_SECONDS = 2.0  # for another greeter to end after SIGTERM
ROUNDS_MAX = 100  # questions and messages of one login
ANSWER_MAX = 511  # bytes: PAM_MAX_RESP_SIZE without its NUL

Ask = Callable[[str, str], "memoryview | None"]


class Login(NamedTuple):
    """The user to log in, a function that answers PAM's questions, and one that says whether to go on."""

    user: str
    ask: Ask
    wanted: Callable[[], bool]


# The agent


class Word:
    """The connection to the agent, if there is one; the agent names the user to sign in."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._agent: socket.socket | None = None

    def wait(self, other: int) -> Login | None:
        """Return the login that the agent requests, or None when the descriptor `other` is ready first."""
        while True:
            if self._agent is None:
                self._dial()
            ready = select.select([other, *self.fds()], [], [], DIAL_EVERY if self._agent is None else None)[
                0
            ]
            if other in ready:
                return None
            if ready and (user := self._hear()):
                # Our PAM module asks nothing. A question of another module may be shown by the face.
                return Login(user, lambda style, text: None, lambda: self._is_wanted(user))

    def fds(self) -> list[int]:
        """Descriptors that become readable when the agent withdraws its request."""
        return [] if self._agent is None else [self._agent.fileno()]

    def close(self) -> None:
        """Hang up; each login needs a new connection."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def _dial(self) -> None:
        self._agent = local.dial(self._path)
        if self._agent is not None and not records.send(self._agent, Hello(HELLO)):
            self.close()

    def _is_wanted(self, user: str) -> bool:
        """Send TAKEN; False if the agent has hung up. After TAKEN it cannot withdraw its request."""
        return self._agent is not None and records.send(self._agent, Taken(user))

    def _hear(self) -> str:
        """Read the user name from the agent; "" when there is no valid message or the agent is gone."""
        assert self._agent is not None
        try:
            received = records.receive(self._agent, SignIn)
        except BlockingIOError:
            return ""
        except RemoteProtocolError:
            received = None
        if received is None or not is_login_name(received[0].user):
            self.close()
            return ""
        return received[0].user


def _is_text(octets: memoryview) -> bool:
    """Whether bytes are UTF-8; checks a secret without copying all of it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(len(octets)):
            decoder.decode(octets[at : at + 1])
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True


# Faces: what the user sees, a prompt of our own or another greeter


class Prompt:
    """Our own face: "HOST login: " on the terminal, and the messages of PAM."""

    code = 1

    def __init__(self) -> None:
        self._terminal = GreeterTerminal()

    def wait(self, word: Word) -> Login | None:
        """Return a login for the typed name, or the login that the agent requests."""
        prompt = f"{socket.gethostname().partition('.')[0]} login: "
        self._terminal.begin()
        self.show(prompt)
        while (found := word.wait(self._terminal.fd)) is None:
            if name := self._name():
                word.close()
                return Login(name, self._ask, lambda: True)
            self.show(prompt)
        self._terminal.forget()
        # PAM may ask the user a question; the user sits here until the agent hangs up.
        return found._replace(ask=lambda style, text: self._ask(style, text, word.fds()))

    def _ask(self, style: str, text: str, others: Sequence[int] = ()) -> memoryview | None:
        """Return the person's answer, which the caller wipes; None when there is none."""
        answer = bytearray(LINE_MAX)
        length = self._terminal.ask(text, style == "visible", answer, others)
        given = memoryview(answer)[: max(0, length)]
        if 0 <= length <= ANSWER_MAX and _is_text(given):
            return given
        wipe(answer)
        return None

    def show(self, text: str) -> None:
        self._terminal.show(text)

    def close(self) -> None:
        self._terminal.give_back()

    def _name(self) -> str:
        """Read the typed name; "" for none."""
        line = bytearray(LINE_MAX)
        length = self._terminal.read(line)
        name = line[: max(0, length)].decode(errors="replace").strip()
        return name if name.isprintable() else ""


class Chain:
    """Runs another greeter as a child, on the same terminal if there is one. `code` is its exit code."""

    def __init__(self, argv: Sequence[str], ending: Ending) -> None:
        self.code = 0
        self._argv, self._ending = argv, ending
        self._child: subprocess.Popen[bytes] | None = None
        self._mode = termios.tcgetattr(0) if os.isatty(0) else None

    def wait(self, word: Word) -> Login | None:
        """End the other greeter and return the login that the agent requests; None if it ended by itself."""
        try:
            with self._ending.later():
                self._child = subprocess.Popen(self._argv)
        except OSError as error:
            raise SSOError(f"{self._argv[0]} cannot be started: {error.strerror}") from None
        life = os.pidfd_open(self._child.pid)
        try:
            found = word.wait(life)
        finally:
            os.close(life)
            self.close()
        return found

    def show(self, text: str) -> None:
        sys.stderr.write(plain(text))

    def close(self) -> None:
        with self._ending.later():
            self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            self.code = child.wait(CHAIN_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            self.code = child.wait()
        if self._mode is not None:
            termios.tcsetattr(0, termios.TCSAFLUSH, self._mode)


class Greeter:
    """Logs in the user that a face or the agent names, until greetd has a session to start."""

    def __init__(
        self, greetd: str, word: Word, face: Prompt | Chain, session: str = "", env: Sequence[str] = ()
    ) -> None:
        self._path, self._word, self._face, self._session, self._env = greetd, word, face, session, list(env)

    def run(self) -> int:
        """Run; return 0 when greetd is to start a session now, else the other greeter's exit code."""
        while (login := self._face.wait(self._word)) is not None:
            if self._log_in(login):
                return 0
            self._word.close()
        return self._face.code

    def _log_in(self, login: Login) -> bool:
        with Greetd(self._path) as greetd:
            greetd.ask("cancel_session")  # greetd has one login at a time; it may be another greeter's
            reply = self._converse(greetd, login)
            if reply.kind == "success" and login.wanted():
                reply = greetd.ask("start_session", cmd=self._command(login.user), env=self._env)
                if reply.kind == "success":
                    return True
            problem = reply.text if reply.style == "error" else "Login incorrect"
            self._face.show(f"{problem}\n\n")
            greetd.ask("cancel_session")
            return False

    def _converse(self, greetd: Greetd, login: Login) -> GreetdReply:
        """Answer all questions of one login; ends with success, an error, or a question without an answer."""
        reply = greetd.ask("create_session", username=login.user)
        for _ in range(ROUNDS_MAX):
            if reply.kind != "auth_message":
                return reply
            answer = None
            if reply.style in ("info", "error"):
                self._face.show(f"{reply.text}\n")
            elif (answer := login.ask(reply.style, reply.text)) is None:
                return reply
            reply = greetd.answer(answer)
        raise RemoteProtocolError("greetd has more to ask than a login can need")

    def _command(self, user: str) -> list[str]:
        """Return the command for greetd to pass to a shell: the given session, else the login shell."""
        if self._session:
            return [self._session]
        try:
            shell = pwd.getpwnam(user).pw_shell
        except KeyError:
            shell = ""
        return [shlex.quote(shell or "/bin/sh"), "-l"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the greeter; 0 when a session is to start, 1 for a failure, 2 for wrong usage."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.chain == []:
        parser.error("--chain: name the greeter that is to be started")
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, lambda number, frame: None)  # unlike SIG_IGN, a child resets it
    ending = Ending()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ending)
    path = os.environ.get("GREETD_SOCK", "")
    if not path:
        return _fail("GREETD_SOCK is not set: greetd has to start this", 2)
    if not given.chain:
        confine()  # users type passwords here
    try:
        face = Chain(given.chain, ending) if given.chain else Prompt()
    except termios.error:
        return _fail("standard input has to be a terminal; or run another greeter with --chain", 2)
    try:
        return Greeter(path, Word(given.socket), face, given.session, given.env).run()
    except SSOError as error:
        return _fail(str(error), 1)
    except (OSError, termios.error) as error:
        return _fail(f"the terminal cannot be used: {error.args[-1]}", 1)
    finally:
        with suppress(OSError, termios.error):
            face.close()


def _fail(text: str, code: int) -> int:
    print(f"sso-greetd: {escaped(text)}", file=sys.stderr)
    return code


def _assignment(text: str) -> str:
    if text.find("=") < 1:
        raise argparse.ArgumentTypeError("write NAME=VALUE")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sso-greetd", description="A greeter for greetd that the guest agent can use."
    )
    add = parser.add_argument
    add("--socket", default=SOCKET, help=f"where the agent listens (default: {SOCKET})")
    add("--session", default="", metavar="COMMAND", help="what to start (default: the user's login shell)")
    env = add("--env", action="append", default=[], type=_assignment, metavar="NAME=VALUE")
    env.help = "a variable for the session; may be repeated"
    add("--chain", nargs=argparse.REMAINDER, metavar="PROGRAM", help="the users' own greeter, with options")
    return parser


if __name__ == "__main__":
    sys.exit(main())
