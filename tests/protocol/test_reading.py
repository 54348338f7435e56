"""Bytes that arrive together: a session ends the same way whole, byte by byte, and cut at each place."""

from collections.abc import Callable

import pytest
from actors import Actor, client_that_is_replaced, guest
from builds import chunkings

from sso.protocol.events import Closed, Event, Reset
from sso.protocol.layer import frame
from sso.protocol.messages import Authenticate, Code, Error, Info, Ok, StartSASL
from sso.protocol.state import State

NONCE, OTHER = "AAECAwQFBgcICQoLDA0ODw==", "8PHy8/T19vf4+fr7/P3+/w=="
HELLO = f"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 client {NONCE} - -\n".encode()
NEW = HELLO.replace(NONCE.encode(), OTHER.encode())  # another client
ANSWER = f"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 guest {OTHER} {NONCE} X-DEMO\n".encode()
ANEW = ANSWER.replace(NONCE.encode(), b"-")  # a guest that announces itself
AGAIN = ANSWER.replace(OTHER.encode(), b"EBESExQVFhcYGRobHB0eHw==") + b"authenticate kerberos password\n"
UNKNOWN, MALFORMED = b"error 400 unsupported\n", b"error 406 malformed\n"
REFUSED = b"error 402 not-authenticated\n"
SASL = [b"error 300\nstartSASL X-DEMO\n"]
LAYER = [*SASL, frame(b"hello"), frame(b"agreed")]


def inside(line: bytes) -> bytes:
    return b"".join(frame(b"<" + line[at : at + 128] + b">") for at in range(0, len(line), 128))


def ends(make: Callable[[], Actor], data: bytes) -> tuple[str, set[bytes]]:
    """How a session ends at every chunking, which has to be the same, and what was said until then."""
    said, found = set(), set()
    for chunks in chunkings(data):
        actor = make()
        actor.wrote(actor.output)
        actor.events.clear()
        for chunk in chunks:
            actor.receive(chunk)
        actor.end_doubt()
        if not actor.session.over:
            actor.receive(b"")
        said.add(actor.output)
        found.add(" ".join(map(name_of, actor.events)))
    assert len(found) == 1, found
    return found.pop(), said


def name_of(event: Event) -> str:
    if isinstance(event, Closed):
        return event.cause
    return str(event.code) if isinstance(event, Error) else type(event).__name__


def guest_after(*data: bytes) -> Callable[[], Actor]:
    def make() -> Actor:
        actor = Actor("G", guest)
        for chunk in [HELLO, *data]:
            actor.receive(chunk)
        return actor

    return make


RESET = "Reset reset"
# what the client has said, what comes together, how it ends, what the guest says until then
AT_THE_GUEST: dict[str, tuple[list[bytes], bytes, str, bytes]] = {
    "a new client": ([], NEW, RESET, b""),
    "two new clients": ([], NEW + NEW.replace(b"8PHy", b"9PHy"), RESET, b""),
    "the same client": ([], HELLO, "hang-up", AGAIN),
    "behind an unknown verb": ([], b"x\n" + NEW, RESET, UNKNOWN),
    "behind an unknown verb, cut off": ([], b"x" + NEW, RESET, UNKNOWN),
    "behind bytes that are no line, cut off": ([], b"\x01" + NEW, "protocol", MALFORMED),
    "behind wrong words, cut off": ([], b"info" + NEW, "protocol", MALFORMED),
    "behind an answer": ([], b"error 300\n" + NEW, f"300 {RESET}", b""),
    "behind an answer, cut off": ([], b"error 300" + NEW, f"300 {RESET}", b""),
    "behind a question": (
        [],
        b"error 300\ninfo spn\n" + NEW,
        f"300 Info {RESET}",
        b"ok host/guest.example.org\n",
    ),
    "behind the last word": ([], b"error 400\n" + NEW, "400", b"error 401 layer-required\n"),
    "a repeat, then a new client": (
        [],
        HELLO + NEW,
        RESET,
        AGAIN,
    ),
    "SASL at rest": (SASL, NEW, RESET, b""),
    "SASL in a frame": (SASL, b"\0\0\4\0cut" + NEW, RESET, b""),
    "SASL in a length": (SASL, b"\0" + NEW, RESET, b""),
    "SASL behind what is no length": (SASL, b"\1\0\0\0" + NEW, "protocol", b""),
    "SASL behind a token that fails": (SASL, frame(b"bad") + NEW, f"LayerFailed {RESET}", REFUSED),
    "layer at rest": (LAYER, NEW, RESET, b""),
    "layer in a frame": (LAYER, b"\0\0\4\0<cut" + NEW, RESET, b""),
    "layer in a frame that ends in it": (LAYER, b"\0\0\0\x20<cut" + NEW, RESET, b""),
    "layer behind a frame": (
        LAYER,
        inside(b"error 300\ninfo spn\n") + NEW,
        f"300 Info {RESET}",
        inside(b"ok host/guest.example.org\n"),
    ),
    "layer behind a frame that is refused": (LAYER, frame(b"bad") + NEW, "demonstration", b""),
    "layer, the same client": (LAYER, HELLO, "protocol", inside(MALFORMED)),
    "layer, what begins like it": (LAYER, NEW[:40] + b"\x01", "protocol", inside(MALFORMED)),
    "layer, a piece of it": (LAYER, NEW[:40], "protocol", inside(MALFORMED)),
}


