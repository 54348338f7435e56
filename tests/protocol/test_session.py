"""Session: the exact byte at which each layer begins, what is refused, and how it ends."""

import pytest
from ends import ATTEMPT, Ends, Secretless, after_doubt, closed, feed
from flows import Flow
from pair import Judge, Pair

from sso.errors import LocalProtocolError, MechanismError
from sso.policy import ClientPolicy, GuestPolicy
from sso.protocol.events import Closed, Event, LayerFailed, LayerStarted, Reset
from sso.protocol.messages import (
    Authenticate,
    Code,
    Error,
    Info,
    Message,
    Ok,
    StartSASL,
    StartTLS,
)
from sso.protocol.reading import DOUBT_TIME
from sso.protocol.session import Session
from sso.protocol.state import Role, State


def test_messages_are_the_same_class_on_both_ends() -> None:
    ends = Ends().greeted()
    ends.guest.send(Authenticate(("kerberos", "password")))
    assert ends.cross_to_client() == [Authenticate(("kerberos", "password"))]
    ends.client.send(Error(Code.DELAY))
    ends.client.send(Info("spn"))
    assert ends.cross_to_guest() == [Error(300), Info("spn")]
    ends.guest.send(Ok("host/a"))
    assert ends.cross_to_client() == [Ok("host/a")]
    assert ends.client.state is ends.guest.state is State.DELAYED


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("message", [Ok(), Info("spn"), StartTLS(), Authenticate(("x",)), Error(300)])
def test_our_own_mistakes_are_local(role: Role, message: Message) -> None:
    session = Session(role)
    with pytest.raises(LocalProtocolError):
        session.send(message)
    with pytest.raises(LocalProtocolError):
        session.request_layer(StartSASL("PLAINEST"), Secretless())
    with pytest.raises(LocalProtocolError):
        session.accept_layer(StartTLS(), Secretless())
    assert session.data_to_send() == b""
    assert session.state is State.SYNC


@pytest.mark.parametrize("role", Role)
def test_an_unknown_verb_gets_400_and_the_session_goes_on(role: Role) -> None:
    ends = Ends().ready()
    session = ends.client if role is Role.CLIENT else ends.guest
    assert feed(session, b"frobnicate x\n") == []
    assert session.data_to_send() == b"error 400 unsupported\n"
    assert session.state is State.READY


@pytest.mark.proves("S128")
def test_a_refused_layer_changes_nothing() -> None:
    ends, half = Ends().ready(), Secretless()
    ends.client.request_layer(StartTLS(), half)
    assert ends.cross_to_guest() == [StartTLS()]
    ends.guest.send(Error(Code.UNSUPPORTED))
    assert not half.disposed
    assert ends.cross_to_client() == [Error(400)]
    assert ends.client.state is ends.guest.state is State.READY and half.disposed


def test_a_mechanism_that_fails_in_its_first_step_is_disposed_of() -> None:
    ends, half = Ends().ready(), Secretless(cause="no-ticket")
    with pytest.raises(MechanismError, match="no-ticket"):
        ends.client.request_layer(StartSASL("PLAINEST"), half)
    assert half.disposed and ends.client.state is State.READY and ends.cross_to_guest() == []


def test_a_failed_sasl_leaves_the_session_in_lines() -> None:
    ends = Ends().ready()
    ends.client.request_layer(StartSASL("PLAINEST"), Secretless())
    (request,) = ends.cross_to_guest()
    assert isinstance(request, StartSASL)
    ends.guest.accept_layer(request, Secretless(cause="replay"))
    ends.cross_to_client()
    assert ends.cross_to_guest() == [LayerFailed("PLAINEST", "replay", "replay")]
    assert ends.cross_to_client() == [Error(Code.NOT_AUTHENTICATED)]
    assert ends.client.state is ends.guest.state is State.READY
    ends.client.send(Info("time"))
    assert ends.cross_to_guest() == [Info("time")]


def test_after_sasl_the_guest_confirms_what_was_said() -> None:
    ends = Ends().ready()
    ends.client.request_layer(StartSASL("PLAINEST"), Secretless(turns=1))
    (request,) = ends.cross_to_guest()
    assert isinstance(request, StartSASL)
    half = Secretless(turns=0)
    ends.guest.accept_layer(request, half)
    assert ends.cross_to_client() == []
    assert [type(event) for event in ends.cross_to_guest()] == [LayerStarted]
    assert half.bound.startswith(b"sso/1:")
    answer = ends.guest.data_to_send()
    assert answer.startswith(b"\x00\x00\x00\x05tokenok\nSIGNATURE ")
    assert f"attempt={'YWFhYWFhYWFhYWFhYWFhYQ=='}" in answer.decode()


