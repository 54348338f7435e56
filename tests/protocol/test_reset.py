"""The raw search for a reset: whole candidates only, over every border of chunks."""

import random
import re

import pytest
from builds import chunkings, cut
from hypothesis import given
from hypothesis import strategies as st

from sso.protocol.reset import ResetScanner

PREFIX = b"\nSIGNATURE magic "
CANDIDATE = PREFIX + b"1 1 client\n"


def scan(chunks: list[bytes]) -> list[bytes]:
    scanner, found = ResetScanner(PREFIX, 64), []
    for chunk in chunks:
        at = 0
        while (hit := scanner.scan(chunk, at)) is not None:
            at, line = hit
            assert chunk[at - 1 : at] == b"\n"
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("octets", "count"),
    [
        (CANDIDATE, 1),
        (b"noise" + CANDIDATE + b"noise", 1),
        (CANDIDATE + CANDIDATE[1:], 2),
        (PREFIX + PREFIX + b"x\n", 2),
        (CANDIDATE[:-1] + b"\r\n", 1),
        (CANDIDATE[1:], 0),
        (PREFIX + b"\x01\n", 0),
        (PREFIX + b"\xff\n", 0),
        (PREFIX + b"x" * 46 + b"\n", 1),
        (PREFIX + b"x" * 47 + b"\n", 0),
        (PREFIX + b"x" * 200 + CANDIDATE, 1),
        (b"\n" * 50 + CANDIDATE, 1),
        (b"\nSIGN\nSIGNATURE mag" + CANDIDATE, 1),
    ],
)
def test_candidates_are_found_over_every_border(octets: bytes, count: int) -> None:
    for chunks in chunkings(octets):
        assert len(scan(chunks)) == count, chunks


WHOLE = re.compile(rb"(?=(\nSIGNATURE magic [ -~]*\r?\n))")  # the oracle looks at the whole stream at once
SCRAPS = [b"\n", b"\r", b"\r\n", b"\nSIGN", b"\nSIGNATURE magic", PREFIX, CANDIDATE, CANDIDATE[1:], b"x" * 40]


@given(
    st.lists(st.sampled_from(SCRAPS) | st.binary(max_size=6), max_size=12),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_the_scanner_finds_what_a_search_of_the_whole_finds(parts: list[bytes], cuts: list[int]) -> None:
    octets = b"".join(parts)
    wanted = [match[1] for match in WHOLE.finditer(octets) if len(match[1]) <= 64]
    assert scan(cut(octets, cuts)) == wanted
    assert scan([octets[i : i + 1] for i in range(len(octets))]) == wanted


def test_many_candidates_in_one_chunk() -> None:
    """Going on behind a candidate must not look at the rest again."""
    count = 1 << 15
    assert len(scan([CANDIDATE * count])) == count


@pytest.mark.parametrize("noise", [b"\n", PREFIX + b"\0", b"\r\n", b"\nS", b"x"])
def test_a_mebibyte_of_what_nearly_begins(noise: bytes) -> None:
    octets = noise * ((1 << 20) // len(noise))
    for size in (65536, 7):
        scanner = ResetScanner(PREFIX, 64)
        for at in range(0, len(octets), size):
            scanner.scan(octets[at : at + size])
        assert scanner.scan(CANDIDATE) == (len(CANDIDATE), CANDIDATE)


def test_noise_is_carried_within_bounds() -> None:
    scanner, noise = ResetScanner(PREFIX, 64), random.Random(7)
    for _ in range(200):
        assert scanner.scan(noise.randbytes(5000)) is None
    assert scanner.scan(CANDIDATE) == (len(CANDIDATE), CANDIDATE)


def test_no_more_than_a_candidate_is_carried() -> None:
    scanner = ResetScanner(PREFIX, 64)
    for octet in PREFIX + b"x" * 200:
        scanner.scan(bytes((octet,)))
        assert len(scanner._carry) < 64
