"""Tables 24 to 26 of docs/login-rules.md, for every case: what is locked, and who is logged off."""

from itertools import product
from typing import Any

import rule_tables
from rule_tables import YES_NO, faults, words

from sso.guest import log
from sso.guest.agent import rules_leaving
from sso.guest.agent.rules_leaving import (
    GRACE_AFTER,
    Grace,
    GraceEvent,
    GraceFacts,
    GraceStep,
    LockFacts,
    LockStep,
    Logind,
    exposure,
    grace,
    lock,
    lock_end,
)

FLAGS = (False, True)


def flags(*columns: str) -> dict[str, dict[str, Any]]:
    return {column: dict(YES_NO) for column in columns}


def test_what_is_locked() -> None:
    facts = flags("waiting") | {"logind": words(Logind)} | flags("to lock", "expected", "due")
    assert faults(24, ("do",), facts, lambda *one: lock(LockFacts(*one))) == []


def test_nobody_is_served_while_a_session_is_seen_open_or_still_to_come() -> None:
    for logind, to_lock, expected, due in product(Logind, FLAGS, FLAGS, FLAGS):
        step = lock(LockFacts(True, logind, to_lock, expected, due))
        assert (step is LockStep.CALL) is (logind is not Logind.LATE and not to_lock and not expected)


def test_what_a_session_is_to_others() -> None:
    assert faults(25, ("to lock", "usable"), flags("graphical", "locked"), exposure) == []


def test_how_each_session_was_left() -> None:
    assert faults(25, ("log", "reason"), flags("told", "graphical"), lock_end) == []
    assert {lock_end(*case).message for case in product(FLAGS, FLAGS)} <= set(log.MESSAGE_IDS)


def test_the_grace() -> None:
    facts = {"grace": words(Grace), "event": words(GraceEvent)} | flags("wanted", "told", "users")
    assert faults(26, ("do",), facts, lambda *one: grace(GraceFacts(*one))) == []


def test_the_page_says_what_the_grace_is_after_each_step() -> None:
    assert rule_tables.states_after(26) == {step.value: state.value for step, state in GRACE_AFTER.items()}


def test_whoever_is_back_is_not_logged_off() -> None:
    for state, event in product(Grace, GraceEvent):
        step = grace(GraceFacts(state, GraceEvent.BACK, True, True, True))
        after = GRACE_AFTER.get(step, state)
        assert after is Grace.NONE
        if event is not GraceEvent.LEFT:
            assert grace(GraceFacts(after, event, True, True, True)) is GraceStep.NOTHING


def test_the_rules_are_pure() -> None:
    assert rule_tables.imports(rules_leaving) == {"enum", "typing"}
