"""A console over SPICE: spice-gtk's session, and those of its ports that have a plug-in.

This file works around some behaviour of spice-gtk and PyGObject: SpiceClientGLib's `connect` shadows that of
GObject; the first bytes of a port may come before its name; a lost channel does not report that its port is
closed; by default the library sends ports in the clear while other channels use TLS.
"""

import ctypes
import os
import re
import warnings
from collections.abc import Callable
from typing import Any

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, SpiceClientGLib  # noqa: E402  (the version comes first)

from sso.console.console import Console  # noqa: E402
from sso.plug.plug import Plug, PlugInPoint  # noqa: E402

from .spice_c import set_ca, write  # noqa: E402

# Drop spice-gtk's warnings about a channel that ends while it starts; SPICE_DEBUG=1 shows them again.
if not os.environ.get("SPICE_DEBUG"):
    _LEVELS = GLib.LogLevelFlags.LEVEL_CRITICAL | GLib.LogLevelFlags.LEVEL_WARNING
    GLib.log_set_handler("GSpice", _LEVELS, lambda domain, level, text, data: None, None)
    warnings.filterwarnings("ignore", "g_object_get: assertion 'G_IS_OBJECT")

_connect = GObject.Object.connect
_EVENT = SpiceClientGLib.ChannelEvent

# Messages for the user about events of the main channel; all other events get LOST.
LOST = "the connection to the console is lost"
_ERRORS = {
    _EVENT.ERROR_CONNECT: "nobody answers at the console's address",
    _EVENT.ERROR_TLS: "the console's certificate is not the one that was asked for",
    _EVENT.ERROR_AUTH: "the console's password is wrong or too old",
    _EVENT.ERROR_LINK: "the console speaks no SPICE that we know",
}

_LEAVING = 5  # seconds until a session that was left is dropped
_leaving: set["SpiceConsole"] = set()


class SpiceConsole:
    """One session with a SPICE server. After it has `ended`, drop it; to connect again, make a new one.

    `channel` is called with every further channel (displays, for the window), `connected` when the console is
    there, and `ended` once, with a line for the user ("" after `close`) and whether a password is needed.
    """

    def __init__(
        self,
        console: Console,
        point: PlugInPoint,
        *,
        ended: Callable[[str, bool], None],
        connected: Callable[[], None] = lambda: None,
        channel: Callable[[Any], None] = lambda channel: None,
        headless: bool = False,
    ) -> None:
        self._point, self._headless = point, headless
        self._ended, self._connected, self._channel = ended, connected, channel
        self._ports: list[_Port] = []
        self._over = False
        self._disabled = console.disable_channels
        self.session = _session(console)
        _connect(self.session, "channel-new", self._channel_new)
        _connect(self.session, "disconnected", lambda session: self._end("", False))

    def open(self) -> None:
        """Start to connect; `connected` or `ended` is called later."""
        if not SpiceClientGLib.Session.connect(self.session):
            GLib.idle_add(self._end, "the console's address cannot be used", False)

    def close(self) -> None:
        """Leave the console."""
        self._end("", False)

    def _channel_new(self, session: Any, channel: Any) -> None:
        if isinstance(channel, SpiceClientGLib.MainChannel):
            _connect(channel, "channel-event", self._main_event)
        elif _kind(channel) in self._disabled:
            pass
        elif isinstance(channel, SpiceClientGLib.PortChannel):
            # A port's name is known only after its channel is connected.
            self._ports.append(_Port(channel, self._point.get))
            SpiceClientGLib.Channel.connect(channel)
        elif not self._headless:
            self._channel(channel)

    def _main_event(self, channel: Any, event: Any) -> None:
        if event == _EVENT.OPENED:
            self._connected()
        elif event != _EVENT.SWITCHING:
            self._end("" if self._over else _ERRORS.get(event, LOST), event == _EVENT.ERROR_AUTH)

    def _end(self, why: str, password: bool) -> None:
        if self._over:
            return
        self._over = True
        for port in self._ports:
            port.lost()
        # Disconnect on idle, since spice-gtk would free the channel during that channel's own signal. Keep
        # the session for a while, since its channels still use it after it reports that it is disconnected.
        _leaving.add(self)
        GLib.idle_add(self._disconnect)
        GLib.timeout_add_seconds(_LEAVING, _leaving.discard, self)
        self._ended(why, password)

    def _disconnect(self) -> bool:
        SpiceClientGLib.Session.disconnect(self.session)
        return False


