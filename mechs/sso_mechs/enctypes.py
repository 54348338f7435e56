"""Accepts only AES keys, in every part of an AP-REQ (PROTOCOL.md section 8.1).

An initial token names in the clear the key type of each encrypted part: it is an AP-REQ (RFC 4120 section
5.5.1) in the frame of RFC 4121 section 4.1. The authenticator is encrypted with the ticket's session key, so
its type is that key's type. The type of the context's own key is not enough: both ends may agree on an AES
subkey although the session key is RC4 (RFC 4537).
"""

from sso.errors import MechanismError
from sso_mechs.der import INTEGER, OBJECT, OCTET_STRING, SEQUENCE, Reader, application, context

KEY_SIZES = {17: 16, 18: 32, 19: 16, 20: 32}  # key type to key size in bytes (RFC 3962, RFC 8009)
AES = frozenset(KEY_SIZES)
NAMES = {1: "DES", 2: "DES", 3: "DES", 16: "3DES", 23: "RC4", 24: "RC4"}

KERBEROS = bytes.fromhex("2a864886f712010202")  # 1.2.840.113554.1.2.2
AP_REQ, AP_ERROR = b"\x01\x00", b"\x03\x00"  # TOK_ID (RFC 4121 section 4.1)
FRAME, TICKET, MESSAGE = application(0), application(1), application(14)


class Encrypted:  # not a NamedTuple: creating that class takes half the module's load time
    """The key types of ticket and authenticator; `version` is the service key's version, 0 if not given."""

    __slots__ = ("authenticator", "ticket", "version")

    def __init__(self, ticket: int, version: int, authenticator: int) -> None:
        self.ticket, self.version, self.authenticator = ticket, version, authenticator


def read(token: bytes) -> Encrypted:
    """Parse the clear part of an initial token. Raises MechanismError("gssapi") if it is not an AP-REQ."""
    try:
        return _read(token)
    except ValueError:
        raise MechanismError("gssapi", "the token is no AP-REQ") from None


def check(token: bytes) -> Encrypted:
    """Parse an initial token. Raises MechanismError("weak-key") if ticket or session key is not AES."""
    found = read(token)
    if found.ticket not in AES:
        raise MechanismError("weak-key", f"the service's ticket is encrypted with {name_of(found.ticket)}")
    if found.authenticator not in AES:
        raise MechanismError("weak-key", f"the ticket's session key is {name_of(found.authenticator)}")
    return found


def of_key(oid: bytes) -> int:
    """Return the key type in the OID 1.2.840.113554.1.2.2.5.5.ETYPE: its last arc, one byte for AES."""
    return oid[-1] if oid and oid[-1] < 0x80 else 0


def name_of(type: int) -> str:
    """Return the name of a key type that is not AES."""
    return NAMES.get(type, f"of encryption type {type}")


def is_error(token: bytes) -> bool:
    """Whether a token is a KRB-ERROR, which anybody between the two ends can forge.

    The frame's length may have any form: libkrb5 also accepts lengths that are not in the shortest form.
    """
    long = token[1:2] > b"\x80"
    start = 2 + (token[1] - 0x80 if long else 0)
    head = bytes([OBJECT, len(KERBEROS)]) + KERBEROS + AP_ERROR
    return token[:1] == bytes([FRAME]) and token[start : start + len(head)] == head


def _read(token: bytes) -> Encrypted:
    frame = Reader(token).only(FRAME)
    if frame.take(OBJECT).rest() != KERBEROS or frame.skip(2) != AP_REQ:
        raise ValueError("another mechanism, or another token")
    message = frame.only(MESSAGE, SEQUENCE)
    for number in range(3):  # skip pvno, msg-type and ap-options; the library checks them
        message.take(context(number))
    ticket, authenticator = message.take(context(3)).only(TICKET, SEQUENCE), message.take(context(4))
    message.finish()
    for number in range(3):  # skip tkt-vno, realm and sname
        ticket.take(context(number))
    type, version = _encrypted(ticket.take(context(3)))
    ticket.finish()
    return Encrypted(type, version, _encrypted(authenticator)[0])


def _encrypted(field: Reader) -> tuple[int, int]:
    """Return (key type, key version) of an EncryptedData; a missing version is 0."""
    data = field.only(SEQUENCE)
    type, version = data.take(context(0)).only(INTEGER).integer(), 0
    if data.starts_with(context(1)):
        version = data.take(context(1)).only(INTEGER).integer()
    data.take(context(2)).only(OCTET_STRING)
    data.finish()
    return type, version
