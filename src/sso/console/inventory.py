"""Makes entries from the inventory, a TOML file of a site's guests and their consoles. No I/O."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from sso.console import entry as entries
from sso.console.authority import FINGERPRINT
from sso.console.ed25519 import public_key
from sso.console.entry import GuestEntry, ShownAt
from sso.errors import ConfigError

GUESTS_MAX = 10_000
_SHARED = ("consoles", "openers", "until")  # for all guests; a guest's own value overrides it
_GUEST = ("uuid", "spn", "tls-name", "pins", *_SHARED)


def guests(content: Mapping[str, Any], authorities: Callable[[str], tuple[str, ...]]) -> list[GuestEntry]:
    """Return the entries of an inventory. `authorities` returns the fingerprints of the CAs in a named file.

    Raises ConfigError that names the guest and the key to fix.
    """
    _known(content, (*_SHARED, "guest"), "")
    tables = content.get("guest")
    if not isinstance(tables, list) or not 0 < len(tables) <= GUESTS_MAX:
        raise ConfigError(f"guest: write [[guest]], 1 to {GUESTS_MAX} times")
    shared = {key: content[key] for key in _SHARED if key in content}
    found: dict[str, GuestEntry] = {}
    for number, table in enumerate(tables, 1):
        where = f"[[guest]] number {number}: "
        if not isinstance(table, dict):
            raise ConfigError("guest: write [[guest]]")
        _known(table, _GUEST, where)
        try:
            entry = _entry(shared | table, authorities)
            entries.fields_of(entry)
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None
        if entry.guest in found:
            raise ConfigError(f"{where}uuid: there are two guests {entry.guest}")
        found[entry.guest] = entry
    return list(found.values())


def _entry(table: Mapping[str, Any], authorities: Callable[[str], tuple[str, ...]]) -> GuestEntry:
    for key in ("uuid", "consoles", "until"):
        if key not in table:
            raise ConfigError(f"{key}: it is missing")
    return GuestEntry(
        guest=_text(table["uuid"], "uuid").lower(),
        consoles=tuple(_consoles(table["consoles"], authorities)),
        spn=_text(table.get("spn", ""), "spn"),
        tls_name=_text(table.get("tls-name", ""), "tls-name").lower(),
        pins=tuple(_text(pin, "pins").lower() for pin in _list(table.get("pins", []), "pins")),
        openers=tuple(
            public_key(_text(key, "openers")) for key in _list(table.get("openers", []), "openers")
        ),
        until=_end(table["until"]),
    )


def _consoles(tables: object, authorities: Callable[[str], tuple[str, ...]]) -> Iterator[ShownAt]:
    for table in _list(tables, "consoles"):
        if not isinstance(table, dict):
            raise ConfigError('consoles: write { relay = "HOST" }, or { ca = "FILE", subject = "TEXT" }')
        _known(table, ("relay", "ca", "subject", "proxy"), "consoles: ")
        given = {key: _text(value, f"consoles: {key}") for key, value in table.items()}
        proxy = given.get("proxy", "").lower()
        if given.keys() - {"proxy"} == {"relay"}:
            yield ShownAt(relay=given["relay"].lower(), proxy=proxy)
        elif given.keys() - {"proxy"} == {"ca", "subject"}:
            ca = given["ca"]
            for one in (ca,) if FINGERPRINT.fullmatch(ca) else authorities(ca):
                yield ShownAt(ca=one, subject=given["subject"], proxy=proxy)
        else:
            raise ConfigError("consoles: each has either relay, or ca and subject, and perhaps proxy")


def _end(value: object) -> int:
    """Convert a TOML date (its first moment in UTC), or a time with its zone, to seconds since 1970."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return int(value.timestamp())
    if isinstance(value, date) and not isinstance(value, datetime):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    raise ConfigError("until: write a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")


def _known(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    if unknown := sorted(table.keys() - set(keys)):
        raise ConfigError(f"{where}{unknown[0]}: there is no such key; known are {', '.join(keys)}")


def _list(value: object, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{key}: write a list")
    return value


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ConfigError(f"{key}: write a text of printable characters")
    return value
