"""`sso-ssh-agent`: gives the user at the console a socket that leads to the ssh-agent of their desktop.

A plug-in of the viewer (console-sso-ssh-agent) serves the port's other end. This module handles the port;
`callers` handles the users' programs. The process has no privilege except access to the port.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import closing, suppress

from sso import __version__
from sso.daemon import notify
from sso.daemon.reactor import Reactor, Timer
from sso.errors import ConfigError, FramingError, PortClosed
from sso.guest.refusals import Pace
from sso.guest.seat.logind import Seat
from sso.guest.ssh_agent.callers import Callers
from sso.ports.port import Port, open_port
from sso.ports.watch import PortWatch
from sso.printable import escaped
from sso.ssh_agent import NONCE_SIZE, PENDING_MAX, GuestEnd

PORT = "virtio:spice.ssh-agent.0"
SOCKET = "/run/console-sso-ssh/agent.sock"
HELLO_TIME, HELLO_TRIES = 1.0, 5  # seconds between two hellos; a viewer without our plug-in never answers
READS_MAX = 16  # reads in a row: a peer that never stops must not delay the news that the screen is locked
RETRY_TIME = 0.05  # seconds until the next try, when the port accepts nothing


class Borrower:
    """Runs the port: sends hello to each viewer, and serves the callers after the echo."""

    def __init__(self, port: Port, callers: Callers, reactor: Reactor, log: Callable[[str], None]) -> None:
        self._port, self._callers, self._reactor, self._log = port, callers, reactor, log
        self._watch = PortWatch(port)
        self._watched = -1
        self._end: GuestEnd | None = None  # set while a viewer is connected
        self._hello: Timer | None = None
        self._retry: Timer | None = None
        self._pace = Pace(reactor.clock)
        callers.send, callers.lost = self._send, self._unanswered
        self._watch_port()

    def _watch_port(self) -> None:
        """Watch the port's edges. A reopened port has a new descriptor, perhaps with the same number."""
        if self._watched >= 0:
            self._reactor.forget(self._watched)
        self._watched = self._watch.fileno()
        self._reactor.readable(self._watched, self._edges)

    def _edges(self) -> None:
        for edge in self._watch.events():
            if edge == "opened":
                self._end = self._end or GuestEnd(os.urandom(NONCE_SIZE))
                self._greet(self._end, HELLO_TRIES)
            elif edge == "data":
                self._read()
            else:
                self._hung_up()
        self._watch_port()

    def _greet(self, end: GuestEnd, tries: int) -> None:
        """Send hello until the echo comes; a silent viewer has no plug-in, so stop after HELLO_TRIES."""
        self._stop_hello()
        if tries:
            end.greet()
            self._send()
            self._hello = self._reactor.after(HELLO_TIME, lambda: self._greet(end, tries - 1))
        elif end.refused:
            self._complain(
                "the viewer's console-sso-ssh-agent is of another version, and cannot be used:"
                " upgrade console-sso on both machines to one version"
            )

    def _read(self) -> None:
        for _ in range(READS_MAX):
            if self._end is None or (data := self._port.read()) is None:
                return
            if not data or not self._take(self._end, data):
                self._hung_up()
        self._watch.rearm()

    def _take(self, end: GuestEnd, data: bytes) -> bool:
        """Process a viewer's bytes; False when it breaks the protocol or refuses the hello."""
        greeted = end.ready
        try:
            for frame in end.feed(data):
                self._callers.take(frame)
        except FramingError as error:
            self._complain(f"the viewer's plug-in does not speak as this program does: {error}")
            return False
        if end.ready and not greeted:
            self._stop_hello()
            self._callers.serve(end)
        return True

    @property
    def pending(self) -> int:
        """Number of bytes that the port has not accepted yet."""
        return len(self._end.out) if self._end is not None else 0

    def _send(self) -> None:
        """Write what the port accepts now; the rest follows after RETRY_TIME."""
        if self._end is None or self._retry is not None:
            return
        out = self._end.out
        with suppress(PortClosed):  # an edge will report the hang-up
            del out[: self._port.write(out)]
        if out:
            self._retry = self._reactor.after(RETRY_TIME, self._send_rest)

    def _send_rest(self) -> None:
        self._retry = None
        self._send()
        if self.pending < PENDING_MAX:
            self._callers.resume()

    def _unanswered(self) -> None:
        self._complain("the viewer's plug-in does not answer")
        self._hung_up()
        self._watch_port()

    def _hung_up(self) -> None:
        """Drop the viewer's connections, and its bytes that are still in the port."""
        self._stop_hello()
        self._end = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._callers.cut()
        self._port.flush_input()
        self._watch.reopened(self._port, gone=True)

    def _complain(self, text: str) -> None:
        """Log a viewer's error, with a rate limit: it reconnects at once and could fill the journal."""
        if self._pace.due():
            self._log(text)

    def _stop_hello(self) -> None:
        if self._hello is not None:
            self._hello.cancel()
            self._hello = None


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal ends us; 2 for a wrong option, or a port that cannot be opened."""
    parser = ArgumentParser(
        prog="sso-ssh-agent",
        description="Lend the ssh-agent of the desktop to the user at this machine's console.",
        epilog="exit codes: 0 ended by a signal, 1 the port was lost,"
        " 2 wrong option, or the port or the socket cannot be opened",
    )
    parser.add_argument(
        "--port", default=PORT, metavar="ADDRESS", help=f"the console's port (default: {PORT})"
    )
    parser.add_argument(
        "--socket",
        default=SOCKET,
        metavar="PATH",
        help=f"the socket for the users' programs (default: {SOCKET})",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    given = parser.parse_args(arguments)
    try:
        run(given.port, given.socket)
    except (ConfigError, OSError) as error:
        print(f"sso-ssh-agent: {escaped(str(error))}", file=sys.stderr)
        return 2
    except PortClosed as error:
        print(f"sso-ssh-agent: {escaped(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def run(address: str, path: str) -> None:
    """Open the port and the socket, then serve."""
    import signal

    from sso.guest.seat.bus import Bus

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reactor = Reactor()
    bus = Bus(reactor)
    seat = Seat(reactor, bus)
    try:
        port = open_port(address, listen=True)
    except PortClosed as error:
        raise ConfigError(str(error)) from None
    with closing(port), closing(Callers(path, seat, reactor, _log)) as callers:
        Borrower(port, callers, reactor, _log)
        bus.open()
        notify.ready()
        if (pulse := notify.watchdog()) is not None:
            _beat(reactor, pulse)
        reactor.run()


def _log(text: str) -> None:
    print(escaped(text), file=sys.stderr, flush=True)


def _beat(reactor: Reactor, pulse: float) -> None:
    notify.alive()
    reactor.after(pulse, lambda: _beat(reactor, pulse))


if __name__ == "__main__":
    raise SystemExit(main())
