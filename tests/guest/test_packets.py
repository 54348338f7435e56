"""Messages between a child and its worker: one packet or many, whole or not at all, and wiped behind."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sso.guest.packets import MESSAGE_MAX, PACKET_MAX, PART, STEP, Inbox, send

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pair[1].settimeout(5)  # who sends waits for nothing: the longest message fits the buffer of a socket
    yield pair
    for end in pair:
        end.close()


SIZES = (0, 1, PACKET_MAX - 3, PACKET_MAX - 2, PACKET_MAX - 1, PACKET_MAX, 2 * PACKET_MAX, MESSAGE_MAX - 3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_message_of_any_size_comes_whole(
    ends: Ends, size: int, kind: type[bytes] | type[bytearray]
) -> None:
    body, inbox = kind(number % 251 for number in range(size)), Inbox()
    for head in (STEP, b"Cx\0", STEP):
        body = body[: MESSAGE_MAX - len(head)]
        send(ends[0], head, body)
        assert bytes(inbox.receive(ends[1])) == head + body


@settings(suppress_health_check=list(HealthCheck), max_examples=50)
@given(st.lists(st.integers(0, PACKET_MAX + 2), min_size=1, max_size=5))
def test_pieces_of_any_size_are_one_message_or_none(sizes: list[int]) -> None:
    """Whatever a child that was taken over cuts: what is too large in all, or in one piece, is nothing."""
    inbox, (child, worker) = Inbox(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with child, worker:
        child.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for at, size in enumerate(sizes):
            child.send((PART if at < len(sizes) - 1 else STEP) + bytes([at]) * size)
        found = bytes(inbox.receive(worker))
    wanted = STEP + b"".join(bytes([at]) * size for at, size in enumerate(sizes))
    fits = len(wanted) <= MESSAGE_MAX and sizes[0] < PACKET_MAX
    assert found == (wanted if fits else b"")


def test_whoever_hangs_up_in_the_middle_has_said_nothing(ends: Ends) -> None:
    ends[0].send(PART + b"front")
    ends[0].close()
    assert bytes(Inbox().receive(ends[1])) == b""


def test_a_message_without_an_end_is_ended_at_the_cap(ends: Ends) -> None:
    inbox, taken = Inbox(), 0
    ends[0].setblocking(False)
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    while taken <= MESSAGE_MAX:
        taken += ends[0].send(PART + bytes(1000)) - 1
    assert bytes(inbox.receive(ends[1])) == b""
    assert not any(inbox._buffer)


def test_nothing_stays_behind(ends: Ends) -> None:
    """Nor in the buffer that was too small: whoever holds a view of it sees zeros."""
    inbox = Inbox()
    first = memoryview(inbox._buffer)
    send(ends[0], STEP, b"x" * (2 * PACKET_MAX))
    assert len(inbox.receive(ends[1])) == 2 * PACKET_MAX + 1
    assert not any(first)
    inbox.wipe()
    assert not any(inbox._buffer)
