"""The framing core beside its peers: small messages and secrets, whole and in chunks.

4096 octets are what a virtio port usually gives at a time, 64 an unusually small read. Every result is
compared with the right one before anything is timed.
"""

import base64
from typing import Any

import msgspec
import pytest
from peers import HYBRIDS, MSGSPEC, PEERS, Read, msgspec_lines

SMALL = {"authenticate": ("authenticate", "kerberos", "password"), "ok": ("ok",)}
BATCH = 100
SIZES = {"1K": 1024, "16K": 16384, "64K": 65536}


def _row(benchmark: Any, case: str, peer: str) -> None:
    benchmark.group = case
    benchmark.extra_info.update(case=case, peer=peer)


@pytest.mark.parametrize("batch", [1, BATCH], ids=["one a read", f"{BATCH} a read"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("peer", [*PEERS, MSGSPEC])
def test_small(benchmark: Any, peer: str, name: str, batch: int) -> None:
    words = SMALL[name]
    if peer == MSGSPEC:
        read: Read = msgspec_lines()
        line = msgspec.json.encode(words) + b"\n"
    else:
        read, line = PEERS[peer](), " ".join(words).encode() + b"\n"
    chunk = line * batch
    assert read(chunk) == [words] * batch
    _row(benchmark, f"{name}, {'one' if batch == 1 else batch} a read", peer)
    benchmark(read, chunk)


@pytest.mark.parametrize("chunk", [0, 4096, 64], ids=["whole", "4096", "64"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("peer", [*PEERS, *HYBRIDS])
def test_secret(benchmark: Any, peer: str, size: str, chunk: int) -> None:
    secret = bytes(range(256)) * (SIZES[size] // 256)
    line = b"credentials kerberos " + base64.b64encode(secret) + b"\n"
    step = chunk or len(line)
    chunks = [line[i : i + step] for i in range(0, len(line), step)]
    read = (PEERS | HYBRIDS)[peer]()

    def all_of_it() -> list[Any]:
        return [message for part in chunks for message in read(part)]

    assert all_of_it() == [secret]
    _row(benchmark, f"secret of {size}, {f'in chunks of {chunk}' if chunk else 'whole'}", peer)
    benchmark(all_of_it)
