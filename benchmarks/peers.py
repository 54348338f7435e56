"""The framing core and its peers for secrets: tuned framing in Python around a fast base64 library.

`make()` gives `read(chunk)`, which returns the messages that the chunk completes, equal for all:
("credentials", type, bytes). Each library decodes as strictly as it can; how strict that is, and what else
differs, says docs/performance.md. docs/performance.md also says why there are two framings.
"""

import binascii
import sys
from collections.abc import Callable, Generator, Sequence
from importlib import import_module
from typing import Any

from sso import _framing, _framing_py

SECRET_MAX = 1 << 20
LINE_MAX = 2 * SECRET_MAX  # one framer for every case; the caps cost the same at any value
Read = Callable[[bytes], Sequence[Any] | None]
Make = Callable[[], Read]
Decode = Callable[[memoryview], Any]

DISTRIBUTIONS = (
    *("msgspec", "hiredis", "httptools", "h11", "pyserial", "Twisted"),
    *("fastpybase64", "hashcodecs", "pybase64"),
)
LF, SECRET = 0x0A, b"credentials "
FIRST = SECRET[0]

MISSING: dict[str, str] = {}  # a peer's library -> why it cannot be had here


def library(name: str) -> Any:
    """The module of that name; None, and the reason in MISSING, where it is not there."""
    try:
        return import_module(name)
    except ImportError as error:
        MISSING[name.partition(".")[0]] = str(error)
        return None


fastpybase64, hashcodecs, pybase64 = map(library, ("fastpybase64", "hashcodecs", "pybase64"))


def framed(build: Any) -> Read:
    """Ours: the bound method itself."""
    feed: Read = build.MessageFramer(LINE_MAX, SECRET_MAX).feed
    return feed


def tuned(decode: Decode) -> Read:
    """The fastest framing in Python that we know: `send` of a generator keeps its state in local variables.

    A chunk without LF is kept as it is, and all are joined once. A line whose bytes lie in one chunk is
    copied by nobody; a run of small lines is decoded and split at once.
    """
    lines = _tuned(decode)
    next(lines)
    return lines.send


def _tuned(decode: Decode) -> Generator[Sequence[Any], bytes, None]:
    parts: list[bytes] = []
    found: Sequence[Any] = ()
    while True:
        chunk = yield found
        end = chunk.find(b"\n")
        if end < 0:
            parts.append(chunk)
            found = ()
            continue
        if parts:
            after = len(chunk) - end
            parts.append(chunk)
            chunk = b"".join(parts)
            parts.clear()
            end = len(chunk) - after
        if end + 1 < len(chunk):
            found = _several(chunk, decode)
            if chunk[-1] != LF:
                parts.append(chunk[chunk.rfind(b"\n") + 1 :])
        elif chunk[0] == FIRST and chunk.startswith(SECRET):
            found = [_secret(chunk, 0, end, decode)]
        else:
            found = [tuple(chunk[:-1].decode("ascii").split(" "))]


def _several(chunk: bytes, decode: Decode) -> list[Any]:
    """The messages of several lines: a run of those without a secret is decoded at once."""
    found: list[Any] = []
    start, last = 0, chunk.rfind(b"\n")
    while start < last:
        if chunk.startswith(SECRET, start):
            end = chunk.index(b"\n", start)
            found.append(_secret(chunk, start, end, decode))
        else:
            end = chunk.find(b"\n" + SECRET, start, last)
            end = last if end < 0 else end
            found += [tuple(line.split(" ")) for line in chunk[start:end].decode("ascii").split("\n")]
        start = end + 1
    return found


def _secret(chunk: bytes, start: int, end: int, decode: Decode) -> tuple[str, str, Any]:
    at = chunk.index(b" ", start + len(SECRET))
    type = chunk[start + len(SECRET) : at].decode("ascii")
    return "credentials", type, decode(memoryview(chunk)[at + 1 : end])


class Buffered:
    """Framing as most write it, tuned: one bytearray, no byte searched twice, the secret through a view."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._buffer = bytearray()
        self._searched = 0

    def read(self, chunk: bytes) -> list[Any]:
        buffer, start = self._buffer, 0
        found: list[Any] = []
        buffer += chunk
        end = buffer.find(b"\n", self._searched)
        while end >= 0:
            if buffer.startswith(SECRET, start):
                at = buffer.index(b" ", start + len(SECRET))
                with memoryview(buffer) as view, view[at + 1 : end] as blob:
                    secret = self._decode(blob)
                found.append(("credentials", str(buffer[start + len(SECRET) : at], "ascii"), secret))
            else:
                found.append(tuple(buffer[start:end].decode("ascii").split(" ")))
            start = end + 1
            end = buffer.find(b"\n", start)
        if start:
            del buffer[:start]
        self._searched = len(buffer)
        return found


def by_stdlib(view: memoryview) -> bytes:
    return binascii.a2b_base64(view, strict_mode=True)


def by_pybase64(view: memoryview) -> bytes:
    octets: bytes = pybase64.b64decode(view, validate=True)
    return octets


def by_fastpybase64(view: memoryview) -> bytes:
    octets: bytes = fastpybase64.b64decode(view, validate=True)
    return octets


def by_hashcodecs(view: memoryview) -> bytes:
    octets: bytes = hashcodecs.b64decode(view, validate=True, canonical=True)
    return octets


def into_new(view: memoryview) -> bytearray:
    """Into a buffer of the right size."""
    pads = (view[-1] == 0x3D) + (view[-2] == 0x3D)
    out = bytearray(len(view) // 4 * 3 - pads)
    hashcodecs.b64decode_into(view, out, validate=True, canonical=True)
    return out


def into_kept() -> Decode:
    """Into one buffer for all, of the largest size: a secret is good until the next one comes."""
    kept = bytearray(SECRET_MAX)
    view_of_it, decode_into = memoryview(kept), hashcodecs.b64decode_into

    def decode(view: memoryview) -> memoryview:
        return view_of_it[: decode_into(view, kept, validate=True, canonical=True)]

    return decode


# What each is called in the table -> how it is made. The first word tells the framing.
OURS: dict[str, Make] = {"compiled": lambda: framed(_framing), "pure Python": lambda: framed(_framing_py)}
STDLIB: dict[str, Make] = {
    "tuned stdlib": lambda: tuned(by_stdlib),
    "buffered stdlib": lambda: Buffered(by_stdlib).read,
}
HYBRIDS: dict[str, Make] = {}
if pybase64:
    HYBRIDS["tuned + pybase64"] = lambda: tuned(by_pybase64)
if fastpybase64:
    HYBRIDS["tuned + fastpybase64"] = lambda: tuned(by_fastpybase64)
    HYBRIDS["buffered + fastpybase64"] = lambda: Buffered(by_fastpybase64).read
if hashcodecs:
    HYBRIDS["tuned + hashcodecs"] = lambda: tuned(by_hashcodecs)
    HYBRIDS["tuned + hashcodecs into"] = lambda: tuned(into_new)
    HYBRIDS["tuned + hashcodecs into, kept"] = lambda: tuned(into_kept())
    HYBRIDS["buffered + hashcodecs into"] = lambda: Buffered(into_new).read


def versions() -> dict[str, str]:
    """What was measured: the distributions and their versions."""
    metadata = import_module("importlib.metadata")
    found = {"Python": sys.version.split()[0]}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found
