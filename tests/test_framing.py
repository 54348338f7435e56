"""Lines and base64 in both builds: one suite, the same answers, at every chunking."""

import base64
import json
import random
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sso import _framing_py
from sso.errors import FramingError
from sso.framing import ResetScanner

VECTORS = json.loads((Path(__file__).parent / "vectors" / "base64.json").read_text())
PREFIX = b"\nSIGNATURE magic "
CANDIDATE = PREFIX + b"1 1 client\n"


@pytest.fixture(params=["compiled", "pure"])
def build(request: pytest.FixtureRequest) -> Any:
    """Both builds; a compiled one that was promised (SSO_EXTENSION=yes) and is missing fails in conftest."""
    if request.param == "pure":
        return _framing_py
    return pytest.importorskip("sso._framing", reason="the compiled core was not built here")


def chunkings(octets: bytes) -> Iterator[list[bytes]]:
    """Whole, octet by octet, in threes, and cut once at each place."""
    yield [octets]
    yield [octets[i : i + 1] for i in range(len(octets))]
    yield [octets[i : i + 3] for i in range(0, len(octets), 3)]
    for at in range(1, min(len(octets), 200)):
        yield [octets[:at], octets[at:]]


def read(build: Any, chunks: list[bytes], max_line: int = 4096, max_secret: int = 65536) -> list[Any]:
    """All messages, then the reason of the error or how much is unread."""
    framer = build.MessageFramer(max_line, max_secret)
    found: list[Any] = []
    try:
        for chunk in chunks:
            framer.feed(chunk)
            while (message := framer.next_message()) is not None:
                found.append(message)
    except FramingError as error:
        return [*found, error.reason]
    return [*found, framer.unread]


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"ok\n", [("ok",), 0]),
        (b"ok\r\n", [("ok",), 0]),
        (b"\n\r\n\nok\n", [("ok",), 0]),
        (b"error 300 delay\nok tail", [("error", "300", "delay"), 7]),
        (b"credentials kerberos AAEC\nok\n", [("credentials", "kerberos", bytearray(b"\0\1\2")), ("ok",), 0]),
        (b"credentials password QQ==\r\n", [("credentials", "password", bytearray(b"A")), 0]),
        (b"credentials kerberos QR==\n", ["base64"]),
        (b"credentials kerberos QQ=\n", ["base64"]),
        (b"credentials kerberos Q=Q=\n", ["base64"]),
        (b"credentials kerberos QQ==QQ==\n", ["base64"]),
        (b"credentials kerberos A-_A\n", ["base64"]),
        (b"credentials Kerberos QQ==\n", ["credentials"]),
        (b"credentials kerberos QQ== QQ==\n", ["credentials"]),
        (b"credentials kerberos\n", ["credentials"]),
        (b"credentials\n", ["credentials"]),
        (b"credentials " + b"k" * 33 + b" QQ==\n", ["credentials"]),
        (b"credentials kerberos \n", ["octet"]),
        (b"credentials kerberos Q\x01==\n", ["octet"]),
        (b"credentials kerberos QQ\r==\n", ["octet"]),
        (b"ok  ok\n", ["octet"]),
        (b" ok\n", ["octet"]),
        (b"ok \n", ["octet"]),
        (b"o\rk\n", ["octet"]),
        (b"ok\r\r\n", ["octet"]),
        (b"o\0k\n", ["octet"]),
        (b"ok \x7f\n", ["octet"]),
        (b"\xffok\n", ["octet"]),
        (b"o_k\n", ["octet"]),
        (b"v" * 33 + b"\n", ["octet"]),
        (b"v" * 32 + b"\n", [("v" * 32,), 0]),
    ],
)
def test_each_line_at_every_chunking(build: Any, octets: bytes, found: list[Any]) -> None:
    for chunks in chunkings(octets):
        assert read(build, chunks) == found


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_length_of_a_line_is_counted_without_its_end(build: Any, end: bytes) -> None:
    for chunks in chunkings(b"info " + b"a" * 15 + end):
        assert read(build, chunks, max_line=20) == [("info", "a" * 15), 0]
        assert read(build, chunks, max_line=19) == ["line"]


def test_a_long_line_is_refused_before_its_end_comes(build: Any) -> None:
    framer = build.MessageFramer(4096, 0)
    block = b"A" * 1000
    for _ in range(4):
        framer.feed(block)
        assert framer.next_message() is None
    framer.feed(block)
    with pytest.raises(FramingError, match="line"):
        framer.next_message()
    with pytest.raises(FramingError, match="line"):
        framer.feed(b"ok\n")


def test_a_secret_over_its_cap_is_refused(build: Any) -> None:
    line = b"credentials kerberos " + base64.b64encode(bytes(30)) + b"\n"
    for chunks in chunkings(line):
        assert read(build, chunks, max_secret=30) == [("credentials", "kerberos", bytearray(30)), 0]
        assert read(build, chunks, max_secret=29) == ["secret"]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1024, 65536])
