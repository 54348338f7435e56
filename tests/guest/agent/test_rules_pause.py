"""Tables 20 to 22 of docs/login-rules.md, for every case: who pauses, and which answers are kept."""

from typing import Any

import rule_tables
from rule_tables import YES_NO, faults, words

from sso.guest.agent import rules_pause
from sso.guest.agent.rules_pause import ByHand, PauseFacts, PauseStep, is_kept, pause, unseen_end
from sso.guest.records import Kind, Verdict

KINDS = {kind.name.lower(): kind for kind in (Kind.PASSWORD, Kind.KERBEROS, Kind.IDENTITY)}
CODES = {str(int(code)): code for code in Verdict}


def test_whether_something_may_be_tried() -> None:
    columns = ("stopped", "by hand", "in pause", "kind", "remembered", "full", "console in pause")
    facts: dict[str, dict[str, Any]] = {column: dict(YES_NO) for column in columns}
    facts |= {"kind": dict(KINDS), "by hand": words(ByHand)}

    def say(*values: Any) -> object:
        names = [column.replace(" ", "_") for column in columns]
        return pause(PauseFacts(**dict(zip(names, values, strict=True))))

    assert faults(20, ("do",), facts, say) == []


def test_the_user_is_asked_for_once_and_forgotten_once() -> None:
    """From each state the answers lead to a last step."""
    asked = PauseFacts(Kind.PASSWORD, True, ByHand.NOT_ASKED, True, True, True, True)
    assert pause(asked) is PauseStep.ASK_BY_HAND
    assert pause(asked._replace(by_hand=ByHand.NO)) is PauseStep.PAUSE
    assert pause(asked._replace(by_hand=ByHand.YES)) is PauseStep.FORGET
    forgotten = asked._replace(stopped=False, in_pause=False, remembered=False)
    assert pause(forgotten) is PauseStep.PAUSE, "the console's own pause stays"


def test_nobody_saw_what_became_of_it() -> None:
    times = {str(count): count for count in (1, 2, 3)}
    facts: dict[str, Any] = {"of user": times, "kind": KINDS, "on console": {"0": 0} | times}

    def say(of_user: int, kind: Kind, on_console: int) -> object:
        return unseen_end(kind, of_user, on_console)

    assert faults(21, ("do",), facts, say) == []


def test_whether_an_answer_is_kept() -> None:
    facts = {"number": dict(YES_NO), "kept before": dict(YES_NO), "kind": KINDS, "code": CODES}

    def say(named: bool, answered: bool, kind: Kind, code: Verdict) -> object:
        return is_kept(kind, code, named, answered)

    assert faults(22, ("keep",), facts, say) == []


def test_the_rules_are_pure() -> None:
    assert rule_tables.imports(rules_pause) == {"enum", "typing", "sso.guest.records"}
