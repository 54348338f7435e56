"""Times the framing core and its peers: small messages and secrets, whole and in chunks.

4096 bytes are what a virtio port usually gives at a time, 64 an unusually small read. Every result is
compared with the right one before anything is timed, and the peers of a case are timed in turns.
"""

import base64
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
from interleave import Work, interleave, show
from kernels import KERNELS, core
from peers import HYBRIDS, OURS, STDLIB, Make, framed
from peers_lines import FLOORS, PEERS

from sso import _framing

# The core has the first two in its table of lines; of the third only the verb is in its table of words.
SMALL = {
    "authenticate": ("authenticate", "kerberos", "password"),
    "ok": ("ok",),
    "authenticate with types not known": ("authenticate", "openidc1", "eidcard1"),
}
BATCH = 100
SIZES = {"1K": 1 << 10, "16K": 1 << 14, "64K": 1 << 16, "1M": 1 << 20}
WHOLE = 1 << 30
SECRETS = [
    *(("1K", WHOLE), ("16K", WHOLE), ("64K", WHOLE), ("1M", WHOLE)),
    *(("64K", 4096), ("1M", 4096), ("64K", 64), ("16K", 1), ("64K", 1)),
]
SLOW = "pure Python"  # it takes milliseconds for a large secret; the others would have to wait
WIPE, MEMCPY, MEMCHR = "the wipe alone", "floor: memcpy", "floor: memchr"


def line_peers(name: str, batch: int) -> dict[str, Work]:
    words = SMALL[name]
    work: dict[str, Work] = {}
    for peer, (make, wire, result) in PEERS.items():
        chunk = wire(words) * batch
        read = make()
        assert list(read(chunk) or ()) == [result(words)] * batch, peer
        work[peer] = read, [chunk]
    for peer, (make, wire, _) in FLOORS.items():
        work[peer] = make(), [wire(words) * batch]
    return work


def secret_makers(size: str, step: int) -> dict[str, Make]:
    makers = OURS | STDLIB | HYBRIDS
    if step < WHOLE or size == "1M":
        del makers[SLOW]
    for kernel in KERNELS if step >= 4096 else ():
        makers[f"compiled, {kernel}"] = partial(framed_by, kernel)
    return makers


def framed_by(kernel: str) -> Any:
    return framed(core(kernel))


def secret_peers(size: str, step: int) -> dict[str, Work]:
    secret = bytes(range(256)) * (SIZES[size] // 256)
    line = b"credentials kerberos " + base64.b64encode(secret) + b"\n"
    chunks = [line[i : i + step] for i in range(0, len(line), step)]
    work: dict[str, Work] = {}
    for peer, make in secret_makers(size, step).items():
        read = make()
        found = [message for chunk in chunks for message in read(chunk) or ()]
        assert found == [("credentials", "kerberos", secret)], peer
        del found
        work[peer] = read, chunks
    return work | floors(base64.b64encode(secret), len(secret))


def floors(characters: bytes, size: int) -> dict[str, Work]:
    """The same base64 characters copied and searched by the C library, and a secret wiped, in whole."""
    room = memoryview(bytearray(len(characters)))
    copy: Callable[[bytes], object] = partial(room.__setitem__, slice(None))
    search: Callable[[bytes], object] = characters.find
    wipe: Callable[[Any], object] = _framing.wipe
    return {MEMCPY: (copy, [characters]), MEMCHR: (search, [b"\n"]), WIPE: (wipe, [bytearray(size)])}


CASES: dict[str, Callable[[], dict[str, Work]]] = {}
NAMES: list[tuple[str, str]] = []
for _name in SMALL:
    for _batch in (1, BATCH):
        _case = f"{_name}, {'one' if _batch == 1 else _batch} a read"
        CASES[_case] = partial(line_peers, _name, _batch)
        NAMES += [(_case, peer) for peer in PEERS | FLOORS]
for _size, _step in SECRETS:
    _case = f"secret of {_size}, {'whole' if _step == WHOLE else f'in chunks of {_step}'}"
    CASES[_case] = partial(secret_peers, _size, _step)
    NAMES += [(_case, peer) for peer in [*secret_makers(_size, _step), MEMCPY, MEMCHR, WIPE]]


@cache
def times(case: str) -> dict[str, list[float]]:
    return interleave(CASES[case]())


@pytest.mark.parametrize(("case", "peer"), NAMES)
def test_framing(benchmark: Any, case: str, peer: str) -> None:
    of_peer = times(case)[peer]
    one = iter(of_peer)
    show(benchmark, case, peer, "", lambda: next(one), len(of_peer))
