"""The state table: every (state, role, word) is a row or an error, for both roles alike."""

import pytest

from sso.errors import LocalProtocolError, RemoteProtocolError
from sso.protocol.messages import (
    VERBS,
    Authenticate,
    Code,
    Credentials,
    Error,
    Info,
    Message,
    Ok,
    Signature,
    StartSASL,
    StartTLS,
    Unknown,
)
from sso.protocol.state import DELAY, FINAL, TABLE, UNKNOWN, VALUE, Role, State, StateMachine, word

C, G, S = Role.CLIENT, Role.GUEST, State

WORDS: dict[str, Message] = {
    "SIGNATURE": Signature("client", bytes(16)),
    "startTLS": StartTLS(),
    "startSASL": StartSASL("GSSAPI"),
    "authenticate": Authenticate(("kerberos",)),
    "credentials": Credentials("kerberos", bytearray(b"x")),
    "info": Info("spn"),
    "ok": Ok(),
    VALUE: Ok("host/a"),
    "error": Error(Code.UNSUPPORTED),
    DELAY: Error(Code.DELAY),
    UNKNOWN: Unknown(),
}
ASKING = {S.INFO, S.TLS_ASKED, S.SASL_ASKED}
# From where a request may be made, so where BACK may lead.
BEFORE = {S.READY, S.DELAYED}
EVERYTHING = [(state, role, name) for state in State for role in Role for name in WORDS]


def machine_in(state: State, before: State = S.DELAYED) -> StateMachine:
    machine = StateMachine()
    machine.state, machine._before = state, before
    return machine


def test_words_are_complete() -> None:
    assert set(WORDS) == set(VERBS.values()) | {DELAY, VALUE}
    assert all(word(message) == name for name, message in WORDS.items())
    assert set(TABLE) == set(State)
    assert {name for rows in TABLE.values() for _, name in rows} <= set(WORDS)


@pytest.mark.proves(*(f"S{number}" for number in range(115, 124)))
@pytest.mark.parametrize(("state", "role", "name"), EVERYTHING)
def test_every_pair_is_a_row_or_an_error(state: State, role: Role, name: str) -> None:
    message = WORDS[name]
    for method, error in (("sent", LocalProtocolError), ("received", RemoteProtocolError)):
        machine = machine_in(state)
        if (role, name) in TABLE[state]:
            following = TABLE[state][role, name]
            getattr(machine, method)(role, message)
            assert machine.state is (S.DELAYED if following is None else following)
        else:
            with pytest.raises(error):
                getattr(machine, method)(role, message)
            assert machine.state is state


@pytest.mark.parametrize(("state", "role", "name"), EVERYTHING)
def test_both_ends_follow_the_same_row(state: State, role: Role, name: str) -> None:
    here, there = machine_in(state), machine_in(state)
    if here.allows(role, WORDS[name]):
        here.sent(role, WORDS[name])
        there.received(role, WORDS[name])
    assert here.state is there.state


def test_an_error_of_the_peer_is_malformed_and_holds_no_text_of_it() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        machine_in(S.INFO).received(G, Authenticate(("secret-word",)))
    assert caught.value.code == Code.MALFORMED
    assert "secret-word" not in str(caught.value)


def test_every_state_can_be_reached() -> None:
    reached, todo = {S.SYNC}, [S.SYNC]
    while todo:
        state = todo.pop()
        found = set(TABLE[state].values()) - {None}
        found |= {S.SECURED} if state is S.TLS else set()  # TLS ends without a line
        todo += [following for following in found if following not in reached and following is not None]
        reached |= {following for following in found if following is not None}
    assert reached | {S.CLOSED} == set(State)  # no line leads to CLOSED


@pytest.mark.parametrize("state", State)
def test_final_states_take_nothing_more_and_others_go_on(state: State) -> None:
    assert (not TABLE[state]) == (state in FINAL or state is S.TLS)


@pytest.mark.parametrize(
    ("request_", "asking"),
    [(Info("spn"), S.INFO), (StartTLS(), S.TLS_ASKED), (StartSASL("GSSAPI"), S.SASL_ASKED)],
)
@pytest.mark.parametrize("before", [S.READY, S.DELAYED])
def test_a_refused_request_leads_back(request_: Message, asking: State, before: State) -> None:
    machine = machine_in(before)
    machine.sent(C, request_)
    assert machine.state is asking
    machine.received(G, Error(Code.UNSUPPORTED))
    assert machine.state is before


def test_requests_are_only_made_where_back_leads_to() -> None:
    origins = {state for state, rows in TABLE.items() for following in rows.values() if following in ASKING}
    assert origins == BEFORE


def test_one_request_is_outstanding() -> None:
    """While a request is open only its answer may come: no second request, no answer without a request."""
    for state in ASKING:
        assert {role for role, _ in TABLE[state]} == {G}
        assert {name for _, name in TABLE[state]} <= {"ok", VALUE, "error"}


def test_a_secret_is_taken_in_one_state_only() -> None:
    assert [state for state, rows in TABLE.items() if (C, "credentials") in rows] == [S.OFFERED]
    assert not any((G, "credentials") in rows for rows in TABLE.values())


def test_nobody_is_signed_in_before_the_client_answered() -> None:
    """DONE needs SASL, credentials or the client's no before it; a bare `ok` leads elsewhere."""
    ends = {state for state, rows in TABLE.items() if rows.get((G, "ok")) is S.DONE}
    assert ends == {S.CONCLUDING, S.DECIDING, S.REFUSED}


def test_a_value_is_taken_behind_info_only() -> None:
    assert [state for state, rows in TABLE.items() if (G, VALUE) in rows] == [S.INFO]
    assert not any((C, VALUE) in rows for rows in TABLE.values())


def test_tls_has_no_closing_line() -> None:
    machine = machine_in(S.TLS)
    machine.secured()
    assert machine.state is S.SECURED
