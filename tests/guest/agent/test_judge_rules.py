"""The rules of design.md section 7 around an open session, each under its name, with the agent alone."""

import os
from typing import Any

import pytest
from beds_agent import MakeStage, Stage
from fake_surroundings import FakeDriver

from sso.guest.agent.account import Checked
from sso.guest.agent.pam_records import Operation
from sso.guest.records import Kind
from sso.guest.seat.logind import Found, Seated

ALICE = Seated("c2", "alice", 4001, "wayland", service="gdm-password", tty="tty2")
LOCKED = Seated("c2", "alice", 4001, "wayland", service="gdm-password", tty="tty2", locked=True)
GREETER = Seated("c1", "gdm", 110, "wayland", greeter=True)
PASSWORD: dict[str, Any] = {"principal": "alice", "kind": Kind.PASSWORD, "digest": b"d" * 32}


def visit(stage: Stage, principal: str = "alice@TEST.EXAMPLE", id: int = 1, **claim: Any) -> int:
    """What a client hears that authenticates while somebody may be signed in."""
    stage.begin(id)
    stage.claim(id, **{"principal": principal} | claim)
    session, code = stage.outcome()
    assert session == id
    return code


def test_nobody_else_may_sign_in_while_somebody_is_logged_on(make_stage: MakeStage) -> None:
    stage = make_stage()
    for seated in (ALICE, LOCKED):
        stage.seat.put(seated)
        assert visit(stage, "bob@TEST.EXAMPLE") == 403
        stage.end()
    assert not stage.driver.calls and not stage.checker.calls, "the screen hears nothing, nor does PAM"


