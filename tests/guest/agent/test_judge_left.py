"""PAM leaves a lock screen without a word: what counts of a password in the seconds before the seat tells."""

from typing import Any

import pytest
from beds_agent import Asked, MakeStage, Stage
from fake_surroundings import FakeDriver

from sso.guest.agent.desk import UNLOCKED_SECONDS
from sso.guest.agent.pam_records import Operation
from sso.guest.agent.tracking import SWITCH_SECONDS
from sso.guest.records import Kind
from sso.guest.seat.logind import Seated

WRONG, DENIED, LATER, NO_SCREEN = 402, 403, 410, 411
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


@pytest.mark.parametrize("how", ["end", "begin", "gone", "late"])
def test_who_hangs_up_before_the_seat_has_told_is_not_around_the_pauses(how: str, stage: Stage) -> None:
    """The password was tried and has not passed, as when PAM had not left yet: free once, then a failure."""
    for id in (1, 2):
        asked = at_lock_screen(stage, id)
        if how == "late":
            stage.clock.now += 30.0 - UNLOCKED_SECONDS / 2
        assert asked.report(Operation.TRIED)
        asked.hang_up()
        assert stage.silent(), "the seat has to tell"
        if how == "late":
            stage.clock.now += UNLOCKED_SECONDS / 2 + 0.1
            assert stage.outcome() == (id, NO_SCREEN)
        elif how == "end":
            stage.end(id)
        elif how == "gone":
            stage.gone(id)
            stage.turn()
            stage.clock.now += SWITCH_SECONDS + 0.1
            assert stage.confirmed(id)
    begin(stage, 3)
    stage.claim(3, attempt=b"3" * 16, digest=b"3" * 32, **PASSWORD)
    assert stage.outcome() == (3, LATER)


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
