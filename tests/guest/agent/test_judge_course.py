"""How a login ends between the grant and the open session: taken back, refused, asked, seen."""

import os
from pathlib import Path
from typing import Any

import pytest
from beds_agent import Asked, MakeStage, Stage, given, go, has, let_in
from fake_surroundings import FakeDriver

from sso.guest.agent.pam_records import Operation
from sso.guest.agent.tracking import APPEAR_SECONDS
from sso.guest.records import Kind
from sso.guest.seat.logind import Found, Seated

LOGGED_IN, WRONG, DENIED, LATER, NO_SCREEN, ASKS = 0, 402, 403, 410, 411, 414
PASSWORD: dict[str, Any] = {"principal": "alice", "kind": Kind.PASSWORD, "digest": b"d" * 32, "expires": 0}
TICKET: dict[str, Any] = {}
GREETER = Seated("c1", "lightdm", 110, "x11", greeter=True)
ALICE = Seated("c2", "alice", 4001, "x11", service="lightdm")
GET, TRIED, PASSED, HELD = Operation.GET, Operation.TRIED, Operation.PASSED, Operation.HELD
ESTABLISHED, OPENED, CLOSED = Operation.ESTABLISHED, Operation.OPENED, Operation.CLOSED

TICKETS = ((), (HELD,), (HELD, ESTABLISHED), (ESTABLISHED, HELD))
PASSWORDS = (
    *((), (TRIED,), (TRIED, PASSED), (TRIED, PASSED, HELD), (TRIED, PASSED, ESTABLISHED)),
    *((TRIED, PASSED, ESTABLISHED, HELD),),
)
WAYS = [(TICKET, way) for way in TICKETS] + [(PASSWORD, way) for way in PASSWORDS]


# Taken back


@pytest.mark.parametrize("how", ["end", "gone", "begin", "agent"])
@pytest.mark.parametrize(("claim", "way"), WAYS)
def test_at_any_step_before_the_session_is_open_a_login_is_taken_back(
    claim: dict[str, Any], way: tuple[Operation, ...], how: str, make_stage: MakeStage, events: list[str]
) -> None:
    stage = make_stage()
    asked = given(stage, claim)
    go(asked, way)
    if how == "end":
        stage.end()
    elif how == "gone":
        stage.gone()
    elif how == "begin":
        stage.begin(2)
    else:
        stage.agent.judge.close()
    stage.turn()
    assert asked.hung_up(), "the module hears no yes, and refuses"
    assert stage.driver.calls == ["trigger alice", "cancel"]
    assert stage.agent.judge.signed_in is None and stage.silent()
    said = [line for line in events if line.startswith(("login-revoked", "login-opened", "session-"))]
    assert said == ["login-revoked session=1 user=alice"]


@pytest.mark.e2e
def test_the_cache_that_pam_has_made_goes_with_the_login(make_stage: MakeStage, tmp_path: Path) -> None:
    """Also when the module cannot remove it: its process was killed."""
    folder = tmp_path / "caches"
    folder.mkdir(mode=0o777)
    folder.chmod(0o1777)
    let_in(tmp_path)
    for id, end in ((1, "client"), (2, "screen")):
        cache = folder / f"krb5cc_{id}"
        cache.write_bytes(b"ticket")
        cache.chmod(0o600)
        os.chown(cache, 1, 1)
        stage = make_stage()
        stage.mapper.uids["alice"] = 1
        asked = given(stage, TICKET)
        go(asked, (ESTABLISHED,), str(cache))
        if end == "client":
            stage.end()
        else:
            asked.hang_up()
            assert stage.outcome() == (1, DENIED)
        stage.turn(lambda cache=cache: not cache.exists())  # type: ignore[misc]


def test_a_session_that_is_open_when_the_client_leaves_is_locked_and_not_ended(
    make_stage: MakeStage, events: list[str]
) -> None:
    stage = make_stage()
    stage.seat.put(active=GREETER)
    asked = given(stage, TICKET)
    stage.seat.found = Found(True, GREETER, (ALICE._replace(active=False),))
    asked.opens()
    stage.end()
    stage.gone()
    stage.seat.put(ALICE)
    stage.turn(lambda: stage.seat.calls)
    assert stage.seat.calls == ["lock c2"] and stage.confirmed()
    assert "cancel" not in stage.driver.calls and not has(asked.module)
    assert stage.agent.judge.signed_in is not None and stage.silent()
    assert "login-opened session=1 user=alice reason=client-gone" in events


