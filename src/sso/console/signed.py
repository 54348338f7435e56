"""The signed form of a connection file: what of it counts, by the keys that are trusted here. Pure: no I/O.

docs/connection-file.md is the contract. A signature that does not count is no error: the file is then an
unsigned one, and the notes say why.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sso.console.entry import GuestEntry, ShownAt
from sso.console.trust import TrustedKey

FILE_MAX = 256 * 1024  # octets
LIFE_MAX = 600  # seconds between an opening's issue and its expiry
SKEW = 300  # seconds that a portal's clock may be off


class Asked(NamedTuple):
    """What the file (and the command line above it) leads to, before anybody vouched for it.

    `host` is the console's ("" at a unix socket), `proxy` and `stream` are hosts, `ca` is the PEM text that
    the connection will be checked with and `subject` the subject; `spn` and `pin` what [x-sso] asks for.
    "" is: not given.
    """

    host: str
    proxy: str = ""
    stream: str = ""
    ca: str = ""
    subject: str = ""
    spn: str = ""
    pin: str = ""


class CountedEntry(NamedTuple):
    """An entry that counts for this file: `console` is the one of its consoles that the file leads to."""

    entry: GuestEntry
    console: ShownAt
    key: TrustedKey


class CountedOpening(NamedTuple):
    """An opening that counts now: `principal` asked for it; times in seconds since 1970.

    `key` is the portal's; `by` the name of the trusted key that allows it: the portal's own, or that of the
    entry that names the portal.
    """

    principal: str
    issued: int
    expires: int
    key: bytes
    by: str


class Signatures(NamedTuple):
    """What counts of a file's signatures; `notes` say for a person why something does not.

    A file without any signature has no notes.
    """

    entry: CountedEntry | None = None
    opening: CountedOpening | None = None
    notes: tuple[str, ...] = ()


def check(octets: memoryview, asked: Asked, keys: Sequence[TrustedKey], now: float) -> Signatures:
    """What counts of the signatures in a file's octets; never raises, whatever the octets are.

    The entry counts if a trusted key for entries signed it, all that it names fits that key's patterns, it
    has not ended, and it shows what is asked for: host, proxy, CA and subject, stream, SPN and pin. The
    opening counts if it is the file's last group, stands in its time, and is signed by a portal that the
    counted entry names or that is trusted for openings at these consoles and for this service.
    Neither says that the connection was authenticated: the caller has to see to that.
    """
    return Signatures()