@pytest.mark.proves("S116")
@pytest.mark.parametrize("name", AT_THE_GUEST)
def test_at_the_guest(name: str) -> None:
    before, data, ending, answer = AT_THE_GUEST[name]
    assert ends(guest_after(*before), data) == (ending, {answer})


def client_after(*data: bytes) -> Callable[[], Actor]:
    def make() -> Actor:
        actor = Actor("C1", client_that_is_replaced)
        for chunk in data:
            actor.receive(chunk)
        return actor

    return make


READY, ASKED = [ANSWER + b"ok\n"], [ANSWER + b"authenticate kerberos password\n"]
EXCHANGE = [*ASKED, b"ok\n"]
AT_THE_CLIENT: dict[str, tuple[list[bytes], bytes, str, bytes]] = {
    "a guest begins anew": (READY, ANEW, RESET, b""),
    "one that answers somebody else": (READY, ANSWER.replace(b"AAEC", b"AAED"), RESET, b""),
    "its own words": (READY, HELLO, "protocol", b""),
    "behind an unknown verb": (READY, b"x\n" + ANEW, RESET, UNKNOWN),
    "behind an unknown verb, cut off": (READY, b"x" + ANEW, RESET, UNKNOWN),
    "behind a line that is cut off": (ASKED, b"error 4" + ANEW, RESET, b""),
    "behind a verb that is cut off": (ASKED, b"authenti" + ANEW, RESET, b""),
    "behind bytes that are no line, cut off": (ASKED, b"\x01" + ANEW, RESET, b""),
    "behind a whole line that is none": (ASKED, b"\x01\n" + ANEW, "protocol", b""),
    "behind a whole line of another state": (ASKED, b"authenticate x\n" + ANEW, "protocol", b""),
    "behind two, the last cut off": (ASKED, b"bad line\nerror 4" + ANEW, "protocol", b""),
    "behind a refusal": (ASKED, b"error 400\n" + ANEW, f"400 {RESET}", b""),
    "behind a refusal, cut off": (ASKED, b"error 400" + ANEW, f"400 {RESET}", b""),
    "a line cut off, and no guest": (ASKED, b"error 4\n", "protocol", b""),
    "a line cut off, and what begins like one": (ASKED, b"error 4" + ANEW[:30] + b"\n", "protocol", b""),
    "SASL at rest": (EXCHANGE, ANEW, RESET, b""),
    "SASL in a frame": (EXCHANGE, b"\0\0\0\x20wel" + ANEW, RESET, b""),
    "SASL behind an outcome": (EXCHANGE, b"error 402\n" + ANEW, f"402 {RESET}", b""),
    "SASL behind an outcome that is cut off": (EXCHANGE, b"error 4" + ANEW, RESET, b""),
    "SASL behind an abort": (EXCHANGE, b"\xff\xff\xff\xff" + ANEW, "protocol", b""),
    "SASL, its first byte and no guest": (EXCHANGE, b"\nok\n", "protocol", b""),
}


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