@pytest.mark.parametrize("chunk", [1, 64, 4096, 200_000])
def test_secrets_of_all_sizes_in_chunks_of_all_sizes(build: Any, size: int, chunk: int) -> None:
    secret = random.Random(size).randbytes(size)
    line = b"credentials kerberos " + base64.b64encode(secret) + b"\n"
    chunks = [line[i : i + chunk] for i in range(0, len(line), chunk)]
    wanted = [("credentials", "kerberos", bytearray(secret)), 0] if size else ["octet"]
    assert read(build, chunks, max_line=128 * 1024) == wanted


def test_a_million_empty_lines_are_nothing(build: Any) -> None:
    framer = build.MessageFramer()
    for _ in range(16):
        framer.feed(b"\n" * 65536)
        assert framer.next_message() is None and framer.unread == 0


def test_unread_counts_what_no_message_was_made_of(build: Any) -> None:
    framer = build.MessageFramer()
    framer.feed(b"startTLS\ninjected\n")
    assert framer.next_message() == ("startTLS",) and framer.unread == 9


def test_a_chunk_may_be_wiped_as_soon_as_it_was_fed(build: Any) -> None:
    chunk = bytearray(b"credentials password c2VjcmV0\n")
    framer = build.MessageFramer()
    framer.feed(chunk)
    build.wipe(chunk)
    assert chunk == bytes(len(chunk))
    assert framer.next_message() == ("credentials", "password", bytearray(b"secret"))


def test_a_wiped_framer_is_dead(build: Any) -> None:
    framer = build.MessageFramer()
    framer.feed(b"credentials password c2Vj")
    framer.wipe()
    assert framer.unread == 0
    with pytest.raises(FramingError):
        framer.next_message()


WORDS = st.lists(
    st.sampled_from(
        [b"ok", b"info spn", b"credentials kerberos AAEC", b"credentials x QQ==", b"", b"error 400 a b"]
    )
    | st.binary(max_size=12),
    max_size=6,
)


@given(
    WORDS,
    st.lists(st.integers(0, 80), max_size=5),
    st.sampled_from([10, 30, 4096]),
    st.sampled_from([0, 2, 64]),
)
def test_both_builds_say_the_same(
    lines: list[bytes], cuts: list[int], max_line: int, max_secret: int
) -> None:
    compiled = import_module("sso.framing")
    octets = b"\n".join(lines) + b"\n"
    places = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    chunks = [octets[a:b] for a, b in pairwise(places)]
    wanted = read(_framing_py, [octets], max_line, max_secret)
    assert read(compiled, chunks, max_line, max_secret) == wanted
    assert read(_framing_py, chunks, max_line, max_secret) == wanted


# Base64


@pytest.mark.parametrize("text", VECTORS["canonical"])
def test_canonical_base64_is_taken(build: Any, text: str) -> None:
    decoded = build.b64decode(text.encode())
    assert isinstance(decoded, bytearray) and build.b64encode(decoded).decode() == text


@pytest.mark.parametrize("text", VECTORS["refused"])
def test_all_other_base64_is_refused(build: Any, text: str) -> None:
    with pytest.raises(FramingError, match="base64"):
        build.b64decode(text.encode("latin-1"))


@given(st.binary(max_size=200))
def test_base64_agrees_with_the_standard_library(octets: bytes) -> None:
    for build in (_framing_py, import_module("sso.framing")):
        assert build.b64encode(octets) == base64.b64encode(octets)
        assert build.b64decode(base64.b64encode(octets)) == octets
        assert build.b64encode(bytearray(octets)) == build.b64encode(memoryview(octets))


@given(st.text("AQZaz09+/=-_ \n", max_size=12))
def test_what_is_decoded_is_encoded_to_the_same(text: str) -> None:
    answers: list[Any] = []
    for build in (_framing_py, import_module("sso.framing")):
        try:
            answers.append(bytes(build.b64decode(text.encode())))
            assert build.b64encode(answers[-1]).decode() == text
        except FramingError as error:
            answers.append(error.reason)
    assert answers[0] == answers[1]


def test_a_cap_on_what_is_decoded(build: Any) -> None:
    assert build.b64decode(b"AAAA", 3) == bytes(3)
    with pytest.raises(FramingError, match="secret"):
        build.b64decode(b"AAAA", 2)


# The raw search for a reset


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


def test_noise_is_carried_within_bounds() -> None:
    scanner, noise = ResetScanner(PREFIX, 64), random.Random(7)
    for _ in range(200):
        assert scanner.scan(noise.randbytes(5000)) is None
    assert scanner.scan(CANDIDATE) == (len(CANDIDATE), CANDIDATE)
