"""With its peer session everything of a login ends: grants, workers, descriptors, the screen's word."""

from collections.abc import Callable
from typing import Any

import pytest
from beds_agent import Asked, MakeStage, Stage, has, open_fds, take

from sso.guest import records
from sso.guest.agent.pam_records import Operation, Request
from sso.guest.records import Confirm, Kind

LOGGED_IN, WRONG, LATER, NO_SCREEN = 0, 402, 410, 411
PASSWORD: dict[str, Any] = {"principal": "alice", "kind": Kind.PASSWORD, "digest": b"d" * 32, "expires": 0}

Step = Callable[[Stage], Asked | None]


def asked_user(stage: Stage) -> Asked:
    stage.armed()
    return stage.ask()


@pytest.mark.parametrize(
    "step",
    [lambda stage: None, lambda stage: stage.turn(), lambda stage: stage.armed(), asked_user],
    ids=["at once", "while mapping", "armed", "given"],
)
@pytest.mark.parametrize("how", ["end", "begin"])
def test_with_its_session_a_login_is_gone(step: Step, how: str, make_stage: MakeStage) -> None:
    stage = make_stage()
    before = open_fds()
    stage.begin()
    stage.claim()
    asked = step(stage)
    if how == "end":
        stage.end()
    else:
        stage.begin(2)
    if asked is not None:
        assert asked.hung_up(), "the module sees it, and gives up"
        records.close_all(asked.fds)
        asked.module.close()
        stage.pam.clear()
    late = stage.ask()
    assert late.reply.kind is Kind.NONE
    late.module.close()
    stage.pam.clear()
    stage.turn(lambda: open_fds() == before)
    assert stage.silent() and "settled" not in stage.driver.calls
    assert ("cancel" in stage.driver.calls) is ("trigger alice" in stage.driver.calls)


def test_the_step_that_the_agent_has_not_said_yes_to_does_not_happen(make_stage: MakeStage) -> None:
    """Also when it was asked for before the end: the module hears no yes, and gives up."""
    stage = make_stage()
    stage.begin()
    stage.claim()
    asked = asked_user(stage)
    asked.report(Operation.ESTABLISHED)
    request = Request(Operation.OPENED, "login", "tty1", "alice")
    records.send(asked.module, request)
    stage.agent.judge.end(1)
    assert asked.hung_up() and not records.send(asked.module, request)
    assert stage.agent.judge.signed_in is None
    assert "cancel" in stage.driver.calls and "settled" not in stage.driver.calls
    assert stage.silent()


def test_the_end_is_confirmed_only_after_revoking(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim()
    stage.armed()
    records.send(stage.channel, records.End(1))
    stage.turn(lambda: has(stage.channel))
    assert len(stage.agent.judge._grants) == 0
    assert take(stage.channel, Confirm) == Confirm(1)


def test_a_session_survives_the_end_of_the_peer(make_stage: MakeStage) -> None:
    stage = make_stage()
    asked = stage.signed_in()
    assert not has(asked.module) and stage.agent.judge.signed_in is not None


def test_a_grant_dies_of_age(make_stage: MakeStage) -> None:
    stage = make_stage(grant_seconds=10)
    stage.begin()
    stage.claim()
    stage.armed()
    stage.clock.now += 9.9
    assert stage.silent()
    stage.clock.now += 0.2
    assert stage.outcome() == (1, NO_SCREEN)
    assert stage.ask().reply.kind is Kind.NONE and "cancel" in stage.driver.calls


def test_without_a_screen_the_peer_waits_twenty_seconds(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.driver.is_ready = False
    stage.begin()
    stage.claim()
    stage.turn(lambda: len(stage.agent.judge._grants))
    stage.clock.now += 19.9
    assert stage.silent()
    stage.clock.now += 0.2
    assert stage.outcome() == (1, NO_SCREEN) and stage.driver.calls == []


def test_a_screen_that_comes_in_time_is_told(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.driver.is_ready = False
    stage.begin()
    stage.claim()
    stage.turn(lambda: len(stage.agent.judge._grants))
    stage.driver.is_ready = True
    for _ in range(9):
        stage.driver.changed()
    assert stage.driver.calls == ["trigger alice"] * 3, "a screen that comes and goes is not told for ever"


def test_hanging_up_is_no_way_around_the_pauses(make_stage: MakeStage) -> None:
    stage = make_stage()
    for id in (1, 2):
        stage.begin(id)
        stage.claim(id, **PASSWORD)
        stage.turn(lambda calls=2 * id - 1: len(stage.driver.calls) >= calls)  # type: ignore[misc]
        asked = stage.ask()
        assert asked.reply.kind is Kind.PASSWORD
        asked.report(Operation.TRIED)
        stage.end(id)
    stage.begin(3)
    stage.claim(3, **PASSWORD)
    assert stage.outcome() == (3, LATER)
    stage.end(3)
    stage.clock.now += 61.0
    stage.begin(4)
    stage.claim(4, **PASSWORD)
    assert stage.outcome() == (4, WRONG)


def test_no_descriptor_is_left_after_many_logins(make_stage: MakeStage) -> None:
    stage = make_stage()
    before = open_fds()
    for id in range(1, 30):
        stage.driver.calls.clear()
        stage.begin(id)
        stage.claim(id, attempt=bytes([id]) * 16)
        if id % 3:
            stage.armed()
            asked = stage.ask("alice" if id % 2 else "")
            asked.opens()
            assert stage.outcome() == (id, LOGGED_IN)
            asked.hang_up()
        stage.end(id)
        stage.gone(id)
        stage.turn()
        assert stage.confirmed(id)
        stage.pam.clear()
    stage.turn(lambda: open_fds() == before)
