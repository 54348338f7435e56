"""The system bus on the agent's event loop: calls with a deadline, signals in and out, one name of our own.

jeepney builds and parses the messages. Nothing here blocks; we reconnect to a bus that is gone or late.
Every process on the bus may send us signals, so a signal counts only if it comes from the owner of the name
that we expect. It is only a hint to look: its body is not parsed. Messages that are too long or cannot be
parsed are skipped, so that no sender can make us disconnect. The bus matches replies to calls.
"""

import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    new_method_call,
    new_signal,
)
from jeepney.auth import BEGIN, Authenticator
from jeepney.bus import get_connectable_addresses
from jeepney.low_level import Header, calc_msg_size

from sso.daemon.reactor import Reactor, Timer
from sso.guest.log import note

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
CALL_SECONDS = 5.0
DIAL_EVERY = 5.0  # seconds between two tries to connect
MESSAGE_MAX = 64 * 1024  # bytes of a message that we parse; those that we expect have a few hundred
LEGAL_MAX = 2**27  # bytes of a message (D-Bus specification, Message Format)
HEAD = 16  # bytes that contain a message's length
READ_SIZE = 65536
SERIALS = 2**32 - 1
OWNER = (1,), (4,)  # replies of RequestName: we are the owner now, or were it already

Reply = tuple[Any, ...] | None  # the body of a reply; None for every kind of failure
Done = Callable[[Reply], None]

_OWNER_CHANGED = (
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged'"
)
_DAEMON = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")


# The exceptions of jeepney for bytes that are not a message, or for a kind of message that it does not know.
_MALFORMED = (ValueError, LookupError, TypeError, AssertionError, RecursionError, struct.error)


class Match(NamedTuple):
    """Selects signals; `path` is a path namespace, "" for any."""

    sender: str
    interface: str
    member: str
    path: str = ""

    @property
    def rule(self) -> str:
        path = f",path_namespace='{self.path}'" if self.path else ""
        return (
            f"type='signal',sender='{self.sender}',interface='{self.interface}',member='{self.member}'{path}"
        )

    def fits(self, header: Header, owner: str) -> bool:
        """Whether a signal matches and its sender is `owner`; the bus itself sets the sender."""
        fields = header.fields
        path = str(fields.get(HeaderFields.path, ""))
        return (
            fields.get(HeaderFields.sender) == owner
            and fields.get(HeaderFields.interface) == self.interface
            and fields.get(HeaderFields.member) == self.member
            and (not self.path or path == self.path or path.startswith(f"{self.path}/"))
        )


class Incoming:
    """Cuts a byte stream into messages without parsing them; drops those over MESSAGE_MAX as they arrive."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are complete now. Raises one of _MALFORMED if this is not D-Bus."""
        self._data += data
        while True:
            skipped = min(self._skip, len(self._data))
            del self._data[:skipped]
            self._skip -= skipped
            if len(self._data) < HEAD:
                return
            size = calc_msg_size(self._data[:HEAD])
            if size > LEGAL_MAX:
                raise ValueError("no message")
            if size > MESSAGE_MAX:
                self._skip = size
            elif size > len(self._data):
                return
            else:
                yield bytes(self._data[:size])
                del self._data[:size]


