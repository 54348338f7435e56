"""Lines in both builds: one suite, the same answers at every chunking, and what stays in memory."""

import base64
import os
import random
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
from builds import BUILDS, build_of, chunkings, compiled, cut
from hypothesis import given
from hypothesis import strategies as st
from lines import LINES, copies, trace

from sso import _framing_py
from sso.errors import FramingError


@pytest.fixture(params=BUILDS, scope="session")
def build(request: pytest.FixtureRequest) -> Any:
    return build_of(request.param)


def read(build: Any, chunks: list[bytes], max_line: int = 4096, max_secret: int = 65536) -> list[Any]:
    """Return all messages, then the reason of the error or the number of unread bytes."""
    framer = build.MessageFramer(max_line, max_secret)
    found: list[Any] = []
    for chunk in chunks:
        found += framer.feed(chunk)
        if framer.error:
            return [*found, framer.error]
    framer.feed(b"")  # forgets the empty lines of the last chunk
    return [*found, framer.unread]


@pytest.mark.parametrize(("octets", "found"), LINES)
def test_each_line_at_every_chunking(build: Any, octets: bytes, found: list[Any]) -> None:
    for chunks in chunkings(octets):
        assert read(build, chunks) == found


@pytest.mark.parametrize(("octets", "found"), [row for row in LINES if row[1][-1] == 0])
def test_a_tail_behind_a_line_changes_nothing(build: Any, octets: bytes, found: list[Any]) -> None:
    for chunks in chunkings(octets + b"tail"):
        assert read(build, chunks) == [*found[:-1], 4]


@given(st.sampled_from(LINES), st.lists(st.integers(0, 200), max_size=8))
def test_each_line_in_random_chunks(build: Any, row: tuple[bytes, list[Any]], cuts: list[int]) -> None:
    assert read(build, cut(row[0], cuts)) == row[1]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_length_of_a_line_is_counted_without_its_end(build: Any, end: bytes) -> None:
    for chunks in chunkings(b"info " + b"a" * 15 + end):
        assert read(build, chunks, max_line=20) == [("info", "a" * 15), 0]
        assert read(build, chunks, max_line=19) == ["line"]


def test_a_long_line_is_refused_before_its_end_comes(build: Any) -> None:
    framer = build.MessageFramer(4096, 0)
    block = b"A" * 1000
    for _ in range(5):
        assert not framer.error and not framer.feed(block)
    assert framer.error == "line"
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
        assert not framer.feed(b"\n" * 65536)
    assert not framer.feed(b"") and framer.unread == 0


@pytest.mark.parametrize("chunk", [1, 4096, 1 << 20])
def test_a_line_without_an_end_takes_no_memory(build: Any, chunk: int) -> None:
    octets = b"A" * (1 << 20)
    framer = build.MessageFramer()

    def fill() -> None:
        for at in range(0, len(octets), chunk):
            if not framer.error:
                framer.feed(memoryview(octets)[at : at + chunk])

    tracemalloc.start()
    try:
        fill()
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert framer.error == "line"
    assert left < 32 * 1024
    assert peak < 32 * 1024 + 5 * chunk


