"""Locked sessions that the screen unlocks by PAM: PAM's yes, and what logind then shows."""

from typing import Any

import pytest
from beds_agent import MakeStage, given, go
from fake_surroundings import FakeDriver

from sso.guest.agent.desk import UNLOCKED_SECONDS
from sso.guest.agent.pam_records import Operation
from sso.guest.agent.tracking import SWITCH_SECONDS
from sso.guest.records import Kind
from sso.guest.seat.logind import Seated

LOGGED_IN, WRONG, DENIED, NO_SCREEN = 0, 402, 403, 411
PASSWORD: dict[str, Any] = {"principal": "alice", "kind": Kind.PASSWORD, "digest": b"d" * 32, "expires": 0}
TICKET: dict[str, Any] = {}
ALICE = Seated("c2", "alice", 4001, "x11", service="lightdm")
TRIED, PASSED, HELD = Operation.TRIED, Operation.PASSED, Operation.HELD
ESTABLISHED = Operation.ESTABLISHED
LOCKED = ALICE._replace(locked=True)


def test_pams_yes_alone_is_not_unlocked(make_stage: MakeStage, events: list[str]) -> None:
    """What a greeter's own handle does when it is reset: it sets the credentials, and shows a greeter."""
    stage = make_stage(FakeDriver(unlocks=True))
    stage.seat.put(LOCKED)
    asked = given(stage, TICKET)
    assert asked.report(ESTABLISHED)
    assert stage.silent()
    stage.clock.now += 30.1
    assert stage.outcome() == (1, NO_SCREEN)
    assert asked.hung_up(), "that handle opens nothing any more"
    assert not any("session-unlocked" in line for line in events)
    stage.end()
    again = given(stage, TICKET, 2)
    assert again.report(ESTABLISHED)
    stage.seat.put(ALICE)
    assert stage.outcome() == (2, LOGGED_IN)


def test_an_unlocked_session_behind_another_one_is_not_unlocked(make_stage: MakeStage) -> None:
    stage = make_stage(FakeDriver(unlocks=True))
    stage.seat.put(LOCKED)
    asked = given(stage, TICKET)
    text = Seated("3", "bob", 4002, "tty")
    stage.seat.put(ALICE._replace(active=False), text, active=text)
    asked.report(ESTABLISHED)
    assert stage.silent()
    stage.seat.put(ALICE)
    assert stage.outcome() == (1, LOGGED_IN)


@pytest.mark.parametrize("shown", [True, False])
def test_a_switch_that_was_under_way_when_the_client_left_is_locked_again(
    shown: bool, make_stage: MakeStage
) -> None:
    """PAM has let the screen through, and no line of PAM comes after that."""
    stage = make_stage(FakeDriver(unlocks=True))
    stage.seat.put(LOCKED)
    asked = given(stage, TICKET)
    go(asked, (HELD,))
    stage.end()
    stage.gone()
    assert not stage.confirmed(), "it may still open"
    if shown:
        stage.seat.put(ALICE)
        stage.turn(lambda: "lock c2" in stage.seat.calls)
    stage.clock.now += SWITCH_SECONDS + 0.1
    stage.turn()
    stage.clock.now += 2.1
    assert stage.confirmed() and stage.seat.found.users[0].locked


def test_a_wrong_password_at_a_lock_screen_counts_when_the_screen_stays_locked(make_stage: MakeStage) -> None:
    for way, code in (((TRIED,), WRONG), ((TRIED, PASSED), DENIED)):
        stage = make_stage(FakeDriver(unlocks=True))
        stage.seat.put(LOCKED)
        asked = given(stage, PASSWORD)
        go(asked, way)
        asked.hang_up()
        assert stage.silent()
        stage.clock.now += UNLOCKED_SECONDS + 0.1
        assert stage.outcome() == (1, code)


@pytest.mark.parametrize("way", [(), (TRIED,)])
def test_who_unlocks_by_hand_proves_nobody_elses_password(
    way: tuple[Operation, ...], make_stage: MakeStage
) -> None:
    stage = make_stage(FakeDriver(unlocks=True))
    stage.seat.put(LOCKED)
    asked = given(stage, PASSWORD)
    go(asked, way)
    stage.seat.put(ALICE)
    assert stage.silent(), "PAM has not said that this password is right"
    go(asked, ((TRIED,) if not way else ()))
    go(asked, (PASSED, ESTABLISHED))
    assert stage.outcome() == (1, LOGGED_IN)
