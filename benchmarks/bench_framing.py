"""The framing core beside its peers: small messages and secrets, whole and in chunks of a virtio port.

No peer does the same job: msgspec reads a wire format of its own; the hybrids are line splitting tuned by
hand around a fast base64 library, which takes pad bits that are not canonical.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any

import hashcodecs
import msgspec
import pybase64
import pytest

from sso import _framing, _framing_py

SMALL = {"authenticate": b"authenticate kerberos password\n", "ok": b"ok\n"}
BATCH = 100
SIZES = {"1K": 1024, "16K": 16384, "64K": 65536}
LINE_MAX = 128 * 1024


class Splitter:
    """Lines by find and split, as one would tune them in Python; `decode` turns base64 into octets."""

    def __init__(self, decode: Callable[[memoryview], Any]) -> None:
        self._decode = decode
        self._buffer = bytearray()
        self._searched = 0

    def read(self, chunk: bytes) -> list[Any]:
        self._buffer += chunk
        found = []
        start = 0
        while (end := self._buffer.find(b"\n", max(start, self._searched))) >= 0:
            verb, _, rest = bytes(self._buffer[start : start + 32]).partition(b" ")
            if verb == b"credentials":
                head = start + 12 + len(rest.partition(b" ")[0]) + 1
                with memoryview(self._buffer) as view:
                    found.append(self._decode(view[head:end]))
            else:
                found.append(tuple(self._buffer[start:end].decode().split(" ")))
            start = end + 1
        del self._buffer[:start]
        self._searched = len(self._buffer)
        return found


def framed(build: Any) -> Callable[[], Callable[[bytes], list[Any]]]:
    def make() -> Callable[[bytes], list[Any]]:
        framer = build.MessageFramer(LINE_MAX)

        def read(chunk: bytes) -> list[Any]:
            framer.feed(chunk)
            found = []
            while (message := framer.next_message()) is not None:
                found.append(message[2] if message[0] == "credentials" else message)
            return found

        return read

    return make


def _into(view: memoryview) -> bytearray:
    out = bytearray(len(view) // 4 * 3)
    return out[: hashcodecs.b64decode_into(view, out)]


PEERS: dict[str, Callable[[], Callable[[bytes], list[Any]]]] = {
    "compiled": framed(_framing),
    "pure Python": framed(_framing_py),
    "tuned stdlib": lambda: Splitter(lambda view: binascii.a2b_base64(view, strict_mode=True)).read,
    "tuned + pybase64": lambda: (
        Splitter(lambda view: pybase64.b64decode_as_bytearray(view, validate=True)).read
    ),
    "tuned + hashcodecs into": lambda: Splitter(_into).read,
}


def _row(benchmark: Any, case: str, peer: str) -> None:
    benchmark.group = case
    benchmark.extra_info.update(case=case, peer=peer)


@pytest.mark.parametrize("batch", [1, BATCH], ids=["one a read", f"{BATCH} a read"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("peer", [*PEERS, "msgspec (JSON)"])
def test_small(benchmark: Any, peer: str, name: str, batch: int) -> None:
    if "+" in peer:
        pytest.skip("base64 plays no part in a small message")
    case = f"{name}, {'one a read' if batch == 1 else f'{batch} a read'}"
    words = SMALL[name].decode().split()
    if peer.startswith("msgspec"):
        decoder, line = msgspec.json.Decoder(list[str]), msgspec.json.encode(words) + b"\n"
        read: Callable[[bytes], list[Any]] = decoder.decode_lines
        chunk = line * batch
        assert read(chunk) == [words] * batch
    else:
        read, chunk = PEERS[peer](), SMALL[name] * batch
        assert read(chunk) == [tuple(words)] * batch
    _row(benchmark, case, peer)
    benchmark(read, chunk)


@pytest.mark.parametrize("chunk", [0, 4096], ids=["whole", "4096"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("peer", PEERS)
def test_secret(benchmark: Any, peer: str, size: str, chunk: int) -> None:
    secret = bytes(range(256)) * (SIZES[size] // 256)
    line = b"credentials kerberos " + base64.b64encode(secret) + b"\n"
    step = chunk or len(line)
    chunks = [line[i : i + step] for i in range(0, len(line), step)]
    read = PEERS[peer]()

    def all_of_it() -> list[Any]:
        return [message for part in chunks for message in read(part)]

    assert all_of_it() == [secret]
    _row(benchmark, f"secret of {size}, {'whole' if not chunk else 'in chunks of 4096'}", peer)
    benchmark(all_of_it)
