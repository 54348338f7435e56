"""DER by hand: what is taken, what is not, and that a hostile value costs no more than it may."""

import pytest
from grown_ticket import number, value
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import univ
from sso_mechs.der import INTEGER, OCTET_STRING, SEQUENCE, check_count, context, integer, only, row


def content(octets: bytes, *tags: int) -> bytes:
    """What is inside the only value, and the only value in that, and so on."""
    start, end = only(octets, 0, len(octets), *tags)
    return octets[start:end]


@given(st.binary(max_size=70_000))
def test_a_value_is_read_as_pyasn1_wrote_it(octets: bytes) -> None:
    written = bytes(encoder.encode(univ.OctetString(octets)))
    assert content(written, OCTET_STRING) == octets
    assert value(OCTET_STRING, octets) == written


@given(st.integers(-(2**31), 2**32 - 1))
def test_integers(wanted: int) -> None:
    written = bytes(encoder.encode(univ.Integer(wanted)))
    assert integer(written, 0, len(written)) == wanted
    assert number(wanted) == written


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x04",
        b"\x04\x01",
        b"\x04\x80\0\0",  # an indefinite length
        b"\x04\x81\x01x",  # a length that could be shorter
        b"\x04\x82\x00\x81" + bytes(0x81),
        b"\x04\x84\0\0\0\x01x",
        b"\x04\x82\x01",
        b"\x04\xff" + bytes(200),
        b"\x04\x01xy",  # a byte behind the end
        b"\x02\x01x",  # another tag
        b"\x1f\x04\x01x",  # a long tag
    ],
)
def test_what_is_no_value(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        only(octets, 0, len(octets), OCTET_STRING)
    with pytest.raises(ValueError, match=r"\w"):
        row(octets, 0, len(octets), OCTET_STRING)


def test_nothing_may_stand_beside_what_is_the_only_one() -> None:
    inner = number(5)
    assert content(value(context(1), value(SEQUENCE, inner)), context(1), SEQUENCE) == inner
    for octets in (value(context(1), value(SEQUENCE, inner), b"\0"), value(context(1), inner)):
        with pytest.raises(ValueError, match=r"\w"):
            content(octets, context(1), SEQUENCE)


@pytest.mark.parametrize("octets", [b"", bytes(6)])
def test_integers_of_another_size(octets: bytes) -> None:
    with pytest.raises(ValueError, match="integer"):
        integer(value(INTEGER, octets), 0, 2 + len(octets))


def test_a_row_has_the_values_that_were_named_and_no_other() -> None:
    octets = number(1) + value(OCTET_STRING, b"xy")
    assert row(octets, 0, len(octets), INTEGER, OCTET_STRING) == [(2, 3), (5, 7)]
    for tags in ((INTEGER,), (OCTET_STRING, INTEGER), (INTEGER, OCTET_STRING, INTEGER), ()):
        with pytest.raises(ValueError, match=r"\w"):
            row(octets, 0, len(octets), *tags)


def test_nothing_is_read_behind_the_end_that_was_named() -> None:
    octets = number(1) + number(2)
    assert integer(octets, 0, 3) == 1 and integer(octets, 3, 6) == 2
    for end in range(3):
        with pytest.raises(ValueError, match=r"\w"):
            integer(octets, 0, end)


def test_values_are_counted_at_all_depths() -> None:
    flat = value(SEQUENCE, *[number(1)] * 9)
    deep = number(1)
    for _ in range(9):
        deep = value(SEQUENCE, deep)
    for octets in (flat, deep, number(1) * 10):
        check_count(octets, 10)
        with pytest.raises(ValueError, match="too many"):
            check_count(octets, 9)
    assert len(decoder.decode(flat)[0]) == 9


def test_the_end_of_a_value_is_that_of_what_is_around_it() -> None:
    with pytest.raises(ValueError, match="ends early"):
        check_count(b"\x30\x03\x04\x02x" + b"y", 10)
