"""Trusted keys: whose signatures count here, for which consoles and services. No I/O.

They come only from local configuration: one file in the folder trust.d for each (trust_folder.py), or a table
[[trust]] of viewer.toml. To revoke a key, delete it there.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from sso.console.ed25519 import key_text, public_key
from sso.console.vouch import fits
from sso.errors import ConfigError

ENTRIES, OPENINGS = SIGNS = ("entries", "openings")
PATTERNS_MAX, PATTERN_MAX = 64, 255  # patterns of a key; characters of a pattern
KEYS_MAX = 64
KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class TrustedKey(NamedTuple):
    """A public key, and for what it is trusted; outside of that its signature does not count.

    `name` is for people. `signs` is what it may sign: entries (a site's key), openings (a portal's), or both.
    `consoles` are shell patterns for every host (upper and lower case are the same), `services` for the
    guest's names: SPNs, and TLS names as tls/NAME. A pattern without @REALM fits an SPN without a realm.
    """

    name: str
    key: bytes
    signs: tuple[str, ...]
    consoles: tuple[str, ...]
    services: tuple[str, ...]

    def fits_consoles(self, hosts: Iterable[str]) -> bool:
        """Whether every host fits one of the patterns; False without any host."""
        hosts = tuple(hosts)
        return bool(hosts) and all(any(fits(host, pattern) for pattern in self.consoles) for host in hosts)

    def fits_services(self, names: Iterable[str]) -> bool:
        """Whether every name fits one of the patterns; False without any name."""
        names = tuple(names)
        return bool(names) and all(any(_names(pattern, name) for pattern in self.services) for name in names)

    @property
    def text(self) -> str:
        return key_text(self.key)


def _names(pattern: str, name: str) -> bool:
    return ("@" in pattern) == ("@" in name) and fnmatchcase(name, pattern)


def trusted_key(table: Mapping[str, Any], name: str = "") -> TrustedKey:
    """Read one table of local configuration: key, signs, consoles, services, and name if `name` is "".

    Raises ConfigError that names the key to fix; all keys are required, and an unknown key is an error.
    """
    needed = ("key", "signs", "consoles", "services", *(() if name else ("name",)))
    for key in needed:
        if key not in table:
            raise ConfigError(f"{key}: it is missing")
    if unknown := sorted(table.keys() - set(needed)):
        raise ConfigError(f"{unknown[0]}: there is no such key; known are {', '.join(needed)}")
    name = name or _text(table["name"], "name")
    if not KEY_NAME.fullmatch(name):
        raise ConfigError("name: write up to 64 letters, digits, and . _ -")
    try:
        key = public_key(_text(table["key"], "key"))
    except ConfigError as error:
        raise ConfigError(f"key: {error}") from None
    signs = _texts(table["signs"], "signs")
    if not set(signs) <= set(SIGNS):
        raise ConfigError(f"signs: known are {', '.join(SIGNS)}")
    return TrustedKey(
        name, key, signs, _texts(table["consoles"], "consoles"), _texts(table["services"], "services")
    )


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= PATTERN_MAX:
        raise ConfigError(f"{key}: write a text of 1 to {PATTERN_MAX} printable characters")
    return value


def _texts(value: object, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= PATTERNS_MAX:
        raise ConfigError(f'{key}: write a list of 1 to {PATTERNS_MAX} texts, such as ["x", "y"]')
    return tuple(_text(item, key) for item in value)
