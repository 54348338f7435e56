"""The plug-in point: connects a port of the console with a program on the desktop (docs/plug-ins.md).

It does not depend on a kind of console or plug-in: the caller at the port reports when it opens and what it
receives, and sends what the program writes. Bytes are copied both ways, in order. None is lost while both
ends live, and each side waits for the other.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from .event_loop import EventLoop, Watch
from .process import PluginProcess

CHUNK = 64 * 1024  # bytes read from a plug-in at once; at most one write is outstanding
BACKLOG_MAX = 256 * 1024  # bytes that a plug-in has not taken; above this the port has to wait
CLOSED_TIME = 3.0  # seconds; if the guest's port stays closed for longer, the plug-in ends


class Start(NamedTuple):
    """The program for a port: `argv` with the full path of the executable; `states`: it writes its states."""

    port: str
    argv: tuple[str, ...]
    states: bool = False


class Remote(Protocol):
    """The console's side of a port."""

    def write(self, data: bytearray, sent: Callable[[], None]) -> None:
        """Send all of `data`; call `sent` later, when it can take more. Nobody changes `data` until then."""
        ...


class PlugEvent(NamedTuple):
    """An event of a plug-in. `kind`: "started", "state" (its own `text`), "exited" (`code`; `wanted` if it
    was told to end), "failed" (it could not be started, `text` says why)."""

    port: str
    kind: str
    text: str = ""
    code: int = 0
    wanted: bool = False


# Called before each start: returns what to start, or None for nothing now, and may call `restart` later.
Permit = Callable[[Start], Start | None]


