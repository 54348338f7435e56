"""What arrives together: verdict and announcement, close_notify, a SIGNATURE in pieces; with real layers."""

from collections.abc import Callable
from typing import Any

import pytest
from flows import Flow
from pair import Judge, Pair

from sso.client.exits import Exit
from sso.protocol.messages import Code
from sso.protocol.reading import DOUBT_TIME
from sso.protocol.state import State

OTHER = "8PHy8/T19vf4+fr7/P3+/w=="
ANEW = f"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 guest {OTHER} - GSSAPI\n".encode()
NEW = f"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 client {OTHER} - -\n".encode()
FLOWS = ["tls_flow", "gss_flow", "tls_gss_flow"]
SIZES = [0, 1, 3, 7]


@pytest.fixture(params=FLOWS)
def flow(request: pytest.FixtureRequest) -> Flow:
    found: Flow = request.getfixturevalue(request.param)
    return found


def behind_the_verdict(flow: Flow, code: int, more: bytes, chunk: int) -> Pair:
    """A login whose verdict comes in one read with more bytes."""

    def change(direction: str, data: bytes) -> bytes:
        last = direction == "to_client" and pair.guest.finished
        return data + more if last else data

    pair = flow.pair(judge=Judge(code), change=change, chunk=chunk)
    return pair.run()


@pytest.mark.parametrize("chunk", SIZES)
@pytest.mark.parametrize(
    ("code", "exit"),
    [
        (0, Exit.SIGNED_IN),
        (Code.DENIED, Exit.DENIED),
        (Code.NOT_AUTHENTICATED, Exit.NOT_ACCEPTED),
        (Code.CONSOLE_ASKS, Exit.CONSOLE_ASKS),
    ],
)
def test_a_verdict_counts_though_the_next_announcement_came_with_it(
    flow: Flow, code: int, exit: Exit, chunk: int
) -> None:
    pair = behind_the_verdict(flow, code, ANEW, chunk)
    assert pair.exit == exit
    assert "the guest began anew" not in pair.progress


def before_the_verdict(flow: Flow) -> Pair:
    """Both ends inside the layer; the guest has not decided."""
    pair = flow.pair(judge=Judge(None)).run()
    assert pair.client.session.state in (State.DECIDING, State.CONCLUDING)
    return pair


def feed(end: Any, data: bytes, chunk: int) -> None:
    for at in range(0, len(data), chunk or len(data)):
        end.receive_data(data[at : at + (chunk or len(data))], 0.0)


@pytest.mark.proves("S116")
@pytest.mark.parametrize("chunk", SIZES)
def test_a_signature_begins_anew_in_however_many_pieces(flow: Flow, chunk: int) -> None:
    pair = before_the_verdict(flow)
    feed(pair.client, ANEW, chunk)
    assert pair.progress[-1] == "the guest began anew" and not pair.client.finished
    feed(pair.guest, NEW, chunk)
    assert pair.guest.was_reset and pair.guest.finished
    assert pair.guest.data_to_send() == b""


CUT = len(ANEW) // 2
END_OF_DOUBT: dict[str, Callable[[Any], None]] = {
    "time": lambda end: end.deadline_passed(DOUBT_TIME),
    "another byte": lambda end: end.receive_data(b"\0", 0.5),
    "a hang-up": lambda end: end.receive_data(b"", 0.5),
}


@pytest.mark.parametrize("how", END_OF_DOUBT)
def test_half_a_signature_ends_the_session_when_no_more_of_it_comes(flow: Flow, how: str) -> None:
    pair = before_the_verdict(flow)
    for end, data in ((pair.client, ANEW), (pair.guest, NEW)):
        end.receive_data(data[:CUT], 0.0)
        assert not end.finished and end.session.in_doubt
        assert end.deadline == DOUBT_TIME, "and no further bytes make it later"
        end.receive_data(data[CUT : CUT + 5], 0.5)
        assert end.deadline == DOUBT_TIME
        END_OF_DOUBT[how](end)
        assert end.finished and not end.session.in_doubt
    assert pair.exit in (Exit.IDENTITY, Exit.PROTOCOL)
    assert pair.log_ids[-1] == ("session-protocol" if flow.name == "GSSAPI" else "session-tls")


def test_nobody_is_asked_anything_in_doubt(tls_flow: Flow) -> None:
    """The question for the password waits for its turn, and the doubt comes first."""
    asked: list[str] = []
    pair = tls_flow.pair(person=tls_flow.person._replace(password=lambda: asked.append("password")))
    pair._client_asks = lambda: False  # type: ignore[method-assign]
    pair.run()
    assert pair.client.asking
    pair.client.receive_data(ANEW[:CUT], 0.0)
    pair.client.deadline_passed(DOUBT_TIME)
    assert pair.client.finished and asked == []


# close_notify


@pytest.mark.parametrize("chunk", SIZES)
@pytest.mark.parametrize("name", ["tls_flow", "tls_gss_flow"])
def test_close_notify_ends_both_ends_at_once(request: pytest.FixtureRequest, name: str, chunk: int) -> None:
    """RFC 8446 section 6.1: the other end says its own, no line more, and closes."""
    for leaving in ("client", "guest"):
        pair = before_the_verdict(request.getfixturevalue(name))
        ends = {"client": pair.client, "guest": pair.guest}
        left, tls = ends.pop(leaving), getattr(pair, leaving).session.tls
        (other,) = ends.values()
        feed(other, tls.finish(), chunk)
        assert other.finished
        assert tls.unwrap(other.data_to_send()) == b"" and tls.ended
        assert left.data_to_send() == b""
        assert pair.judge.logins == []
        if leaving == "guest":
            assert pair.exit == Exit.LOST
        else:
            assert pair.log_ids[-1] == "session-hang-up"


@pytest.mark.parametrize("chunk", SIZES)
@pytest.mark.parametrize(("line", "exit"), [(b"ok\n", Exit.SIGNED_IN), (b"ok", Exit.LOST), (b"", Exit.LOST)])
@pytest.mark.parametrize("name", ["tls_flow", "tls_gss_flow"])
def test_complete_lines_before_a_close_notify_count(
    request: pytest.FixtureRequest, name: str, line: bytes, exit: Exit, chunk: int
) -> None:
    pair = before_the_verdict(request.getfixturevalue(name))
    wire = pair.guest.session._wire
    wire.write(line)
    wire.finish()
    feed(pair.client, wire.take(), chunk)
    assert pair.exit == exit
    assert (pair.client.data_to_send() == b"") is (exit is Exit.SIGNED_IN)


def test_a_question_before_a_close_notify_is_answered_first(tls_flow: Flow) -> None:
    pair = tls_flow.pair(judge=Judge(None), person=tls_flow.person._replace(password=lambda: None))
    pair._client_asks = lambda: False  # type: ignore[method-assign]
    pair.run()
    assert pair.guest.session.state is State.DELAYED
    wire = pair.client.session._wire
    wire.write(b"info time\ninfo sp")
    wire.finish()
    pair.guest.receive_data(wire.take(), 0.0)
    assert pair.guest.finished
    tls = pair.client.session.tls
    assert tls is not None
    assert tls.unwrap(pair.guest.data_to_send()) == b"error 404 no-value\n" and tls.ended
