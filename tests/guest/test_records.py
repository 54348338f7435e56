"""The records between the guest's processes: exact sizes, strict checks, descriptors that never leak."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from beds_agent import open_fds, secret_file
from hypothesis import given
from hypothesis import strategies as st

from sso.errors import LocalProtocolError, RemoteProtocolError
from sso.guest import records
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.records import (
    Authenticated,
    Begin,
    Child,
    Confirm,
    End,
    Go,
    Hello,
    Kind,
    Outcome,
    Taken,
    Verdict,
)
from sso.protocol.messages import Code

AUTHENTICATED = Authenticated(3, bytes(range(16)), Kind.KERBEROS, "alice@TEST.EXAMPLE", bytes(32), 77)
REQUEST = Request(Operation.OPENED, "login", "tty1", "alice", "ab" * 35, "/tmp/krb5cc_4001_x")
ALL: list[Any] = [
    *(Begin(1), End(2**64 - 1), Confirm(0), Child(5), AUTHENTICATED, Outcome(3, 411), Hello("tty1")),
    *(
        Go("alice"),
        Taken("alice"),
        REQUEST,
        Request(Operation.GET),
        Reply(),
        Reply(Kind.PASSWORD, 6, "alice"),
    ),
]

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ends
    for end in ends:
        end.close()


@pytest.mark.parametrize("record", ALL, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_went(record: Any, pair: Pair) -> None:
    fds = [secret_file() for _ in range(record.files)]
    before = open_fds()
    assert records.send(pair[0], record, fds)
    received = records.receive(pair[1], type(record))
    assert received is not None
    assert received[0] == record and type(received[0]) is type(record)
    assert len(received[1]) == record.files and not any(map(os.get_inheritable, received[1]))
    records.close_all(received[1])
    assert open_fds() == before
    records.close_all(fds)


def test_sizes_are_those_of_the_contract() -> None:
    assert len(REQUEST.pack()) == 704 and len(Reply().pack()) == 320
    assert REQUEST.pack()[:8] == b"SSOP\x03\x03\0\0"
    assert Reply(Kind.KERBEROS, 258, "alice").pack()[:18] == b"SSOR\x03\x02\0\0\0\0\x01\x02alice\0"


def test_the_agents_codes_are_those_of_the_protocol() -> None:
    assert {verdict.name: int(verdict) for verdict in Verdict if verdict}.items() <= {
        c.name: int(c) for c in Code
    }.items()


@pytest.mark.parametrize("record", ALL, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b"X" + data[1:]]
)
def test_a_record_that_is_not_exact_is_refused(record: Any, spoil: Any, pair: Pair) -> None:
    pair[0].send(spoil(record.pack()))
    with pytest.raises(RemoteProtocolError):
        records.receive(pair[1], type(record))


@pytest.mark.parametrize(
    "packet",
    [
        REQUEST.pack()[:4] + b"\x01" + REQUEST.pack()[5:],
        REQUEST.pack()[:5] + b"\x08" + REQUEST.pack()[6:],
        REQUEST.pack()[:5] + b"\x00" + REQUEST.pack()[6:],
        REQUEST.pack()[:6] + b"\x01" + REQUEST.pack()[7:],
        REQUEST.pack()[:8] + b"a" * 64 + REQUEST.pack()[72:],
        REQUEST.pack()[:8] + b"a\0b" + bytes(61) + REQUEST.pack()[72:],
        REQUEST.pack()[:8] + b"\xff" + bytes(63) + REQUEST.pack()[72:],
        REQUEST.pack()[:8] + b"a\n" + bytes(62) + REQUEST.pack()[72:],
    ],
)
def test_a_request_with_anything_odd_is_refused(packet: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Request.unpack(packet)


@given(st.binary(min_size=704, max_size=704))
def test_random_bytes_are_no_request(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Request.unpack(b"SSOP\x03" + data[5:])  # 627 random bytes of text that are all well padded: never


@pytest.mark.parametrize("count", [0, 2, 3, 4, 9])
def test_a_wrong_number_of_descriptors_is_refused_and_closed(count: int, pair: Pair) -> None:
    fds = [secret_file() for _ in range(count)]
    before = open_fds()
    socket.send_fds(pair[0], [AUTHENTICATED.pack()], fds)
    with pytest.raises(RemoteProtocolError):
        records.receive(pair[1], Authenticated)
    assert open_fds() == before
    records.close_all(fds)


def test_descriptors_with_a_record_that_takes_none_are_closed(pair: Pair) -> None:
    fd = secret_file()
    before = open_fds()
    socket.send_fds(pair[0], [Begin(1).pack()], [fd])
    with pytest.raises(RemoteProtocolError):
        records.receive(pair[1], Begin)
    assert open_fds() == before
    os.close(fd)


def test_an_own_mistake_is_told_before_anything_is_sent(pair: Pair) -> None:
    with pytest.raises(LocalProtocolError):
        records.send(pair[0], AUTHENTICATED)
    for text in ("x" * 256, "tty\n", "\udc80"):
        with pytest.raises(LocalProtocolError):
            records.send(pair[0], Hello(text))


@pytest.mark.parametrize("principal", ["x" * 512, "a\nb@R", "a\0b@R", "\udcff@R"])
def test_a_strange_principal_is_nobody(principal: str, pair: Pair) -> None:
    record = Authenticated(1, bytes(16), Kind.IDENTITY, principal, bytes(32), -5)
    records.send(pair[0], record)
    received = records.receive(pair[1], Authenticated)
    assert received is not None and (received[0].principal, received[0].expires) == ("", 0)


def test_one_of_several_kinds(pair: Pair) -> None:
    records.send(pair[0], End(9))
    received = records.receive(pair[1], Begin, End)
    assert received == (End(9), [])
    records.send(pair[0], Confirm(9))
    with pytest.raises(RemoteProtocolError):
        records.receive(pair[1], Begin, End)


def test_hang_up_is_none_and_a_gone_peer_takes_nothing(pair: Pair) -> None:
    pair[0].close()
    assert records.receive(pair[1], Begin) is None
    assert not records.send(pair[1], Confirm(1))


def test_a_full_queue_blocks_nobody(pair: Pair) -> None:
    pair[0].setblocking(False)
    assert not all(records.send(pair[0], Outcome(1, 0)) for _ in range(100_000))
    pair[0].setblocking(True)


def test_no_digest_and_no_token_is_shown() -> None:
    record = Authenticated(1, bytes(16), Kind.PASSWORD, "alice", b"canary" * 5 + b"!!", 0)
    assert "canary" not in repr(record) and "abab" not in repr(REQUEST)
