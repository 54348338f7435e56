"""Every combination of facts against the tables of docs/login-rules.md, and every course of the facts."""

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import pytest
import rule_tables

from sso.guest import log
from sso.guest.agent import rules
from sso.guest.agent.rules import (
    Action,
    AtSeat,
    Decision,
    Eligibility,
    LoginFacts,
    Ours,
    Renewal,
    Worth,
    decide,
)
from sso.guest.records import Kind, Verdict

# Tables 1 to 7, which are one; the others are read one by one (rule_tables).
PAGE = rule_tables.PAGE.partition("\n## 8. ")[0]
KINDS = (Kind.PASSWORD, Kind.KERBEROS, Kind.IDENTITY)
YES_NO = (False, True)
# The columns: the fact, and the word of each value.
WORDS: dict[str, tuple[str, dict[str, object]]] = {
    "kind": ("kind", {kind.name.lower(): kind for kind in KINDS}),
    "accept identity": ("accept_identity", {"no": False, "yes": True}),
    "screen unlocks": ("unlocks", {"no": False, "yes": True}),
    "secret": ("worth", {one.value: one for one in Worth}),
    "account": ("account", {"?": None} | {one.name.lower().replace("_", " "): one for one in Eligibility}),
    "answered": ("answered", {"no": False, "yes": True}),
    "seat": ("seat", {one.value: one for one in AtSeat}),
    "tracked": ("ours", {one.value: one for one in Ours}),
    "here": ("here", {"no": False, "yes": True}),
    "renewal": ("renewal", {one.value: one for one in Renewal}),
}
VALUES = {fact: tuple(words.values()) for fact, words in WORDS.values()}
FACTS = LoginFacts._fields
ACTIONS = {action.value: action for action in Action}


@dataclass(frozen=True, eq=False)
class Row:
    """One row: which values each fact may have (no entry: all), and what it says."""

    line: str
    fits: Mapping[str, frozenset[object]]
    says: Decision


def read_rows() -> list[Row]:
    """All rows of tables 1 to 7 that have a column `do`, from the top."""
    found, head = list[Row](), list[str]()
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif "do" in head and not re.fullmatch(r"[-|]+", line):
            row = dict(zip(head, cells, strict=True))
            action, code, message = ACTIONS[row.pop("do")], row.pop("code"), row.pop("log")
            fits = dict(filter(None, (read_cell(column, cell) for column, cell in row.items())))
            found.append(Row(line, fits, Decision(action, Verdict(int(code)) if code else None, message)))
    return found


def read_cell(column: str, cell: str) -> tuple[str, frozenset[object]] | None:
    """The fact of a column with the values that a cell fits; None for an empty one."""
    fact, words = WORDS[column]
    if not cell:
        return None
    if cell.startswith("not ") and cell not in words:
        return fact, frozenset(words.values()) - {words[cell.removeprefix("not ")]}
    return fact, frozenset(words[word] for word in cell.split("; "))


ROWS = read_rows()


def combinations(rows: list[Row], facts: tuple[object, ...] = ()) -> Iterator[tuple[LoginFacts, Row | None]]:
    """Every combination of facts with the first row that fits it."""
    if len(facts) == len(FACTS):
        yield LoginFacts(*facts), rows[0] if rows else None  # type: ignore[arg-type]
        return
    fact = FACTS[len(facts)]
    for value in VALUES[fact]:
        left = [row for row in rows if fact not in row.fits or value in row.fits[fact]]
        yield from combinations(left, (*facts, value))


def first_fit(facts: LoginFacts) -> Row:
    known = facts._asdict()
    return next(row for row in ROWS if all(known[fact] in values for fact, values in row.fits.items()))


class Ruled(NamedTuple):
    """What page and code say in one case; the facts beside them are those that the tests ask for."""

    row: Row | None
    decision: Decision
    account: Eligibility | None
    seat: AtSeat


@pytest.fixture(scope="module")
def ruled() -> dict[Ruled, LoginFacts]:
    """All combinations, with one example of each case."""
    return {Ruled(row, decide(facts), facts.account, facts.seat): facts for facts, row in combinations(ROWS)}


def test_the_page_has_a_row_for_every_combination_and_the_code_says_the_same(
    ruled: dict[Ruled, LoginFacts],
) -> None:
    for case, facts in ruled.items():
        assert case.row is not None, facts
        assert case.decision._replace(reason="") == case.row.says, (facts, case.row.line)


def test_no_row_is_hidden_by_those_before_it(ruled: dict[Ruled, LoginFacts]) -> None:
    used = {case.row.line for case in ruled if case.row is not None}
    assert [row.line for row in ROWS if row.line not in used] == []


def test_nobody_is_let_in_without_an_account_or_while_somebody_else_is_or_may_be_there(
    ruled: dict[Ruled, LoginFacts],
) -> None:
    for case, facts in ruled.items():
        if case.account is not Eligibility.GOOD or case.seat in (AtSeat.OTHER, AtSeat.UNTOLD):
            assert case.decision.code is not Verdict.LOGGED_IN, facts
            acts = (Action.ASK_PAM, Action.ASK_SCREEN, Action.REFRESH, Action.REFILL, Action.OFFER)
            assert case.decision.action not in acts, facts