@pytest.mark.parametrize("message", [b"startSASL PLAINEST\n", b"startTLS\n"])
def test_a_second_layer_of_the_same_kind_is_refused(tls_flow: Flow, message: bytes) -> None:
    """A client that breaks our own rules asks for it, inside TLS."""
    pair = tls_flow.pair(judge=Judge(None)).run()
    guest, client = pair.guest.session, pair.client.session
    guest._machine.state = State.READY  # not where it is, but where such a request is possible
    client._wire.write(message)
    guest.receive_data(client.data_to_send())
    found = list(iter(guest.next_event, None))
    if message == b"startTLS\n":
        assert found == []
        assert client._wire.open(guest.data_to_send()) == b"error 400 unsupported\n"
        assert guest.state is State.READY
    else:
        assert found == [StartSASL("PLAINEST")]  # SASL inside TLS is no second of its kind


@pytest.mark.parametrize("second", [StartSASL("GSSAPI"), StartTLS()])
def test_no_second_authentication_behind_sasl(ticket_flow: Flow, second: StartSASL | StartTLS) -> None:
    pair = ticket_flow.pair()
    session = pair.client.session

    def ask_again() -> None:
        session.send(Error(Code.DELAY))
        session.send(second)

    pair.client._hand_over_ticket = ask_again  # type: ignore[method-assign]
    pair.run()
    assert pair.exit == 15
    assert pair.client.outcome is not None
    assert "400" in pair.client.outcome.line
    assert pair.judge.claims == []


# Bytes after the request for a layer, or after its answer


LINES = b"info time\ncredentials password YWxpY2UAeA==\n"


@pytest.mark.proves("S117", "S118")
@pytest.mark.parametrize("request_line", [b"startTLS\n", b"startSASL GSSAPI\n"])
@pytest.mark.parametrize("split", range(len(b"startSASL GSSAPI\n" + LINES) + 1))
def test_bytes_behind_a_request_are_never_executed(
    tls_gss_flow: Flow, request_line: bytes, split: int
) -> None:
    """In the same write: close without an answer. In a later write: the mechanism gets it and refuses it."""
    asked: list[str] = []
    pair = tls_gss_flow.pair(info=lambda attribute: asked.append(attribute))
    pair.guest.start(0.0)
    pair.client.start(0.0)
    pair.guest.receive_data(pair.client.data_to_send(), 0.0)
    pair.client.receive_data(pair.guest.data_to_send(), 0.0)
    pair.guest.receive_data(b"error 300 delay\n", 0.0)
    data = request_line + LINES
    for part in (data[:split], data[split:]):
        if part:
            pair.guest.receive_data(part, 0.0)
    said = pair.guest.data_to_send()
    assert said[:3] in (b"", b"ok\n")
    assert (said == b"") == (split != len(request_line)), "an ok only when nothing was behind the request"
    assert asked == []
    assert pair.judge.claims == []
    if split < len(request_line):
        assert pair.log_ids == ["session-injected"]


@pytest.mark.parametrize(
    "injected", [b"\nSIGNATURE", b"authenticate password\n", b"ok\n", b"\0", b"\x16\x03\x03"]
)
@pytest.mark.parametrize("name", ["tls_flow", "gss_flow"])
def test_bytes_behind_the_answer_end_the_client(
    request: pytest.FixtureRequest, name: str, injected: bytes
) -> None:
    flow: Flow = request.getfixturevalue(name)
    pair = flow.pair(
        change=lambda direction, data: data + injected if data.endswith(b"\nok\n") else data
    ).run_out()
    assert pair.exit == 15 and pair.now <= DOUBT_TIME
    assert pair.judge.claims == []
    assert "bytes behind" in (pair.client.outcome.line if pair.client.outcome else "")


@pytest.mark.parametrize("direction", ["to_guest", "to_client"])
@pytest.mark.parametrize(
    "injected", [b"info time\n", b"ok\n", b"\0\0\0\4ok\nx", b"\xff\xff\xff\xff", b"\0" * 12]
)
def test_plain_bytes_after_the_sasl_outcome_are_no_lines(
    gss_flow: Flow, direction: str, injected: bytes
) -> None:
    """The layer begins right behind the LF of `ok`: what is not a good frame there ends the session."""
    done: list[bool] = []

    def change(towards: str, data: bytes) -> bytes:
        state = pair.guest.session.state
        if towards == direction and state in (State.CONCLUDING, State.DONE, State.CLOSED) and not done:
            done.append(True)
            start = data.find(b"ok\n") + 3 if direction == "to_client" else 0
            return data[:start] + injected + data[start:]
        if towards == direction == "to_guest" and state is State.SASL and len(data) < 60:
            return data + injected  # behind the last token
        return data

    pair = gss_flow.pair(change=change)
    pair.run()
    assert pair.exit not in (0, None) or pair.go_on().exit not in (0, None)
    if direction == "to_guest":
        assert pair.judge.logins == []


# Repeats and resets


@pytest.mark.proves("S116", "S125")
def test_the_same_signature_is_answered_again_and_resets_nothing() -> None:
    ends = Ends().greeted()
    ends.guest.send(Authenticate(("kerberos",)))
    first = ends.guest.data_to_send()
    again = b"\n" + b" ".join(word.encode() for word in ends.client._greeting.own().words()) + b"\n"
    assert feed(ends.guest, again) == []
    repeated = ends.guest.data_to_send()
    assert repeated.endswith(first)
    assert ends.guest.state is State.ASKED
    assert feed(ends.client, first) == [Authenticate(("kerberos",))]
    assert feed(ends.client, repeated) == []
    assert ends.client.state is State.ASKED


