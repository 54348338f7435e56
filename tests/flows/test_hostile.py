"""Hostile input: for each kind exactly one outcome, bounded memory, and no exception but Closed."""

import tracemalloc

import pytest
from flows import Flow
from pair import Judge, Pair
from target import NONCE, SIGNATURE, blocks, fresh, greeted

from sso.guest.channel.conversation import GuestConversation as GuestConversation
from sso.protocol.messages import LAYER_LINE_MAX, LINE_MAX, MAGIC, SECRET_MAX
from sso.protocol.state import State
from sso.protocol.wire import CLEAR_MAX, TOTAL_MAX

MEMORY_MAX = 1024 * 1024  # what one session may hold in the worst case


GIB = 1 << 30
BLOCK = 1 << 16

# input, in a fresh session (False) or behind the greeting (True), log id, last line, bytes taken at most
TABLE: list[tuple[str, bytes, int, bool, str, bytes, int]] = [
    (
        "1 GiB of noise",
        b"\x9c\x00\xff\x7f" * (BLOCK // 4),
        GIB,
        False,
        "session-protocol",
        b"",
        CLEAR_MAX + BLOCK,
    ),
    ("1 GiB without a newline", b"x" * BLOCK, GIB, False, "session-protocol", b"", CLEAR_MAX + BLOCK),
    ("1 GiB without a newline", b"x" * BLOCK, GIB, True, "session-protocol", b"error 413 too-long", BLOCK),
    ("10^6 empty lines", b"\n" * 1000, 10**6, False, "session-protocol", b"", CLEAR_MAX + 1000),
    (
        "10^6 empty lines",
        b"\n" * 1000,
        10**6,
        True,
        "session-protocol",
        b"error 413 too-long",
        CLEAR_MAX + 1000,
    ),
    (
        "10^6 empty CRLF",
        b"\r\n" * 500,
        10**6,
        True,
        "session-protocol",
        b"error 413 too-long",
        CLEAR_MAX + 1000,
    ),
    (
        "noise behind the greeting",
        b"\x9c\x00\xff\x7f\n",
        5,
        True,
        "session-protocol",
        b"error 406 malformed",
        5,
    ),
    ("a NUL", b"in\0fo\n", 6, True, "session-protocol", b"error 406 malformed", 6),
    ("a bare CR", b"info\rspn\n", 9, True, "session-protocol", b"error 406 malformed", 9),
    ("two spaces", b"info  spn\n", 10, True, "session-protocol", b"error 406 malformed", 10),
    ("UTF-8", "info sp\u00f1\n".encode(), 10, True, "session-protocol", b"error 406 malformed", 10),
    (
        "a long line",
        b"info " + b"a" * LINE_MAX + b"\n",
        LINE_MAX,
        True,
        "session-protocol",
        b"error 413 too-long",
        4102,
    ),
    ("a long verb", b"a" * 33 + b"\n", 34, True, "session-protocol", b"error 406 malformed", 34),
    ("bad base64", b"credentials password ====\n", 26, True, "session-protocol", b"error 406 malformed", 26),
    (
        "base64 with free bits",
        b"credentials password YR==\n",
        26,
        True,
        "session-protocol",
        b"error 406 malformed",
        26,
    ),
    (
        "credentials too early",
        b"credentials password YQBi\n",
        26,
        True,
        "session-protocol",
        b"error 406 malformed",
        26,
    ),
    ("no type", b"credentials YQBi\n", 17, True, "session-protocol", b"error 406 malformed", 17),
    (
        "a line of the guest",
        b"authenticate kerberos\n",
        22,
        True,
        "session-protocol",
        b"error 406 malformed",
        22,
    ),
    (
        "an old greeting",
        SIGNATURE.replace(b" 1 1 ", b" 0 0 ") % NONCE,
        1,
        False,
        "session-protocol",
        b"error 405 version",
        90,
    ),
    (
        "another client",
        SIGNATURE % (b"B" * 21 + b"A=="),
        1,
        True,
        "session-reset",
        b"authenticate kerberos password",
        90,
    ),
    (
        "unknown verbs",
        b"frobnicate the widget\n" * 100,
        10**6,
        True,
        "session-protocol",
        b"error 413 too-long",
        CLEAR_MAX + 2200,
    ),
    (
        "delays",
        b"error 300 delay\n" * 100,
        10**6,
        True,
        "session-protocol",
        b"error 413 too-long",
        CLEAR_MAX + 1600,
    ),
]


@pytest.mark.parametrize(("name", "block", "total", "behind", "id", "line", "most"), TABLE)
def test_one_outcome_for_each_input(
    name: str, block: bytes, total: int, behind: bool, id: str, line: bytes, most: int
) -> None:
    target = (greeted() if behind else fresh()).feed(blocks(block, total))
    assert target.guest.finished
    assert target.guest.session.state is State.CLOSED
    assert target.taken <= most
    assert (target.end()[0], target.end()[1] if behind or line else b"") == (id, line)


def test_the_same_signature_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    """10^6 SIGNATUREs: a repeat is answered, and the cap on bytes ends it."""
    target = greeted().feed(blocks(SIGNATURE % NONCE * 100, 10**6 * len(SIGNATURE)))
    assert target.guest.finished
    assert target.taken < CLEAR_MAX + 100 * len(SIGNATURE % NONCE)
    assert target.end() == ("session-protocol", b"error 413 too-long")


def test_another_signature_each_time_is_another_session_each_time() -> None:
    """Each one resets: the process that reads the port takes a new session, and forks are rationed there."""
    for number in range(1000):
        target = greeted()
        target.guest.receive_data(SIGNATURE % (b"%021dA==" % number), 0.0)
        assert target.guest.was_reset
        assert target.guest.finished


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "block", [b"x" * BLOCK, b"\n" * BLOCK, SIGNATURE % NONCE * 600, b"info spn\n" * 1000, b"a b\n" * 1000]
)
def test_memory_is_bounded(block: bytes, behind: bool) -> None:
    """A peer that reads nothing: the unsent output stays below the cap."""
    target = greeted() if behind else fresh()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        target.feed(blocks(block, 64 * BLOCK))
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert target.guest.finished
    assert peak < MEMORY_MAX + len(block)