def test_uids_are_compared_and_not_names(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(Seated("c2", "alice", 4002, "wayland", locked=True))
    assert visit(stage) == 403


def test_nobody_is_let_in_while_logind_is_late_with_its_answer(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.found = Found(False, None, (Seated("", "", -1, ""),))
    assert visit(stage) == 410
    assert not stage.driver.calls


@pytest.mark.proves("S150")
def test_the_same_user_unlocks_by_logind_after_the_account_was_checked(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(LOCKED)
    assert visit(stage) == 0
    assert stage.checker.calls == ["account login alice"]
    assert stage.seat.calls == ["unlock c2"] and stage.driver.calls == ["settled"]


def test_an_account_that_may_not_be_used_is_not_unlocked(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(LOCKED)
    stage.checker.answer = Checked.REFUSED
    assert visit(stage) == 403
    assert not stage.seat.calls


def test_an_authentication_is_good_for_thirty_seconds(make_stage: MakeStage) -> None:
    """PAM's yes unlocks nothing when it comes later."""
    reader, writer = os.pipe()
    for late in (False, True):
        stage = make_stage()
        stage.checker.until = reader
        stage.seat.put(LOCKED)
        stage.begin()
        stage.claim()
        stage.turn(lambda checker=stage.checker: checker.calls)  # type: ignore[misc]
        stage.clock.now += 30.1 if late else 29.9
        if late:
            assert stage.outcome() == (1, 411)
        os.write(writer, b".")
        if not late:
            assert stage.outcome() == (1, 0)
        stage.turn()
        assert stage.seat.calls == ([] if late else ["unlock c2"])
        assert stage.seat.found.users[0].locked is late
        assert stage.agent.judge.unlocker.verdict(4001, "alice", "i3lock") is not late
    for fd in (reader, writer):
        os.close(fd)


def test_a_wrong_password_at_the_locked_screen_counts_once(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(LOCKED)
    stage.checker.answer = Checked.WRONG
    assert visit(stage, **PASSWORD) == 402
    stage.end()
    assert visit(stage, id=2, **PASSWORD) == 410
    stage.end(2)
    stage.clock.now += 61.0
    assert visit(stage, id=3, **PASSWORD) == 402
    assert stage.checker.calls == ["password login alice"], "and is not tried again"
    assert not stage.seat.calls


def test_a_screen_that_unlocks_by_pam_is_told(make_stage: MakeStage) -> None:
    stage = make_stage(FakeDriver(token=True, unlocks=True))
    stage.seat.put(LOCKED)
    stage.begin()
    stage.claim(content=b"ticket")
    stage.armed()
    assert not stage.seat.calls and not stage.checker.calls
    (token,) = stage.driver.tokens
    assert len(token) == 64 and stage.ask(token="0" * 64).reply.kind is Kind.NONE
    asked = stage.ask("alice", token=token)
    assert asked.secret() == b"ticket"
    assert asked.report(Operation.ESTABLISHED)
    assert stage.silent(), "PAM has accepted alice; that the screen shows alice's, logind tells"
    stage.seat.put(ALICE)
    assert stage.outcome() == (1, 0)
    assert stage.agent.judge.signed_in is None, "that session is not one that we opened"
    assert asked.hung_up(), "and nothing more comes of that PAM handle"


def test_a_locker_that_leaves_pam_without_a_word_is_believed_by_the_seat(make_stage: MakeStage) -> None:
    stage = make_stage(FakeDriver(unlocks=True))
    for stays_locked, code in ((False, 0), (True, 403)):
        stage.seat.put(LOCKED)
        stage.begin()
        stage.claim(attempt=bytes(15) + bytes([1 + stays_locked]))
        stage.turn(lambda: len(stage.driver.calls) and stage.driver.calls[-1].startswith("trigger"))
        stage.ask("alice").hang_up()
        if not stays_locked:
            stage.seat.put(ALICE)
        else:
            assert stage.silent()
            stage.clock.now += 5.1
        assert stage.outcome() == (1, code)
        stage.gone()
        stage.seat.put(LOCKED)
        assert stage.confirmed()


def test_an_unlocked_session_is_left_alone(make_stage: MakeStage) -> None:
    stage = make_stage(FakeDriver(token=True, unlocks=True))
    stage.seat.put(ALICE)
    assert visit(stage) == 0
    assert not stage.driver.calls and not stage.seat.calls


def test_without_a_ticket_nothing_is_unlocked(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(LOCKED)
    assert visit(stage, kind=Kind.IDENTITY) == 409
    assert not stage.seat.calls


def test_a_greeter_in_front_means_a_login(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(active=GREETER)
    stage.begin()
    stage.claim()
    stage.armed()
    assert stage.driver.calls == ["trigger alice"]


def test_a_screen_that_does_not_ask_is_told_again_with_another_token(make_stage: MakeStage) -> None:
    driver = FakeDriver(token=True)
    driver.retry = 15.0
    stage = make_stage(driver)
    stage.begin()
    stage.claim(content=b"ticket")
    stage.armed()
    stage.seat.hint()
    stage.turn()
    assert len(driver.tokens) == 1, "a seat that changes is no reason"
    stage.clock.now += 15.1
    stage.turn(lambda: len(driver.tokens) == 2)
    assert stage.ask(token=driver.tokens[0]).reply.kind is Kind.NONE
    assert stage.ask(token=driver.tokens[1]).secret() == b"ticket"


def test_a_password_is_not_tried_when_a_failure_would_lock_the_account(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.almost_locked_out.add("alice")
    assert visit(stage, **PASSWORD) == 410
    assert not stage.driver.calls
    stage.end()
    stage.begin(2)
    stage.claim(2)
    stage.armed()  # a ticket is no password


# Leaving


@pytest.mark.proves("S035", "S109")
def test_when_the_client_leaves_the_session_is_locked_and_that_is_confirmed(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.obeys = False
    stage.seat.put(ALICE)
    stage.gone()
    stage.turn(lambda: stage.seat.calls)
    assert stage.seat.calls == ["lock c2"] and not stage.confirmed()
    stage.clock.now += 2.1
    stage.turn(lambda: len(stage.seat.calls) == 2)
    assert not stage.confirmed(), "told again, and still nobody is served"
    stage.seat.put(LOCKED)
    assert stage.confirmed()


def test_an_agent_that_has_just_started_waits_for_the_bus_before_it_says_who_is_there(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage()
    monkeypatch.setattr(type(stage.seat.bus), "reachable", True)  # it has taken the call, no more
    stage.seat.found = Found(False)
    stage.gone()
    stage.turn()
    assert not stage.confirmed()
    stage.seat.put(ALICE)  # it has greeted, and logind has told
    stage.turn(lambda: stage.seat.found.users[0].locked)
    assert stage.confirmed()


def test_a_takeover_finds_the_session_locked_before_a_word_is_heard(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(ALICE)
    stage.gone()
    stage.turn(lambda: stage.seat.found.users[0].locked)
    assert stage.confirmed()
    assert visit(stage, "bob@TEST.EXAMPLE", id=2) == 403
    stage.end(2)
    assert stage.seat.found.users[0].locked
    assert visit(stage, id=3) == 0
    assert stage.seat.calls == ["lock c2", "unlock c2"], "alice is back"


@pytest.mark.parametrize("kind", ["tty", "unspecified"])
def test_a_session_in_text_cannot_be_locked_and_keeps_nobody_waiting(
    make_stage: MakeStage, kind: str
) -> None:
    stage = make_stage()
    stage.seat.put(Seated("3", "alice", 4001, kind, tty="tty1"))
    stage.gone()
    stage.turn()
    assert stage.confirmed() and not stage.seat.calls


def test_nothing_is_done_where_that_is_wanted(make_stage: MakeStage) -> None:
    stage = make_stage(disconnect="nothing")
    stage.seat.put(ALICE)
    stage.gone()
    assert stage.confirmed() and not stage.seat.calls


@pytest.mark.proves("S036")
def test_log_off_locks_at_once_and_ends_the_session_after_the_grace(make_stage: MakeStage) -> None:
    stage = make_stage(disconnect="log-off", grace_seconds=60)
    stage.seat.put(ALICE)
    stage.gone()
    stage.turn(lambda: stage.seat.found.users[0].locked)
    assert stage.confirmed()
    stage.clock.now += 59.0
    stage.turn()
    assert stage.seat.calls == ["lock c2"]
    stage.clock.now += 1.1
    stage.turn(lambda: not stage.seat.found.users)
    assert stage.seat.calls == ["lock c2", "terminate c2"]


def test_nobody_is_logged_off_who_came_back_within_the_grace(make_stage: MakeStage) -> None:
    stage = make_stage(disconnect="log-off", grace_seconds=60)
    stage.seat.put(ALICE)
    stage.gone()
    stage.turn(lambda: stage.seat.found.users[0].locked)
    assert stage.confirmed()
    assert visit(stage, id=2) == 0
    stage.clock.now += 100.0
    stage.turn()
    assert stage.seat.calls == ["lock c2", "unlock c2"]


def test_another_user_does_not_end_the_grace(make_stage: MakeStage) -> None:
    stage = make_stage(disconnect="log-off", grace_seconds=60)
    stage.seat.put(ALICE)
    stage.gone()
    stage.turn(lambda: stage.seat.found.users[0].locked)
    assert stage.confirmed()
    assert visit(stage, "bob@TEST.EXAMPLE", id=2) == 403
    stage.clock.now += 61.0
    stage.turn(lambda: not stage.seat.found.users)


def test_who_leaves_before_the_session_has_appeared_is_locked_out_of_it_too(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(active=GREETER)
    stage.begin()
    stage.claim()
    stage.armed()
    asked = stage.ask()
    stage.seat.found = Found(True, GREETER, (ALICE._replace(active=False),))
    asked.opens()
    assert stage.silent(), "logind shows a greeter"
    stage.seat.found = Found(True, GREETER, (LOCKED._replace(active=False),))
    stage.end()
    stage.gone()
    assert not stage.confirmed() and not stage.seat.calls, "it is locked, and not there yet"
    stage.seat.put(ALICE)
    stage.clock.now += 2.1
    stage.turn(lambda: stage.seat.found.users[0].locked)
    assert stage.confirmed() and stage.agent.judge.signed_in is not None


def test_a_verdict_is_for_one_user_once_and_dies_with_the_client(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seat.put(ALICE)  # alice's locker tells logind nothing
    unlocker = stage.agent.judge.unlocker
    for end in ("used", "gone", "late"):
        assert visit(stage) == 0
        stage.turn(lambda: unlocker._offer)
        assert not unlocker.verdict(4002, "bob", "i3lock")
        assert not unlocker.verdict(4001, "alice", "sudo")
        if end == "gone":
            stage.gone()
            stage.turn()
        elif end == "late":
            stage.clock.now += 30.1
        assert unlocker.verdict(4001, "alice", "i3lock") is (end == "used")
        assert not unlocker.verdict(4001, "alice", "i3lock")
        if end != "gone":
            stage.gone()
            stage.turn()
        assert stage.confirmed()
        stage.seat.put(ALICE)
        stage.clock.now += 200.0  # the answers that are kept are forgotten


def test_a_verdict_is_not_for_a_new_client_that_has_not_proved_who_it_is(make_stage: MakeStage) -> None:
    """Nobody has hung up: whoever presses a key at the locker may be somebody else by now."""
    stage = make_stage()
    stage.seat.put(ALICE)
    unlocker = stage.agent.judge.unlocker
    assert visit(stage) == 0
    stage.end()
    stage.turn(lambda: unlocker._offer)
    stage.begin(2)
    for _ in range(2):
        stage.turn()
        assert not unlocker.verdict(4001, "alice", "i3lock")
    stage.claim(2)
    assert stage.outcome() == (2, 0)
    assert unlocker.verdict(4001, "alice", "i3lock"), "it is alice's own client"


def test_a_renewal_unlocks_nothing_and_opens_nothing(make_stage: MakeStage) -> None:
    stage = make_stage(FakeDriver(unlocks=True))
    stage.signed_in()
    for seats, code in (((LOCKED,), 0), ((), 411)):
        stage.clock.now += 200.0
        stage.seat.put(*seats)
        if not seats:
            stage.pam[0].close()
            stage.turn(lambda: stage.agent.judge.signed_in is None)
        assert visit(stage, id=2, expires=9000 - code) == code
        stage.end(2)
        assert not stage.seat.calls and not any("trigger" in call for call in stage.driver.calls)
    stage.gone()
    stage.turn()
    assert stage.confirmed()
    stage.begin(3)
    stage.claim(3, attempt=bytes(15) + b"3")
    stage.armed()  # who has left and is back signs in
