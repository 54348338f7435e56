"""Messages: one immutable class per kind of line, for both directions (PROTOCOL.md section 3).

`parse` turns the words from the framer into a message; the message's `words` returns them again.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from sso.errors import FramingError, RemoteProtocolError
from sso.framing import Words, b64decode, b64encode

MAGIC = "cSSO7f3Kq9ZtW2xB"
VERSION = 1
NONCE_SIZE = 16
HASH_SIZE = 32
LINE_MAX = 4096  # bytes of a line outside every layer; a SIGNATURE with all attributes has fewer than 512
LAYER_LINE_MAX = 128 * 1024  # bytes of a line inside a layer; 64 KiB of secret take 87384 in base64
SECRET_MAX = 64 * 1024
SIGNATURE_MAX = 512  # bytes of LF SIGNATURE ... LF that the raw search keeps at most
SIGNATURE_PREFIX = f"\nSIGNATURE {MAGIC} ".encode()
MECHANISMS_MAX = 16
TYPES_MAX = 16


class Code(IntEnum):
    """The codes of `error` (PROTOCOL.md section 4); details stay in the sender's log."""

    DELAY = 300
    UNSUPPORTED = 400
    LAYER_REQUIRED = 401
    NOT_AUTHENTICATED = 402
    DENIED = 403
    NO_VALUE = 404
    VERSION = 405
    MALFORMED = 406
    CLOCK_SKEW = 407
    TOO_LATE = 408
    NO_TICKET = 409
    TRY_LATER = 410
    NO_LOGIN_SCREEN = 411
    CREDENTIAL_REFUSED = 412
    TOO_LONG = 413
    CONSOLE_ASKS = 414
    INTERNAL = 500


class Signature(NamedTuple):
    """SIGNATURE: greeting, version offer and reset. Nonces and attempt have 16 bytes, transcript has 32."""

    role: str
    nonce: bytes
    echo: bytes | None = None
    mechanisms: tuple[str, ...] = ()
    minimum: int = VERSION
    maximum: int = VERSION
    attempt: bytes | None = None
    transcript: bytes | None = None

    def words(self) -> list[str]:
        echo = _base64(self.echo) if self.echo else "-"
        words = [
            "SIGNATURE",
            MAGIC,
            str(self.minimum),
            str(self.maximum),
            self.role,
            _base64(self.nonce),
            echo,
        ]
        words.append(",".join(self.mechanisms) or "-")
        if self.attempt is not None:
            words.append("attempt=" + _base64(self.attempt))
        if self.transcript is not None:
            words.append("transcript=" + _base64(self.transcript))
        return words


class StartTLS(NamedTuple):
    """startTLS: the client asks for TLS, which begins with the first byte after the answer `ok`."""

    def words(self) -> list[str]:
        return ["startTLS"]


class StartSASL(NamedTuple):
    """startSASL MECH: the client asks for one SASL mechanism (name as in RFC 4422 section 3.1)."""

    mechanism: str

    def words(self) -> list[str]:
        return ["startSASL", self.mechanism]


class Authenticate(NamedTuple):
    """authenticate TYPE...: the guest asks for a credential of one of these types."""

    types: tuple[str, ...]

    def words(self) -> list[str]:
        return ["authenticate", *self.types]


class Credentials:
    """credentials TYPE BLOB: the client sends one secret of at most 64 KiB, held in a wipeable buffer."""

    __slots__ = ("secret", "type")

    def __init__(self, type: str, secret: bytearray | memoryview) -> None:
        self.type = type
        self.secret = secret

    def __repr__(self) -> str:
        return f"Credentials(type={self.type!r}, {len(self.secret)} bytes)"

    def words(self) -> list[str]:
        """Return the words without the secret, for logs and for the transcript hash."""
        return ["credentials", self.type]


class Info(NamedTuple):
    """info ATTR: the client asks for a value, such as `spn` or `time`."""

    attribute: str

    def words(self) -> list[str]:
        return ["info", self.attribute]


class Ok(NamedTuple):
    """ok [VALUE]: the answer yes to the open request; only the answer to `info` has a value."""

    value: str = ""

    def words(self) -> list[str]:
        return ["ok", self.value] if self.value else ["ok"]


class Error(NamedTuple):
    """error CODE TEXT: the answer no to the open request; we find the text by code and drop the peer's."""

    code: int

    def words(self) -> list[str]:
        return ["error", str(int(self.code)), _TEXTS.get(self.code, "error")]


class Unknown(NamedTuple):
    """A well-formed line with a verb that this version does not know; the answer is error 400."""

    def words(self) -> list[str]:
        return ["unknown"]