@pytest.mark.parametrize("size", [1 << 16, pytest.param(1 << 18, marks=pytest.mark.slow)])
@pytest.mark.parametrize("head", [b"info ", b"credentials kerberos "])
def test_a_long_line_byte_by_byte(build: Any, head: bytes, size: int) -> None:
    """Buffers grow by doubling, so a million chunks take little time; a copy per chunk would take hours."""
    framer = build.MessageFramer(2 << 20, 1 << 20)
    tracemalloc.start()
    try:
        for octet in head + b"A" * size:
            assert not framer.feed(bytes((octet,)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert framer.unread == len(head) + size
    assert peak < 7 * size
    (message,) = framer.feed(b"\n")
    assert len(message[-1]) in (size, size // 4 * 3)


class Counting(bytearray):
    """Counts the bytes that are searched."""

    searched = 0

    def find(self, *arguments: Any) -> int:
        Counting.searched += arguments[2] - arguments[1]
        return super().find(*arguments)


def test_no_byte_is_searched_twice() -> None:
    framer = _framing_py.MessageFramer()
    framer._buffer = Counting(framer._buffer)
    for _ in range(4000):
        assert not framer.feed(b"a")
    assert Counting.searched == 4000


def test_many_messages_of_one_chunk(build: Any) -> None:
    count = 1 << 18
    framer = build.MessageFramer()
    assert list(framer.feed(b"ok\n" * count)) == [("ok",)] * count
    assert framer.unread == 0


def test_after_an_error_every_call_raises_the_same(build: Any) -> None:
    framer = build.MessageFramer()
    assert list(framer.feed(b"ok\ncredentials kerberos QR==\nok\n")) == [("ok",)]
    for _ in range(3):
        with pytest.raises(FramingError) as raised:
            framer.feed(b"ok\n")
        error = raised.value
        assert (error.reason, error.args) == ("base64", ("base64",))  # nothing of the input
        assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
    assert framer.unread == 0


def test_unread_counts_what_no_message_was_made_of(build: Any) -> None:
    framer = build.MessageFramer()
    for tail in (b"injected", b"\n", b"\r\n\n", b"\ninj", b"\r"):
        assert list(framer.feed(b"\n\nstartTLS\n" + tail)) == [("startTLS",)]
        assert framer.unread == len(tail)
        framer = build.MessageFramer()


def test_a_chunk_may_be_wiped_as_soon_as_it_was_fed(build: Any) -> None:
    chunk = bytearray(b"credentials password c2VjcmV0\n")
    framer = build.MessageFramer()
    found = framer.feed(chunk)
    build.wipe(chunk)
    assert chunk == bytes(len(chunk))
    assert list(found) == [("credentials", "password", bytearray(b"secret"))]


def test_a_wiped_framer_is_dead(build: Any) -> None:
    framer = build.MessageFramer()
    framer.feed(b"credentials password c2Vj")
    framer.wipe()
    assert framer.unread == 0
    with pytest.raises(FramingError):
        framer.feed(b"")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 47, 48, 511, 65536])
def test_the_line_of_a_secret_is_read_as_it_was_written(build: Any, size: int) -> None:
    secret = bytearray(random.Random(size).randbytes(size))
    line = build.credentials_line("kerberos", secret)
    assert isinstance(line, bytearray) and len(secret) == size
    assert line == b"credentials kerberos " + base64.b64encode(secret) + b"\n"


# Pieces that are likely to hit a limit of the grammar, of the decoder's block, or of a cap.
ATOMS = [b"ok", b"info", b" ", b"  ", b"\r", b"\r\n", b"\n", b"credentials", b"credentials kerberos "]
ATOMS += [b"credentials x ", b"QQ==", b"QUI=", b"QUJD", b"QR==", b"=", b"/+", b"-_", b"\0", b"\x80", b"Kk"]
ATOMS += [b"k" * 32, b"k" * 33, b"A" * 31, b"A" * 32, b"A" * 33, b"A" * 64, b"A" * 200]
LINE_CAPS, SECRET_CAPS = (4, 12, 21, 44, 45, 100, 4096), (0, 1, 3, 24, 47, 48, 49, 65536)


@given(
    st.lists(st.sampled_from(ATOMS) | st.binary(max_size=12), max_size=12),
    st.lists(st.integers(0, 400), max_size=6),
    st.sampled_from(LINE_CAPS),
    st.sampled_from(SECRET_CAPS),
)
def test_both_builds_say_the_same(
    parts: list[bytes], cuts: list[int], max_line: int, max_secret: int
) -> None:
    octets = b"".join(parts) + b"\n"
    wanted = read(_framing_py, [octets], max_line, max_secret)
    assert read(_framing_py, cut(octets, cuts), max_line, max_secret) == wanted
    limits = (max_line, max_secret)
    assert trace(compiled(), cut(octets, cuts), *limits) == trace(_framing_py, cut(octets, cuts), *limits)


@pytest.mark.slow
def test_both_builds_say_the_same_of_many_lines() -> None:
    numbers = random.Random(20261123)
    for _ in range(100_000):
        octets = b"".join(numbers.choices(ATOMS, k=numbers.randrange(20)))
        chunks = cut(octets, [numbers.randrange(400) for _ in range(numbers.randrange(6))])
        limits = [numbers.choice(caps) for caps in (LINE_CAPS, SECRET_CAPS)]
        assert trace(compiled(), chunks, *limits) == trace(_framing_py, chunks, *limits), (chunks, limits)


# What stays in memory

CHILD = """
import os, sys
from importlib import import_module
build = import_module(sys.argv[1])
chunk, framer, found = bytearray(256), build.MessageFramer(131072), ()
while not found:
    size = os.readv(0, [chunk])
    with memoryview(chunk) as view:
        found = framer.feed(view[:size])
    build.wipe(chunk)
message = found[0]
os.write(1, b"h")
os.read(0, 1)
build.wipe(message[2])
os.write(1, b"w")
os.read(0, 1)
"""


@pytest.mark.parametrize("size", [48, 700, 30_000])
def test_a_secret_is_held_once_and_then_not_at_all(build: Any, size: int) -> None:
    """In a child's memory: nothing of the base64, one buffer of the secret, none once that is wiped."""
    secret = random.Random(size).randbytes(size)
    text = base64.b64encode(secret)
    # Pieces of all of it, and the whole end: that is what vector registers held last.
    places = {*range(0, size - 12, size // 8), *range(max(size - 256, 0), size - 12, 4)}
    pieces = [secret[at : at + 12] for at in places]
    encoded = [text[at // 3 * 4 : at // 3 * 4 + 16] for at in places]
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    encoded += [bytes(map(letters.find, part))[:8] for part in encoded]  # as a kernel has it half way
    argv = [sys.executable, "-c", CHILD, build.__name__]
    # A function of the interpreter that is bound at its first call has the vector registers saved on the
    # stack, and in them what memcpy moved last: up to half a kilobyte of the secret (measured).
    env = {**os.environ}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=env) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(b"credentials kerberos " + text + b"\n")
        assert child.stdout.read(1) == b"h"
        held = [copies(child.pid, piece) for piece in pieces + encoded]
        child.stdin.write(b"x")
        assert child.stdout.read(1) == b"w"
        wiped = [copies(child.pid, piece) for piece in pieces + encoded]
        child.stdin.write(b"x")
    assert held == [1] * len(pieces) + [0] * len(encoded)
    assert wiped == [0] * len(held)


@pytest.mark.parametrize(
    ("before", "is_compiled"),
    [
        ("os.environ['SSO_PURE'] = '1'", False),
        ("os.environ['SSO_PURE'] = '0'; sys.modules['sso._framing'] = None", False),
        ("os.environ.pop('SSO_PURE', None)", True),
    ],
)
def test_one_place_chooses_the_build(before: str, is_compiled: bool) -> None:
    if is_compiled:
        compiled()
    name = "sso._framing" if is_compiled else "sso._framing_py"
    program = (
        f"import os, sys; {before}; import sso.framing as f; print(f.COMPILED, f.MessageFramer.__module__)"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert output.stdout.split() == [str(is_compiled), name]


@pytest.mark.parametrize("size", [0, 1, 7, 4096])
def test_wiping_zeroes_every_kind_of_buffer(build: Any, size: int) -> None:
    octets = bytearray(b"s" * size)
    build.wipe(memoryview(octets))
    assert octets == bytes(size)
    octets[:] = b"s" * size
    build.wipe(octets)
    assert octets == bytes(size)
