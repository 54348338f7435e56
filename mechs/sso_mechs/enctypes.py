"""Accepts only AES keys, in every part of an AP-REQ (PROTOCOL.md section 8.1).

An initial token names in the clear the key type of each encrypted part: it is an AP-REQ (RFC 4120 section
5.5.1) in the frame of RFC 4121 section 4.1. The authenticator is encrypted with the ticket's session key, so
its type is that key's type. The type of the context's own key is not enough: both ends may agree on an AES
subkey although the session key is RC4 (RFC 4537).
"""

from sso.errors import MechanismError
from sso_mechs.der import OBJECT, OCTET_STRING, SEQUENCE, application, contents, context, integer, only, row

KEY_SIZES = {17: 16, 18: 32, 19: 16, 20: 32}  # key type to key size in bytes (RFC 3962, RFC 8009)
AES = frozenset(KEY_SIZES)
NAMES = {1: "DES", 2: "DES", 3: "DES", 16: "3DES", 23: "RC4", 24: "RC4"}

KERBEROS = bytes.fromhex("2a864886f712010202")  # 1.2.840.113554.1.2.2
OID = bytes([OBJECT, len(KERBEROS)]) + KERBEROS
HEAD, HEAD_OF_ERROR = OID + b"\x01\x00", OID + b"\x03\x00"  # with the TOK_ID (RFC 4121 section 4.1)
FRAME, TICKET, MESSAGE = application(0), application(1), application(14)
FIELDS = tuple(map(context, range(5)))  # of an AP-REQ; a ticket has four, an EncryptedData two or three
VERSION = bytes([FIELDS[1]])


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
    return token[:1] == bytes([FRAME]) and token.startswith(HEAD_OF_ERROR, start)


def _read(token: bytes) -> Encrypted:
    at, end = only(token, 0, len(token), FRAME)
    if not token.startswith(HEAD, at, end):
        raise ValueError("another mechanism, or another token")
    message = only(token, at + len(HEAD), end, MESSAGE, SEQUENCE)
    *_, ticket, authenticator = row(token, *message, *FIELDS)  # the library checks what is before them
    *_, sealed = row(token, *only(token, *ticket, TICKET, SEQUENCE), *FIELDS[:4])
    type, version = _encrypted(token, *sealed)
    return Encrypted(type, version, _encrypted(token, *authenticator)[0])


def _encrypted(token: bytes, at: int, end: int) -> tuple[int, int]:
    """Return (key type, key version) of the EncryptedData that is alone there; a missing version is 0."""
    at, end = only(token, at, end, SEQUENCE)
    start, at = contents(token, at, end, FIELDS[0])
    type, version = integer(token, start, at), 0
    if token.startswith(VERSION, at, end):
        start, at = contents(token, at, end)
        version = integer(token, start, at)
    only(token, at, end, FIELDS[2], OCTET_STRING)
    return type, version