# Not wrong, only not wanted


@pytest.mark.parametrize(("claim", "way"), [one for one in WAYS if one[1] != (TRIED,)])
def test_a_refusal_of_the_account_costs_no_pause_and_is_no_wrong_secret(
    claim: dict[str, Any], way: tuple[Operation, ...], make_stage: MakeStage
) -> None:
    stage = make_stage()
    for id in range(1, 6):
        asked = given(stage, claim, id)
        go(asked, way)
        asked.hang_up()
        assert stage.outcome() == (id, DENIED), "nologin, maxlogins: the next one is not made to wait"
        stage.end(id)


def test_only_a_password_that_was_tried_and_did_not_pass_is_wrong(make_stage: MakeStage) -> None:
    stage = make_stage()
    asked = given(stage, PASSWORD)
    go(asked, (TRIED,))
    asked.hang_up()
    assert stage.outcome() == (1, WRONG)


def test_a_ticket_never_counts_as_a_failed_attempt(make_stage: MakeStage) -> None:
    """Neither if its end is known, nor if the client has left before."""
    stage = make_stage()
    for id in range(1, 8):
        asked = given(stage, TICKET, id)
        go(asked, (ESTABLISHED,) if id % 3 else ())
        if id % 2:
            stage.end(id)
        else:
            asked.hang_up()
            assert stage.outcome() == (id, DENIED)
            stage.end(id)


# The console asks


def asking(stage: Stage, claim: dict[str, Any], way: tuple[Operation, ...] = ()) -> Asked:
    """A login at whose console somebody is asked something, and whose client knows it."""
    asked = given(stage, claim)
    go(asked, way)
    stage.clock.now += 30.1
    assert stage.outcome() == (1, ASKS)
    stage.end()
    return asked


@pytest.mark.parametrize(("claim", "way"), WAYS)
def test_no_timer_takes_back_what_was_fetched(
    claim: dict[str, Any], way: tuple[Operation, ...], make_stage: MakeStage, events: list[str]
) -> None:
    stage = make_stage()
    asked = asking(stage, claim, way)
    stage.clock.now += 3600.0
    assert stage.silent() and "cancel" not in stage.driver.calls
    go(asked, (TRIED,) if claim and not way else ())
    if ESTABLISHED not in way:
        go(asked, (PASSED,) if claim and PASSED not in way else ())
        go(asked, (ESTABLISHED,), "/tmp/krb5cc_4001_x")
    go(asked, (OPENED,))
    stage.turn()
    assert stage.silent(), "its client has its answer"
    assert stage.agent.judge.signed_in is not None and "settled" in stage.driver.calls
    stage.seat.put(ALICE)
    stage.gone()
    stage.turn(lambda: stage.seat.calls)
    assert stage.seat.calls == ["lock c2"] and stage.confirmed(), "it is alice's session: it is locked"
    assert [line for line in events if line.startswith("login-asks")] == [
        "login-asks session=1 user=alice code=414"
    ]


@pytest.mark.parametrize("claim", [TICKET, PASSWORD])
@pytest.mark.parametrize("when", ["after", "before"])
def test_the_same_attempt_gets_the_outcome(when: str, claim: dict[str, Any], make_stage: MakeStage) -> None:
    stage = make_stage()
    asked = asking(stage, claim)
    if when == "after":
        asked.opens()
    stage.begin(2)
    stage.claim(2, **{"attempt": b"\x01" * 16} | claim)
    if when == "before":
        assert stage.silent()
        asked.opens()
    assert stage.outcome() == (2, LOGGED_IN)
    assert stage.driver.calls == ["trigger alice", "settled"], "and nobody is signed in twice"


