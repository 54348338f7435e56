"""The protocol of the ssh-agent's port: any chunking, caps, filter, numbers; hostile ends."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sso.errors import FramingError
from sso.ssh_agent import (
    CLOSE,
    CONNECTIONS_MAX,
    DATA,
    MESSAGE_MAX,
    NONCE_SIZE,
    OPEN,
    PORT_FRAME_MAX,
    REFUSED,
    STALE_MAX,
    ClientEnd,
    Frame,
    Frames,
    GuestEnd,
    echo,
    framed,
    hello,
    may_pass,
)

NONCE, OTHER = bytes(range(16)), bytes(16)
ASK, ANSWER, FAILURE, ADD = b"\x0b", b"\x0c\0\0\0\0", b"\x05", b"\x11key"
BIND = b"\x1b" + len(b"session-bind@openssh.com").to_bytes(4, "big") + b"session-bind@openssh.com"
HELLO_NAME = b"\0\0\0\x11hello@console-sso"
FIRST_HELLO = framed(b"\x1b" + HELLO_NAME + NONCE)  # as the first framing had it
MESSAGES = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


def frame(kind: int, number: int, message: bytes = b"") -> bytes:
    return framed(bytes([kind]) + number.to_bytes(8, "big") + message)


def chunks(whole: bytes, size: int) -> Iterable[bytes]:
    return (whole[at : at + size] for at in range(0, len(whole), size))


def taken(end: GuestEnd | ClientEnd) -> bytes:
    """Take the output of an end, as if it were sent."""
    said = bytes(end.out)
    del end.out[:]
    return said


@given(MESSAGES, st.integers(1, 50))
def test_any_chunking_gives_the_same_messages(messages: list[bytes], size: int) -> None:
    frames = Frames()
    found = [one for data in chunks(b"".join(map(framed, messages)), size) for one in frames.feed(data)]
    assert found == messages and len(frames) == 0


@pytest.mark.parametrize("size", [0, MESSAGE_MAX + 1, 2**32 - 1])
def test_a_wrong_length_is_refused_before_its_bytes_come(size: int) -> None:
    with pytest.raises(FramingError):
        list(Frames().feed(size.to_bytes(4, "big")))


def test_the_greatest_message_passes_on_both_ways() -> None:
    assert list(Frames().feed(framed(bytes(MESSAGE_MAX)))) == [bytes(MESSAGE_MAX)]
    guest, client = joined()
    request = b"\x0d".ljust(MESSAGE_MAX, b"x")
    number = guest.open()
    guest.ask(number, request)
    assert list(client.feed(taken(guest))) == [Frame(OPEN, 1), Frame(DATA, 1, request)]
    client.answer(number, bytes(MESSAGE_MAX))
    assert list(guest.feed(taken(client))) == [Frame(DATA, 1, bytes(MESSAGE_MAX))]


def test_only_names_signatures_and_the_binding_pass() -> None:
    passing = {kind for kind in range(256) if may_pass(bytes([kind]) + b"\0\0\0\1x")}
    assert passing == {11, 13}
    assert may_pass(BIND + b"...") and not may_pass(BIND[:-1])
    assert not may_pass(bytes([27])) and not may_pass(bytes([25]) + bytes(8))


# Hello and echo


def joined() -> tuple[GuestEnd, ClientEnd]:
    """Both ends, after hello and echo."""
    guest, client = GuestEnd(NONCE), ClientEnd()
    guest.greet()
    assert list(client.feed(taken(guest))) == [] and not guest.ready
    assert list(guest.feed(taken(client))) == [] and guest.ready
    return guest, client


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "stale", [b"", b"\xff" * 999, frame(DATA, 1, ANSWER) * 3, echo(OTHER), b"\0\0\1", REFUSED]
)
def test_what_comes_before_the_echo_is_dropped(stale: bytes, size: int) -> None:
    guest = GuestEnd(NONCE)
    number = guest.open()
    guest.ask(number, ASK)
    octets = stale + echo(NONCE) + frame(OPEN, 1) + echo(NONCE) + frame(DATA, 1, ANSWER)
    found = [one for data in chunks(octets, size) for one in guest.feed(data)]
    assert found == [Frame(OPEN, 1), Frame(DATA, 1, ANSWER)]


def test_what_comes_before_the_hello_asks_the_agent_nothing() -> None:
    """The answer is for a program of an earlier viewer: no one waits for it."""
    client = ClientEnd()
    early = frame(OPEN, 1) + frame(DATA, 1, ASK) + frame(CLOSE, 1) + frame(OPEN, 2)
    assert list(client.feed(early)) == [] and not client.out
    assert list(client.feed(hello(NONCE) + frame(OPEN, 1))) == [Frame(OPEN, 1)]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_an_echo_is_found_wherever_it_is_cut(size: int) -> None:
    guest = GuestEnd(NONCE)
    before = echo(OTHER) + echo(NONCE)[:-1] + bytes(5000)
    for data in chunks(before + echo(NONCE), size):
        assert not guest.ready
        list(guest.feed(data))
    assert guest.ready


def test_too_much_without_an_echo_is_refused() -> None:
    with pytest.raises(FramingError):
        list(GuestEnd(NONCE).feed(bytes(STALE_MAX + 1)))


def test_an_older_client_is_told_from_a_silent_one() -> None:
    guest = GuestEnd(NONCE)
    assert not guest.refused
    assert list(guest.feed(b"..." + REFUSED)) == [] and guest.refused


@pytest.mark.parametrize(
    "octets", [FIRST_HELLO, framed(b"\x1b" + HELLO_NAME + b"\x03" + NONCE + b"more"), framed(ASK)]
)
def test_an_older_or_newer_guest_is_refused(octets: bytes) -> None:
    """The first framing's hello, a later one's, and a request without a hello, as the first one sends it."""
    client = ClientEnd()
    with pytest.raises(FramingError):
        list(client.feed(octets))
    assert taken(client) == (b"" if octets == framed(ASK) else REFUSED)


@pytest.mark.parametrize("nonce", [NONCE[1:], NONCE + b"x", bytes(1000)])
def test_a_nonce_has_its_size(nonce: bytes) -> None:
    with pytest.raises(FramingError):
        list(ClientEnd().feed(framed(b"\x1b" + HELLO_NAME + b"\x02" + nonce)))


def test_a_new_hello_ends_what_is_open_and_a_repeated_one_does_not() -> None:
    _, client = joined()
    assert len(list(client.feed(frame(OPEN, 1) + frame(OPEN, 2) + hello(NONCE)))) == 2
    assert taken(client) == echo(NONCE)
    assert list(client.feed(hello(OTHER) + frame(OPEN, 1))) == [
        Frame(CLOSE, 1),
        Frame(CLOSE, 2),
        Frame(OPEN, 1),
    ]


# Connections


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_several_connections_do_not_wait_for_one_another(size: int) -> None:
    guest, client = joined()
    numbers = [guest.open() for _ in range(3)]
    for number in numbers:
        guest.ask(number, BIND + bytes([number]))
    heard = [one for data in chunks(taken(guest), size) for one in client.feed(data)]
    assert heard == [Frame(OPEN, n) for n in numbers] + [Frame(DATA, n, BIND + bytes([n])) for n in numbers]
    client.answer(3, b"third")
    client.close(2)
    client.answer(1, b"first")
    heard = [one for data in chunks(taken(client), size) for one in guest.feed(data)]
    assert heard == [Frame(DATA, 3, b"third"), Frame(CLOSE, 2), Frame(DATA, 1, b"first")]
    assert guest.open() == 4


def test_what_may_not_pass_is_refused_by_the_client_itself() -> None:
    guest, client = joined()
    number = guest.open()
    guest.ask(number, ADD)
    assert list(client.feed(taken(guest))) == [Frame(OPEN, 1)]
    assert taken(client) == frame(DATA, 1, FAILURE)
    assert list(client.feed(frame(DATA, 1, ASK))) == [Frame(DATA, 1, ASK)]


def test_an_answer_for_who_has_left_is_dropped() -> None:
    guest, client = joined()
    number = guest.open()
    guest.ask(number, ASK)
    guest.close(number)
    guest.close(number)
    assert list(guest.feed(frame(OPEN, 1) + frame(DATA, 1, ANSWER) + frame(CLOSE, 1))) == []
    assert list(client.feed(taken(guest)))[-1] == Frame(CLOSE, 1)


def test_a_request_to_an_agent_that_has_left_is_answered_by_an_end() -> None:
    guest, client = joined()
    number = guest.open()
    list(client.feed(taken(guest)))
    client.close(number)
    client.close(number)
    guest.ask(number, ASK)
    assert list(client.feed(taken(guest))) == []
    assert taken(client) == frame(CLOSE, 1) * 2


def test_the_client_caps_the_connections() -> None:
    _, client = joined()
    opened = list(client.feed(b"".join(frame(OPEN, n) for n in range(1, CONNECTIONS_MAX + 2))))
    assert len(opened) == CONNECTIONS_MAX
    assert taken(client) == frame(CLOSE, CONNECTIONS_MAX + 1)
    assert len(list(client.feed(frame(CLOSE, 7) + frame(OPEN, 1000)))) == 2


@pytest.mark.parametrize(
    "octets",
    [
        frame(OPEN, 1) * 2,  # a number twice
        frame(OPEN, 0),
        frame(OPEN, 2) + frame(OPEN, 1),
        frame(OPEN, 1) + frame(DATA, 1, ASK) * 2,  # two requests at once
        frame(DATA, 1),  # nothing asked
        frame(OPEN, 1, b"x"),
        frame(243, 1),
        framed(b"\xf0"),
        framed(bytes([OPEN]) + bytes(7)),
        b"\0\0\0\0",
        (PORT_FRAME_MAX + 1).to_bytes(4, "big"),
        framed(BIND),  # an extension that is no hello
    ],
)
def test_a_guest_that_breaks_the_rules_is_refused(octets: bytes) -> None:
    _, client = joined()
    with pytest.raises(FramingError):
        list(client.feed(octets))


@pytest.mark.parametrize(
    "octets",
    [
        frame(DATA, 1, ANSWER) * 2,  # one has been asked for
        frame(DATA, 2, ANSWER),
        frame(OPEN, 3),
        frame(OPEN, 0),
        frame(CLOSE, 2**64 - 1),
        frame(DATA, 1),
        framed(ANSWER),
        echo(OTHER),
        hello(NONCE),
        REFUSED,
        b"\0\0\0\0",
        (PORT_FRAME_MAX + 1).to_bytes(4, "big"),
    ],
)
def test_a_client_that_breaks_the_rules_is_refused(octets: bytes) -> None:
    guest, _ = joined()
    number = guest.open()
    guest.ask(number, ASK)
    guest.open()
    with pytest.raises(FramingError):
        list(guest.feed(octets))


KINDS = st.sampled_from([OPEN, DATA, CLOSE, OPEN - 1, CLOSE + 1])
SOME = st.one_of(
    st.builds(frame, KINDS, st.integers(0, 4), st.sampled_from([b"", ASK, ANSWER, ADD, BIND])),
    st.sampled_from([hello(NONCE), hello(OTHER), echo(NONCE), FIRST_HELLO, REFUSED]),
    st.binary(max_size=20),
)


@given(st.lists(SOME, max_size=30), st.integers(1, 40))
def test_no_hostile_guest_gets_more_than_its_rights(said: list[bytes], size: int) -> None:
    """What passes is allowed, of an open connection, one request at a time; replies stay small."""
    client, open_now, asked = ClientEnd(), set[int](), set[int]()
    whole = b"".join(said)
    try:
        for data in chunks(whole, size):
            for kind, number, message in client.feed(data):
                if kind == OPEN:
                    assert number not in open_now
                    open_now.add(number)
                elif kind == CLOSE:
                    open_now.remove(number)
                    asked.discard(number)
                else:
                    assert number in open_now - asked and may_pass(message)
                    asked.add(number)
                assert len(open_now) <= CONNECTIONS_MAX
    except FramingError:
        pass
    assert len(client.out) <= len(whole) + len(REFUSED)


@given(st.lists(SOME, max_size=30), st.integers(1, 40), st.booleans())
def test_no_hostile_client_gives_an_answer_that_nobody_waits_for(
    said: list[bytes], size: int, echoed: bool
) -> None:
    guest, waiting = GuestEnd(NONCE), {1, 3}
    for _ in range(3):
        guest.open()
    for number in waiting:
        guest.ask(number, ASK)
    guest.close(2)
    before = len(guest.out)
    try:
        for data in chunks((echo(NONCE) if echoed else b"") + b"".join(said), size):
            for kind, number, message in guest.feed(data):
                assert guest.ready and number in (1, 3)
                if kind == DATA:
                    assert message
                    waiting.remove(number)
                elif kind == CLOSE:
                    waiting.discard(number)
    except FramingError:
        pass
    assert len(guest.out) == before and len(NONCE) == NONCE_SIZE
