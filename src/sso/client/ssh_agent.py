"""`console-sso-ssh-agent`: a plug-in that lends your ssh-agent to the console of a virtual machine.

The viewer gives the port as stdin and stdout. Keys stay here; what asks for your consent (ssh-add -c, a
hardware key) asks here. The guest's end is sso-ssh-agent(8).
"""

import os
import select
import socket
import struct
import sys
from argparse import ArgumentParser
from typing import NoReturn

from sso import __version__
from sso.errors import FramingError
from sso.printable import escaped
from sso.ssh_agent import REFUSED, Frames, echo, framed, may_pass, nonce_of

ENDED, BROKEN, USAGE = 0, 1, 2
_READ = 65536


class _Left(Exception):
    """The guest has hung up."""


class Lender:
    """Answers the guest's requests, one after the other, from an agent that is dialled when it is needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._agent: socket.socket | None = None
        self._complained = False

    def run(self) -> NoReturn:
        """Answer until the guest hangs up (`_Left`). Raises FramingError when it speaks another language."""
        frames = Frames()
        while True:
            data = os.read(0, _READ)
            if not data:
                raise _Left
            for request in frames.feed(data):
                _say(self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        nonce = nonce_of(request)
        if nonce is not None:
            return echo(nonce)
        if not may_pass(request):
            return REFUSED
        try:
            return self._ask(request)
        except (OSError, FramingError) as error:
            self._drop()
            if not self._complained:
                _complain(f"your agent at {self._path}: {getattr(error, 'strerror', None) or error}")
                self._complained = True
            return REFUSED

    def _ask(self, request: bytes) -> bytes:
        """Ask the agent; a person may take her time over it, unless the guest hangs up."""
        if self._agent is None:
            self._agent = socket.socket(socket.AF_UNIX)
            self._agent.connect(self._path)
            if _owner(self._agent) not in (0, os.geteuid()):
                raise PermissionError(0, "who listens there is another user")  # the old path in /tmp, say
        self._agent.sendall(framed(request))
        frames, poll = Frames(), select.poll()
        poll.register(self._agent, select.POLLIN)
        poll.register(0, select.POLLRDHUP)
        while True:
            ready = dict(poll.poll())
            if 0 in ready:
                self._drop()  # with the question that it may be asking
                raise _Left
            data = self._agent.recv(_READ)
            if not data:
                raise ConnectionResetError(0, "it has hung up")
            for answer in frames.feed(data):
                return framed(answer)

    def _drop(self) -> None:
        if self._agent is not None:
            self._agent.close()
            self._agent = None


def _owner(connection: socket.socket) -> int:
    """The uid of the other end (SO_PEERCRED, unix(7))."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", found)[1])


def _say(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def _complain(text: str) -> None:
    print(f"console-sso-ssh-agent: {escaped(text)}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Lend the agent until the console is left; the exit codes are in --help."""
    parser = ArgumentParser(
        prog="console-sso-ssh-agent",
        description="Lend your ssh-agent to the console of a virtual machine; a plug-in of sso-viewer.",
        epilog=f"exit codes: {ENDED} the console was left, {BROKEN} the guest does not speak the agent's"
        f" protocol, {USAGE} no agent is named",
    )
    parser.add_argument("--socket", metavar="PATH", help="the agent's socket (default: $SSH_AUTH_SOCK)")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    path = parser.parse_args(arguments).socket or os.environ.get("SSH_AUTH_SOCK")
    if not path:
        _complain("SSH_AUTH_SOCK is not set: start ssh-agent, or name its socket with --socket")
        return USAGE
    try:
        Lender(path).run()
    except (_Left, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return ENDED
    except FramingError as error:
        _complain(f"the guest does not speak the agent's protocol: {error}")
        return BROKEN


if __name__ == "__main__":
    sys.exit(main())
