"""Looking at one console: the connection, its plug-ins, what a person is told; with and without a window."""

from collections.abc import Callable
from typing import Any, Protocol

from sso.console.console import Console
from sso.credential import Credential
from sso.plug.event_loop import EventLoop
from sso.plug.plug import PlugEvent, PlugInPoint, Start
from sso.printable import one_line

from .agreed import Agreed
from .intent import Intent
from .sign_on import Ask, SignOn
from .status_line import StatusLine
from .stream import Stream

SSO_PORT = (
    "spice.sso.0"  # whose plug-in gets the stream of a console without ports, unless the file names one
)


class Face(Protocol):
    """What shows a console: a window, or lines on stderr."""

    def line(self, text: str) -> None:
        """Show a line, "" for none."""
        ...

    def connected(self) -> None:
        """The console is there."""
        ...

    def ended(self, why: str, password: bool) -> None:
        """It is gone; `why` is for a person, `password` says that one is asked for."""
        ...

    @property
    def ask(self) -> Ask | None:
        """What puts a question to the person; None where nobody can be asked."""
        ...


class Connection(Protocol):
    """SpiceConsole or VncConsole."""

    def open(self) -> None: ...
    def close(self) -> None: ...


# Makes a connection: console, plug-in point, and who hears that it is there, and that it has ended.
Connect = Callable[[Console, PlugInPoint, Callable[[], None], Callable[[str, bool], None]], Connection]


class Viewing:
    """A console that is looked at, left, and looked at again. `say` is for who wants to know each step."""

    def __init__(
        self,
        intent: Intent,
        starts: tuple[Start, ...],
        loop: EventLoop,
        connect: Connect,
        face: Face,
        *,
        say: Callable[[str], None] = lambda line: None,
        agreed: Agreed | None = None,
    ) -> None:
        self.console = console = intent.reach.console
        self.failed = False
        self._over = False  # the connection has ended, and that was told
        self._connect, self._face, self._say = connect, face, say
        self._status = StatusLine()
        self._door = SignOn(
            intent, loop, face.ask, show=self._show, say=self._event, restart=self._restart, agreed=agreed
        )
        self._point = PlugInPoint(starts, loop, self._event, self._door.permit)
        self._connection: Connection | None = None
        self._stream: Stream | None = None
        if console.wish.stream:
            plug = self._point.get(console.wish.port or SSO_PORT)
            ca = console.ca if console.stream_ca is None else console.stream_ca
            if plug is not None:
                self._stream = Stream(console.wish.stream, plug, loop, ca=ca, trouble=self._show)

    def open(self) -> None:
        """Connect to the console, and to its stream."""
        if self._connection is None:
            self.failed = self._over = False
            self._connection = self._connect(self.console, self._point, self._there, self._gone)
            self._connection.open()

    def close(self) -> None:
        """Leave the console; plug-ins are told to end."""
        if self._connection is not None:
            self._connection.close()

    def fail(self, why: str) -> None:
        """Leave the console since something of our own has failed; `why` is for a person."""
        connection = self._connection
        try:
            self._gone(why, False)
        finally:
            if connection is not None:
                connection.close()

    def end(self) -> None:
        """Leave for good: no plug-in stays behind."""
        self.close()
        self._door.left()
        self._point.kill()
        if self.console.password is not None:
            self.console.password.wipe()

    def sign_in_again(self) -> None:
        """Start the plug-ins anew, as a person asks for it."""
        self._door.again()
        self._point.restart()

    def use_password(self, password: Credential) -> None:
        """The console's password for the next `open`."""
        if self.console.password is not None:
            self.console.password.wipe()
        self.console = self.console._replace(password=password)

    @property
    def busy(self) -> bool:
        """Whether a plug-in still runs."""
        return self._point.running

    def _there(self) -> None:
        self._say(f"connected to {self.console.name}")
        self._face.connected()
        if self._stream is not None:
            self._stream.open()

    def _gone(self, why: str, password: bool) -> None:
        if self._over:
            return
        self._connection, self._over = None, True
        self.failed = bool(why)
        if self._stream is not None:
            self._stream.close()
        self._point.lost()
        self._door.left()
        self._say(why or f"left {self.console.name}")
        self._face.ended(why, password)

    def _restart(self, port: str) -> None:
        if (plug := self._point.get(port)) is not None:
            plug.restart()

    def _event(self, event: PlugEvent) -> None:
        words: dict[str, Any] = {"state": event.text, "failed": event.text, "exited": event.code}
        self._say(f"{event.port}: {event.kind} {words.get(event.kind, '')}".rstrip())
        line = self._status.event(event)
        if line is not None:
            self._show(line)

    def _show(self, line: str) -> None:
        line = one_line(line)
        if line:
            self._say(f"shows: {line}")
        self._face.line(line)
