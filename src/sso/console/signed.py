"""Decides which signatures of a connection file count, by the keys that are trusted here. No I/O.

docs/connection-file.md defines the form. A signature that does not count is no error: the file then counts as
unsigned, and the notes say why.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sso.console import entry as entries
from sso.console import opening as openings
from sso.console import signed_group
from sso.console.authority import fingerprints
from sso.console.ed25519 import NoLibrary, is_signature, public_key
from sso.console.entry import GuestEntry, ShownAt
from sso.console.opening import CountedOpening
from sso.console.signed_group import SignedGroup
from sso.console.trust import ENTRIES, OPENINGS, TrustedKey
from sso.errors import ConfigError

FILE_MAX = 256 * 1024  # bytes
_NUL = re.compile(b"\0")


class Asked(NamedTuple):
    """What the viewer will connect to, from the file and the command line, before anybody vouched for it.

    `host` is the console's ("" at a unix socket). `proxy` and `stream` are hosts of real connections (leave
    out a proxy that is not used, as with VNC). `ca` (PEM text) and `subject` check the connection. `spn` and
    `pin` are what [x-sso] asks for. "" means: not given.
    """

    host: str
    proxy: str = ""
    stream: str = ""
    ca: str = ""
    subject: str = ""
    spn: str = ""
    pin: str = ""

    @property
    def dialled(self) -> tuple[str, ...]:
        """The hosts that this machine connects to itself; with a proxy, the proxy connects to the console."""
        return tuple(filter(None, (self.proxy or self.host, self.stream)))


class CountedEntry(NamedTuple):
    """An entry that counts for this file. `console` is the one of its consoles that the file leads to."""

    entry: GuestEntry
    console: ShownAt
    key: TrustedKey


class Signatures(NamedTuple):
    """The signatures of a file that count. `notes` tell the user why a signature does not count.

    A file without any signature has no notes.
    """

    entry: CountedEntry | None = None
    opening: CountedOpening | None = None
    notes: tuple[str, ...] = ()


def check(octets: memoryview, asked: Asked, keys: Sequence[TrustedKey], now: float) -> Signatures:
    """Check the signatures in a file's bytes; never raises, whatever the bytes are.

    The entry counts if a trusted key for entries signed it, all that it names fits that key's patterns, it
    has not expired, and it shows what is asked for: host, proxy, CA and subject, stream, SPN and pin. The
    opening counts if it is the file's last group, its time is right, and a portal signed it that the counted
    entry names, or that is trusted for openings at these consoles and for this service.
    Neither says that the connection is authenticated: the caller has to check that.
    """
    if len(octets) > FILE_MAX:
        return Signatures(notes=(f"no signature counts in a file of more than {FILE_MAX // 1024} KiB",))
    if _NUL.search(octets):
        return Signatures(notes=("no signature counts in a file with a NUL",))
    entry = opening = None
    notes: list[str] = []
    try:
        try:
            entry = _entry(octets, asked, keys, now)
        except ConfigError as error:
            notes.append(f"the file's entry counts as unsigned: {error}")
        try:
            opening = _opening(octets, asked, entry, keys, now)
        except ConfigError as error:
            notes.append(f"the file's opening counts as unsigned: {error}")
    except NoLibrary as error:
        return Signatures(notes=(f"the file counts as unsigned: {error}",))
    return Signatures(entry, opening, tuple(notes))


# The entry


def _entry(octets: memoryview, asked: Asked, keys: Sequence[TrustedKey], now: float) -> CountedEntry | None:
    group = signed_group.find(octets, signed_group.ENTRY)
    if group is None:
        return None
    signer = public_key(group.fields.pop("key", ""))
    entry = entries.parse(group.fields)
    trusted = [key for key in keys if key.key == signer and ENTRIES in key.signs]
    if not trusted:
        raise ConfigError("no key that is trusted here for entries has signed it")
    if not now < entry.until:
        raise ConfigError(f"it ended {entries.time_text(entry.until)}")
    _verify(group, signer, entries.PREFIX, octets[group.start : group.unsigned])
    console = _shown(entry, asked)
    hosts = [host for shown in entry.consoles for host in (shown.relay, shown.proxy) if host]
    if console.ca:  # a CA names no host, so the hosts that are dialled have to fit
        hosts += asked.dialled
    for key in trusted:
        if key.fits_consoles(hosts) and key.fits_services(entry.services):
            return CountedEntry(entry, console, key)
    raise ConfigError(f"the key {trusted[0].name} is not trusted for all of its consoles and services")


def _shown(entry: GuestEntry, asked: Asked) -> ShownAt:
    """Return the entry's console that the file leads to; raises ConfigError if it names only others."""
    if asked.spn and asked.spn != entry.spn:
        raise ConfigError("the file asks for another service than it names")
    if asked.pin and entry.pins and asked.pin not in entry.pins:
        raise ConfigError("the file asks for another pin than it names")
    if asked.stream and not any(shown.is_relay_of(asked.stream) for shown in entry.consoles):
        raise ConfigError("the stream is at a host that it does not name")
    here = [shown for shown in entry.consoles if asked.host and shown.proxy == asked.proxy.lower()]
    for shown in here:
        if shown.is_relay_of(asked.host):
            return shown
    named = {shown.ca: shown for shown in here if shown.ca and shown.subject == asked.subject}
    found = fingerprints(asked.ca) if named else ()
    if found and set(found) <= named.keys():
        return named[found[0]]
    raise ConfigError("it does not name the console (and the proxy) that the file leads to")


# The opening


def _opening(
    octets: memoryview, asked: Asked, entry: CountedEntry | None, keys: Sequence[TrustedKey], now: float
) -> CountedOpening | None:
    group = signed_group.find(octets, signed_group.OPENING)
    if group is None:
        return None
    opening = openings.parse(group.fields)
    openings.check_time(opening, now)
    if entry is not None and opening.key in entry.entry.openers:
        by = entry.key
    else:
        services = (asked.spn,) if asked.spn else entry.entry.services if entry else ()
        by = _portal(opening.key, asked.dialled, services, keys)
    _verify(group, opening.key, openings.PREFIX, octets[: group.unsigned])
    return opening._replace(by=by.name)


def _portal(
    key: bytes, hosts: Sequence[str], services: Sequence[str], keys: Sequence[TrustedKey]
) -> TrustedKey:
    trusted = [one for one in keys if one.key == key and OPENINGS in one.signs]
    if not trusted:
        raise ConfigError("no portal that is trusted here, or that the entry names, has signed it")
    for one in trusted:
        if one.fits_consoles(hosts) and one.fits_services(services):
            return one
    raise ConfigError(f"the key {trusted[0].name} is not trusted for this console and service")


def _verify(group: SignedGroup, key: bytes, prefix: bytes, octets: memoryview) -> None:
    if not is_signature(key, group.signature, prefix, octets):
        raise ConfigError("the signature does not fit: something was changed since")
