"""`sso-ssh-agent`: a socket for the user at the console, behind which is the ssh-agent of her desktop.

A plug-in of the viewer has the port's other end (console-sso-ssh-agent). One connection is served at a time;
it has to be of the user whose session is in front at seat0 and not locked, and it is cut when that changes or
when the console is left. The process has no right of its own but to the port.
"""

import os
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress

from sso import __version__
from sso.errors import ConfigError, FramingError
from sso.guest import local, notify
from sso.guest.logind import Seat
from sso.guest.reactor import Reactor, Timer
from sso.port import Port, open_port
from sso.printable import escaped
from sso.ssh_agent import NONCE_SIZE, REFUSED, Frames, echo, framed, hello, may_pass
from sso.watch import PortWatch

PORT = "virtio:spice.ssh-agent.0"
SOCKET = "/run/console-sso-ssh/agent.sock"
STALE_MAX = 256 * 1024  # octets dropped before the echo, above which the viewer is no use
HELLO_TIME, HELLO_TRIES = 1.0, 5  # seconds between two hellos; a viewer without our plug-in never answers
RETRY_TIME = 0.05  # seconds until the next try, when the port takes nothing
GIVE_TIME = 1.0  # seconds for a user's program to take its answer
_READ = 65536


class Borrower:
    """The loop's callbacks: port, listener, the user's connection, the seat."""

    def __init__(
        self,
        port: Port,
        listener: socket.socket,
        seat: Seat,
        reactor: Reactor,
        log: Callable[[str], None],
    ) -> None:
        self._port, self._listener, self._seat, self._reactor, self._log = port, listener, seat, reactor, log
        self._watch = PortWatch(port)
        self._watched = -1
        self._nonce = b""  # said, and not echoed yet
        self._stale = bytearray()
        self._answers: Frames | None = None  # of a viewer that has echoed
        self._owed = False  # the agent has a request
        self._out = b""  # not taken by the port yet
        self._hello: Timer | None = None
        self._user: socket.socket | None = None
        self._uid = -1
        self._requests = Frames()
        seat.watch(self._seat_changed)
        reactor.watch(listener.fileno(), self._accept)
        self._watch_port()

    # The port

    def _watch_port(self) -> None:
        """Wait for edges; their descriptor is another one after a reopening, maybe with the same number."""
        if self._watched >= 0:
            self._reactor.forget(self._watched)
        self._watched = self._watch.fileno()
        self._reactor.watch(self._watched, self._edges)

    def _edges(self) -> None:
        for edge in self._watch.events():
            if edge == "opened":
                self._greet(HELLO_TRIES)
            elif edge == "data":
                self._read()
            else:
                self._hung_up()
        self._watch_port()

    def _greet(self, tries: int) -> None:
        """Say hello, with one nonce for a viewer, until it is echoed; a silent one has no plug-in."""
        self._nonce = self._nonce or os.urandom(NONCE_SIZE)
        self._send(hello(self._nonce))
        if tries > 1:
            self._hello = self._reactor.after(HELLO_TIME, lambda: self._greet(tries - 1))

    def _read(self) -> None:
        while data := self._port.read(_READ):
            try:
                if self._answers is not None:
                    self._take(data, self._answers)
                elif self._nonce:
                    self._look_for_echo(data)
            except FramingError as error:
                self._log(f"the viewer's plug-in does not speak the agent's protocol: {error}")
                self._hung_up()
                return
        if data == b"":
            self._hung_up()

    def _look_for_echo(self, data: bytes) -> None:
        self._stale += data
        before, found, after = self._stale.partition(echo(self._nonce))
        if len(before) > STALE_MAX:
            raise FramingError(f"{len(before)} octets without an echo")
        if not found:
            return
        self._stop_hello()
        self._stale, self._answers = bytearray(), Frames()
        self._take(bytes(after), self._answers)

    def _take(self, data: bytes, answers: Frames) -> None:
        for answer in answers.feed(data):
            if answer[1:] == echo(self._nonce)[5:]:
                continue  # to a hello that was repeated
            if not self._owed:
                raise FramingError("an answer that nobody has asked for")
            self._owed = False
            self._give(framed(answer))

    def _send(self, data: bytes) -> None:
        idle, self._out = not self._out, self._out + data
        if idle:
            self._flush()

    def _flush(self) -> None:
        with suppress(OSError):
            self._out = self._out[self._port.write(self._out) :]
        if self._out:
            self._reactor.after(RETRY_TIME, self._flush)

    def _hung_up(self) -> None:
        """Drop all that was the viewer's, and what the port still holds of it."""
        self._stop_hello()
        self._cut()
        self._nonce, self._stale, self._out = b"", bytearray(), b""
        self._answers, self._owed = None, False
        self._port.flush_input()
        self._watch.reopened(self._port, gone=True)

    def _stop_hello(self) -> None:
        if self._hello is not None:
            self._hello.cancel()

    # The user

    def _accept(self) -> None:
        """Take one connection; while it is served the others wait in the kernel's queue."""
        try:
            self._user, _ = self._listener.accept()
        except OSError:
            return
        self._user.settimeout(GIVE_TIME)
        self._reactor.forget(self._listener.fileno())
        if self._answers is None:
            self._cut()
            return
        self._uid = local.peer(self._user).uid
        user = self._user
        self._seat.look(lambda found: self._admit(user))

    def _admit(self, user: socket.socket) -> None:
        if user is not self._user:
            return
        if self._uid != self._uid_in_front():
            self._log("refused somebody who is not the user at the console")
            self._cut()
        else:
            self._reactor.watch(user.fileno(), self._hear)

    def _uid_in_front(self) -> int | None:
        found = self._seat.found
        session = found.active
        if not found.known or session is None or session.greeter or session.locked:
            return None
        return session.uid

    def _seat_changed(self) -> None:
        if self._user is not None and self._uid >= 0 and self._uid != self._uid_in_front():
            self._cut()

    def _hear(self) -> None:
        if self._user is None:
            return
        try:
            data = self._user.recv(_READ)
            requests = list(self._requests.feed(data))
        except (OSError, FramingError):
            data, requests = b"", []
        # One request at a time is the protocol's rule; who sends two is no agent's client.
        if not data or len(requests) > 1 or (requests and not self._requests.empty):
            self._cut()
        elif requests and not may_pass(requests[0]):
            self._give(REFUSED)
        elif requests:
            # Nobody else is served before the answer is there, be it for somebody who has left.
            self._reactor.forget(self._user.fileno())
            self._owed = True
            self._send(framed(requests[0]))

    def _give(self, answer: bytes) -> None:
        user = self._user
        if user is None:
            self._reactor.watch(self._listener.fileno(), self._accept)  # it was cut meanwhile
            return
        try:
            user.sendall(answer)
        except OSError:
            self._cut()
            return
        self._reactor.forget(user.fileno())
        self._reactor.watch(user.fileno(), self._hear)

    def _cut(self) -> None:
        """Hang up on the user; the next one is accepted unless an answer is still on its way."""
        if self._user is not None:
            self._reactor.forget(self._user.fileno())
            self._user.close()
            self._user, self._uid, self._requests = None, -1, Frames()
        if not self._owed or self._answers is None:
            self._reactor.forget(self._listener.fileno())
            self._reactor.watch(self._listener.fileno(), self._accept)


