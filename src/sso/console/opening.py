"""The opening: who has asked a portal for this file now (docs/connection-file.md section 3). No I/O."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from sso.console.ed25519 import key_text, public_key
from sso.console.entry import seconds, time_text
from sso.errors import ConfigError

VERSION = "1"
PREFIX = b"console-sso opening 1\0"  # differs from an entry's; no connection file holds a NUL
LIFE_MAX = 600  # seconds between issue and expiry
SKEW = 300  # seconds that a portal's clock may be wrong
PRINCIPAL = re.compile(r"[^@\\\s]{1,127}@[A-Za-z0-9._-]{1,127}")
_KEYS = ("version", "for", "issued", "expires", "key")


class CountedOpening(NamedTuple):
    """An opening that counts now. `principal` asked for it; times are in seconds since 1970.

    `key` is the portal's key. `by` is the name of the trusted key that allows it: the portal's own key, or
    the key of the entry that names the portal.
    """

    principal: str
    issued: int
    expires: int
    key: bytes
    by: str = ""


def parse(fields: Mapping[str, str]) -> CountedOpening:
    """Make the opening from a group's fields, unchecked; raises ConfigError that names what is wrong."""
    if tuple(fields) != _KEYS or fields["version"] != VERSION:
        raise ConfigError(f"its keys have to be version={VERSION} and {', '.join(_KEYS[1:])}, in this order")
    if not PRINCIPAL.fullmatch(fields["for"]):
        raise ConfigError("for: it has to be a principal with its realm, such as alice@EXAMPLE.ORG")
    issued, expires = (seconds(fields[key], key) for key in ("issued", "expires"))
    if not 0 < expires - issued <= LIFE_MAX:
        raise ConfigError(f"expires: it has to be after issued, by {LIFE_MAX // 60} minutes at most")
    return CountedOpening(fields["for"], issued, expires, public_key(fields["key"]))


def check_time(opening: CountedOpening, now: float) -> None:
    """Raise ConfigError more than SKEW seconds before its issue, or after its expiry."""
    if not opening.issued - SKEW <= now:
        raise ConfigError("it is not valid yet: does the clock of this machine go right?")
    if not now <= opening.expires + SKEW:
        raise ConfigError(f"it expired {time_text(opening.expires)}: open the console from the portal again")


def fields_of(opening: CountedOpening) -> dict[str, str]:
    """Return the fields in order, without `by`; raises ConfigError for values that no reader would accept."""
    fields = {
        "version": VERSION,
        "for": opening.principal,
        "issued": time_text(opening.issued),
        "expires": time_text(opening.expires),
        "key": key_text(opening.key),
    }
    if parse(fields) != opening._replace(by=""):
        raise ConfigError("the opening has a value that no file can carry")
    return fields
