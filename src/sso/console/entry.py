"""The entry: which guest a site's consoles show (docs/connection-file.md section 2). No I/O."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sso.console.authority import FINGERPRINT
from sso.console.ed25519 import key_text, public_key
from sso.errors import ConfigError
from sso.spn import is_spn

VERSION = "1"
PREFIX = b"console-sso entry 1\0"  # no connection file holds a NUL
CONSOLES_MAX, OPENERS_MAX, PINS_MAX = 64, 16, 16
GUEST = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PIN = re.compile("sha256:[0-9a-f]{64}")
_TLS_NAME = re.compile("[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_HOST = re.compile("[a-z0-9_:][a-z0-9._:%-]{0,254}")
_LABEL = re.compile("[a-z0-9_-]{1,63}")
_TIME = re.compile("2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_CONSOLE = re.compile(
    r"(?:relay (?P<relay>\S+)|ca (?P<ca>\S+))(?: proxy (?P<proxy>\S+))?(?: subject (?P<subject>\S(?:.*\S)?))?"
)


class ShownAt(NamedTuple):
    """One console: `relay` without a ticket's label, or `ca` (sha256:HEX of its DER) and `subject`.

    `proxy` is the proxy's host, "" where there has to be none. Hosts are in small letters.
    """

    relay: str = ""
    ca: str = ""
    subject: str = ""
    proxy: str = ""

    def is_relay_of(self, host: str) -> bool:
        """Whether a host is this relay, with or without a ticket as one label in front."""
        label, dot, rest = host.lower().partition(".")
        return bool(self.relay) and (
            host.lower() == self.relay or bool(dot and rest == self.relay and _LABEL.fullmatch(label))
        )


class GuestEntry(NamedTuple):
    """What a site has signed off-line about one guest.

    `guest` is its UUID. `spn` or `tls_name` is set, or both. `pins` are sha256:HEX of TLS keys. `openers` are
    the public keys of portals that may sign openings for it. `until` is in seconds since 1970.
    """

    guest: str
    consoles: tuple[ShownAt, ...]
    spn: str
    tls_name: str
    pins: tuple[str, ...]
    openers: tuple[bytes, ...]
    until: int

    @property
    def services(self) -> tuple[str, ...]:
        """The guest's names, in the form that the patterns of a TrustedKey match."""
        return tuple(filter(None, (self.spn, self.tls_name and f"tls/{self.tls_name}")))


def parse(fields: Mapping[str, str]) -> GuestEntry:
    """Make the entry from a group's fields without `key`; raises ConfigError that names what is wrong.

    An unknown field is an error: the signer may have meant a restriction that this version would ignore.
    """
    rest = dict(fields)
    if rest.pop("version", "") != VERSION:
        raise ConfigError(f"version: only {VERSION} is known here")
    entry = GuestEntry(
        guest=_like(GUEST, rest.pop("guest", ""), "guest"),
        consoles=_consoles(rest),
        spn=_spn(rest.pop("spn", None)),
        tls_name=_like(_TLS_NAME, rest.pop("tls-name", None), "tls-name"),
        pins=tuple(_like(PIN, word, "pins") for word in _list(rest.pop("pins", None), "pins", PINS_MAX)),
        openers=tuple(map(public_key, _list(rest.pop("openers", None), "openers", OPENERS_MAX))),
        until=seconds(rest.pop("until", ""), "until"),
    )
    if rest:
        raise ConfigError(f"{min(rest)}: there is no such key")
    if not entry.services:
        raise ConfigError("spn: neither it nor tls-name is there")
    return entry


def fields_of(entry: GuestEntry) -> dict[str, str]:
    """The keys of an entry in the order in which they are written; `parse` gives the entry back."""
    fields = {"version": VERSION, "guest": entry.guest, "spn": entry.spn, "tls-name": entry.tls_name}
    fields["pins"] = ";".join(entry.pins)
    fields |= {f"console-{at}": _console_text(shown) for at, shown in enumerate(entry.consoles, 1)}
    fields["openers"] = ";".join(map(key_text, entry.openers))
    fields["until"] = time_text(entry.until)
    fields = {key: text for key, text in fields.items() if text}
    if parse(fields) != entry:
        raise ConfigError("the entry has a value that no file can carry")
    return fields


def _consoles(rest: dict[str, str]) -> tuple[ShownAt, ...]:
    """Take console-1, console-2 ... out of `rest`; after a gap the others stay there, as unknown keys."""
    consoles: list[ShownAt] = []
    while (text := rest.pop(key := f"console-{len(consoles) + 1}", None)) is not None:
        if len(consoles) == CONSOLES_MAX:
            raise ConfigError(f"{key}: more than {CONSOLES_MAX}")
        found = _CONSOLE.fullmatch(text)
        if not found or bool(found["ca"]) != bool(found["subject"]):
            raise ConfigError(
                f"{key}: write relay HOST [proxy HOST], or ca sha256:HEX [proxy HOST] subject TEXT"
            )
        given = {name: value for name, value in found.groupdict().items() if value is not None}
        for name in given.keys() - {"subject"}:
            _like(FINGERPRINT if name == "ca" else _HOST, given[name], key)
        consoles.append(ShownAt(**given))
    if not consoles or len(set(consoles)) != len(consoles):
        raise ConfigError("console-1: it is missing" if not consoles else "a console is given twice")
    return tuple(consoles)


def _console_text(shown: ShownAt) -> str:
    words = [f"relay {shown.relay}" if shown.relay else f"ca {shown.ca}"]
    words += [f"{key} {text}" for key, text in (("proxy", shown.proxy), ("subject", shown.subject)) if text]
    return " ".join(words)


def _spn(text: str | None) -> str:
    if text is not None and not is_spn(text):
        raise ConfigError("spn: it is not in its form")
    return text or ""


def _like(pattern: re.Pattern[str], text: str | None, key: str) -> str:
    """Return the text if it fits the pattern, "" for None; raises ConfigError that names `key`."""
    if text is not None and not pattern.fullmatch(text):
        raise ConfigError(f"{key}: it is not in its form")
    return text or ""


def _list(text: str | None, key: str, most: int) -> list[str]:
    words = text.split(";") if text is not None else []
    if len(words) > most or len(set(words)) != len(words):
        raise ConfigError(f"{key}: more than {most}, or one of them twice")
    return words


def seconds(text: str, key: str) -> int:
    """Convert a time such as 2026-11-29T20:00:00Z, and no other form, to seconds since 1970."""
    try:
        return int(datetime.fromisoformat(text if _TIME.fullmatch(text) else "").timestamp())
    except ValueError:
        raise ConfigError(f"{key}: it has to be a time such as 2026-11-29T20:00:00Z") from None


def time_text(when: int) -> str:
    """Write the form that `seconds` reads; raises ConfigError outside of the years 2000 to 2999."""
    try:
        text = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        text = ""
    if not _TIME.fullmatch(text):
        raise ConfigError("a time has to be in the years 2000 to 2999")
    return text
