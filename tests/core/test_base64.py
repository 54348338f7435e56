"""Canonical base64 in both builds, beside the standard library."""

import base64
import binascii
import json
import random
from pathlib import Path
from typing import Any

import pytest
from builds import BUILDS, build_of
from hypothesis import given
from hypothesis import strategies as st

from sso.errors import FramingError

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "base64.json").read_text())


@pytest.fixture(params=BUILDS, scope="session")
def build(request: pytest.FixtureRequest) -> Any:
    return build_of(request.param)


@pytest.mark.parametrize("text", VECTORS["canonical"])
def test_canonical_base64_is_taken(build: Any, text: str) -> None:
    decoded = build.b64decode(text.encode())
    assert isinstance(decoded, bytearray) and build.b64encode(decoded).decode() == text


@pytest.mark.parametrize("text", VECTORS["refused"])
def test_all_other_base64_is_refused(build: Any, text: str) -> None:
    with pytest.raises(FramingError, match="base64"):
        build.b64decode(text.encode("latin-1"))


@given(st.binary(max_size=200))
def test_base64_agrees_with_the_standard_library(build: Any, octets: bytes) -> None:
    assert build.b64encode(octets) == base64.b64encode(octets)
    assert build.b64decode(base64.b64encode(octets)) == octets
    assert build.b64encode(bytearray(octets)) == build.b64encode(memoryview(octets))
    assert build.b64decode(bytearray(base64.b64encode(octets))) == octets


def judged_alike(build: Any, text: bytes) -> bool:
    """Whether we answer like the standard library, apart from input that is not canonical."""
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
        wanted = decoded if base64.b64encode(decoded) == text else None
    except binascii.Error:
        wanted = None
    try:
        answer = build.b64decode(text)
    except FramingError as error:
        return wanted is None and error.reason == "base64"
    return wanted is not None and bytes(answer) == wanted and build.b64encode(answer) == text


@given(st.text("AQZaz09+/=-_ \n", max_size=12) | st.text(max_size=12))
def test_what_is_decoded_is_encoded_to_the_same(build: Any, text: str) -> None:
    assert judged_alike(build, text.encode())


@pytest.mark.parametrize("place", [0, 1, 2, 3, 31, 32, 35, 63, 64, 95])
def test_each_byte_at_each_place_of_a_block(build: Any, place: int) -> None:
    for octet in range(256):
        text = bytearray(b"QUJD" * 24)
        text[place] = octet
        assert judged_alike(build, bytes(text)), (octet, place)


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_random_texts_against_the_standard_library(build: Any, count: int) -> None:
    numbers = random.Random(count)
    letters = b"AQgwEIMUYckosx048+/zZ09" + b"====" + b"-"
    for _ in range(count):
        text = bytes(numbers.choices(letters, k=numbers.randrange(13)))
        assert judged_alike(build, text), text


def test_a_cap_on_what_is_decoded(build: Any) -> None:
    assert build.b64decode(b"AAAA", 3) == bytes(3)
    with pytest.raises(FramingError, match="secret"):
        build.b64decode(b"AAAA", 2)
