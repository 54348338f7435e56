"""Which kinds of Kerberos keys are taken: AES alone, in every part of an AP-REQ (PROTOCOL.md section 8.1).

An initial token says in the clear by which kind of key each part is encrypted: an AP-REQ (RFC 4120 section
5.5.1) inside the frame of RFC 4121 section 4.1. The authenticator is encrypted with the ticket's session key,
so its type is that key's. The context's own key says less: both ends may agree on an AES subkey below an RC4
session key (RFC 4537).
"""

from sso.errors import MechanismError
from sso_mechs.der import INTEGER, OBJECT, OCTET_STRING, SEQUENCE, Reader, application, context

KEY_SIZES = {17: 16, 18: 32, 19: 16, 20: 32}  # octets of a key by its type (RFC 3962, RFC 8009)
AES = frozenset(KEY_SIZES)
NAMES = {1: "DES", 2: "DES", 3: "DES", 16: "3DES", 23: "RC4", 24: "RC4"}

KERBEROS = bytes.fromhex("2a864886f712010202")  # 1.2.840.113554.1.2.2
AP_REQ, AP_ERROR = b"\x01\x00", b"\x03\x00"  # TOK_ID (RFC 4121 section 4.1)
FRAME, TICKET, MESSAGE = application(0), application(1), application(14)


class Encrypted:  # no NamedTuple: making one is half of what the client spends on this module
    """By which types of keys ticket and authenticator are encrypted; `version` is the service key's, or 0."""

    __slots__ = ("authenticator", "ticket", "version")

    def __init__(self, ticket: int, version: int, authenticator: int) -> None:
        self.ticket, self.version, self.authenticator = ticket, version, authenticator


def read(token: bytes) -> Encrypted:
    """The clear part of an initial token; MechanismError("gssapi") when it is no AP-REQ."""
    try:
        return _read(token)
    except ValueError:
        raise MechanismError("gssapi", "the token is no AP-REQ") from None


def check(token: bytes) -> Encrypted:
    """What an initial token says; MechanismError("weak-key") when its ticket or session key is no AES."""
    found = read(token)
    if found.ticket not in AES:
        raise MechanismError("weak-key", f"the service's ticket is encrypted with {name_of(found.ticket)}")
    if found.authenticator not in AES:
        raise MechanismError("weak-key", f"the ticket's session key is {name_of(found.authenticator)}")
    return found


def of_key(oid: bytes) -> int:
    """A key's type by its 1.2.840.113554.1.2.2.5.5.ETYPE: the last arc, which AES needs one octet for."""
    return oid[-1] if oid and oid[-1] < 0x80 else 0


def name_of(type: int) -> str:
    """The word for a kind of key that is no AES."""
    return NAMES.get(type, f"of encryption type {type}")


def is_error(token: bytes) -> bool:
    """Whether a token is a KRB-ERROR, which anybody on the way can write.

    The frame's length may have any form: libkrb5 reads what is longer than it need be, too.
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
    for number in range(3):  # pvno, msg-type and ap-options, which the library checks
        message.take(context(number))
    ticket, authenticator = message.take(context(3)).only(TICKET, SEQUENCE), message.take(context(4))
    message.finish()
    for number in range(3):  # tkt-vno, realm and sname
        ticket.take(context(number))
    type, version = _encrypted(ticket.take(context(3)))
    ticket.finish()
    return Encrypted(type, version, _encrypted(authenticator)[0])


def _encrypted(field: Reader) -> tuple[int, int]:
    """Type and version of the key of an EncryptedData; a version that is left out is 0."""
    data = field.only(SEQUENCE)
    type, version = data.take(context(0)).only(INTEGER).integer(), 0
    if data.starts_with(context(1)):
        version = data.take(context(1)).only(INTEGER).integer()
    data.take(context(2)).only(OCTET_STRING)
    data.finish()
    return type, version