class Plug:
    """One port and its plug-in: starts at most one process when the guest opens the port, if `permit` allows.

    The process goes on if the guest closes the port and opens it again within CLOSED_TIME. A process that
    ended by itself is started again when the port opens after it was closed for that long, or by `restart`.
    """

    def __init__(
        self,
        start: Start,
        loop: EventLoop,
        say: Callable[[PlugEvent], None],
        permit: Permit = lambda start: start,
    ) -> None:
        self.port = start.port
        self._start, self._loop, self._say, self._permit = start, loop, say, permit
        self._remote: Remote | None = None  # the open port, if any
        self._process: PluginProcess | None = None
        self._closed_long: Watch | None = None
        self._fresh = True  # the next opening starts it
        self._ending = False
        self._code: int | None = None  # of a process that has exited, while its last bytes are still read
        self._backlog: list[memoryview] = []
        self._waiting = 0  # bytes in the backlog
        self._reading: Watch | None = None
        self._writing: Watch | None = None
        self._outstanding: object = None  # the write that the remote has not done yet

    # Called by the console's side

    def opened(self, remote: Remote) -> None:
        """The guest has opened the port: the program's bytes go to `remote` from now on."""
        self._cancel_closed()
        self._remote = remote
        if self._process is None and self._fresh:
            self._spawn()
        else:
            self._read_more()

    def closed(self) -> None:
        """The guest has closed the port, and may open it again."""
        if self._remote is not None:
            self._remote = None
            self._stop_reading()
            self._closed_long = self._loop.after(CLOSED_TIME, self.lost)

    def lost(self) -> None:
        """The port is gone: end the plug-in's input; the next opening starts it again."""
        self._cancel_closed()
        self._remote = self._outstanding = None
        self._fresh = True
        self._end()

    def received(self, data: bytes | memoryview) -> None:
        """Take bytes from the guest. The caller must not read more while the plug is `congested`."""
        if self._process is None or self._ending or not data:
            return
        rest = memoryview(bytes(data))
        if not self._backlog:
            rest = rest[self._give(rest) :]
        if rest and self._process is not None:
            self._backlog.append(rest)
            self._waiting += len(rest)
            if self._writing is None:
                self._writing = self._loop.writable(self._process.socket.fileno(), self._write_more)

    @property
    def congested(self) -> bool:
        """Whether more than BACKLOG_MAX bytes wait for the plug-in."""
        return self._waiting > BACKLOG_MAX

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None

    # Called for the user

    def restart(self) -> None:
        """End the process, if it runs, and start it again if the port is open."""
        self._fresh = True
        if self._process is not None:
            self._end()
        elif self._remote is not None:
            self._spawn()

    def kill(self) -> None:
        """Kill the process, since the calling program ends."""
        self._cancel_closed()
        self._remote = None
        if self._process is not None and self._code is None:
            self._ending = True
            self._process.kill()
        self._end()

    # The process

    def _spawn(self) -> None:
        start = self._permit(self._start)
        if start is None:
            return
        self._fresh = self._ending = False
        try:
            self._process = PluginProcess(
                start.argv,
                self._loop,
                states=start.states,
                state=lambda text: self._say(PlugEvent(self.port, "state", text)),
                exited=self._exited,
            )
        except OSError as error:
            self._say(PlugEvent(self.port, "failed", f"{self._start.argv[0]}: {error.strerror}"))
            return
        self._say(PlugEvent(self.port, "started"))
        self._read_more()

    def _end(self) -> None:
        self._stop_reading()
        self._forget()
        if self._code is not None:
            self._over()
        elif self._process is not None:
            self._ending = True
            self._process.end()

    def _exited(self, code: int) -> None:
        self._code = code
        self._stop_reading()
        self._forget()
        if self._ending:
            self._over()
        else:
            self._read_more()

    def _over(self) -> None:
        """Clean up after the exit, when its output was read to the end or is not needed."""
        if self._process is None or self._code is None:
            return
        self._forget()  # a child of the program may have held the socket, so that bytes waited again
        self._process.close()
        event = PlugEvent(self.port, "exited", code=self._code, wanted=self._ending)
        self._process = self._code = None
        self._say(event)
        if self._remote is not None and self._fresh:
            self._spawn()

    # Bytes

    def _read_more(self) -> None:
        if not (self._process and self._remote) or self._reading or self._outstanding or self._ending:
            return
        if self._code is None:
            self._reading = self._loop.readable(self._process.socket.fileno(), self._read)
        else:
            self._read()  # do not wait: a child of the program may hold the socket open for ever

    def _read(self) -> None:
        self._stop_reading()
        if self._process is None or self._remote is None:
            return
        try:
            data = bytearray(self._process.socket.recv(CHUNK))
        except BlockingIOError:
            return self._read_more() if self._code is None else self._over()
        except OSError:
            data = bytearray()
        if data:
            write = self._outstanding = object()
            self._remote.write(data, lambda: self._sent(write))
        elif self._code is not None:
            self._over()  # else the program closed its output only, and may still read

    def _sent(self, write: object) -> None:
        if write is self._outstanding:
            self._outstanding = None
            self._read_more()

    def _give(self, data: memoryview) -> int:
        """Return how many bytes the plug-in took; if it no longer reads, all of them: they are dropped."""
        if self._process is None:
            return len(data)
        try:
            return self._process.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _write_more(self) -> None:
        while self._backlog:
            taken = self._give(self._backlog[0])
            self._waiting -= taken
            if taken < len(self._backlog[0]):
                self._backlog[0] = self._backlog[0][taken:]
                return
            del self._backlog[0]
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _forget(self) -> None:
        """Drop bytes that an ending plug-in has not taken."""
        self._backlog, self._waiting = [], 0
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _cancel_closed(self) -> None:
        if self._closed_long is not None:
            self._closed_long.cancel()
            self._closed_long = None


class PlugInPoint:
    """The plugs of one console, by the name of their port. `say` gets all their events."""

    def __init__(
        self,
        starts: Iterable[Start],
        loop: EventLoop,
        say: Callable[[PlugEvent], None],
        permit: Permit = lambda start: start,
    ) -> None:
        self._plugs = {start.port: Plug(start, loop, say, permit) for start in starts}

    def get(self, port: str) -> Plug | None:
        """Return the plug for a port of this name, or None if no plug-in is configured for it."""
        return self._plugs.get(port)

    def restart(self) -> None:
        """Start every plug-in again whose port is open."""
        for plug in self._plugs.values():
            plug.restart()

    def lost(self) -> None:
        """The console is gone, with all its ports."""
        for plug in self._plugs.values():
            plug.lost()

    @property
    def running(self) -> bool:
        """Whether any process still runs."""
        return any(plug.running for plug in self._plugs.values())

    def kill(self) -> None:
        """Kill every process."""
        for plug in self._plugs.values():
            plug.kill()
