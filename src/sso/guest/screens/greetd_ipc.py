"""One login through greetd's socket, by greetd-ipc(7): every message is a length and JSON."""

import json
import os
import socket
import struct
from typing import NamedTuple, Self

from sso.daemon import local
from sso.errors import RemoteProtocolError
from sso.framing import wipe

GREETD_SECONDS = 180.0  # for greetd to answer: PAM may ask a server, or wait for a touch of a security token
MESSAGE_MAX = 65536  # bytes of a message from greetd
TEXT_MAX = 4096  # characters of a text to show
_LENGTH = struct.Struct("=I")


class GreetdReply(NamedTuple):
    """success; error with its type and description; auth_message with its type and text."""

    kind: str
    style: str = ""
    text: str = ""


# The fields of each kind of reply, and the types that it may have.
_FIELDS = {
    "success": (),
    "error": ("error_type", "description"),
    "auth_message": ("auth_message_type", "auth_message"),
}
_STYLES = {
    "success": ("",),
    "error": ("error", "auth_error"),
    "auth_message": ("visible", "secret", "info", "error"),
}


class Greetd:
    """One connection to greetd, for one login. Raises RemoteProtocolError when a reply is malformed."""

    def __init__(self, path: str) -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(GREETD_SECONDS)
        try:
            self._link.connect(path)
        except OSError as error:
            self._link.close()
            raise RemoteProtocolError(f"greetd cannot be reached at {path}: {error.strerror}") from None
        if local.peer(self._link).uid not in (0, os.geteuid()):  # it receives the user's answers
            self._link.close()
            raise RemoteProtocolError(f"greetd is not who listens at {path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._link.close()

    def ask(self, type: str, **values: object) -> GreetdReply:
        """Send a request and wait for the reply."""
        return self._exchange(bytearray(json.dumps({"type": type, **values}).encode()))

    def answer(self, answer: memoryview | None) -> GreetdReply:
        """Answer a question and wipe the answer; None confirms a message that is not a question."""
        head, tail = b'{"type":"post_auth_message_response","response":', b"}"
        word = bytearray(b"null") if answer is None else _quoted(answer)
        message = bytearray(len(head) + len(word) + len(tail))
        message[: len(head)], message[len(head) : -1], message[-1:] = head, word, tail
        for secret in (word, answer):
            if secret:
                wipe(secret)
        return self._exchange(message)

    def _exchange(self, message: bytearray) -> GreetdReply:
        try:
            self._link.sendall(_LENGTH.pack(len(message)))
            self._link.sendall(message)
            (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
            if not 0 < length <= MESSAGE_MAX:
                raise RemoteProtocolError(f"greetd sends a message of {length} bytes")
            return _reply(self._receive(length))
        except OSError as error:
            raise RemoteProtocolError(f"greetd does not answer: {error.strerror or error}") from None
        finally:
            wipe(message)

    def _receive(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            part = self._link.recv(length - len(received))
            if not part:
                raise RemoteProtocolError("greetd has hung up")
            received += part
        return received


def _quoted(answer: memoryview) -> bytearray:
    """Encode UTF-8 bytes as a JSON string, in the returned buffer only."""
    plain = [octet >= 0x20 and octet not in b'"\\' for octet in answer]
    quoted = bytearray(2 + sum(1 if good else 6 for good in plain))
    quoted[0] = quoted[-1] = ord('"')
    at = 1
    for octet, good in zip(answer, plain, strict=True):
        size = 1 if good else 6
        quoted[at : at + size] = bytes((octet,)) if good else b"\\u%04x" % octet
        at += size
    return quoted


def _reply(data: bytes) -> GreetdReply:
    try:
        message = json.loads(data)
        kind = message["type"]
        reply = GreetdReply(kind, *(message[name][:TEXT_MAX] for name in _FIELDS[kind]))
        if isinstance(reply.text, str) and reply.style in _STYLES[kind]:
            return reply
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise RemoteProtocolError("greetd sends a message that is none of greetd-ipc(7)")
