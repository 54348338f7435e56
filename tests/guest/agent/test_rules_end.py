"""Tables 14 to 19, 23 and 27 of docs/login-rules.md, for every case: what ends a login, and the times."""

import itertools
from importlib import import_module
from typing import Any

import pytest
import rule_tables
from rule_tables import YES_NO, faults, words

from sso.guest import log
from sso.guest.agent import rules_end
from sso.guest.agent.rules_end import (
    TRIGGERS_MAX,
    LoginProgress,
    ScreenEvent,
    ScreenFacts,
    SeatFacts,
    TakenBack,
    after_pam,
    at_last,
    conclude,
    late,
    revoked,
    screen_step,
    take_back,
)
from sso.guest.agent.steps import Stage
from sso.guest.records import Kind, Verdict

KINDS = {kind.name.lower(): kind for kind in (Kind.PASSWORD, Kind.KERBEROS, Kind.IDENTITY)}
CODES = {str(int(code)): code for code in Verdict}
FLAGS = (False, True)
ALL = [
    LoginProgress(kind, stage, *flags)
    for kind, stage, flags in itertools.product(KINDS.values(), Stage, itertools.product(FLAGS, repeat=6))
]
# What a fact of the progress is called on the page, and its words.
FACTS: dict[str, tuple[str, dict[str, Any]]] = {
    "kind": ("kind", KINDS),
    "stage": ("stage", words(Stage)),
    "left": ("left", dict(YES_NO)),
    "unlocking": ("unlocking", dict(YES_NO)),
    "asked": ("asked", dict(YES_NO)),
    "proved": ("proved", dict(YES_NO)),
    "opened": ("opened", dict(YES_NO)),
    "told": ("triggered", dict(YES_NO)),
}
LOGIN = ALL[0]


@pytest.mark.parametrize("others", [ALL[0], ALL[-1]])
def test_the_time_is_over(others: LoginProgress) -> None:
    def say(opened: bool, proved: bool, stage: Stage) -> tuple[bool, int, str]:
        found = late(others._replace(opened=opened, proved=proved, stage=stage))
        return found.take_back, int(found.code), found.message

    facts = {column: FACTS[column][1] for column in ("opened", "proved", "stage")}
    assert faults(14, ("take back", "code", "log"), facts, say) == []


def test_the_login_screen_is_told() -> None:
    facts = {
        "event": words(ScreenEvent),
        "armed": dict(YES_NO),
        "fetched": dict(YES_NO),
        "told": {str(times): times for times in range(TRIGGERS_MAX + 1)},
        "driver retries": dict(YES_NO),
    }
    assert faults(15, ("do",), facts, lambda *one: screen_step(ScreenFacts(*one))) == []


def test_the_seat_has_changed() -> None:
    columns = ("awaited", "shown", "unlocking", "opened", "in front", "kind", "proved")
    facts = {column: dict(YES_NO) for column in columns} | {"kind": KINDS}

    def say(*values: Any) -> object:
        names = [column.replace(" ", "_") for column in columns]
        return at_last(SeatFacts(**dict(zip(names, values, strict=True))))

    assert faults(16, ("do",), facts, say) == []


STEPS = {
    "hang up": ("hang_up", ("opened", "left", "stage")),
    "count": ("counts", ("kind", "stage", "asked")),
    "lock again": ("relock", ("unlocking", "proved", "stage")),
    "cancel": ("cancel", ("told",)),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_login_is_taken_back(step: str) -> None:
    name, columns = STEPS[step]
    for others in (ALL[0], ALL[-1]):

        def say(*values: Any, others: LoginProgress = others) -> object:
            known = {FACTS[column][0]: value for column, value in zip(columns, values, strict=True)}
            return getattr(take_back(others._replace(**known)), name)

        assert faults(17, (step,), {column: FACTS[column][1] for column in columns}, say) == []


def test_each_step_of_taking_back_follows_from_the_facts_of_its_table_alone() -> None:
    assert {name for name, _ in STEPS.values()} == set(TakenBack._fields)
    for name, columns in STEPS.values():
        said: dict[object, set[object]] = {}
        for one in ALL:
            known = tuple(getattr(one, FACTS[column][0]) for column in columns)
            said.setdefault(known, set()).add(getattr(take_back(one), name))
        assert {len(answers) for answers in said.values()} == {1}


def test_the_answer_to_time_follows_from_the_facts_of_its_table_alone() -> None:
    said: dict[object, set[object]] = {}
    for one in ALL:
        said.setdefault((one.opened, one.proved, one.stage), set()).add(late(one))
    assert {len(answers) for answers in said.values()} == {1}


def test_a_password_that_was_tried_is_counted_whether_or_not_pam_has_left() -> None:
    for one in ALL:
        if one.kind is Kind.PASSWORD and one.stage is Stage.TRIED:
            assert take_back(one).counts
        if one.kind is not Kind.PASSWORD:
            assert not take_back(one).counts


def test_nobody_waits_for_a_login() -> None:
    assert faults(27, ("take back", "log", "reason"), {"opened": dict(YES_NO)}, revoked) == []
    assert {revoked(opened).message for opened in FLAGS} <= set(log.MESSAGE_IDS)


def test_pam_was_asked_without_a_screen() -> None:
    assert faults(18, ("do",), {"PAM says": CODES}, after_pam) == []


def test_after_an_answer() -> None:
    facts = {"code": CODES, "told": dict(YES_NO), "repeated": dict(YES_NO)}
    assert faults(19, ("present", "settle", "keep", "tell"), facts, conclude) == []


def test_the_times_are_those_of_the_code() -> None:
    rows = rule_tables.read(23, "seconds", "from", "what happens then")
    for row in rows:
        module, *names = row["time"].strip("`").split(".")
        room = "sso.guest" if module == "config" else "sso.guest.agent"
        found: Any = import_module(f"{room}.{module}")
        for name in names:
            found = getattr(found, "_field_defaults", {}).get(name) or getattr(found, name)
        times = found if isinstance(found, tuple) else (found,)
        assert [float(time) for time in row["seconds"].split(", ")] == [float(time) for time in times], row
    assert len(rows) == 12


def test_each_word_of_the_log_is_known() -> None:
    assert {late(one).message for one in ALL} <= set(log.MESSAGE_IDS)


def test_the_rules_are_pure() -> None:
    assert rule_tables.imports(rules_end) == {
        *("enum", "typing", "sso.guest.agent.steps", "sso.guest.records"),
    }
