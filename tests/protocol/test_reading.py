"""Bytes that arrive together: a session ends the same way whole, byte by byte, and cut at each place."""

import pytest
from actors import Actor, client_that_is_replaced
from together import (
    ANEW,
    ANSWER,
    ASKED,
    AT_THE_CLIENT,
    AT_THE_GUEST,
    LAYER,
    NEW,
    OTHER,
    RESET,
    client_after,
    ends,
    guest_after,
    inside,
    name_of,
)

from sso.protocol.events import Closed, Event, Reset
from sso.protocol.layer import frame
from sso.protocol.messages import Authenticate, Code, Error, Info, Ok, StartSASL
from sso.protocol.state import State


@pytest.mark.proves("S116")
@pytest.mark.parametrize("name", AT_THE_GUEST)
def test_at_the_guest(name: str) -> None:
    before, data, ending, answer = AT_THE_GUEST[name]
    assert ends(guest_after(*before), data) == (ending, {answer})


@pytest.mark.proves("S116")
@pytest.mark.parametrize("name", AT_THE_CLIENT)
def test_at_the_client(name: str) -> None:
    before, data, ending, answer = AT_THE_CLIENT[name]
    assert ends(client_after(*before), data) == (ending, {answer})


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_guest_that_begins_anew_behind_the_ok_to_a_layer(end: bytes) -> None:
    """The first token leaves only when nothing was there behind the ok, not even a piece of a SIGNATURE."""
    ending, said = ends(client_after(*ASKED), b"ok" + end + ANEW)
    assert ending == RESET
    assert said == {b"", frame(b"hello")}


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_client_that_begins_anew_behind_a_request_for_a_layer(end: bytes) -> None:
    ending, said = ends(guest_after(b"error 300\n"), b"startSASL X-DEMO" + end + NEW)
    assert ending == f"StartSASL {RESET}"
    assert said == {b"", b"ok\n"}


# The verdict


def silent(actor: Actor, event: Event) -> None:
    """A guest that has not decided yet."""
    if isinstance(event, StartSASL):
        actor.grant(event)
    elif not isinstance(event, Closed) and actor.session.state is State.GREETED:
        actor.session.send(Authenticate(("kerberos",)))


def concluding(verdict: Ok | Error) -> tuple[Actor, bytes]:
    """A client inside a layer that waits for the verdict, and that verdict's bytes."""
    client, other = Actor("C1", client_that_is_replaced), Actor("G", silent)
    other.wrote(other.output)
    for _ in range(10):
        for sender, receiver in ((client, other), (other, client)):
            data = sender.output
            sender.wrote(data)
            if data:
                receiver.receive(data)
    assert client.session.state is State.CONCLUDING
    other.session.send(verdict)
    return client, other.output


@pytest.mark.parametrize("verdict", [Ok(), Error(Code.DENIED), Error(Code.NOT_AUTHENTICATED)], ids=repr)
def test_a_verdict_counts_though_the_guest_begins_anew_behind_it(verdict: Ok | Error) -> None:
    data = concluding(verdict)[1]
    ending, said = ends(lambda: concluding(verdict)[0], data + ANEW)
    assert (ending, said) == (name_of(verdict), {b""})


def test_without_a_verdict_the_client_begins_anew() -> None:
    data = concluding(Ok())[1]
    assert ends(lambda: concluding(Ok())[0], data[:-2] + ANEW) == (RESET, {b""})
    assert ends(lambda: concluding(Ok())[0], ANEW) == (RESET, {b""})


@pytest.mark.parametrize("line", [b"\x01", b"two  blanks", b"info", b"ok ok ok", b"\r\r"])
def test_an_unfinished_line_costs_nothing_yet(line: bytes) -> None:
    for actor in (guest_after()(), client_after(*ASKED)()):
        actor.wrote(actor.output)
        actor.receive(line)
        assert not actor.session.over and not actor.session.in_doubt and actor.output == b""
        actor.receive(b"\n")
        actor.end_doubt()
        assert actor.session.over


def test_what_a_guest_says_of_attempt_and_transcript_outside_means_nothing() -> None:
    said = f" attempt={OTHER} transcript={'A' * 43}= =empty\n".encode()
    actor = client_after(ANSWER[:-1] + said + b"ok\n")()
    assert actor.session.state is State.READY
    actor = client_after(ANSWER[:-1] + b" attempt=AAAA\n")()
    assert actor.session.state is State.SYNC, "but its form counts"


# Doubt


def test_a_refusal_waits_for_the_rest_of_a_signature_and_no_longer() -> None:
    for count in range(4, len(NEW) - 1):
        actor = guest_after(*LAYER)()
        actor.receive(NEW[:count])
        assert actor.session.in_doubt and not actor.session.over
        actor.receive(NEW[count:-1])
        assert actor.session.in_doubt
        actor.receive(b"\n")
        assert [type(event) for event in actor.events[-2:]] == [Reset, Closed]
        assert not actor.session.in_doubt


@pytest.mark.parametrize("data", [b"\x01", b"\r\r", b"x" * 512, b"\n", b"\nSIGNATURE", NEW[1:-1] + b"\x7f"])
def test_what_cannot_become_one_is_refused_at_once(data: bytes) -> None:
    actor = guest_after(*LAYER)()
    actor.receive(NEW[:40])
    assert actor.session.in_doubt
    actor.receive(data)
    assert actor.session.state is State.CLOSED and not actor.session.in_doubt


def test_no_doubt_where_nothing_may_begin() -> None:
    for data in (frame(b"bad"), NEW[1:], NEW[:2] + b"\1\1\1\1"):
        actor = guest_after(*LAYER)()
        actor.receive(data + b"\1")
        assert actor.session.state is State.CLOSED, data


def test_a_hang_up_ends_the_doubt_by_what_was_refused() -> None:
    actor = guest_after(*LAYER)()
    actor.receive(NEW[:40])
    actor.receive(b"")
    (closed,) = [event for event in actor.events if isinstance(event, Closed)]
    assert closed.cause == "protocol"


def test_answers_in_doubt_come_from_the_lines_before_it() -> None:
    """In one read: a line in the layer, then bytes that it refuses and that may become a SIGNATURE."""
    actor = guest_after(*LAYER)()
    actor.wrote(actor.output)
    actor.receive(inside(b"error 300\ninfo spn\n") + NEW[:40])
    assert actor.events[-1] == Info("spn") and actor.session.in_doubt
    assert actor.output == inside(b"ok host/guest.example.org\n")