def test_who_asks_again_and_again_is_told_again_and_again(make_stage: MakeStage) -> None:
    stage = make_stage()
    asked = asking(stage, TICKET)
    for id in range(2, 12):
        stage.begin(id)
        stage.claim(id, attempt=b"\x01" * 16)
        assert stage.silent()
        stage.clock.now += 30.1
        assert stage.outcome() == (id, ASKS)
        stage.end(id)
    asked.hang_up()
    stage.begin(12)
    stage.claim(12, attempt=b"\x01" * 16)
    assert stage.outcome() == (12, DENIED), "alice has given up at the console"


@pytest.mark.parametrize("who", ["other attempt", "other user", "nobody", "gone"])
def test_whoever_else_comes_ends_what_the_console_asks(who: str, make_stage: MakeStage) -> None:
    stage = make_stage()
    asked = asking(stage, TICKET)
    if who == "gone":
        stage.gone()
    else:
        stage.begin(2)
        assert not asked.hung_up(), "it may be alice's own client"
        if who == "nobody":
            stage.end(2)
        else:
            principal = "bob@TEST.EXAMPLE" if who == "other user" else "alice@TEST.EXAMPLE"
            stage.claim(2, principal, attempt=b"2" * 16)
    stage.turn(lambda: "cancel" in stage.driver.calls)
    assert asked.hung_up() and stage.agent.judge.signed_in is None


# In front


def test_signed_in_is_said_when_the_session_is_in_front(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(active=GREETER)
    asked = given(stage, TICKET)
    hidden = ALICE._replace(active=False, leader=os.getpid())
    stage.seat.found = Found(True, GREETER, (hidden,))
    asked.opens()
    assert stage.silent(), "a greeter is in front"
    other = Seated("c9", "alice", 4001, "x11", leader=1)
    stage.seat.put(other, hidden, active=other)
    assert stage.silent(), "another session of alice's"
    stage.seat.put(ALICE._replace(leader=os.getpid(), locked=True))
    assert stage.silent(), "it is locked"
    stage.seat.put(ALICE._replace(leader=os.getpid()))
    assert stage.outcome() == (1, LOGGED_IN)


def test_what_does_not_come_to_the_front_is_no_and_a_retry_works(make_stage: MakeStage) -> None:
    stage = make_stage(FakeDriver(unlocks=True))
    stage.seat.put(active=GREETER)
    asked = given(stage, TICKET)
    stage.seat.found = Found(True, GREETER, (ALICE._replace(active=False, locked=True),))
    asked.opens()
    assert stage.silent()
    stage.clock.now += 30.1
    assert stage.outcome() == (1, NO_SCREEN)
    stage.end()
    assert stage.agent.judge.signed_in is not None, "it is tracked all the same"
    again = given(stage, TICKET, 2)
    assert again.reply.kind is Kind.KERBEROS
    stage.seat.put(ALICE)
    assert stage.outcome() == (2, LOGGED_IN)


def test_a_session_without_a_place_at_the_seat_needs_none(make_stage: MakeStage) -> None:
    """On a serial line, or without logind, nobody could show it."""
    stage = make_stage()
    stage.seat.put(active=GREETER)
    given(stage, TICKET).opens()
    assert stage.outcome() == (1, LOGGED_IN)
    stage = make_stage()
    stage.seat.found = Found(False)
    given(stage, TICKET).opens()
    assert stage.outcome() == (1, LOGGED_IN)


def test_while_logind_is_late_nobody_is_told_that_the_user_is_in(make_stage: MakeStage) -> None:
    stage = make_stage()
    asked = given(stage, TICKET)
    stage.seat.found = Found(False, None, (Seated("", "", -1, ""),))
    asked.opens()
    assert stage.silent()
    stage.seat.put(ALICE)
    assert stage.outcome() == (1, LOGGED_IN)


def test_who_leaves_waits_no_longer_than_a_session_takes_to_appear(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(active=GREETER)
    asked = given(stage, TICKET)
    stage.seat.found = Found(True, GREETER, (ALICE._replace(locked=True, active=False),))
    asked.opens()
    stage.end()
    stage.gone()
    assert not stage.confirmed()
    stage.clock.now += APPEAR_SECONDS + 0.1
    stage.turn()
    assert stage.confirmed()
