"""The recorded GSSAPI exchanges (d) and (e) of PROTOCOL.md section 13 hold what the document says of them."""

from hashlib import md5
from typing import Any

import pytest
from document import GRAMMAR, VECTORS, octets_of, table
from krb5_crypto import decrypt
from pyasn1.codec.der import decoder, encoder
from sso_mechs.krb_cred_asn1 import EncKrbCredPart, KrbCred, KrbCredInfo
from sso_mechs.krb_cred_codec import decode

from sso.errors import MechanismError
from sso.framing import b64decode
from sso.protocol.messages import Signature, parse
from sso.protocol.state import Role
from sso.protocol.transcript import PLAIN_BINDING, Transcript


def recorded(name: str) -> list[tuple[str, bytes]]:
    steps = VECTORS[name]["steps"]
    return [(step["from"] + ("!" if step["lost"] else ">"), bytes.fromhex(step["octets"])) for step in steps]


@pytest.mark.proves("S132", "S133", "S135")
@pytest.mark.parametrize(("name", "number"), [("d", "13.4"), ("e", "13.5")])
def test_frames_are_as_the_document_says(name: str, number: str) -> None:
    rows, steps = table(number, "from"), recorded(name)
    assert [(row["from"], int(row["octets"])) for row in rows] == [
        (sender, len(octets)) for sender, octets in steps
    ]
    for row, (_, octets) in zip(rows, steps, strict=True):
        if row["begins with"] == "-":
            assert octets_of(row["what"]) == octets
            continue
        assert octets.startswith(bytes.fromhex(row["begins with"]))
        assert int.from_bytes(octets[:4], "big") == len(octets) - 4
        if row["holds"] != "-":
            place, _, held = row["holds"].partition(": ")
            assert octets[int(place) :].startswith(bytes.fromhex(held))


@pytest.mark.parametrize("name", ["d", "e"])
def test_the_first_token_carries_the_binding_and_the_flags(name: str) -> None:
    """Opened with the thrown-away service's key: RFC 4121 section 4.1.1 and our section 8.2."""
    lines = Transcript()
    for sender, octets in recorded(name):
        if sender.endswith(">"):
            lines.add(Role.CLIENT if sender == "C>" else Role.GUEST, octets.decode().split())
        if octets.startswith(b"startSASL"):
            break
    binding = PLAIN_BINDING + lines.digest()
    (token,) = [
        octets[4:]
        for _, octets in recorded(name)
        if octets[4:5] == b"\x60" and b"\x01\x00\x6e" in octets[:32]
    ]
    checksum = authenticator_checksum(token, bytes.fromhex(VECTORS[name]["key"]))
    assert checksum[4:20] == md5(bytes(16) + len(binding).to_bytes(4, "little") + binding).digest()
    flags = int.from_bytes(checksum[20:24], "little")
    assert flags & 0x3E == 0x3E
    assert bool(flags & 1) is (name == "d") is (b"\x76" in checksum[28:29])


def authenticator_checksum(token: bytes, service_key: bytes) -> bytes:
    request = decoder.decode(token[token.index(b"\x01\x00\x6e") + 2 :])[0]
    ticket = decoder.decode(opened(18, service_key, 2, tagged(tagged(request, 3), 3)))[0]
    key_type, key = tagged(ticket, 1).values()
    authenticator = decoder.decode(opened(int(key_type), bytes(key), 11, tagged(request, 4)))[0]
    kind, checksum = tagged(authenticator, 3).values()
    assert int(kind) == 0x8003
    return bytes(checksum)


def tagged(sequence: Any, number: int) -> Any:
    return next(part for part in sequence.values() if part.tagSet.superTags[-1].tagId == number)


def opened(key_type: int, key: bytes, usage: int, part: Any) -> bytes:
    """What an EncryptedData holds."""
    return decrypt(key_type, key, usage, bytes(tagged(part, 2)))


@pytest.mark.parametrize("name", ["d", "e"])
def test_the_layer_carried_the_lines_that_the_document_names(name: str) -> None:
    inside = [bytes.fromhex(piece["octets"]) for piece in VECTORS[name]["inside"]]
    assert all(GRAMMAR.matches("message", line.removesuffix(b"\n")) for line in inside)
    confirmation = parse(tuple(inside[0].decode().split()))
    assert isinstance(confirmation, Signature)
    lines = Transcript()
    for sender, octets in recorded(name):
        if sender.endswith(">") and octets[:1] != b"\0":
            lines.add(Role.CLIENT if sender == "C>" else Role.GUEST, octets.decode().split())
    assert confirmation.transcript == lines.digest()


def recorded_krb_cred() -> bytes:
    blob = bytes.fromhex(VECTORS["e"]["inside"][3]["octets"]).split()[2]
    return bytes(b64decode(blob))


def test_the_recorded_krb_cred_can_be_read() -> None:
    ticket = decode(recorded_krb_cred())
    assert (ticket.client, ticket.server) == (VECTORS["e"]["principal"], "krbtgt/TEST.EXAMPLE@TEST.EXAMPLE")


INFO = [row for row in table("9.1", "type") if row["type"] == "KrbCredInfo" and row["field"] != "key"]


@pytest.mark.parametrize("row", INFO, ids=lambda row: row["field"])
def test_fields_that_must_be_here(row: dict[str, str]) -> None:
    """A KrbCredInfo without one field: only what section 9.1 calls "may" may be missing."""
    message = decoder.decode(recorded_krb_cred(), asn1Spec=KrbCred())[0]
    part = decoder.decode(bytes(message["enc-part"]["cipher"]), asn1Spec=EncKrbCredPart())[0]
    kept, whole = KrbCredInfo(), part["ticket-info"][0]
    for field in (field for field in whole if whole[field].hasValue() and field != row["field"]):
        kept[field] = whole[field]
    part["ticket-info"][0] = kept
    message["enc-part"]["cipher"] = encoder.encode(part)
    if row["must"] == "may":
        decode(encoder.encode(message))
    else:
        with pytest.raises(MechanismError):
            decode(encoder.encode(message))