class Bus:
    """Keeps one connection to the system bus and reconnects when it is lost; `address` is for tests."""

    def __init__(self, reactor: Reactor, address: str = "") -> None:
        self._reactor = reactor
        self._address = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
        self._link: socket.socket | None = None
        self._login: Authenticator | None = None
        self._incoming = Incoming()
        self._serial = 0
        self._calls: dict[int, tuple[Done, Timer]] = {}
        self._matches: list[tuple[Match, Callable[[], None]]] = []
        self._owners: dict[str, str] = {}  # well-known name to unique name, for expected senders
        self._names: list[str] = []
        self._on_ready: list[Callable[[], None]] = []
        self._timer: Timer | None = None  # when to reconnect, or to give up a bus that does not answer Hello
        self.ready = False
        self.owned: set[str] = set()

    # Public methods

    @property
    def reachable(self) -> bool:
        """Whether a bus accepted the connection, even if it has not answered Hello yet."""
        return self._link is not None

    def open(self) -> None:
        """Start to connect; every connection sets up all matches and names requested by `match` and `own`."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            link.connect(next(iter(get_connectable_addresses(self._address))))
        except (OSError, RuntimeError, ValueError):
            link.close()
            self._timer = self._reactor.after(DIAL_EVERY, self.open)
            return
        self._link, self._login, self._incoming = link, Authenticator(), Incoming()
        self._timer = self._reactor.after(CALL_SECONDS, lambda: self._lost("late"))
        self._reactor.readable(link.fileno(), self._read)
        self._say()

    def close(self) -> None:
        """Disconnect; every open call fails."""
        self._hang_up()

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Run `callback` each time the bus is connected, and when it has given us a name."""
        self._on_ready.append(callback)

    def match(self, match: Match, hint: Callable[[], None]) -> None:
        """Run `hint` for each signal that matches, and when another process becomes the expected sender."""
        self._matches.append((match, hint))
        if self.ready:
            self._add_match(match)

    def own(self, name: str) -> None:
        """Request a well-known name, now or when its owner gives it up; `owned` says whether we have it."""
        self._names.append(name)
        if self.ready:
            self._request(name)

    def call(
        self,
        address: DBusAddress,
        member: str,
        signature: str | None = None,
        body: tuple[Any, ...] = (),
        done: Done = lambda reply: None,
        seconds: float = CALL_SECONDS,
    ) -> None:
        """Call a method; `done` gets the reply's body, or None for an error, a late reply, or no bus.

        This method returns before `done` is called.
        """
        if not self.ready and address is not _DAEMON:
            self._reactor.after(0.0, lambda: done(None))
            return
        message = new_method_call(address, member, signature, body)
        serial = self._serial % SERIALS + 1
        # No deadline for the bus itself: its answers about names and matches would never be repeated.
        late = (lambda: self._lost("late")) if address is _DAEMON else (lambda: self._reply(serial, None))
        self._calls[serial] = done, self._reactor.after(seconds, late)
        self._send(message)

    def emit(self, emitter: DBusAddress, member: str, signature: str, body: tuple[Any, ...]) -> bool:
        """Broadcast a signal; False when there is no bus."""
        return self.ready and self._send(new_signal(emitter, member, signature, body))

    # The connection

    def _say(self) -> None:
        """Send the next authentication line, then Hello (D-Bus specification, Authentication Protocol)."""
        assert self._login is not None
        if self._login.authenticated:
            self._login = None
            self._write(BEGIN)
            self.call(_DAEMON, "Hello", done=self._greeted)
        elif line := self._login.data_to_send():
            self._write(line)

    def _greeted(self, reply: Reply) -> None:
        if reply is None:
            self._lost("no-hello")
            return
        if self._timer is not None:
            self._timer.cancel()
        self.ready = True
        note("bus-back")
        for match, _ in self._matches:
            self._add_match(match)
        for name in self._names:
            self._request(name)
        for callback in self._on_ready:
            callback()

    def _add_match(self, match: Match) -> None:
        self.call(_DAEMON, "AddMatch", "s", (match.rule,))
        if match.sender not in self._owners:
            self._owners[match.sender] = ""
            self.call(_DAEMON, "AddMatch", "s", (f"{_OWNER_CHANGED},arg0='{match.sender}'",))
            self._find_owner(match.sender)

    def _find_owner(self, name: str) -> None:
        def done(reply: Reply) -> None:
            self._owners[name] = str(reply[0]) if reply else ""

        self.call(_DAEMON, "GetNameOwner", "s", (name,), done)

    def _request(self, name: str) -> None:
        def done(reply: Reply) -> None:
            if reply not in OWNER and self._link is not None:
                note("bus-name-refused", name=name)

        self.call(_DAEMON, "RequestName", "su", (name, 0), done)

    def _read(self) -> None:
        link = self._link
        assert link is not None
        try:
            data = link.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost("hang-up")
            return
        try:
            if self._login is not None:
                self._login.feed(data)
                self._say()
                return
            messages = list(self._incoming.feed(data))
        except _MALFORMED as error:
            self._lost(type(error).__name__)
            return
        for raw in messages:
            if self._link is link:
                self._take(raw)

    def _take(self, raw: bytes) -> None:
        try:
            header, _ = Header.from_buffer(raw)
        except _MALFORMED:
            return
        if header.message_type is MessageType.signal:
            self._signal(header, raw)
        elif header.message_type in (MessageType.method_return, MessageType.error):
            serial = header.fields.get(HeaderFields.reply_serial)
            good = header.message_type is MessageType.method_return
            if isinstance(serial, int):
                self._reply(serial, _body(raw) if good else None)

    def _signal(self, header: Header, raw: bytes) -> None:
        if header.fields.get(HeaderFields.sender) == _DAEMON.bus_name:
            self._names_changed(header.fields.get(HeaderFields.member), _body(raw))
            return
        for match, hint in self._matches:
            owner = self._owners.get(match.sender)
            if owner and match.fits(header, owner):
                hint()

    def _names_changed(self, member: object, body: Reply) -> None:
        """Handle the bus's signals about names, ours and those of other processes."""
        match member, body:
            case "NameOwnerChanged", (str(name), str(), str(owner)) if name in self._owners:
                self._owners[name] = owner
                for hint in dict.fromkeys(hint for match, hint in self._matches if match.sender == name):
                    hint()
            case "NameAcquired", (str(name),) if name in self._names:
                self.owned.add(name)
                for callback in self._on_ready:
                    callback()
            case "NameLost", (str(name),):
                self.owned.discard(name)

    def _reply(self, serial: int, body: Reply) -> None:
        done, timer = self._calls.pop(serial, (None, None))
        if done is not None and timer is not None:
            timer.cancel()
            done(body)

    def _send(self, message: Message) -> bool:
        self._serial = self._serial % SERIALS + 1
        return self._write(message.serialise(serial=self._serial))

    def _write(self, data: bytes) -> bool:
        """Write everything or disconnect: a bus that cannot accept a few hundred bytes is out of order."""
        assert self._link is not None
        try:
            written = self._link.send(data, socket.MSG_NOSIGNAL)
        except OSError:
            written = 0
        if written == len(data):
            return True
        self._reactor.after(0.0, lambda: self._lost("stalled"))
        return False

    def _lost(self, reason: str) -> None:
        if self._link is None:
            return
        note("bus-lost", reason=reason)
        self._hang_up()
        self._timer = self._reactor.after(DIAL_EVERY, self.open)

    def _hang_up(self) -> None:
        self.ready = False
        self._login = None
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            self._reactor.forget(self._link.fileno())
            self._link.close()
            self._link = None
        for serial in list(self._calls):
            self._reply(serial, None)
        # After the calls have failed: their callbacks may change what we know of names.
        self.owned.clear()
        self._owners.clear()


def _body(raw: bytes) -> Reply:
    try:
        body: tuple[Any, ...] = Message.from_buffer(raw).body
    except _MALFORMED:
        return None
    return body
