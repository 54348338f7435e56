"""Signed connection files for tests: a site, a portal, an entry, and the files that they sign."""

import re
from collections.abc import Mapping
from typing import Any

from sso.console import entry as entries
from sso.console.ed25519 import public_of, sign
from sso.console.entry import GuestEntry, ShownAt
from sso.console.opening import PREFIX as OPENING_PREFIX
from sso.console.signed import Asked, Signatures, check
from sso.console.signing import entry_group, with_entry, with_opening
from sso.console.trust import TrustedKey
from sso.framing import b64encode

SITE, PORTAL, OTHER = (bytearray([octet] * 32) for octet in (1, 2, 3))  # private keys
NOW = 1_800_000_000  # 2027-01-15T08:00:00Z
END = 1_830_000_000
ALICE = "alice@EXAMPLE.ORG"
GUEST = "0c8a7d5e-31f4-4f0b-9d3a-6b1f2e4c5a70"
SPN = "host/vm7.example.org@EXAMPLE.ORG"
PASSWORD = b"console-ticket-7Rk2"
RELAY = "relay.example.org"
CONSOLES, SERVICES = ("*.example.org",), ("host/*.example.org@EXAMPLE.ORG", "tls/*.example.org")
ASKED = Asked(f"7f3kq9.{RELAY}", proxy=RELAY, spn=SPN)
FILE = f"""[virt-viewer]
type=spice
host=7f3kq9.{RELAY}
tls-port=5901
proxy=https://{RELAY}
password={PASSWORD.decode()}
[x-sso]
spn={SPN}
""".encode()


def trusted(seed: bytearray, *signs: str, name: str = "site", **changes: Any) -> TrustedKey:
    """A key as local configuration trusts it."""
    return TrustedKey(name, public_of(seed), signs, CONSOLES, SERVICES)._replace(**changes)


def site() -> TrustedKey:
    return trusted(SITE, "entries")


def portal() -> TrustedKey:
    return trusted(PORTAL, "openings", name="portal")


def entry(**changes: Any) -> GuestEntry:
    """The entry of vm7 at the relay; the portal may open it."""
    whole = GuestEntry(
        GUEST, (ShownAt(relay=RELAY, proxy=RELAY),), SPN, "vm7.example.org", (), (public_of(PORTAL),), END
    )
    return whole._replace(**changes)


def opened(file: bytes, seed: bytearray = PORTAL, issued: int = NOW, life: int = 600) -> bytes:
    return bytes(with_opening(memoryview(file), seed, ALICE, issued, issued + life))


def entered(file: bytes = FILE, seed: bytearray = SITE, **changes: Any) -> bytes:
    return bytes(with_entry(memoryview(file), entry_group(entry(**changes), seed)))


def signed(**changes: Any) -> bytes:
    """A file with both parts."""
    return opened(entered(**changes))


def look(
    file: bytes | bytearray, asked: Asked = ASKED, *keys: TrustedKey, now: float = NOW + 1.5
) -> Signatures:
    """What counts where the site is trusted, or these keys are."""
    return check(memoryview(file), asked, keys or (site(),), now)


def by_hand(
    name: str, fields: Mapping[str, str], seed: bytearray, before: bytes = b"", prefix: bytes | None = None
) -> bytes:
    """A group that nobody has checked, under a good signature of the bytes `before` it and its own."""
    if prefix is None:
        prefix = entries.PREFIX if name == "x-sso-entry" else OPENING_PREFIX
    text = f"[{name}]\n{''.join(f'{key}={value}' + chr(10) for key, value in fields.items())}".encode()
    return text + b"signature=" + bytes(b64encode(sign(seed, prefix, memoryview(before + text)))) + b"\n"


def signed_anew(group: bytes, seed: bytearray, before: bytes = b"") -> bytes:
    """A group with a signature of what stands there now, so that it is refused for its form or not at all."""
    body, line, rest = group.rpartition(b"signature=")
    if not line:
        return group
    prefix = OPENING_PREFIX if b"x-sso-signature" in group else entries.PREFIX
    signature = bytes(b64encode(sign(seed, prefix, memoryview(before + body))))
    return body + line + signature + rest[len(signature) :]


def fields(group: bytes, name: str) -> dict[str, str]:
    """The keys of a group of a file, as text."""
    found = re.search(rf"\[{name}\]\n((?:[^\[\n]*\n)*)".encode(), group)
    assert found
    lines = [line.split("=", 1) for line in found[1].decode().splitlines()]
    return {key: value for key, value in lines if key != "signature"}
