"""Finds out what the user wants to open (a file or an address, and the options), and who vouches for it."""

import os
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sso.console import connection_file, signed, trust_folder
from sso.console.console import SPICE, Console, parse_address
from sso.console.key_file import is_text
from sso.console.signed import Asked, Signatures
from sso.console.vouch import the_one_service
from sso.credential import Credential
from sso.errors import ConfigError
from sso.framing import wipe
from sso.plug.plug import Start
from sso.viewer import settings

from .reach import Reach, anchored, has_tls, legs
from .settings import Settings

_PASSWORD_MAX = 255
FILE, SIGNED = "file", "signed"
PLAIN_STREAM = (
    "the stream is plain TCP: anybody on the way can read and redirect it; tls: proves the other end"
)


class Intent(NamedTuple):
    """What to open. `typed` is the service that the user typed together with the address, else ""."""

    reach: Reach
    settings: Settings
    typed: str = ""
    signatures: Signatures = Signatures()


def read(given: Namespace, configured: Settings, clock: Callable[[], float] = time.time) -> Intent:
    """Read the options and the file. Raises ConfigError if the address, the file or an option is not usable.

    Only with an address and --spn together does the user vouch for both. An address alone may come from a
    link; with a file, a typed --spn vouches for the service only.
    """
    where: str = given.console
    changes = _changes(given)
    if "://" in where:
        reach = _reach(_changed(parse_address(where), given, changes), given, configured)
        return Intent(reach, configured, typed=given.spn or "")
    found: list[tuple[Reach, Signatures]] = []
    keys, notes = trust_folder.load()

    def look(octets: memoryview, console: Console) -> None:
        reach = _reach(_changed(console, given, changes), given, configured)
        asked = _asked(reach.console, given.spn or "")
        found.append((reach, signed.check(octets, asked, (*configured.keys, *keys), clock())))

    connection_file.read(where, look)
    ((reach, signatures),) = found
    entry = signatures.entry
    signatures = signatures._replace(notes=(*notes, *signatures.notes))
    return Intent(
        reach._replace(signed_ca=entry is not None and bool(entry.console.ca)),
        configured,
        signatures=signatures,
    )


def chosen(intent: Intent, spn: str = "") -> tuple[tuple[Start, ...], tuple[str, ...]]:
    """Return the plug-ins for the intent, and lines for the user. Raises what settings.chosen raises.

    `spn` is the service that the user typed. A file or an address without a service gets the service that a
    signed entry or a local table names for it.
    """
    console, entry = intent.reach.console, intent.signatures.entry
    if not (spn or console.wish.spn):
        service = entry.entry.spn if entry else the_one_service(intent.settings.tables, legs(intent.reach))
        console = console._replace(wish=console.wish._replace(spn=service))
    named = "" if intent.typed else SIGNED if entry else FILE
    starts, notes = settings.chosen(intent.settings, console, spn, named=named)
    plain = (PLAIN_STREAM,) if console.wish.stream.startswith("tcp:") else ()
    before = (*plain, *intent.settings.notes, *console.notes, *intent.reach.notes, *intent.signatures.notes)
    return starts, (*before, *notes)


def _reach(console: Console, given: Namespace, configured: Settings) -> Reach:
    return anchored(console, configured.tables)._replace(own_ca=bool(given.ca))


def _asked(console: Console, spn: str) -> Asked:
    """Return what the viewer will connect to; leave out a proxy and a CA that the viewer will not use."""
    return Asked(
        host=console.host,
        proxy=console.proxy_host if console.kind == SPICE else "",
        stream=console.stream_host,
        ca=console.ca if has_tls(console) else "",
        subject=console.host_subject if has_tls(console) else "",
        spn=spn or console.wish.spn,
        pin=console.wish.pin,
    )


def _changes(given: Namespace) -> dict[str, Any]:
    """Return the options that override values of the file or the address."""
    changes: dict[str, Any] = {}
    if given.ca:
        changes["ca"] = _text(given.ca)
    if given.title:
        changes["title"] = given.title
    if given.password_fd is not None:
        changes["password"] = Credential("password", "", _password(given.password_fd))
    return changes


def _changed(console: Console, given: Namespace, changes: dict[str, Any]) -> Console:
    wish = {name: value for name in ("pin", "stream") if (value := getattr(given, name)) is not None}
    return console._replace(**changes, wish=console.wish._replace(**wish))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'is no PEM file'}") from None


def _password(fd: int) -> bytearray:
    line = bytearray()
    try:
        while len(line) < _PASSWORD_MAX and (octet := os.read(fd, 1)) not in (b"", b"\n"):
            line += octet
    except (OSError, OverflowError):
        raise ConfigError(f"--password-fd {fd}: no such open file descriptor") from None
    if not is_text(line):
        wipe(line)
        raise ConfigError(f"--password-fd {fd}: the password is no UTF-8")
    return line
