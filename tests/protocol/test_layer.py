"""Frames of 4 bytes of length: every split, the cap, the abort, and what a layer wraps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sso.errors import MechanismError, RemoteProtocolError
from sso.mech import FRAME_MAX, Mechanism
from sso.protocol.layer import ABORT, FrameReader, SASLLayer, TLSLayer, frame


class Mirror(Mechanism):
    """Wraps by inverting every byte; `frames` records the frames."""

    def __init__(self, plain_max: int = 7) -> None:
        self.plain_max = plain_max
        self.frames: list[int] = []

    def wrap(self, data: bytes) -> bytes:
        self.frames.append(len(data))
        return bytes(octet ^ 0xFF for octet in data)

    def unwrap(self, data: bytes) -> bytearray:
        return bytearray(octet ^ 0xFF for octet in data)


def read_all(reader: FrameReader) -> list[bytes]:
    return list(iter(reader.next_frame, None))


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_frames_come_whole_at_any_split(tokens: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, tokens))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, found = FrameReader(FRAME_MAX), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        found += read_all(reader)
    assert found == tokens
    assert reader.unread == 0


@pytest.mark.parametrize("length", [FRAME_MAX + 1, 1 << 24, 0xFFFFFFFE])
def test_a_longer_frame_is_refused_by_its_length_alone(length: int) -> None:
    reader = FrameReader(FRAME_MAX)
    reader.feed(length.to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError):
        reader.next_frame()


def test_the_longest_frame_passes() -> None:
    reader = FrameReader(FRAME_MAX)
    reader.feed(frame(bytes(FRAME_MAX)))
    assert reader.next_frame() == bytes(FRAME_MAX)


def test_the_abort_ends() -> None:
    reader = FrameReader(FRAME_MAX)
    reader.feed(ABORT)
    with pytest.raises(RemoteProtocolError, match="abort"):
        reader.next_frame()


@pytest.mark.parametrize(
    ("octets", "line"), [(b"", False), (b"\0\0", False), (b"\xff", False), (b"ok", True)]
)
def test_a_line_is_told_from_a_length_by_one_byte(octets: bytes, line: bool) -> None:
    reader = FrameReader(FRAME_MAX)
    reader.feed(octets)
    assert reader.starts_line() is line
    assert reader.take_unread() == octets
    assert reader.unread == 0


@given(st.binary(max_size=60), st.integers(1, 13))
def test_a_line_may_span_frames(plain: bytes, chunk: int) -> None:
    mirror = Mirror()
    sent = SASLLayer(mirror).encrypt(plain)
    assert sum(mirror.frames) == len(plain)
    assert all(0 < size <= mirror.plain_max for size in mirror.frames)
    there = SASLLayer(Mirror())
    parts = (there.decrypt(sent[start : start + chunk]) for start in range(0, len(sent), chunk))
    assert b"".join(parts) == plain


def test_the_layer_wipes_what_the_mechanism_gave_it() -> None:
    given_out: list[bytearray] = []

    class Keep(Mirror):
        def unwrap(self, data: bytes) -> bytearray:
            given_out.append(super().unwrap(data))
            return given_out[-1]

    sent = SASLLayer(Mirror()).encrypt(b"secret secret secret")
    assert SASLLayer(Keep()).decrypt(sent) == b"secret secret secret"
    assert len(given_out) == 3
    assert not any(octet for part in given_out for octet in part)


def test_tls_goes_straight_through() -> None:
    layer = TLSLayer(Mirror())
    assert layer.decrypt(layer.encrypt(b"whatever")) == b"whatever"


def test_a_mechanism_without_a_layer_protects_nothing() -> None:
    for call in (Mechanism().wrap, Mechanism().unwrap, Mechanism().step):
        with pytest.raises(MechanismError):
            call(b"x")
