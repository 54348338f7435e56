"""Reads a connection file (.vv), in the form of remote-viewer(1) with our group [x-sso], into a Console.

Such a file comes from a web page. It says which console is meant, and can only restrict what the local
configuration (settings.py) allows plug-ins to do. docs/man/sso-viewer.1 describes the keys.

Every file that remote-viewer opens is accepted: a value that does not apply gets a note. The exceptions are
the keys in STRICT (where the console is, who it has to be, what may be sent to it) and all of [x-sso].
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sso.console.accelerator import HOTKEYS, accelerator
from sso.console.console import (
    KINDS,
    NAME_MAX,
    PORT_NAME,
    SPICE,
    VNC,
    VNC_PORT,
    Console,
    SpentFile,
    Wish,
    place,
    port_number,
    printable,
    proxy_place,
    socket_path,
)
from sso.console.key_file import Entry, entries, unescaped
from sso.credential import Credential
from sso.errors import ConfigError
from sso.framing import wipe
from sso.spn import is_spn

SIZE_MAX = 256 * 1024  # bytes of a file
CA_MAX = 64 * 1024  # characters of its certificates
TEXT_MAX = 1024  # characters of any other value
PASSWORD_MAX = 1024  # bytes
LIST_MAX = 64  # entries of a list
NOTES_MAX = 8  # lines; further notes are only counted
PIN = re.compile("sha256:[0-9A-Fa-f]{64}")
KNOWN_VERSION = (11, 0)  # the version of remote-viewer with these keys
VIEWER, OURS, OVIRT = "virt-viewer", "x-sso", "ovirt"
# Keys that would allow more than the local configuration does.
_WIDENING = re.compile("(trust|offer|delegat|send|password|command|run|parameters|folder|plugin-path|allow)")
# Read elsewhere, or not used.
_NO_USE = {"type", "version", "versions", "newer-version-url", "delete-this-file"}
# A wrong or repeated value of these keys refuses the file.
STRICT = {
    *("type", "host", "port", "tls-port", "unix-path", "proxy", "username", "password"),
    *("ca", "host-subject", "tls-ciphers", "secure-channels", "disable-channels"),
}
# Portals write this when they have no value (oVirt: port=-1, usb-filter=null).
_ABSENT = ("-1", "null")
# For these keys such a word is an error, since it would remove a protection.
_NEVER_ABSENT = {"ca", "host-subject", "tls-ciphers", "secure-channels", "disable-channels"}
_NEARLY_OURS = re.compile("x?[-_. ]?sso.*", re.IGNORECASE)

Taken = dict[tuple[str, str], memoryview]


def read(path: str, look: Callable[[memoryview, Console], None] = lambda octets, console: None) -> Console:
    """Read a file. `spent` of the result is set if the file asks to be removed after it is accepted.

    `look` gets the file's unchanged bytes, which are wiped after it returns, and the console.

    Raises ConfigError with the file and what is wrong: no regular file, more than SIZE_MAX bytes, no key
    file, or a wrong value of a key of STRICT or [x-sso]. Links are followed.
    """
    buffer = bytearray(SIZE_MAX + 1)
    try:
        size, found = _load(path, buffer)
        taken: Taken = {}
        notes = _take(buffer, size, taken)
        console = _console(taken, notes)
        if _wants_removal(taken):
            console = console._replace(spent=SpentFile(path, found.st_dev, found.st_ino))
        try:
            look(memoryview(buffer)[:size], console)
        except BaseException:
            if console.password is not None:
                console.password.wipe()
            raise
        return console
    except ConfigError as error:
        raise ConfigError(f"{printable(path)}: {error}") from None
    finally:
        wipe(buffer)


def remove(file: SpentFile) -> str:
    """Remove an accepted file if the path still leads to it, and is no link; else return a note."""
    try:
        now = os.lstat(file.path)
        if stat.S_ISREG(now.st_mode) and (now.st_dev, now.st_ino) == (file.device, file.inode):
            os.unlink(file.path)
            return ""
    except OSError:
        pass
    return "the file asked to be removed, and could not be"


def _load(path: str, buffer: bytearray) -> tuple[int, os.stat_result]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may already have an effect
            raise ConfigError("it is no regular file")
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found, size = os.fstat(fd), 0
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError("it is no regular file")
            while size < len(buffer) and (count := os.readv(fd, [memoryview(buffer)[size:]])):
                size += count
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(error.strerror or "it cannot be read") from None
    except ValueError:
        raise ConfigError("no file can have this name") from None
    if size > SIZE_MAX:
        raise ConfigError(f"it has more than {SIZE_MAX // 1024} KiB")
    return size, found


def _take(buffer: bytearray, size: int, taken: Taken) -> list[str]:
    """Collect the keys of the known groups in `taken`; return notes about the others."""
    notes: list[str] = []
    for entry in entries(buffer, size):
        if not isinstance(entry, Entry):
            notes += _group(entry)
        elif entry.group == OURS or (entry.group == VIEWER and "[" not in entry.key):
            place = entry.group, entry.key
            if place in taken:
                if entry.group == OURS or entry.key in STRICT:
                    raise ConfigError(f"{printable(entry.key)}: it is given twice")
                notes.append(f"the file's key {printable(entry.key)} is given twice: the last one counts")
            taken[place] = entry.value
    return notes


def _group(name: str) -> Iterator[str]:
    if name in (VIEWER, OURS, OVIRT) or name.startswith(f"{OURS}-"):
        return
    if _NEARLY_OURS.fullmatch(name):  # [x-SSO] too, although other programs' groups may begin with x-
        raise ConfigError(f"the group [{printable(name)}] has to be written [{OURS}]")
    if not name.startswith("x-"):
        yield f"the file's group [{printable(name)}] is unknown here"


def _wants_removal(taken: Mapping[tuple[str, str], memoryview]) -> bool:
    key = "delete-this-file"
    try:
        return (VIEWER, key) in taken and _flag(_text(taken[VIEWER, key], key), key)
    except ConfigError:
        return False  # _console adds a note


# From keys to a Console


def _console(taken: Mapping[tuple[str, str], memoryview], notes: list[str]) -> Console:
    given = {key: value for (group, key), value in taken.items() if group == VIEWER}
    values: dict[str, Any] = {"kind": _kind(given)}
    hotkeys: dict[str, str] = {}
    for key, view in given.items():
        if not _is_known(key):
            notes.append(f"the file's key {printable(key)} is unknown here")
            continue
        try:
            if text := _said(view, key):
                if key in HOTKEYS:
                    hotkeys[key] = accelerator(text, key)
                else:
                    values[key.replace("-", "_")] = _KEYS[key](text, key)
        except ConfigError as error:
            if key in STRICT:
                raise
            notes.append(f"ignored in the file: {error}")
    values.pop("delete_this_file", None)
    if len(notes) > NOTES_MAX:
        notes[NOTES_MAX:] = [f"and {len(notes) - NOTES_MAX} more of the file's lines do not count"]
    ours = {key: value for (group, key), value in taken.items() if group == OURS}
    console = Console(**values, hotkeys=hotkeys, wish=_wish(ours), notes=(*_newer(given), *notes))
    return _with_password(_checked(console), given)


def _said(view: memoryview, key: str) -> str:
    """Return the text of a value, or "" if it is absent or its key is not used."""
    if key not in _KEYS and key not in HOTKEYS:
        return ""
    text = _text(view, key, CA_MAX if key == "ca" else TEXT_MAX)
    words = text.split(";") if key in _NEVER_ABSENT else [text]
    if said := next((word.strip() for word in words if word.strip() in _ABSENT), ""):
        if key in _NEVER_ABSENT:
            raise ConfigError(f"{key}: '{said}' says nothing: leave the key out, or say what is meant")
        return ""
    return text


def _kind(given: Mapping[str, memoryview]) -> str:
    if "type" not in given:
        raise ConfigError("it has no type in a group [virt-viewer]")
    kind = _text(given["type"], "type").lower()
    if kind == "ovirt":
        raise ConfigError(
            "type: 'ovirt' has to ask the portal: open the file that the portal itself gives out"
        )
    if kind not in KINDS:
        raise ConfigError(f"type: {kind[:32]!a} is not one of {', '.join(KINDS)}")
    return kind


def _is_known(key: str) -> bool:
    return key in _KEYS or key in HOTKEYS or key in _NO_USE or key == "password" or key.startswith("x-")


def _newer(given: Mapping[str, memoryview]) -> Iterator[str]:
    try:
        text = _text(given["version"], "version") if "version" in given else ""
    except ConfigError:
        text = ""
    if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}(-.*)?", text):
        version = tuple(map(int, text.partition("-")[0].split(".")))
        if version > KNOWN_VERSION:
            yield "the file asks for a newer viewer than this one: some of it may be missing"


def _checked(console: Console) -> Console:
    if console.unix_path and (console.host or console.port or console.tls_port):
        raise ConfigError("unix-path: it cannot be together with host, port or tls-port")
    if not (console.unix_path or console.host):
        raise ConfigError("host: it is missing")
    if console.kind == VNC and console.tls_port:
        raise ConfigError("tls-port: VNC has none; it would go unprotected")
    if console.kind == VNC and console.host and not console.port:
        return console._replace(port=VNC_PORT)
    if console.kind == SPICE and console.host and not (console.port or console.tls_port):
        raise ConfigError("port: neither it nor tls-port is there")
    return console


def _with_password(console: Console, given: Mapping[str, memoryview]) -> Console:
    """Add the password last, so that no error leaves a secret behind."""
    view = given.get("password")
    if not view:
        return console
    if len(view) > PASSWORD_MAX:
        raise ConfigError(f"password: it has more than {PASSWORD_MAX} bytes")
    secret = unescaped(view, "password")
    return console._replace(password=Credential("password", console.username, secret))


def _wish(given: Mapping[str, memoryview]) -> Wish:
    """Read the group [x-sso]. It is strict: a misspelt restriction must not be ignored."""
    values: dict[str, Any] = {}
    for key, view in given.items():
        if key not in _WISHES:
            if _WIDENING.match(key):
                raise ConfigError(
                    f"[x-sso] {printable(key)}: no file can allow this, only the local configuration can"
                )
            raise ConfigError(f"[x-sso] {printable(key)} is unknown; known are {', '.join(_WISHES)}")
        text = _text(view, key)
        if text in _ABSENT:
            raise ConfigError(
                f"[x-sso] {key}: '{text}' says nothing: leave the key out, or say what is meant"
            )
        values[key.replace("-", "_")] = _WISHES[key](text, f"[x-sso] {key}")
    return Wish(**values)


# Values: a text, and its key for the error


def _text(view: memoryview, key: str, most: int = TEXT_MAX) -> str:
    if len(view) > 2 * most:  # each character may be an escape
        raise ConfigError(f"{key}: it has more than {most} characters")
    text = str(unescaped(view, key), "utf-8").strip()
    if len(text) > most:
        raise ConfigError(f"{key}: it has more than {most} characters")
    return text


def _flag(text: str, key: str) -> bool:
    if text not in ("0", "1", "false", "true"):
        raise ConfigError(f"{key}: it has to be 0 or 1")
    return text in ("1", "true")


def _like(pattern: str | re.Pattern[str], words: str) -> Callable[[str, str], str]:
    def check(text: str, key: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ConfigError(f"{key}: it has to be {words}")
        return text

    return check


def _list(pattern: str | re.Pattern[str], words: str) -> Callable[[str, str], tuple[str, ...]]:
    one = _like(pattern, f"a list of {words}, with ; between")

    def check(text: str, key: str) -> tuple[str, ...]:
        found = [one(word.strip(), key) for word in text.split(";") if word.strip()]
        if len(found) > LIST_MAX:
            raise ConfigError(f"{key}: more than {LIST_MAX} entries")
        return tuple(dict.fromkeys(found))

    return check


def _line(text: str, key: str) -> str:
    if not text.isprintable():
        raise ConfigError(f"{key}: it has characters that cannot be printed")
    return text


def _user(text: str, key: str) -> str:
    if len(text) > NAME_MAX:
        raise ConfigError(f"{key}: it has more than {NAME_MAX} characters")
    return _line(text, key)


def _host(text: str, key: str) -> str:
    # More than an address allows: a proxy may invent a name, such as pvespiceproxy:5F3E:100:node::1A2B.
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not re.fullmatch(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,254}", host):
        raise ConfigError(f"{key}: it has to be the name or the number of a host")
    return host


def _proxy(text: str, key: str) -> str:
    proxy_place(text)
    return text


def _ca(text: str, key: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e\r\n\t]*-----BEGIN CERTIFICATE-----[\x20-\x7e\r\n\t]*", text):
        raise ConfigError(f"{key}: it has to be a certificate as PEM")
    return text


def _depth(text: str, key: str) -> int:
    return int(_like("0|8|16|24|32", "16 or 32")(text, key))


def _pin(text: str, key: str) -> str:
    return _like(PIN, "sha256: and 64 hexadecimal digits")(text, key).lower()


def _spn(text: str, key: str) -> str:
    if not is_spn(_user(text, key)):
        raise ConfigError(f"{key}: it has to be service/host, such as host/vm.example.org")
    return text


def _stream(text: str, key: str) -> str:
    kind, _, rest = text.partition(":")
    if kind == "unix":
        socket_path(rest, key)
    elif kind not in ("tcp", "tls") or not place(rest, key)[1]:
        raise ConfigError(f"{key}: it has to be unix:/PATH, tcp:HOST:PORT or tls:HOST:PORT")
    return text


_CHANNELS = _list("[a-z0-9-]{1,32}", "names")
_KEYS: dict[str, Callable[[str, str], Any]] = {
    "host": _host,
    "port": port_number,
    "tls-port": port_number,
    "unix-path": socket_path,
    "username": _user,
    "title": lambda text, key: printable(text),
    "fullscreen": _flag,
    "delete-this-file": _flag,
    "ca": _ca,
    "host-subject": _line,
    "tls-ciphers": _like(r"[\x21-\x7e]+", "a list of OpenSSL's ciphers"),
    "secure-channels": _CHANNELS,
    "disable-channels": _CHANNELS,
    "disable-effects": _CHANNELS,
    "proxy": _proxy,
    "color-depth": _depth,
    "enable-smartcard": _flag,
    "enable-usbredir": _flag,
    "enable-usb-autoshare": _flag,
    "usb-filter": _like(r"[-0-9A-Fa-fx,|]+", "rules such as 0x03,-1,-1,-1,0|-1,-1,-1,-1,1"),
}
_WISHES: dict[str, Callable[[str, str], Any]] = {
    "spn": _spn,
    "port": _like(PORT_NAME, "a port's name"),
    "pin": _pin,
    "stream": _stream,
    "plug-ins": _list(PORT_NAME, "names of ports"),
}
