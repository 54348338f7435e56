"""A plug-in's stream at a separate address, for consoles whose protocol has no ports (VNC).

The other end is a character device of QEMU, or a relay in front of it. It takes one peer at a time and does
not report when the guest closes and opens its port: so a connected stream counts as open.
"""

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sso.errors import ConfigError
from sso.plug.event_loop import EventLoop, Watch
from sso.plug.plug import CHUNK, Plug

CONNECT_TIME = 10.0  # seconds for the connection and the TLS handshake, with each address of a name
ADDRESSES_MAX = 16  # of a name
AGAIN_FIRST, AGAIN_MAX = 1.0, 30.0  # seconds until the next try; the pause doubles
STEADY_TIME = 10.0  # seconds that a connection has to last so that the pause begins anew


class Stream:
    """Keeps a stream connected, with a plug on it. `address` is unix:PATH, tcp:HOST:PORT or tls:HOST:PORT.

    Tries all addresses of a name, and verifies TLS at each by the same rule: the system's CAs, or `ca` (PEM
    text), and the host's name as a subjectAltName. Calls `trouble` once with why there is no connection, and
    with "" when there is one again. Raises ConfigError for an address that is not usable.
    """

    def __init__(
        self,
        address: str,
        plug: Plug,
        loop: EventLoop,
        *,
        ca: str = "",
        trouble: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._plug, self._loop, self._say = plug, loop, trouble
        self._kind, _, rest = address.partition(":")
        host, _, port = rest.rpartition(":")
        self._where: str | tuple[str, int] = rest
        if self._kind in ("tcp", "tls") and host and port.isdigit() and 0 < int(port) < 65536:
            self._where = (host.strip("[]"), int(port))
        elif self._kind != "unix" or not rest:
            raise ConfigError(f"stream: '{address}' is not unix:PATH, tcp:HOST:PORT or tls:HOST:PORT")
        self._tls = _context(ca) if self._kind == "tls" else None
        self._socket: socket.socket | None = None
        self._untried: list[_Target] = []
        self._watches: list[Watch] = []
        self._timer: Watch | None = None
        self._steady: Watch | None = None
        self._pause = AGAIN_FIRST
        self._told = ""
        self._out = memoryview(b"")
        self._sent: Callable[[], None] | None = None
        self._closed = False

    def open(self) -> None:
        """Connect, and again whenever the connection ends, until `close`."""
        self._closed, self._pause = False, AGAIN_FIRST
        self._connect()

    def close(self) -> None:
        """Close the stream, and do not connect again."""
        self._closed = True
        self._drop()

    def write(self, data: bytearray, sent: Callable[[], None]) -> None:
        """Implement Remote.write."""
        self._out, self._sent = memoryview(data), sent
        self._rewatch()

    # Connecting

    def _connect(self) -> None:
        try:
            self._untried = _targets(self._where)
        except OSError as error:
            return self._failed(error)
        self._try_next()

    def _try_next(self) -> None:
        try:
            self._socket = _begin(self._untried.pop(0))
        except OSError as error:
            return self._unreached(error)
        self._timer = self._loop.after(CONNECT_TIME, lambda: self._unreached(TimeoutError("no answer")))
        self._watch(self._connected, write=True)

    def _unreached(self, error: OSError) -> None:
        """Try the next address of the name, or report the error of this one."""
        if self._untried:
            self._drop()
            self._try_next()
        else:
            self._failed(error)

    def _connected(self) -> None:
        if self._socket is None:
            return
        try:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            if self._tls is not None and isinstance(self._where, tuple):
                raw, self._socket = self._socket, None
                self._socket = self._tls.wrap_socket(
                    raw, server_hostname=self._where[0], do_handshake_on_connect=False
                )
        except OSError as error:
            return self._unreached(error)
        except ValueError:  # of the host's name
            return self._unreached(OSError(0, "no certificate can have this name"))
        self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.do_handshake()
        except ssl.SSLWantReadError:
            return self._watch(self._shake_hands)
        except ssl.SSLWantWriteError:
            return self._watch(self._shake_hands, write=True)
        except OSError as error:
            return self._unreached(error)
        if self._timer is not None:
            self._timer.cancel()
        self._steady = self._loop.after(STEADY_TIME, self._lasts)
        self._tell("")
        self._rewatch()
        self._plug.opened(self)

    def _lasts(self) -> None:
        """Reset the pause only now: a server that hangs up at once must not be asked each second for ever."""
        self._pause = AGAIN_FIRST

    # While connected

    def _rewatch(self) -> None:
        self._cancel()
        if self._socket is not None:
            self._watches.append(self._loop.readable(self._socket.fileno(), self._read))
            if self._out:
                self._watches.append(self._loop.writable(self._socket.fileno(), self._write))

    def _read(self) -> None:
        """Pass bytes on; read nothing while the plug-in is congested."""
        if self._plug.congested:
            return self._rest()
        for _ in range(4):  # TLS may hold more than the descriptor shows
            try:
                data = self._socket.recv(CHUNK) if self._socket is not None else b""
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                return self._failed(error)
            if not data:
                return self._failed(ConnectionResetError(0, "the stream was closed"))
            self._plug.received(data)
            if not isinstance(self._socket, ssl.SSLSocket) or not self._socket.pending():
                return

    def _rest(self) -> None:
        self._cancel()
        if self._out and self._socket is not None:
            self._watches.append(self._loop.writable(self._socket.fileno(), self._write))
        self._watches.append(self._loop.after(0.01, self._rewatch))

    def _write(self) -> None:
        try:
            taken = self._socket.send(self._out) if self._socket is not None else 0
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            return self._failed(error)
        self._out = self._out[taken:]
        if not self._out:
            self._rewatch()
            sent, self._sent = self._sent, None
            if sent is not None:
                sent()

    # Disconnecting

    def _failed(self, error: OSError) -> None:
        self._drop()
        why = getattr(error, "verify_message", "") or error.strerror or str(error)
        self._tell(f"no stream for single sign-on: {why}")
        if not self._closed:
            self._timer = self._loop.after(self._pause, self._connect)
            self._pause = min(2 * self._pause, AGAIN_MAX)

    def _drop(self) -> None:
        self._cancel()
        for timer in (self._timer, self._steady):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._out, self._sent = memoryview(b""), None
        self._plug.lost()

    def _watch(self, call: Callable[[], None], *, write: bool = False) -> None:
        self._cancel()
        if self._socket is not None:
            wait = self._loop.writable if write else self._loop.readable
            self._watches.append(wait(self._socket.fileno(), call))

    def _cancel(self) -> None:
        for watch in self._watches:
            watch.cancel()
        self._watches = []

    def _tell(self, line: str) -> None:
        if line != self._told:
            self._told = line
            self._say(line)


_Target = tuple[int, Any]  # address family, address


def _targets(where: str | tuple[str, int]) -> list[_Target]:
    """Return the addresses of a socket or a name, in the resolver's order; name resolution may block."""
    if isinstance(where, str):
        return [(socket.AF_UNIX, where)]
    try:
        found = socket.getaddrinfo(*where, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(0, "no host can have this name") from None
    targets: dict[_Target, None] = {(family, address): None for family, _, _, _, address in found}
    return list(targets)[:ADDRESSES_MAX]


def _begin(target: _Target) -> socket.socket:
    """Return a non-blocking socket that has started to connect."""
    family, address = target
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        with suppress(BlockingIOError):
            connection.connect(address)
        return connection
    except BaseException:
        connection.close()
        raise


def _context(ca: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except ssl.SSLError:
        raise ConfigError("ca: that is no certificate in PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # the SAN alone, as sso_mechs.tls
    return context