VERBS: dict[type, str] = {
    Signature: "SIGNATURE",
    StartTLS: "startTLS",
    StartSASL: "startSASL",
    Authenticate: "authenticate",
    Credentials: "credentials",
    Info: "info",
    Ok: "ok",
    Error: "error",
    Unknown: "unknown",
}
Message = Signature | StartTLS | StartSASL | Authenticate | Credentials | Info | Ok | Error | Unknown


def parse(words: Words) -> Message:
    """Turn the words of one line into a message.

    Raises RemoteProtocolError (code 406) for a known verb with wrong words.
    """
    if words[0] == "credentials":
        _, type, secret = words
        return Credentials(str(type), bytearray() if isinstance(secret, str) else secret)
    text: Any = words  # all are str, except a secret
    parser = _PARSERS.get(text[0])
    return parser(text[1:]) if parser else Unknown()


_Words = tuple[str, ...]
_KNOWN = {"attempt": NONCE_SIZE, "transcript": HASH_SIZE}


def _signature(words: _Words) -> Signature:
    _need(7 <= len(words) <= 16, "SIGNATURE")
    magic, minimum, maximum, role, nonce, echo, mechanisms = words[:7]
    _need(magic == MAGIC and role in ("client", "guest"), "SIGNATURE")
    found: dict[str, bytes] = {}
    for word in words[7:]:
        key, equals, value = word.partition("=")
        _need(bool(equals) and key not in found, "SIGNATURE")
        found[key] = _octets(value, _KNOWN[key]) if key in _KNOWN else b""
    return Signature(
        role,
        _octets(nonce, NONCE_SIZE),
        None if echo == "-" else _octets(echo, NONCE_SIZE),
        () if mechanisms == "-" else _mechanisms(mechanisms),
        _number(minimum, 3),
        _number(maximum, 3),
        found.get("attempt"),
        found.get("transcript"),
    )


def _start_tls(words: _Words) -> StartTLS:
    _need(not words, "startTLS")
    return StartTLS()


def _start_sasl(words: _Words) -> StartSASL:
    _need(len(words) == 1 and "," not in words[0], "startSASL")
    return StartSASL(_mechanisms(words[0])[0])


def _authenticate(words: _Words) -> Authenticate:
    _need(1 <= len(words) <= TYPES_MAX and all(map(_is_type, words)), "authenticate")
    return Authenticate(words)


def _info(words: _Words) -> Info:
    _need(len(words) == 1 and _is_type(words[0]), "info")
    return Info(words[0])


def _ok(words: _Words) -> Ok:
    _need(len(words) <= 1, "ok")
    return Ok(*words)


def _error(words: _Words) -> Error:
    _need(bool(words), "error")
    code = _number(words[0], 3)
    _need(100 <= code <= 999, "error")
    return Error(code)


_PARSERS: dict[str, Callable[[_Words], Message]] = {
    "SIGNATURE": _signature,
    "startTLS": _start_tls,
    "startSASL": _start_sasl,
    "authenticate": _authenticate,
    "info": _info,
    "ok": _ok,
    "error": _error,
}


def line_of(words: list[str]) -> bytes:
    """Encode the words of one line, with its LF."""
    return (" ".join(words) + "\n").encode("ascii")


def signature_line(signature: Signature) -> bytes:
    """Encode a SIGNATURE outside layers: LF first, so that it does not become part of an unfinished line."""
    return b"\n" + line_of(signature.words())


def _need(condition: bool, verb: str) -> None:
    if not condition:
        raise RemoteProtocolError(f"malformed {verb}")


def _is_type(word: str) -> bool:
    return len(word) <= 32 and not word.strip("abcdefghijklmnopqrstuvwxyz0123456789-")


def _mechanisms(word: str) -> tuple[str, ...]:
    """Split and check mechanism names (RFC 4422 section 3.1): 1 to 20 of A-Z 0-9 hyphen underscore."""
    names = tuple(word.split(","))
    _need(len(names) <= MECHANISMS_MAX, "mechanism")
    for name in names:
        _need(1 <= len(name) <= 20 and not name.strip("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"), "mechanism")
    return names


def _number(word: str, digits: int) -> int:
    plain = word.isascii() and word.isdigit() and len(word) <= digits
    _need(plain and (word == "0" or word[0] != "0"), "number")
    return int(word)


def _octets(word: str, size: int) -> bytes:
    try:
        value = bytes(b64decode(word.encode(), size))
    except FramingError:
        value = b""
    _need(len(value) == size, "base64")
    return value


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


_TEXTS = {int(code): code.name.lower().replace("_", "-") for code in Code}
