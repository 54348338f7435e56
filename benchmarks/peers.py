"""The framing core's peers: what one would write by hand around a fast library, tuned, and checked to agree.

Each peer is made anew by a call and takes chunks: `read(chunk)` gives the messages that it completes, a
secret as octets. None does our whole job: the libraries accept pad bits that are not zero (hashcodecs as it
is called here even more), no peer wipes, and msgspec reads JSON, a wire format of its own.
"""

import binascii
from collections.abc import Callable
from typing import Any

import hashcodecs
import msgspec
import pybase64

from sso import _framing, _framing_py

LINE_MAX = 128 * 1024
Read = Callable[[bytes], list[Any]]
Decode = Callable[[memoryview], Any]


class Splitter:
    """Lines by find and split. No octet is searched twice, and a secret is neither split nor copied: it is
    decoded through a view of the buffer."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._buffer = bytearray()
        self._searched = 0

    def read(self, chunk: bytes) -> list[Any]:
        buffer, found, start = self._buffer, [], 0
        buffer += chunk
        end = buffer.find(b"\n", self._searched)
        while end >= 0:
            if buffer.startswith(b"credentials ", start):
                with memoryview(buffer) as view:
                    found.append(self._decode(view[buffer.index(b" ", start + 12) + 1 : end]))
            else:
                found.append(tuple(buffer[start:end].decode("ascii").split(" ")))
            start = end + 1
            end = buffer.find(b"\n", start)
        if start:
            del buffer[:start]
        self._searched = len(buffer)
        return found


def framed(build: Any) -> Read:
    """Ours, as Session uses it: fed, then asked until there is nothing more."""
    framer = build.MessageFramer(LINE_MAX)
    feed, next_message = framer.feed, framer.next_message

    def read(chunk: bytes) -> list[Any]:
        feed(chunk)
        found = []
        while (message := next_message()) is not None:
            found.append(message[2] if message[0] == "credentials" else message)
        return found

    return read


def stdlib(view: memoryview) -> bytes:
    return binascii.a2b_base64(view, strict_mode=True)


def hybrid(view: memoryview) -> bytearray:
    return pybase64.b64decode_as_bytearray(view, validate=True)


def into(view: memoryview) -> bytearray:
    """Into a buffer of the right size, so that nothing is copied."""
    pads = (view[-1] == 0x3D) + (view[-2] == 0x3D)
    out = bytearray(len(view) // 4 * 3 - pads)
    hashcodecs.b64decode_into(view, out)
    return out


# What each is called in the table -> how it is made.
PEERS: dict[str, Callable[[], Read]] = {
    "compiled": lambda: framed(_framing),
    "pure Python": lambda: framed(_framing_py),
    "tuned stdlib": lambda: Splitter(stdlib).read,
}
HYBRIDS: dict[str, Callable[[], Read]] = {
    "tuned + pybase64": lambda: Splitter(hybrid).read,
    "tuned + hashcodecs into": lambda: Splitter(into).read,
}
MSGSPEC = "msgspec (JSON)"


def msgspec_lines() -> Read:
    """JSON arrays of words, one a line."""
    return msgspec.json.Decoder(tuple[str, ...]).decode_lines
