"""PAM leaves a lock screen without a word: what counts of a password then, whatever the seat shows."""

from typing import Any

import pytest
from beds_agent import Asked, MakeStage, Stage
from fake_surroundings import FakeDriver

from sso.guest.agent.pam_records import Operation
from sso.guest.agent.tracking import SWITCH_SECONDS
from sso.guest.records import Kind
from sso.guest.seat.logind import Seated

WRONG, DENIED, LATER = 402, 403, 410
ALICE = Seated("c2", "alice", 4001, "x11", service="lightdm")
LOCKED = ALICE._replace(locked=True)
PASSWORD: dict[str, Any] = {"principal": "alice", "kind": Kind.PASSWORD, "expires": 0}


def begin(stage: Stage, id: int) -> None:
    """A new peer session, when a screen that was to unlock before cannot switch any more."""
    stage.begin(id)
    stage.turn()
    stage.clock.now += SWITCH_SECONDS + 0.1
    stage.turn()


def at_lock_screen(stage: Stage, id: int) -> Asked:
    """The screen's PAM module has fetched a password, another one each time."""
    stage.driver.calls.clear()
    begin(stage, id)
    stage.claim(id, attempt=bytes([id]) * 16, digest=bytes([id]) * 32, **PASSWORD)
    stage.armed()
    return stage.ask()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    stage = make_stage(FakeDriver(unlocks=True))
    stage.seat.put(LOCKED)
    return stage


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_password_that_pam_has_not_let_pass_is_wrong_whoever_unlocks_then(
    by_hand: bool, stage: Stage
) -> None:
    """Nobody waits for the seat: in those seconds somebody may unlock by hand, or the client may leave."""
    asked = at_lock_screen(stage, 1)
    assert asked.report(Operation.TRIED)
    asked.hang_up()
    if by_hand:
        stage.seat.put(ALICE)
    assert stage.outcome() == (1, WRONG)
    stage.end(1)
    begin(stage, 2)
    stage.claim(2, attempt=b"2" * 16, digest=b"2" * 32, **PASSWORD)
    assert stage.outcome() == (2, LATER)


def test_a_password_that_nobody_has_tried_is_not_what_unlocks(stage: Stage) -> None:
    """The screen gave it up, and somebody unlocks by hand: the client is not told that it was right."""
    asked = at_lock_screen(stage, 1)
    asked.hang_up()
    stage.seat.put(ALICE)
    assert stage.outcome() == (1, DENIED)
    assert "settled" in stage.driver.calls


def test_a_password_that_has_passed_is_believed_when_the_seat_is_open(stage: Stage) -> None:
    asked = at_lock_screen(stage, 1)
    assert asked.report(Operation.TRIED) and asked.report(Operation.PASSED)
    asked.hang_up()
    assert stage.silent()
    stage.seat.put(ALICE)
    assert stage.outcome() == (1, 0)
