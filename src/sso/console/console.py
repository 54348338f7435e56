"""Console: what to open and how, from an address or from a file (connection_file.py).

All of it comes from others, mostly from a web page, and is not trusted. This module opens and starts nothing.
"""

import ipaddress
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

from sso.console.vouch import place as node
from sso.credential import Credential
from sso.errors import ConfigError

SPICE, VNC = KINDS = ("spice", "vnc")
VNC_PORT = 5900
ADDRESS_MAX = 1024  # characters
NAME_MAX = 255  # characters of a host's, a user's or a window's name
PATH_MAX = 107  # bytes of a socket's path (unix(7))
PORT_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")  # of a port of the console
_ADDRESS = re.compile(r"(spice|vnc)(\+unix)?://(.*)", re.DOTALL)
_PLACE = re.compile(r"(\[[^]]*\]|[^:]*)(?::(.*))?", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]{1,15})?")
_PROXY = re.compile(r"(?:https?://)?([^/]*)/?")
_FORMS = "spice://HOST:PORT, spice://HOST?port=PORT&tls-port=PORT, spice+unix:///PATH, vnc://HOST:PORT"


class Wish(NamedTuple):
    """What a connection file asks for in its group [x-sso]; "" or None for a missing key.

    `plug_ins`: the ports that may have a plug-in. `stream`: the address of the port, for a console whose
    protocol has no ports.
    """

    spn: str = ""
    port: str = ""
    pin: str = ""
    stream: str = ""
    plug_ins: tuple[str, ...] | None = None


class SpentFile(NamedTuple):
    """A connection file that has to be removed after it is accepted: its path, and the device and inode."""

    path: str
    device: int
    inode: int


class Console(NamedTuple):
    """One console, checked and capped. It is at `unix_path`, or at `host` with at least one port (0: none).

    `ca` and `stream_ca` (for its stream; None: the same) are PEM text. `hotkeys` maps names of actions to GTK
    accelerators. `notes` are lines for the user about ignored parts. `spent` is the file to remove. The owner
    of the console wipes `password`.
    """

    kind: str
    host: str = ""
    port: int = 0
    tls_port: int = 0
    unix_path: str = ""
    username: str = ""
    password: Credential | None = None
    title: str = ""
    fullscreen: bool = False
    ca: str = ""
    stream_ca: str | None = None
    host_subject: str = ""
    tls_ciphers: str = ""
    secure_channels: tuple[str, ...] = ()
    disable_channels: tuple[str, ...] = ()
    proxy: str = ""
    color_depth: int = 0
    disable_effects: tuple[str, ...] = ()
    enable_smartcard: bool = False
    enable_usbredir: bool = False
    enable_usb_autoshare: bool = False
    usb_filter: str = ""
    hotkeys: Mapping[str, str] = MappingProxyType({})
    wish: Wish = Wish()
    notes: tuple[str, ...] = ()
    spent: SpentFile | None = None

    @property
    def name(self) -> str:
        """The name for the user: one line without control characters, never empty."""
        for text in (self.title, self.host, self.unix_path.rpartition("/")[2]):
            if line := printable(text):
                return line
        return self.kind

    @property
    def places(self) -> tuple[str, ...]:
        """Every host, or path of a socket, that can see the data: also the proxy and the stream."""
        return tuple(filter(None, (self.unix_path or node(self.host), self.proxy_host, self.stream_host)))

    @property
    def proxy_host(self) -> str:
        """The proxy's host, "" for none."""
        return proxy_place(self.proxy)[0] if self.proxy else ""

    @property
    def stream_host(self) -> str:
        """The stream's host, or the path of its socket, "" for none."""
        kind, _, stream = self.wish.stream.partition(":")
        return place(stream, "stream")[0] if kind in ("tcp", "tls") else stream


def parse_address(text: str) -> Console:
    """Read an address that the user (or a link) gives instead of a file.

    Raises ConfigError for an unknown form, and for a user name or a password in it, which everybody on this
    machine could see in the list of processes. A percent sign is an escape.
    """
    found = _ADDRESS.fullmatch(text) if len(text) <= ADDRESS_MAX else None
    if not found:
        raise ConfigError(f"the address has none of the known forms: {_FORMS}")
    kind, unix, rest = found.groups()
    if unix:
        return Console(kind, unix_path=socket_path(_unescaped(rest), "address"))
    where, _, query = rest.partition("?")
    where = where.removesuffix("/")
    if "@" in where:
        raise ConfigError("address: leave the user's name and the password out: everybody here can see them")
    host, port = place(where, "address")
    ports = {"port": port} if port else {}
    for word in filter(None, re.split("[&;]", query)):
        key, _, value = word.partition("=")
        if key in ("password", "username", "user"):
            raise ConfigError(f"address: leave the {key} out: everybody here can see it; you will be asked")
        if key not in ("port", "tls-port") or kind == VNC:
            raise ConfigError("address: after ? only port and tls-port are known, and those for SPICE")
        if key in ports:
            raise ConfigError(f"address: {key} is given twice")
        ports[key] = port_number(value, key)
    if kind == VNC:
        ports.setdefault("port", VNC_PORT)
    if not ports:
        raise ConfigError("address: a port is missing, as in spice://HOST:5900")
    return Console(kind, host=host, port=ports.get("port", 0), tls_port=ports.get("tls-port", 0))


def place(text: str, key: str) -> tuple[str, int]:
    """Split HOST, HOST:PORT, [IPV6]:PORT into host and port (0: none). Raises ConfigError, naming `key`."""
    found = _PLACE.fullmatch(text)
    host, port = found.groups() if found else ("", None)
    if host.startswith("["):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host if _IPV6.fullmatch(host) else "")
        except ValueError:
            raise ConfigError(f"{key}: what is in brackets has to be an IPv6 address") from None
    elif not _HOST.fullmatch(host) or len(host) > NAME_MAX:
        raise ConfigError(f"{key}: the host has to be a name or a number; write IPv6 in brackets")
    return host, port_number(port, key) if port is not None else 0


def proxy_place(text: str) -> tuple[str, int]:
    """Return host and port of a proxy's address; raises ConfigError if it is not http:// or https://."""
    if "@" in text:
        raise ConfigError("proxy: a user's name or a password cannot be in its address")
    found = _PROXY.fullmatch(text)
    if not found:
        raise ConfigError("proxy: it has to be http://HOST:PORT")
    return place(found[1], "proxy")


def port_number(text: str, key: str) -> int:
    """Return a TCP port, 1 to 65535; raises ConfigError that names `key`."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ConfigError(f"{key}: a port has to be a number from 1 to 65535")
    return int(text)


def socket_path(text: str, key: str) -> str:
    """Check an absolute path that fits into a socket's address; raises ConfigError that names `key`."""
    if not text.startswith("/") or not text.isprintable() or text.endswith("/"):
        raise ConfigError(f"{key}: a socket has to be an absolute path of printable characters")
    if len(text.encode("utf-8", "surrogateescape")) > PATH_MAX:
        raise ConfigError(f"{key}: the path of a socket has at most {PATH_MAX} bytes")
    return text


def printable(text: str) -> str:
    """Make one line for the user: white space becomes one blank, other control characters are removed."""
    line = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return " ".join(line.split())[:NAME_MAX]


def _unescaped(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError("address: the path is no UTF-8") from None
