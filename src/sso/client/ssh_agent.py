"""`console-sso-ssh-agent`: a plug-in that lends your ssh-agent to the console of a virtual machine.

The viewer gives the port as stdin and stdout. Keys stay here; what asks for your consent (ssh-add -c, a
hardware key) asks here. Each connection in the guest has one of its own to the agent, as the agent expects
(session-bind@openssh.com is about a connection). The guest's end is sso-ssh-agent(8).
"""

import os
import select
import socket
import struct
import sys
from argparse import ArgumentParser
from typing import NoReturn

from sso import __version__
from sso.errors import ConfigError, FramingError, PortClosed
from sso.ports.port import Port, open_port
from sso.printable import escaped
from sso.ssh_agent import CLOSE, OPEN, PENDING_MAX, ClientEnd, Frame, Frames, framed

ENDED, BROKEN, USAGE = 0, 1, 2
_READ = 65536


class _Left(Exception):
    """The guest has hung up."""


class Dial:
    """One connection to the agent. Raises OSError where nobody listens, or another user does."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.setblocking(False)  # a full backlog is a refusal, too
            self.socket.connect(path)
            if _owner(self.socket) not in (0, os.geteuid()):
                raise PermissionError(0, "who listens there is another user")  # the old path in /tmp, say
        except BaseException:
            self.socket.close()
            raise
        self.out = b""
        self._answers = Frames()

    def ask(self, request: bytes) -> None:
        """Send a request; what the agent does not take now stays in `out`."""
        self.out += framed(request)
        self.send()

    def send(self) -> None:
        """Send what is left of the request."""
        try:
            self.out = self.out[self.socket.send(self.out) :]
        except BlockingIOError:
            return

    def answers(self) -> list[bytes]:
        """The answers that are whole now. Raises OSError at a hang-up, FramingError for other bytes."""
        try:
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError(0, "it has hung up")
        return list(self._answers.feed(data))


class Lender:
    """Answers the guest from an agent; a request that takes its time delays its own connection alone."""

    def __init__(self, path: str, port: Port) -> None:
        self._path, self._port = path, port
        self._end = ClientEnd()
        self._dials: dict[int, Dial] = {}
        self._complained = False

    def run(self) -> NoReturn:
        """Answer until the guest hangs up (`_Left`). Raises FramingError when it speaks another language."""
        while True:
            ready = self._wait()
            if ready.get(self._port.fileno(), 0) & ~select.POLLOUT:
                self._hear()
            for number, dial in list(self._dials.items()):
                if dial.socket.fileno() in ready and number in self._dials:
                    self._turn(number, dial)
            self._say()

    def close(self) -> None:
        """Hang up on the agent, with every question that it may be asking."""
        for dial in self._dials.values():
            dial.socket.close()
        self._dials.clear()

    def _wait(self) -> dict[int, int]:
        """Wait for something to do. While the guest takes nothing, notice only its hang-up."""
        full = self._full
        events = {self._port.fileno(): select.POLLRDHUP | (0 if full else select.POLLIN)}
        if self._end.out:
            writer = self._port.write_fileno()
            events[writer] = events.get(writer, 0) | select.POLLOUT
        for dial in self._dials.values():
            if wanted := (0 if full else select.POLLIN) | (select.POLLOUT if dial.out else 0):
                events[dial.socket.fileno()] = wanted
        poll = select.poll()
        for fd, wanted in events.items():
            poll.register(fd, wanted)
        return dict(poll.poll())

    @property
    def _full(self) -> bool:
        return len(self._end.out) >= PENDING_MAX

    def _hear(self) -> None:
        if self._full:
            raise _Left  # only a hang-up wakes us while it is full
        data = self._port.read(_READ)
        if data == b"":
            raise _Left
        try:
            for frame in self._end.feed(data or b""):
                self._do(frame)
        except FramingError:
            self._say()  # the reason, for a guest that understands it
            raise

    def _do(self, frame: Frame) -> None:
        number = frame.number
        try:
            if frame.kind == OPEN:
                self._dials[number] = Dial(self._path)
                self._end.opened(number)
            elif frame.kind == CLOSE:
                self._drop(number)
            else:
                self._dials[number].ask(frame.message)
        except OSError as error:
            self._lose(number, error)

    def _turn(self, number: int, dial: Dial) -> None:
        """Carry on with one connection to the agent, which has something to say or takes something."""
        try:
            if dial.out:
                dial.send()
            if not self._full:
                for answer in dial.answers():
                    self._end.answer(number, answer)
        except (OSError, FramingError) as error:
            self._lose(number, error)

    def _lose(self, number: int, error: OSError | FramingError) -> None:
        if not self._complained:
            _complain(f"your agent at {self._path}: {getattr(error, 'strerror', None) or error}")
            self._complained = True
        self._drop(number)

    def _drop(self, number: int) -> None:
        self._end.close(number)
        if (dial := self._dials.pop(number, None)) is not None:
            dial.socket.close()

    def _say(self) -> None:
        out = self._end.out
        try:
            while out and (taken := self._port.write(out)):
                del out[:taken]
        except PortClosed:
            raise _Left from None


def _owner(connection: socket.socket) -> int:
    """The uid of the other end (SO_PEERCRED, unix(7))."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", found)[1])


def _complain(text: str) -> None:
    print(f"console-sso-ssh-agent: {escaped(text)}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Lend the agent until the console is left; the exit codes are in --help."""
    parser = ArgumentParser(
        prog="console-sso-ssh-agent",
        description="Lend your ssh-agent to the console of a virtual machine; a plug-in of sso-viewer.",
        epilog=f"exit codes: {ENDED} the console was left, {BROKEN} the guest's program has another"
        f" version of the stream (upgrade both), {USAGE} no agent is named",
    )
    parser.add_argument("--socket", metavar="PATH", help="the agent's socket (default: $SSH_AUTH_SOCK)")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    path = parser.parse_args(arguments).socket or os.environ.get("SSH_AUTH_SOCK")
    if not path:
        _complain("SSH_AUTH_SOCK is not set: start ssh-agent, or name its socket with --socket")
        return USAGE
    try:
        return _lend(path)
    except ConfigError as error:
        _complain(str(error))
        return USAGE


def _lend(path: str) -> int:
    port = open_port("stdio")
    lender = Lender(path, port)
    try:
        lender.run()
    except (_Left, KeyboardInterrupt):
        return ENDED
    except FramingError as error:
        _complain(
            f"the guest's sso-ssh-agent does not speak as this program does ({error}):"
            " upgrade console-sso on both machines to one version"
        )
        return BROKEN
    finally:
        lender.close()
        port.close()


if __name__ == "__main__":
    sys.exit(main())