def test_a_repeat_that_differs_is_fatal() -> None:
    ends = Ends().ready()
    again = b" ".join(word.encode() for word in ends.guest._greeting.own().words())
    feed(ends.client, b"\n" + again + b"\nauthenticate password\n")
    assert closed(after_doubt(ends.client)).code == Code.MALFORMED


def test_a_new_nonce_resets_behind_the_lines_before_it() -> None:
    ends = Ends().ready()
    other = Session(Role.CLIENT, attempt=ATTEMPT)
    other.start()
    events = feed(ends.guest, b"info spn\n" + other.data_to_send() + b"info time\n")
    assert events == [Info("spn"), Reset(), Closed("reset")]
    assert ends.guest.data_to_send() == b""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_reset_behind_half_a_line_at_any_chunking(size: int) -> None:
    ends = Ends().ready()
    other = Session(Role.CLIENT, attempt=ATTEMPT)
    other.start()
    data = b"inf" + other.data_to_send()
    events: list[Event] = []
    for start in range(0, len(data), size):
        events += feed(ends.guest, data[start : start + size])
    assert Reset() in events
    assert ends.guest.state is State.CLOSED


def test_nothing_is_reset_by_an_incomplete_or_malformed_signature() -> None:
    for damaged in (
        b"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 client ",
        b"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 client x - -",
    ):
        ends = Ends().ready()
        assert feed(ends.guest, damaged) == []
        assert ends.guest.state is State.READY


# Ends


@pytest.mark.parametrize("role", Role)
def test_a_hang_up_ends_and_the_end_is_said_once(role: Role) -> None:
    session = Session(role)
    session.receive_data(b"")
    session.receive_data(b"")
    session.receive_data(b"more")
    assert list(iter(session.next_event, None)) == [Closed("hang-up")]
    session.close()
    assert list(iter(session.next_event, None)) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"info\n", Code.MALFORMED),
        (b"info \xff\n", Code.MALFORMED),
        (b" info spn\n", Code.MALFORMED),
        (b"credentials password !!!!\n", Code.MALFORMED),
        (b"x" * 4097, Code.TOO_LONG),
        (b"ok\n", Code.MALFORMED),
        (b"authenticate kerberos\n", Code.MALFORMED),
    ],
)
def test_the_guest_says_which_kind_of_mistake_it_was(data: bytes, code: Code) -> None:
    ends = Ends().ready()
    end = closed(feed(ends.guest, data))
    assert (end.cause, end.code) == ("protocol", code)
    assert ends.guest.data_to_send().startswith(f"error {int(code)} ".encode())
    assert ends.guest.state is State.CLOSED


def test_a_client_closes_without_a_word() -> None:
    ends = Ends().ready()
    assert feed(ends.client, b"startTLS\n") == []
    assert closed(after_doubt(ends.client)).cause == "protocol"
    assert ends.client.data_to_send() == b""


def test_a_client_of_another_version_is_told_so() -> None:
    guest = Session(Role.GUEST)
    line = b"\nSIGNATURE cSSO7f3Kq9ZtW2xB 2 9 client AAAAAAAAAAAAAAAAAAAAAA== - -\n"
    assert closed(feed(guest, line)).code == Code.VERSION
    assert guest.data_to_send().endswith(b"error 405 version\n")


def test_garbage_behind_the_last_token_voids_the_authentication(gss_flow: Flow) -> None:
    """One write with the last SASL token and a broken frame: no decision, and no exception."""

    def change(direction: str, data: bytes) -> bytes:
        last = direction == "to_guest" and pair.guest.session.state is State.SASL and 8 < len(data) < 100
        return data + b"\0\0\0\4oops" if last else data

    pair = gss_flow.pair(change=change)
    pair.run()
    assert pair.judge.claims == []
    assert [id for id in pair.log_ids if id.startswith("session-")] == ["session-gssapi"]


def test_garbage_behind_the_handshake_voids_the_layer(tls_flow: Flow) -> None:
    def change(direction: str, data: bytes) -> bytes:
        last = direction == "to_guest" and pair.guest.session.state is State.TLS and b"SIGNATURE" not in data
        return data + b"\x17\x03\x03\x00\x04oops" if last and not data.startswith(b"\x16") else data

    pair = tls_flow.pair(change=change)
    pair.run()
    assert pair.judge.claims == []
    assert "session-tls" in pair.log_ids


def test_the_strict_defaults_offer_nothing() -> None:
    """A client with the defaults and a guest that offers nothing: the session ends without a credential."""
    pair = Pair(ClientPolicy(), GuestPolicy(sasl=())).run()
    assert pair.exit == 16
    assert bytes(pair.to_guest).splitlines()[-1] == b"error 300 delay"
