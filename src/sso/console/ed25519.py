"""Ed25519 (RFC 8032) over a prefix and unchanged bytes, by the optional library `cryptography`. No I/O.

The library is imported when the first signature is checked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sso.errors import ConfigError, FramingError, SSOError
from sso.framing import b64decode, b64encode, wipe

KEY_SIZE, SIGNATURE_SIZE, SEED_SIZE = 32, 64, 32  # bytes
NAME = "ed25519:"  # before the base64 of a public key
_FIELD = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_EIGHTH = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y of all points whose order divides 8: with such a key one signature is valid for every text.
_SMALL = frozenset((0, 1, _FIELD - 1, _EIGHTH, _FIELD - _EIGHTH))
# PKCS #8 of a private key (RFC 8410 section 7, version 1, no attributes) up to its 32 bytes.
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
_BEGIN, _END = b"-----BEGIN PRIVATE KEY-----\n", b"\n-----END PRIVATE KEY-----\n"
PEM_SIZE = len(_BEGIN) + 64 + len(_END)  # bytes of a private key's file


class NoLibrary(SSOError):
    """No signature can be made or checked: python3-cryptography is missing, or knows no Ed25519."""


def library() -> Any:
    """Return the module ed25519 of cryptography (38 or newer); raises NoLibrary."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519

        ed25519.Ed25519PublicKey.from_public_bytes(_base_point())
    except Exception as error:  # an import may fail in many ways, and OpenSSL may lack Ed25519
        raise NoLibrary(f"for Ed25519 install python3-cryptography ({type(error).__name__})") from None
    return ed25519


def _base_point() -> bytes:
    return bytes([0x58]) + bytes([0x66]) * 31


def public_key(text: str) -> bytes:
    """Decode `ed25519:BASE64` to 32 bytes; raises ConfigError for another form, or a key of small order."""
    try:
        key = bytes(b64decode(text.removeprefix(NAME).encode("ascii"), KEY_SIZE))
    except (UnicodeEncodeError, FramingError):
        key = b""
    if not text.startswith(NAME) or len(key) != KEY_SIZE:
        raise ConfigError(f"a public key has to be {NAME} and 44 characters of base64")
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= _FIELD or y in _SMALL:
        raise ConfigError("this public key is no sound one: every signature would fit it")
    return key


def key_text(key: bytes) -> str:
    """Return a public key as text: `ed25519:BASE64`."""
    return NAME + b64encode(key).decode()


def is_signature(key: bytes, signature: bytes, prefix: bytes, octets: memoryview) -> bool:
    """Whether `key` has signed `prefix` followed by `octets`; S is below the order (RFC 8032 section 5.1.7).

    Raises NoLibrary. The bytes are copied once, and the copy is wiped.
    """
    if len(signature) != SIGNATURE_SIZE or int.from_bytes(signature[32:], "little") >= _ORDER:
        return False
    made_by = library()
    from cryptography.exceptions import InvalidSignature

    with _message(prefix, octets) as message:
        try:
            made_by.Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):  # ValueError: the key is no point of the curve
            return False
        return True


def sign(seed: bytearray, prefix: bytes, octets: memoryview) -> bytes:
    """Sign `prefix` followed by `octets` with a private key of 32 bytes; raises NoLibrary."""
    private = library().Ed25519PrivateKey.from_private_bytes(seed)
    with _message(prefix, octets) as message:
        signature: bytes = private.sign(message)
    return signature


def public_of(seed: bytearray) -> bytes:
    """Return the public key of a private key; raises NoLibrary."""
    private = library().Ed25519PrivateKey.from_private_bytes(seed)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key: bytes = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key


def in_one(*parts: bytes | bytearray | memoryview) -> bytearray:
    """Join all parts in one buffer, without another copy (a slice of a bytearray would make one)."""
    joined = bytearray(sum(map(len, parts)))
    at = 0
    with memoryview(joined) as view:
        for part in parts:
            view[at : at + len(part)] = part
            at += len(part)
    return joined


@contextmanager
def _message(prefix: bytes, octets: memoryview) -> Iterator[Any]:
    """Context manager: prefix and bytes in one buffer that cryptography takes; wiped at the end."""
    joined = in_one(prefix, octets)
    try:
        yield _view(joined)
    finally:
        wipe(joined)


def _view(joined: bytearray) -> Any:
    import cryptography

    version = int(cryptography.__version__.partition(".")[0])
    if version < 41:  # it takes bytes or a pointer of cffi, which it is built with; Debian 12 has 38
        from _cffi_backend import FFI

        return FFI().from_buffer("unsigned char[]", joined)
    return bytes(joined) if version == 41 else joined  # 41 takes no buffer that can be wiped


# A private key's file: PEM, as `openssl genpkey -algorithm ed25519` writes it


def pem(seed: bytearray) -> bytearray:
    """Return the content of a private key's file; the caller wipes it."""
    der = in_one(_PKCS8, seed)
    text = b64encode(der)
    file = in_one(_BEGIN, text, _END)
    wipe(der)
    wipe(text)
    return file


def seed_of(file: memoryview) -> bytearray:
    """Return the 32 bytes of a private key's file; the caller wipes them. Raises ConfigError."""
    body = file[len(_BEGIN) : -len(_END)]
    if len(file) != PEM_SIZE or bytes(file[: len(_BEGIN)]) != _BEGIN or bytes(file[-len(_END) :]) != _END:
        raise ConfigError("it is no private key of Ed25519 as PEM, unencrypted (PKCS #8)")
    try:
        der = b64decode(body, 48)
    except FramingError:
        raise ConfigError("it is no private key of Ed25519 as PEM, unencrypted (PKCS #8)") from None
    with memoryview(der) as view:
        seed = in_one(view[-SEED_SIZE:]) if der.startswith(_PKCS8) else None
    wipe(der)
    if seed is None:
        raise ConfigError("it is a private key of another kind than Ed25519")
    return seed