# The courses: from a new claim, whatever the answers to the questions are


WEIGHED = {Worth.PAUSED, Worth.WRONG, Worth.NOTHING, Worth.SAME}
LIMITED = {Worth.PAUSED, Worth.FAILED_BEFORE, Worth.FREE}
ANSWERS: dict[Action, dict[str, tuple[object, ...]]] = {
    Action.MAP: {"account": tuple(Eligibility), "answered": YES_NO},
    Action.COMPARE_ANSWER: {"worth": tuple(WEIGHED)},
    Action.COMPARE_SESSION: {"worth": tuple(WEIGHED)},
    Action.ASK_LIMITER: {"worth": tuple(LIMITED)},
    Action.ASK_FAILLOCK: {"worth": (Worth.LOCKED_OUT, Worth.ALLOWED)},
    Action.COUNT: {"worth": (Worth.COUNTED,)},
    Action.REFRESH: {"renewal": (Renewal.DONE, Renewal.FAILED)},
    Action.REFILL: {"renewal": (Renewal.DONE, Renewal.FAILED)},
}
SEEN: dict[str, tuple[object, ...]] = {
    "seat": tuple(set(AtSeat) - {AtSeat.NOT_ASKED}),
    "ours": tuple(Ours),
    "here": YES_NO,
    "renewal": (Renewal.NONE, Renewal.NEWER, Renewal.PARKED),
}
ANSWERS |= {Action.LOOK: SEEN, Action.LOCK: SEEN | {"seat": tuple({*SEEN["seat"]} - {AtSeat.LOCKING})}}


def courses(
    facts: LoginFacts, asked: tuple[Action, ...] = ()
) -> Iterator[tuple[LoginFacts, tuple[Action, ...]]]:
    """Each state that a claim can come to, with the questions before it."""
    yield facts, asked
    action = decide(facts).action
    answers = ANSWERS.get(action, {})
    assert action not in asked, "a question that was answered"
    for values in itertools.product(*answers.values()) if answers else ():
        learned = facts._replace(**dict(zip(answers, values, strict=True)))  # type: ignore[arg-type]
        yield from courses(learned, (*asked, action))


@pytest.fixture(scope="module")
def reached() -> list[tuple[LoginFacts, tuple[Action, ...]]]:
    first = itertools.product(KINDS, YES_NO, YES_NO, (Worth.NOT_ASKED, Worth.UNUSABLE))
    return [state for one in first for state in courses(LoginFacts(*one))]


def test_no_question_is_asked_twice_and_each_row_is_reached(
    reached: list[tuple[LoginFacts, tuple[Action, ...]]],
) -> None:
    """`courses` itself proves the first: it would not end."""
    lines = {first_fit(facts).line for facts in {facts for facts, _ in reached}}
    assert [row.line for row in ROWS if row.line not in lines] == []


def test_a_password_opens_nothing_before_it_was_weighed(
    reached: list[tuple[LoginFacts, tuple[Action, ...]]],
) -> None:
    """It was compared with what was right once, or the limits were asked."""
    weighed = {
        **dict.fromkeys((Action.REPEAT,), Action.COMPARE_ANSWER),
        **dict.fromkeys((Action.REFRESH, Action.SIGNED_IN, Action.OFFER), Action.COMPARE_SESSION),
        **dict.fromkeys((Action.REFILL, Action.ASK_PAM, Action.ASK_SCREEN), Action.ASK_FAILLOCK),
    }
    seen = set()
    for facts, asked in reached:
        action = decide(facts).action
        if facts.kind is Kind.PASSWORD and action in weighed:
            seen.add(action)
            assert weighed[action] in asked, facts
            assert facts.account is Eligibility.GOOD
            assert facts.ours is not Ours.OTHER and facts.seat not in (AtSeat.OTHER, AtSeat.UNTOLD)
    assert seen == weighed.keys()


# The words


def test_each_answer_has_a_word_that_the_log_knows_and_only_an_account_is_a_reason(
    ruled: dict[Ruled, LoginFacts],
) -> None:
    answers = {case.decision for case in ruled}
    for decision in answers:
        assert not decision.message or decision.message in log.MESSAGE_IDS
        assert bool(decision.message) is (decision.code is not None or decision.action is Action.REPEAT)
    reasons = {decision.reason for decision in answers} - {""}
    assert reasons == {one.name.lower() for one in Eligibility} - {"good"}
    assert {decision.action for decision in answers} == set(Action)


def test_the_rules_are_pure() -> None:
    """They import the records, and nothing that could ask, wait or remember."""
    tree = ast.parse(Path(rules.__file__).read_text(encoding="utf-8"))
    imports = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imports == {"enum", "typing", "sso.guest.records"}
    assert not any(isinstance(node, ast.Import) for node in ast.walk(tree))
    assert isinstance(decide(LoginFacts(Kind.PASSWORD)), Decision)


def test_the_page_names_every_fact_and_value() -> None:
    assert {column for column in WORDS if f"| {column} | " not in PAGE} == set()
    assert set(VALUES) == set(FACTS)
    assert all(issubclass(type(one), Enum | bool | None) for values in VALUES.values() for one in values)
