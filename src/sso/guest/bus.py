"""The system bus on the agent's loop: calls with a deadline, signals in and out, one name of our own.

jeepney makes and parses the messages; nothing here blocks, and a bus that is gone is dialled again. A
signal counts only when it comes from the owner of the name that it is expected from, since anybody on the
bus may send one to us; and it is a hint to look, never a fact.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    Parser,
    new_method_call,
    new_signal,
)
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus import get_connectable_addresses

from sso.guest.journal import note
from sso.guest.reactor import Reactor, Timer

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
CALL_SECONDS = 5.0
DIAL_EVERY = 5.0  # seconds between two tries to reach a bus that is gone
MESSAGE_MAX = 1024 * 1024  # octets of one message; ours have some hundred
READ_SIZE = 65536
DO_NOT_QUEUE = 4  # RequestName, D-Bus specification
PRIMARY_OWNER = 1

Reply = tuple[Any, ...] | None  # the body of a reply, None for every kind of failure
Done = Callable[[Reply], None]

_OWNER_CHANGED = (
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged'"
)
_DAEMON = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")


@dataclass(frozen=True)
class Match:
    """Which signals are wanted; `path` is a namespace, "" for any."""

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

    def fits(self, message: Message, owner: str) -> bool:
        """Whether a signal is of this kind, and sent by `owner`, which the bus vouches for."""
        fields = message.header.fields
        path = str(fields.get(HeaderFields.path, ""))
        return (
            fields.get(HeaderFields.sender) == owner
            and fields.get(HeaderFields.interface) == self.interface
            and fields.get(HeaderFields.member) == self.member
            and (not self.path or path == self.path or path.startswith(f"{self.path}/"))
        )


class Bus:
    """One connection to the system bus, made anew when it is lost; `address` is for tests."""

    def __init__(self, reactor: Reactor, address: str = "") -> None:
        self._reactor = reactor
        self._address = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
        self._link: socket.socket | None = None
        self._login: Authenticator | None = None
        self._parser = Parser()
        self._serial = 0
        self._calls: dict[int, tuple[Done, Timer]] = {}
        self._matches: list[tuple[Match, Callable[[], None]]] = []
        self._owners: dict[str, str] = {}  # the unique name of each name that signals are expected from
        self._names: list[str] = []
        self._on_ready: list[Callable[[], None]] = []
        self._dialling: Timer | None = None
        self.ready = False
        self.owned: set[str] = set()

    # For everybody

    def open(self) -> None:
        """Reach for the bus; what was asked for by `match` and `own` is set up whenever it is there."""
        try:
            path = next(iter(get_connectable_addresses(self._address)))
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            link.connect(path)
        except (OSError, RuntimeError, ValueError, KeyError):
            self._dialling = self._reactor.after(DIAL_EVERY, self.open)
            return
        self._link, self._login, self._parser = link, Authenticator(), Parser()
        self._reactor.watch(link.fileno(), self._read)
        self._say()

    def close(self) -> None:
        """Leave the bus; every call that is open fails."""
        if self._dialling is not None:
            self._dialling.cancel()
        self._hang_up()

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call back each time that the bus is there (again)."""
        self._on_ready.append(callback)

    def match(self, match: Match, hint: Callable[[], None]) -> None:
        """Call back for each signal of that kind."""
        self._matches.append((match, hint))
        if self.ready:
            self._add_match(match)

    def own(self, name: str) -> None:
        """Own a well-known name from now on; `owned` says if the bus has given it."""
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

        `done` is never called before this returns.
        """
        if not self.ready and address is not _DAEMON:
            self._reactor.after(0.0, lambda: done(None))
            return
        message = new_method_call(address, member, signature, body)
        serial = self._serial + 1
        self._calls[serial] = done, self._reactor.after(seconds, lambda: self._reply(serial, None))
        self._send(message)

    def emit(self, emitter: DBusAddress, member: str, signature: str, body: tuple[Any, ...]) -> bool:
        """Send a signal to everybody; False when there is no bus."""
        return self.ready and self._send(new_signal(emitter, member, signature, body))

    # The connection

    def _say(self) -> None:
        """The next line of the authentication, then Hello (D-Bus specification, Authentication Protocol)."""
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
            self._owners[name] = reply[0] if reply else ""

        self.call(_DAEMON, "GetNameOwner", "s", (name,), done)

    def _request(self, name: str) -> None:
        def done(reply: Reply) -> None:
            if reply == (PRIMARY_OWNER,):
                self.owned.add(name)
            else:
                note("bus-name-refused", name=name)

        self.call(_DAEMON, "RequestName", "su", (name, DO_NOT_QUEUE), done)

    def _read(self) -> None:
        assert self._link is not None
        try:
            data = self._link.recv(READ_SIZE)
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
            messages = self._parser.feed(data)
        except (AuthenticationError, ValueError, KeyError, IndexError, TypeError) as error:
            self._lost(type(error).__name__)
            return
        if self._parser.buf.bytes_buffered > MESSAGE_MAX:
            self._lost("too-long")
            return
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        kind = message.header.message_type
        if kind is MessageType.signal:
            self._signal(message)
        elif kind in (MessageType.method_return, MessageType.error):
            serial = message.header.fields.get(HeaderFields.reply_serial, 0)
            self._reply(serial, message.body if kind is MessageType.method_return else None)

    def _signal(self, message: Message) -> None:
        fields = message.header.fields
        changed = fields.get(HeaderFields.member) == "NameOwnerChanged"
        if changed and fields.get(HeaderFields.sender) == _DAEMON.bus_name:
            name, _, owner = message.body
            if name in self._owners:
                self._owners[name] = owner
            return
        for match, hint in self._matches:
            owner = self._owners.get(match.sender)
            if owner and match.fits(message, owner):
                hint()

    def _reply(self, serial: int, body: Reply) -> None:
        done, timer = self._calls.pop(serial, (None, None))
        if done is not None and timer is not None:
            timer.cancel()
            done(body)

    def _send(self, message: Message) -> bool:
        self._serial += 1
        return self._write(message.serialise(serial=self._serial))

    def _write(self, data: bytes) -> bool:
        """Write all of it: a bus that cannot take some hundred octets is as good as gone."""
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
        self._dialling = self._reactor.after(DIAL_EVERY, self.open)

    def _hang_up(self) -> None:
        self.ready = False
        self.owned.clear()
        self._owners.clear()
        self._login = None
        if self._link is not None:
            self._reactor.forget(self._link.fileno())
            self._link.close()
            self._link = None
        for serial in list(self._calls):
            self._reply(serial, None)