def main(arguments: list[str] | None = None) -> int:
    """Serve until we are told to end; 2 for a wrong option, or a port that cannot be opened."""
    parser = ArgumentParser(
        prog="sso-ssh-agent",
        description="Lend the ssh-agent of the desktop to the user at this machine's console.",
        epilog="exit codes: 0 told to end, 2 wrong option, or the port or the socket cannot be opened",
    )
    parser.add_argument(
        "--port", default=PORT, metavar="ADDRESS", help=f"the console's port (default: {PORT})"
    )
    parser.add_argument(
        "--socket", default=SOCKET, metavar="PATH", help=f"where users' programs ask (default: {SOCKET})"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    given = parser.parse_args(arguments)
    try:
        run(given.port, given.socket)
    except (ConfigError, OSError) as error:
        print(f"sso-ssh-agent: {escaped(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def run(address: str, path: str) -> None:
    """Open the port and the socket, and serve."""
    import signal

    from sso.guest.bus import Bus

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reactor = Reactor()
    bus = Bus(reactor)
    seat = Seat(reactor, bus)
    port = open_port(address, listen=True)
    try:
        listener = local.listen(path, 0o666, socket.SOCK_STREAM)
        Borrower(port, listener, seat, reactor, _log)
        bus.open()
        notify.ready()
        if (pulse := notify.watchdog()) is not None:
            _beat(reactor, pulse)
        reactor.run()
    finally:
        port.close()


def _log(text: str) -> None:
    print(escaped(text), file=sys.stderr, flush=True)


def _beat(reactor: Reactor, pulse: float) -> None:
    notify.alive()
    reactor.after(pulse, lambda: _beat(reactor, pulse))


if __name__ == "__main__":
    raise SystemExit(main())
