"""The plug-in point: a port of the console that is open in the guest, and a program at this end of it.

It knows no console and no plug-in: who has the port says when it opens, what comes, and takes what goes
back. Octets are copied both ways, in order, none lost while both ends live, and each side waits for the
other. docs/plug-ins.md.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from .event_loop import EventLoop, Watch
from .process import PluginProcess

CHUNK = 64 * 1024  # octets read of a plug-in at once; a single write is outstanding
BACKLOG_MAX = 256 * 1024  # octets that a plug-in has not taken, above which the port has to wait
CLOSED_TIME = 3.0  # seconds that the guest may keep its port closed before the plug-in is ended


class Start(NamedTuple):
    """What to start for a port: `argv` with the whole path of the executable, and whether it says states."""

    port: str
    argv: tuple[str, ...]
    states: bool = False


class Remote(Protocol):
    """The console's side of a port."""

    def write(self, data: bytearray, sent: Callable[[], None]) -> None:
        """Send all of it; `sent` is called, later, when more may come. `data` stays as it is meanwhile."""
        ...


class PlugEvent(NamedTuple):
    """What a plug-in does. `kind`: "started", "state" (its own `text`), "exited" (`code`; `wanted` when it
    was told to end), "failed" (it could not be started, `text` says why)."""

    port: str
    kind: str
    text: str = ""
    code: int = 0
    wanted: bool = False


# Asked before each start: what to start, or None for nothing now; whoever says that may `restart` it later.
Permit = Callable[[Start], Start | None]


class Plug:
    """One port and its plug-in: at most one process, started whenever the guest opens the port, if it may be.

    It goes on when the guest closes the port and opens it again within CLOSED_TIME; one that ended by itself
    is started again when the port opens after having been closed for that long, or by `restart`.
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
        self._remote: Remote | None = None  # where it is open now
        self._process: PluginProcess | None = None
        self._closed_long: Watch | None = None
        self._fresh = True  # the next opening starts it
        self._ending = False
        self._code: int | None = None  # of a process that is over, while its last octets are on their way
        self._backlog: list[memoryview] = []
        self._waiting = 0  # octets in the backlog
        self._reading: Watch | None = None
        self._writing: Watch | None = None
        self._outstanding: object = None  # the write that the remote has not done yet

    # What the console's side says

    def opened(self, remote: Remote) -> None:
        """The guest has opened the port: its octets go to `remote` from now on."""
        self._cancel_closed()
        self._remote = remote
        if self._process is None and self._fresh:
            self._spawn()
        else:
            self._read_more()

    def closed(self) -> None:
        """The guest has closed it, and may open it again."""
        if self._remote is not None:
            self._remote = None
            self._stop_reading()
            self._closed_long = self._loop.after(CLOSED_TIME, self.lost)

    def lost(self) -> None:
        """The port is gone: the plug-in's input ends, and the next opening starts it anew."""
        self._cancel_closed()
        self._remote = self._outstanding = None
        self._fresh = True
        self._end()

    def received(self, data: bytes | memoryview) -> None:
        """Octets from the guest. The caller reads no more while the plug is `congested`."""
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
        """Whether the plug-in has more to take than is good."""
        return self._waiting > BACKLOG_MAX

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    # What a person says

    def restart(self) -> None:
        """End it, if it runs, and start it again if the port is open."""
        self._fresh = True
        if self._process is not None:
            self._end()
        elif self._remote is not None:
            self._spawn()

    def kill(self) -> None:
        """End it at once: the program that we are in ends."""
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
        """It has ended, and all that it said is on its way or of no use."""
        if self._process is None or self._code is None:
            return
        self._process.close()
        event = PlugEvent(self.port, "exited", code=self._code, wanted=self._ending)
        self._process = self._code = None
        self._say(event)
        if self._remote is not None and self._fresh:
            self._spawn()

    # Octets

    def _read_more(self) -> None:
        if not (self._process and self._remote) or self._reading or self._outstanding or self._ending:
            return
        if self._code is None:
            self._reading = self._loop.readable(self._process.socket.fileno(), self._read)
        else:
            self._read()  # a child of its own may hold the socket open for ever

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
            self._over()  # else it has closed its output, and may still read

    def _sent(self, write: object) -> None:
        if write is self._outstanding:
            self._outstanding = None
            self._read_more()

    def _give(self, data: memoryview) -> int:
        """How much the plug-in takes now; all of it once it reads no more, since nobody misses that."""
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
        """Drop what a plug-in that goes has not taken."""
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
    """The plugs of one console, by the name of their port. `say` hears all that happens to them."""

    def __init__(
        self,
        starts: Iterable[Start],
        loop: EventLoop,
        say: Callable[[PlugEvent], None],
        permit: Permit = lambda start: start,
    ) -> None:
        self._plugs = {start.port: Plug(start, loop, say, permit) for start in starts}

    def get(self, port: str) -> Plug | None:
        """The plug for a port of this name, None where no plug-in is configured for it."""
        return self._plugs.get(port)

    def restart(self) -> None:
        """Start every plug-in anew whose port is open."""
        for plug in self._plugs.values():
            plug.restart()

    def lost(self) -> None:
        """The console is gone, and every port of it."""
        for plug in self._plugs.values():
            plug.lost()

    @property
    def running(self) -> bool:
        """Whether any process is there still."""
        return any(plug.running for plug in self._plugs.values())

    def kill(self) -> None:
        """End every process at once."""
        for plug in self._plugs.values():
            plug.kill()
