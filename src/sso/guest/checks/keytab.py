"""Checks the keytab and what belongs to it: the key of our service, the replay cache, and signs of a clone.

Only names, version numbers and encryption types are read from the keytab; the bytes of the keys are skipped.
Source: MIT krb5, "Keytab file format".
"""

import io
import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

from sso.doctor import (
    KRB5_CONF,
    Finding,
    System,
    broken_includes,
    default_realm,
    include_findings,
    not_checked,
    ok,
    warning,
    wrong,
)
from sso.guest.acceptor.main import STATE
from sso.guest.checks.guest import ExaminedGuest

ENTRIES_MAX = 1000
ENCTYPES = {
    1: "des-cbc-crc",
    3: "des-cbc-md5",
    16: "des3-cbc-sha1",
    17: "aes128-cts-hmac-sha1-96",
    18: "aes256-cts-hmac-sha1-96",
    19: "aes128-cts-hmac-sha256-128",
    20: "aes256-cts-hmac-sha384-192",
    23: "arcfour-hmac",
}
AES = {number for number, name in ENCTYPES.items() if name.startswith("aes")}


class Key(NamedTuple):
    """The data of one entry, without its key."""

    principal: str  # with the realm
    version: int
    enctype: int


def kerberos_file(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that all files included by krb5.conf exist: else libkrb5 reads nothing and accepts no ticket."""
    if "GSSAPI" not in guest.config.mechanisms:
        yield ok("not needed: GSSAPI is not among the mechanisms")
        return
    yield from include_findings(list(broken_includes(guest.system)), KRB5_CONF)


def keytab(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that only the acceptor can read the keytab, and that it has an AES key of our service."""
    system, path = guest.system, guest.config.keytab
    if "GSSAPI" not in guest.config.mechanisms:
        yield ok("not needed: GSSAPI is not among the mechanisms")
        return
    try:
        found = system.path(path).stat()
    except FileNotFoundError:
        owner = guest.config.acceptor_user
        yield wrong(
            f"there is no {path}", f"Run: install -o {owner} -m 600 FILE {path}, with the host's keytab"
        )
        return
    yield from _access(guest, found)
    try:
        keys = read(system, path)
    except ValueError:
        yield wrong(
            f"{path} is no keytab", "Put the keytab of this machine there, as ktadd or msktutil writes it"
        )
        return
    yield from _service(guest, keys)


def _access(guest: ExaminedGuest, found: os.stat_result) -> Iterator[Finding]:
    path, owner = guest.config.keytab, guest.config.acceptor_user
    user = guest.system.user(owner)
    if user is None:
        yield not_checked(f"whose {path} has to be: there is no user {owner}")
    elif found.st_uid != user.uid:
        whose = guest.system.user_name(found.st_uid)
        yield wrong(f"{path} belongs to {whose}, not to {owner}", f"Run: chown {owner} {path}")
    if not stat.S_ISREG(found.st_mode):
        yield wrong(f"{path} is no file", "Put the keytab of this machine there")
    elif found.st_mode & 0o177:
        yield wrong(
            f"{path} has mode {found.st_mode & 0o777:03o}: others may use the key", f"Run: chmod 600 {path}"
        )


def _service(guest: ExaminedGuest, keys: list[Key]) -> Iterator[Finding]:
    path, spn = guest.config.keytab, guest.config.spn
    if not spn:
        yield not_checked("which key is needed: no spn is configured")
        return
    realm = default_realm(guest.system)
    if "@" not in spn and not realm:
        yield wrong(
            f"{KRB5_CONF} has no default_realm, and spn = {spn} no realm",
            f"Write default_realm = REALM below [libdefaults] in {KRB5_CONF}",
        )
        return
    name = spn if "@" in spn else f"{spn}@{realm}"
    ours = [key for key in keys if key.principal == name]
    if not ours:
        yield _other_keys(guest, name, keys)
        return
    newest = max(key.version for key in ours)
    types = [key.enctype for key in ours if key.version == newest]
    names = ", ".join(ENCTYPES.get(number, str(number)) for number in types)
    if not set(types) & AES:
        yield wrong(
            f"{path} has only {names} for {name} (kvno {newest}), and AES is required",
            f"Let the KDC make an AES key for {name}, and write the keytab anew",
        )
        return
    yield ok(f"{name}, kvno {newest}, {names}")
    if "." not in name.partition("/")[2].partition("@")[0]:
        yield warning(f"the host in {name} has no dot, and clients name guests by their full names")


def _other_keys(guest: ExaminedGuest, name: str, keys: list[Key]) -> Finding:
    path = guest.config.keytab
    names = sorted({key.principal for key in keys})
    service = name.partition("@")[0]
    elsewhere = next((other for other in names if other.partition("@")[0] == service), "")
    if elsewhere:
        return wrong(
            f"{path} holds {elsewhere}, and the realm here is {name.partition('@')[2]}",
            f'Write spn = "{elsewhere}" in {guest.path}, or the right default_realm in {KRB5_CONF}',
        )
    held = f"only {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}" if names else "nothing"
    return wrong(
        f"{path} has no key of {name}, {held}",
        f"Put the key of {service} there (ktadd on the KDC), or write the right spn in {guest.path}",
    )


# Reading


def read(system: System, path: str) -> list[Key]:
    """Read the entries of a keytab. Raises ValueError for another kind of file."""
    # Unbuffered, so that the keys do not get into a buffer of this process.
    with open(system.path(path), "rb", buffering=0) as file:
        if file.read(2) != b"\x05\x02":
            raise ValueError("version")
        keys: list[Key] = []
        while len(size := file.read(4)) == 4 and len(keys) < ENTRIES_MAX:
            length = int.from_bytes(size, "big", signed=True)
            end = file.tell() + abs(length)
            if length > 0:
                keys.append(_entry(file, end))
            file.seek(end)
        return keys


def _entry(file: io.FileIO, end: int) -> Key:
    count = _number(file, 2)
    realm = _text(file, end)
    name = "/".join(_text(file, end) for _ in range(count))
    _number(file, 8)  # name type, time
    version, enctype, length = _number(file, 1), _number(file, 2), _number(file, 2)
    file.seek(length, os.SEEK_CUR)
    if end - file.tell() >= 4:
        version = _number(file, 4) or version
    if file.tell() > end:
        raise ValueError("entry")
    return Key(f"{name}@{realm}", version, enctype)


def _number(file: io.FileIO, size: int) -> int:
    octets = file.read(size)
    if len(octets) != size:
        raise ValueError("end")
    return int.from_bytes(octets, "big")


def _text(file: io.FileIO, end: int) -> str:
    length = _number(file, 2)
    if file.tell() + length > end:
        raise ValueError("length")
    return file.read(length).decode(errors="replace")


# Other things that depend on the key


def replay_cache(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that only the acceptor can use the folder in which it records the requests it has seen."""
    path, owner, system = str(STATE), guest.config.acceptor_user, guest.system
    user = system.user(owner)
    try:
        found = system.path(path).lstat()
    except FileNotFoundError:
        yield wrong(f"there is no {path}", "Run: systemd-tmpfiles --create console-sso.conf")
        return
    if user is None:
        yield not_checked(f"whose {path} has to be: there is no user {owner}")
    elif not stat.S_ISDIR(found.st_mode):
        yield wrong(f"{path} is no folder", f"Run: rm {path} && systemd-tmpfiles --create console-sso.conf")
    elif found.st_uid != user.uid or found.st_mode & 0o777 != 0o700:
        whose = system.user_name(found.st_uid)
        yield wrong(
            f"{path} belongs to {whose}, mode {found.st_mode & 0o777:03o}: none works, or one is replayed",
            f"Run: chown {owner} {path} && chmod 700 {path}",
        )
    else:
        yield from _cache_files(system, path, owner, user.uid)


def _cache_files(system: System, path: str, owner: str, uid: int) -> Iterator[Finding]:
    files = [file for file in system.path(path).iterdir() if file.name.endswith(".rcache2")]
    foreign = [file.name for file in files if file.lstat().st_uid != uid]
    for name in foreign:
        yield wrong(f"{path}/{name} is not {owner}'s, so no login works", f"Run: chown {owner} {path}/{name}")
    if not foreign:
        yield ok(f"{path} is {owner}'s alone")


def clone(guest: ExaminedGuest) -> Iterator[Finding]:
    """Look for signs that this machine is a copy of another one, with its key. They are not proof."""
    system, host = guest.system, guest.config.spn.partition("/")[2].partition("@")[0].lower()
    identity = system.read("/etc/machine-id").strip()
    signs = []
    if not re.fullmatch("[0-9a-f]{32}", identity):
        yield warning("/etc/machine-id is not set", "Run: systemd-machine-id-setup")
    name = system.hostname.lower()
    if host and name and (name != host if "." in name else name != host.partition(".")[0]):
        signs.append(f"its key is that of {host}, and this machine calls itself {name}")
    try:
        key, own = (system.path(file).stat() for file in (guest.config.keytab, "/etc/machine-id"))
        if key.st_ctime < own.st_ctime:
            signs.append("the keytab was put here before the machine got its machine-id")
    except OSError:
        pass
    for sign in signs:
        yield warning(
            f"this may be a copy of another machine: {sign}",
            "If it is one, give it a key of its own, and let the KDC change the old one",
        )
    if not signs:
        yield ok("no sign that this machine is a copy of another one")
