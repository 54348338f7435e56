"""A TGT as large as those of Active Directory: the realm's own, grown by data that its KDC copies.

The ticket is decrypted with the krbtgt key, gets one more element of authorization data (RFC 4120 section
5.2.6), and is encrypted again. The KDC takes it for its own, and every ticket got with it is as large.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from krb5_crypto import decrypt, encrypt
from sso_mechs import ccache
from sso_mechs.der import INTEGER, OCTET_STRING, SEQUENCE, application, contents, context, integer, only, row

from sso.demo.realm import Realm

USAGE = 2  # of a key that encrypts a ticket (RFC 4120 section 7.5.1)
IF_RELEVANT, UNKNOWN = 1, 600  # types of authorization data; the second is nobody's
AD_SIZES = (12_000, 31_000, 33_000, 48_000, 60_000)  # bytes of a TGT that have to pass


def grow(realm: Realm, cache: Path, size: int) -> Path:
    """Make the TGT in a cache file `size` bytes long, and leave nothing else in the file."""
    tgt = next(t for t in ccache.read(cache.read_bytes()) if t.server.startswith("krbtgt/"))
    key = _krbtgt_key(realm)
    first = _grown(tgt.ticket, key, size)
    # The lengths around the data take bytes, too.
    ticket = _grown(tgt.ticket, key, 2 * size - len(first))
    assert abs(len(ticket) - size) <= 8
    cache.write_bytes(ccache.write(tgt._replace(ticket=ticket)))
    return cache


def value(tag: int, *contents: bytes) -> bytes:
    """One value in DER."""
    inner = b"".join(contents)
    size = len(inner)
    if size < 0x80:
        return bytes([tag, size]) + inner
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + inner


def number(number: int) -> bytes:
    return value(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def _grown(ticket: bytes, key: dict[int, bytes], size: int) -> bytes:
    fields = row(ticket, *only(ticket, 0, len(ticket), application(1), SEQUENCE), *map(context, range(4)))
    head = b"".join(value(context(n), ticket[slice(*fields[n])]) for n in range(3))
    sealed = row(ticket, *only(ticket, *fields[3], SEQUENCE), *map(context, range(3)))
    type, version = integer(ticket, *sealed[0]), ticket[slice(*sealed[1])]
    cipher = ticket[slice(*only(ticket, *sealed[2], OCTET_STRING))]
    plain = _with_data(decrypt(type, key[type], USAGE, cipher), max(0, size - len(ticket)))
    part = value(
        SEQUENCE,
        value(context(0), number(type)),
        value(context(1), version),
        value(context(2), value(OCTET_STRING, encrypt(type, key[type], USAGE, plain))),
    )
    return value(application(1), value(SEQUENCE, head, value(context(3), part)))


def _with_data(plain: bytes, size: int) -> bytes:
    """An EncTicketPart with that many bytes of authorization data more; padding behind it goes."""
    at, end = only(plain, *contents(plain, 0, len(plain), application(3)), SEQUENCE)
    fields = {}
    while at < end:
        tag, (start, at) = plain[at], contents(plain, at, end)
        fields[tag] = plain[start:at]
    data, inner = fields.get(context(10), value(SEQUENCE)), value(SEQUENCE, _datum(UNKNOWN, bytes(size)))
    present = data[slice(*only(data, 0, len(data), SEQUENCE))]
    fields[context(10)] = value(SEQUENCE, present, _datum(IF_RELEVANT, inner))
    return value(application(3), value(SEQUENCE, *(value(tag, fields[tag]) for tag in sorted(fields))))


def _datum(type: int, octets: bytes) -> bytes:
    return value(SEQUENCE, value(context(0), number(type)), value(context(1), value(OCTET_STRING, octets)))


# The key


def _krbtgt_key(realm: Realm) -> dict[int, bytes]:
    """The keys of the realm's TGTs by their type, out of a keytab that goes at once."""
    path = realm.folder / f"krbtgt-{os.urandom(4).hex()}.keytab"
    try:
        realm.keytab(path, f"krbtgt/{realm.name}@{realm.name}")
        return dict(_keys(path.read_bytes()))
    finally:
        path.unlink(missing_ok=True)


def _keys(keytab: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each key (MIT krb5, "Keytab file format", version 2)."""
    at = 2
    while at < len(keytab):
        (size,) = struct.unpack_from(">i", keytab, at)
        place, at = at + 4, at + 4 + abs(size)
        if size < 0:
            continue
        (parts,) = struct.unpack_from(">H", keytab, place)
        place += 2
        for _ in range(parts + 1):
            place += 2 + struct.unpack_from(">H", keytab, place)[0]
        place += 9  # name type, timestamp, short version
        type, length = struct.unpack_from(">HH", keytab, place)
        yield type, keytab[place + 4 : place + 4 + length]
