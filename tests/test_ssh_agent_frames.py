"""The agent's messages: cut at any chunking, capped, and filtered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sso.errors import FramingError
from sso.ssh_agent import MESSAGE_MAX, Frames, echo, framed, hello, may_pass, nonce_of

NONCE = bytes(range(16))
MESSAGES = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


@given(MESSAGES, st.integers(1, 50))
def test_any_chunking_gives_the_same_messages(messages: list[bytes], size: int) -> None:
    whole = b"".join(map(framed, messages))
    frames = Frames()
    found = [one for at in range(0, len(whole), size) for one in frames.feed(whole[at : at + size])]
    assert found == messages and frames.empty


@pytest.mark.parametrize("size", [0, MESSAGE_MAX + 1, 2**32 - 1])
def test_a_wrong_length_is_refused_before_anything_is_kept(size: int) -> None:
    with pytest.raises(FramingError):
        list(Frames().feed(size.to_bytes(4, "big")))


def test_the_greatest_message_passes() -> None:
    assert list(Frames().feed(framed(bytes(MESSAGE_MAX)))) == [bytes(MESSAGE_MAX)]


def test_only_names_signatures_and_the_binding_pass() -> None:
    passing = {kind for kind in range(256) if may_pass(bytes([kind]) + b"\0\0\0\1x")}
    assert passing == {11, 13}
    bind = b"session-bind@openssh.com"
    assert may_pass(bytes([27]) + len(bind).to_bytes(4, "big") + bind + b"...")
    assert not may_pass(bytes([27]) + len(bind).to_bytes(4, "big") + bind[:-1])
    assert not may_pass(bytes([27])) and not may_pass(bytes([25]) + bytes(8))


def test_hello_and_echo_are_two_messages_with_one_nonce() -> None:
    (said,) = Frames().feed(hello(NONCE))
    assert nonce_of(said) == NONCE and not may_pass(said)
    (answer,) = Frames().feed(echo(NONCE))
    assert nonce_of(answer) is None and answer.endswith(NONCE)
    assert nonce_of(said[:-1]) is None and nonce_of(b"\x0b") is None