class _Port:
    """A port channel, with its plug as soon as the port's name is known."""

    def __init__(self, channel: Any, plug: Callable[[str], Plug | None]) -> None:
        self._channel, self._find = channel, plug
        self._plug: Plug | None = None
        self._open = self._lost = False
        _connect(channel, "notify::port-name", lambda *_: self._look())
        _connect(channel, "notify::port-opened", lambda *_: self._look())
        _connect(channel, "port-data", self._data)
        _connect(channel, "channel-event", self._event)

    def write(self, data: bytearray, sent: Callable[[], None]) -> None:
        """Implement Remote.write; bytes that a closing port does not take are lost."""
        write(self._channel, data, lambda taken: sent())

    def lost(self) -> None:
        self._lost = True
        if self._plug is not None:
            self._plug.lost()

    def _look(self) -> None:
        name = self._channel.get_property("port-name")
        if self._lost or not name:
            return
        self._plug = self._plug or self._find(name)
        is_open = bool(self._channel.get_property("port-opened"))
        if self._plug is None or is_open == self._open:
            return
        self._open = is_open
        if is_open:
            self._plug.opened(self)
        else:
            self._plug.closed()

    def _data(self, channel: Any, address: int, size: int) -> None:
        """Pass bytes on. Return only when the plug-in can take more: spice-gtk reads the channel's next
        message after that, and serves the other channels meanwhile."""
        self._look()
        if self._plug is None or self._lost:
            return
        self._plug.received(ctypes.string_at(address, size))
        while self._plug.congested and not self._lost:
            GLib.MainContext.default().iteration(True)

    def _event(self, channel: Any, event: Any) -> None:
        if event not in (_EVENT.OPENED, _EVENT.SWITCHING):
            self.lost()


def _kind(channel: Any) -> str:
    """Return the channel's type, as a connection file names it."""
    return str(SpiceClientGLib.Channel.type_to_string(channel.get_property("channel-type")))


def _session(console: Console) -> Any:
    session = SpiceClientGLib.Session()
    for name, value in _properties(console).items():
        session.set_property(name, value)
    if console.ca:
        set_ca(session, console.ca.encode())
    return session


def _properties(console: Console) -> dict[str, Any]:
    """Return the properties of spice-gtk's session for a Console."""
    # Ignore what a file says about devices: the viewer never gives one of this desktop to a guest.
    properties: dict[str, Any] = {"enable-audio": False, "enable-usbredir": False, "enable-smartcard": False}
    if console.unix_path:
        properties["unix-path"] = console.unix_path
    else:
        properties["host"] = console.host
        # With TLS nothing may go in the clear; with both ports set, spice-gtk would use the first that fits.
        if console.tls_port:
            properties |= {"tls-port": str(console.tls_port), "secure-channels": ["all"]}
        else:
            properties["port"] = str(console.port)
            if console.secure_channels:
                properties["secure-channels"] = list(console.secure_channels)
    if console.host_subject:
        properties["cert-subject"] = console.host_subject
        properties["verify"] = SpiceClientGLib.SessionVerify.SUBJECT
    texts = {"username": console.username, "ciphers": _ciphers(console.tls_ciphers), "proxy": console.proxy}
    properties |= {name: value for name, value in texts.items() if value}
    if console.password is not None and console.password.secret is not None:
        # spice-gtk takes only a string. A ticket lives two minutes, and is dropped with the session.
        properties["password"] = bytes(console.password.secret).decode()
    if console.color_depth:
        properties["color-depth"] = console.color_depth
    if console.disable_effects:
        properties["disable-effects"] = list(console.disable_effects)
    return properties


def _ciphers(asked: str) -> str:
    """Return a file's cipher list, without words that switch certificates off or lower the security level."""
    words = [word for word in re.split("[:;, ]", asked) if word and not word.startswith("@")]
    return ":".join((*words, "!aNULL", "!eNULL")) if words else ""
