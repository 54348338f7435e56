"""Messages of the OpenSSH agent protocol, as far as a console needs them; no I/O.

draft-ietf-sshm-ssh-agent: uint32 length, an octet of type, the rest. One request, one answer, in turn.

A port of a console may still bring octets of an earlier viewer, so each of its openings begins with a hello
of the guest (an extension request with a nonce) and the echo of it; what comes before the echo is dropped.
"""

from collections.abc import Iterator

from sso.errors import FramingError

MESSAGE_MAX = 256 * 1024  # octets without the length, as OpenSSH's AGENT_MAX_LEN
NONCE_SIZE = 16
FAILURE, REQUEST_IDENTITIES, SIGN_REQUEST, EXTENSION, EXTENSION_RESPONSE = 5, 11, 13, 27, 29
_HELLO = b"hello@console-sso"
_BIND = b"session-bind@openssh.com"  # PROTOCOL.agent 1: which host a key is used for


class Frames:
    """Cuts octets into messages, at any chunking."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Add octets, and give every message that is whole now: type and rest, without the length.

        Raises FramingError for a length of 0 or above MESSAGE_MAX, before its octets are kept.
        """
        self._waiting += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> bytes | None:
        if len(self._waiting) < 4:
            return None
        size = int.from_bytes(self._waiting[:4], "big")
        if not 0 < size <= MESSAGE_MAX:
            raise FramingError(f"an agent's message of {size} octets")
        if len(self._waiting) < 4 + size:
            return None
        message = bytes(self._waiting[4 : 4 + size])
        del self._waiting[: 4 + size]
        return message

    @property
    def empty(self) -> bool:
        """Whether no part of a message is left."""
        return not self._waiting


def framed(message: bytes) -> bytes:
    """A message with its length."""
    return len(message).to_bytes(4, "big") + message


REFUSED = framed(bytes([FAILURE]))


def may_pass(request: bytes) -> bool:
    """Whether the console may ask that: for the keys' names, for signatures, and to say for which host.

    Nothing that adds, removes or locks keys, and no other extension.
    """
    return request[0] in (REQUEST_IDENTITIES, SIGN_REQUEST) or _named(request, EXTENSION) == _BIND


def hello(nonce: bytes) -> bytes:
    """The guest's first words to a viewer, framed."""
    return framed(bytes([EXTENSION]) + _text(_HELLO) + nonce)


def echo(nonce: bytes) -> bytes:
    """What the client answers to that, framed."""
    return framed(bytes([EXTENSION_RESPONSE]) + _text(_HELLO) + nonce)


def nonce_of(request: bytes) -> bytes | None:
    """The nonce of a hello, None for another message."""
    nonce = request[1 + 4 + len(_HELLO) :]
    return nonce if _named(request, EXTENSION) == _HELLO and len(nonce) == NONCE_SIZE else None


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def _named(request: bytes, kind: int) -> bytes:
    """The name of an extension, b"" for another message."""
    size = int.from_bytes(request[1:5], "big")
    return request[5 : 5 + size] if request[0] == kind and len(request) >= 5 + size else b""
