"""Bytes at the border of a layer, at every chunking: what stood before it ends the session."""

import pytest
from builds import chunkings
from ends import Ends, Secretless, closed, feed

from sso.errors import FramingError
from sso.protocol.events import Event
from sso.protocol.exchange import SASLExchange
from sso.protocol.messages import LINE_MAX, StartSASL
from sso.protocol.session import Session
from sso.protocol.state import Role, State

REQUEST, ANSWER = b"startSASL PLAINEST", b"ok"
TAILS = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"\xff",
    b"x",
    b"ok\n",
    b"info time\n",
    b"credentials x QQ==\n",
]
TAILS += [b"credentials x QUJD", b"\r\r\n", b"\nSIGNATURE", b"bad  line\n"]


class Taking(Secretless):
    """Says what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = b""

    def step(self, token: bytes) -> bytes:
        self.taken += token
        return super().step(token)


def in_chunks(session: Session, chunks: list[bytes], mechanism: Taking) -> list[Event]:
    """Feed each chunk and ask for the events only then; a guest takes the layer that it is asked for."""
    found: list[Event] = []
    for chunk in chunks:
        session.receive_data(chunk)
        while (event := session.next_event()) is not None:
            found.append(event)
            if isinstance(event, StartSASL):
                session.accept_layer(event, mechanism)
    session.end_doubt()
    return found + list(iter(session.next_event, None))


@pytest.mark.proves("S117", "S118")
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("tail", TAILS)
def test_behind_a_request(tail: bytes, end: bytes) -> None:
    request = REQUEST + end
    for chunks in chunkings(request + tail):
        guest, mechanism = Ends().ready().guest, Taking()
        found = in_chunks(guest, chunks, mechanism)
        said, at_border = (
            guest.data_to_send(),
            any(sum(map(len, chunks[:count])) == len(request) for count in range(len(chunks))),
        )
        assert found[:1] in ([StartSASL("PLAINEST")], [*found[-1:]])
        if at_border:
            assert said == b"ok\n" and len(found) <= 2, chunks  # what comes then is a frame, or none
        else:
            assert said == b"" and closed(found).cause == "injected", chunks
        assert mechanism.taken == b""


@pytest.mark.proves("S117", "S118")
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("tail", TAILS)
def test_behind_the_answer(tail: bytes, end: bytes) -> None:
    answer = ANSWER + end
    for chunks in chunkings(answer + tail):
        client, mechanism = Ends().ready().client, Taking()
        client.request_layer(StartSASL("PLAINEST"), mechanism)
        client.data_to_send()
        at_border = any(sum(map(len, chunks[:count])) == len(answer) for count in range(len(chunks)))
        found = in_chunks(client, chunks, mechanism)
        if not at_border:
            assert client.data_to_send() == b"" and closed(found).cause == "injected", chunks
        assert mechanism.taken == b"" and client.state is not State.AUTHENTICATED


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_outcome_of_the_longest_kind(end: bytes) -> None:
    line = b"error 402 " + b"x" * (LINE_MAX - 10)
    for cut in (1, 9, LINE_MAX, LINE_MAX + 1, LINE_MAX + len(end)):
        exchange = SASLExchange(Role.CLIENT, "PLAINEST", Secretless(), b"")
        for part in ((line + end)[:cut], (line + end)[cut:]):
            exchange.feed(part)
        assert exchange.outcome is not None and exchange.outcome[:2] == ("error", "402")
    with pytest.raises(FramingError, match="line"):
        SASLExchange(Role.CLIENT, "PLAINEST", Secretless(), b"").feed(line + b"x" + end)


def test_what_a_layer_gave_is_wiped_even_when_nobody_reads_it() -> None:
    guest = Ends().ready().guest
    feed(guest, b"bad  line\n")
    plain = bytearray(b"credentials password QQ==\n")
    with pytest.raises(FramingError):
        guest._lines.read(plain)
    assert plain == bytes(len(plain))
