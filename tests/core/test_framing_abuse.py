"""Wrong use of the framer: odd caps, no memory, a re-entrant call."""

import gc
import random
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from builds import BUILDS, build_of, compiled
from lines import LINES, copies, trace

from sso import _framing_py
from sso.errors import FramingError

MORE = [b"startTLS\n", b"credentials x QQ==", b"credentials x " + b"QUJD" * 9 + b"\n"]
MORE += [b"credentials x " + b"QUJD" * 9 + end + b"\n" for end in (b"QR==", b"=", b"-", b" QQ==", b"\r=")]


@pytest.mark.parametrize("before", [b"", b"\r", b"\n", b"ok\n"])
@pytest.mark.parametrize("line", [octets for octets, _ in LINES] + MORE)
def test_each_line_at_each_cap(line: bytes, before: bytes) -> None:
    """Both builds report a line that is too long at the same byte."""
    octets = before + line
    for size in (1, 2, 7, len(octets)):
        chunks = [octets[at : at + size] for at in range(0, len(octets), size)]
        for cap in range(-1, len(octets) + 2):
            assert trace(compiled(), chunks, cap, 9) == trace(_framing_py, chunks, cap, 9), (chunks, cap)


def test_a_secret_begins_behind_no_stray_cr() -> None:
    """A CR counts as soon as it cannot belong to the line's end."""
    for name in BUILDS:
        framer = build_of(name).MessageFramer(14)
        framer.feed(b"\r")
        framer.feed(b"credentials x ")
        assert (framer.error, framer.unread) == ("line", 0)


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("cut", [1, 9, 18])
def test_no_word_of_a_peer_is_interned(name: str, cut: int) -> None:
    """Do not intern words of a peer: interned strings may stay for ever."""
    line = b"verb-of-%d word-of-a-peer-%d\n" % (cut, cut)
    framer = build_of(name).MessageFramer()
    for word in (*framer.feed(line[:cut]), *framer.feed(line[cut:]))[0]:
        again = bytes(word, "ascii").decode()
        assert again is not word and sys.intern(again) is again


@pytest.mark.parametrize("cap", [-(1 << 40), -73, -9, -5, -1, 1 << 40, 1 << 62, sys.maxsize])
def test_a_cap_of_a_secret_that_nobody_would_choose(cap: int) -> None:
    chunks = [b"credentials x QU", b"JD\nok\n"]
    wanted = [("credentials", "x", bytearray(b"ABC")), ("ok",)] if cap > 0 else []
    found = trace(compiled(), chunks, 4096, cap)
    assert found == trace(_framing_py, chunks, 4096, cap) and found[2] == wanted


def test_a_framer_that_got_no_memory_is_dead() -> None:
    framer = compiled().MessageFramer(1 << 62, 1 << 62)
    with pytest.raises(MemoryError):
        framer.feed(b"ok\ncredentials x ")
    assert framer.unread == 0
    for _ in range(2):
        with pytest.raises(FramingError):
            framer.feed(b"QUJD\n")


def collected_inside(feed: Callable[[bytes], Any], octets: bytes, action: Callable[[], Any]) -> Any:
    """Return what `feed` answers when an allocation inside it runs the garbage collector."""

    class Garbage:
        def __del__(self) -> None:
            action()

    gc.collect()
    limits = gc.get_threshold()
    garbage: list[Any] = [Garbage()]
    garbage.append(garbage)
    del garbage
    gc.set_threshold(1, 1, 1)
    try:
        return feed(octets)
    finally:
        gc.set_threshold(*limits)
        gc.collect()


LONG = b"a" + b" bcdefgh" * 40  # its tuple comes from no list of free ones


def test_a_finalizer_that_wipes_while_a_line_is_read() -> None:
    framer = compiled().MessageFramer()
    framer.feed(LONG)
    assert collected_inside(framer.feed, b"\n", framer.wipe) == [tuple(LONG.decode().split())]
    assert framer.error and framer.unread == 0


@pytest.mark.parametrize("head", [LONG, b"credentials x " + b"QUJD" * 20])
def test_a_finalizer_that_feeds_while_a_line_is_read(head: bytes) -> None:
    framer = compiled().MessageFramer()
    framer.feed(head)
    refused: list[bool] = []

    def feed() -> None:
        try:
            framer.feed(b" x" * 2000)
        except (RuntimeError, FramingError) as error:
            refused.append(isinstance(error, RuntimeError))

    (found,) = collected_inside(framer.feed, b"\n", feed)
    assert found[-1] in ("bcdefgh", b"ABC" * 20)
    if sys.version_info < (3, 12):  # later ones collect between two instructions only
        assert refused == [True]


CHILD = """
import os, signal, sys
from importlib import import_module
build = import_module(sys.argv[1])
chunk, framer = bytearray(256), build.MessageFramer(131072)
while not framer.error:
    size = os.readv(0, [chunk])
    with memoryview(chunk) as view:
        assert not framer.feed(view[:size])
    build.wipe(chunk)
os.write(1, b"e")
signal.pause()
"""


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize(
    "head", [b"credentials Kerberos ", b"credentials  x ", b"credentials " + b"k" * 33 + b" "]
)
@pytest.mark.parametrize("end", [b"\n", b"A" * 131072])
def test_a_secret_in_no_good_line_stays_nowhere(name: str, head: bytes, end: bytes) -> None:
    """The secret is then in the buffer of its line, which grows and is moved."""
    text = b64encode(random.Random(5).randbytes(3000))
    argv = [sys.executable, "-c", CHILD, build_of(name).__name__]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(head + text + end)
        assert child.stdout.read(1) == b"e"
        left = [copies(child.pid, text[at : at + 16]) for at in range(0, len(text) - 16, 100)]
        child.kill()
    assert left == [0] * len(left)
