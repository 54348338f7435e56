"""Controls one console: its connection, its plug-ins, the lines for the user; also without a window."""

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

# The plug-in of this port gets the stream of a console without ports, unless the file names another port.
SSO_PORT = "spice.sso.0"


class Face(Protocol):
    """Shows a console: a window, or lines on stderr."""

    def line(self, text: str) -> None:
        """Show a line, "" for none."""
        ...

    def connected(self) -> None:
        """Show that the console is connected."""
        ...

    def ended(self, why: str, password: bool) -> None:
        """Show that the console has ended; `why` is for the user, `password`: the console asks for one."""
        ...

    @property
    def ask(self) -> Ask | None:
        """The function that asks the user a question; None if there is nobody to ask."""
        ...


class Connection(Protocol):
    """SpiceConsole or VncConsole."""

    def open(self) -> None: ...
    def close(self) -> None: ...


# Makes a connection from a console, a plug-in point, and callbacks for connected and ended.
Connect = Callable[[Console, PlugInPoint, Callable[[], None], Callable[[str, bool], None]], Connection]


class Viewing:
    """One console that the user opens, leaves and opens again. `say` gets a line for each step."""

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
        self._over = False  # the connection has ended, and the face was told
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
        """Leave the console, and tell its plug-ins to end."""
        if self._connection is not None:
            self._connection.close()

    def fail(self, why: str) -> None:
        """Leave the console after an error of our own; `why` is for the user."""
        connection = self._connection
        try:
            self._gone(why, False)
        finally:
            if connection is not None:
                connection.close()

    def end(self) -> None:
        """Leave for ever, and kill all plug-ins."""
        self.close()
        self._door.left()
        self._point.kill()
        if self.console.password is not None:
            self.console.password.wipe()

    def sign_in_again(self) -> None:
        """Start the plug-ins again, as the user has asked."""
        self._door.again()
        self._point.restart()

    def use_password(self, password: Credential) -> None:
        """Set the console's password for the next `open`."""
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
