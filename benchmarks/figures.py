"""The figures that we want to reach, relative to the strongest peer of the same run; gates.py is separate.

A figure that is not reached breaks nothing; docs/performance.md says what the limit is.
"""

from fnmatch import fnmatchcase
from typing import NamedTuple

# Our row of a case: the first of these names that the case has.
OURS = ("console-sso", "spice-client-sso", "compiled")

# Added to a case with a secret: ours when the wipe, which no peer does, is a row of its own.
WITHOUT_WIPE = "compiled, without the wipe"
WIPE = "the wipe alone"

MSGSPEC, TUNED, BUFFERED = ("msgspec*",), ("tuned stdlib",), ("buffered stdlib",)
INTO = ("*hashcodecs into*",)
HYBRIDS = ("tuned + *", "buffered + *")
BUFFERED_HYBRIDS = ("buffered + *",)
MEMCPY = ("floor: memcpy",)


class Figure(NamedTuple):
    """The highest ratio of our time to the best peer's; `peers` and `but` (excluded) are patterns."""

    case: str
    peers: tuple[str, ...]
    most: float
    text: str  # what the peers are called in the table
    ours: tuple[str, ...] = OURS
    but: tuple[str, ...] = ()
    elsewhere: str = ""  # the peers' case, where it is another

    def best(self, names: list[str]) -> list[str]:
        """The names among these that count as peers."""
        return [name for name in names if _is(name, self.peers) and not _is(name, self.but)]


class Value(NamedTuple):
    """A limit, at most or at least, for our own row, without a ratio."""

    case: str
    limit: float
    unit: str
    least: bool = False
    ours: tuple[str, ...] = OURS


def _is(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _small(name: str, reads: str, msgspec: float, stdlib: float) -> list[Figure]:
    case = f"{name}, {reads} a read"
    figures = [Figure(case, MSGSPEC, msgspec, "msgspec")]
    if stdlib:
        figures.append(Figure(case, TUNED, stdlib, "tuned stdlib"))
        figures.append(Figure(case, BUFFERED, stdlib, "buffered stdlib"))
    return figures


def _whole(size: str) -> list[Figure]:
    case = f"secret of {size}, whole"
    figures = [
        Figure(case, HYBRIDS, 1 / 3.5, "hybrids without decode_into", but=INTO),
        Figure(case, INTO, 1 / 2.5, "hybrids with decode_into"),
        Figure(case, BUFFERED_HYBRIDS, 1 / 3.5, "buffered hybrids"),
    ]
    if size != "1K":
        figures.append(Figure(case, MEMCPY, 1.3, "memcpy, VBMI", ("compiled, avx512, without the wipe",)))
        figures.append(Figure(case, MEMCPY, 2.0, "memcpy, AVX2", ("compiled, avx2, without the wipe",)))
    return figures


def _chunked(size: str, step: int) -> list[Figure]:
    case = f"secret of {size}, in chunks of {step}"
    return [
        Figure(case, HYBRIDS, 1 / 3, "hybrids"),
        Figure(case, BUFFERED_HYBRIDS, 1 / 3, "buffered hybrids"),
    ]


FIGURES: list[Figure] = [
    *_small("authenticate", "one", 0.7, 1 / 8),
    *_small("ok", "one", 0.6, 0),
    *_small("authenticate", "100", 0.5, 1 / 6),
    *_small("ok", "100", 0.5, 1 / 6),
    *(figure for size in ("1K", "16K", "64K") for figure in _whole(size)),
    *(figure for step in (4096, 64, 1) for figure in _chunked("64K", step)),
    *_chunked("1M", 4096),
    # Four times the bytes in at most four times the time, and a tenth for the machine.
    Figure(
        "secret of 64K, in chunks of 1",
        OURS,
        4.4,
        "the same with 16K: linear",
        elsewhere="secret of 16K, in chunks of 1",
    ),
    Figure("password over TLS 1.3", ("ssl.MemoryBIO alone",), 1.15, "bare ssl"),
    Figure("GSSAPI conf, TGT delegated and stored", ("python-gssapi alone",), 1.15, "bare python-gssapi"),
    Figure("client process delivers a delegated TGT", ("ssh -K, curve25519, no shell",), 0.5, "ssh -K"),
]

VALUES: list[Value] = [
    Value("logins with delegation a second, one core", 600.0, "a second", least=True),
    Value("wake-ups a second of all processes, client: nobody", 10.0, "a second"),
    Value("Rss when idle", 25.0, "MiB", ours=("agent",)),
]