# Inside a layer


def at_verdict(flow: Flow) -> Pair:
    """A pair whose guest waits for its judge, inside the layer; its client's layer still writes."""
    pair = flow.pair(judge=Judge(None)).run()
    assert pair.guest.session.state in (State.DECIDING, State.CONCLUDING)
    return pair


@pytest.mark.parametrize(
    ("plain", "detail"),
    [
        (b"x" * (LAYER_LINE_MAX + 1), "line"),
        (b"info spn\n", "unexpected info"),
        (b"\nSIGNATURE " + MAGIC.encode() + b" 1 1 client " + NONCE + b" - -\n", "SIGNATURE inside a layer"),
        (b"credentials password " + b"A" * (SECRET_MAX // 3 * 4 + 8) + b"\n", "secret"),
        (b"info \x00\n", "octet"),
    ],
)
@pytest.mark.parametrize("name", ["tls_flow", "gss_flow", "tls_gss_flow"])
def test_lines_inside_a_layer(request: pytest.FixtureRequest, name: str, plain: bytes, detail: str) -> None:
    """An authenticated client that breaks the rules: the session ends, and no one is signed in."""
    pair = at_verdict(request.getfixturevalue(name))
    pair.client.session._wire.write(plain)
    pair.guest.receive_data(pair.client.session._wire.take(), 0.0)
    assert pair.guest.finished
    assert pair.log[-1][0] == "session-protocol"
    assert detail in pair.log[-1][1]
    assert pair.judge.logins == []


@pytest.mark.parametrize(
    ("frame", "id"),
    [
        (b"\x00\x01\x00\x00", "session-protocol"),  # 65536 bytes: over what both sides advertise
        (b"\xff\xff\xff\xff", "session-protocol"),
        (b"\x00\x00\x00\x00", "session-gssapi"),
        (b"\x00\x00\x00\x04abcd", "session-gssapi"),
        (b"info spn\n", "session-protocol"),
    ],
)
def test_frames_of_a_sasl_layer(gss_flow: Flow, frame: bytes, id: str) -> None:
    pair = at_verdict(gss_flow)
    pair.guest.receive_data(frame, 0.0)
    assert pair.guest.finished
    assert pair.log_ids[-1] == id


def test_a_layer_full_of_bytes_ends_at_the_cap(tls_flow: Flow) -> None:
    """Empty lines for ever, inside TLS: TOTAL_MAX bytes, then 413."""
    pair = at_verdict(tls_flow)
    taken = 0
    while not pair.guest.finished:
        pair.client.session._wire.write(b"\n" * 16000)
        data = pair.client.session._wire.take()
        taken += len(data)
        pair.guest.receive_data(data, 0.0)
    assert taken < TOTAL_MAX + 2 * 16384
    assert pair.log[-1] == ("session-protocol", "too many bytes")
