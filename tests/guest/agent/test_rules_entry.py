"""Tables 8 to 10 of docs/login-rules.md, for every case: sessions, a claim that comes, a new client."""

from typing import Any

import rule_tables
from rule_tables import YES_NO, faults, words

from sso.guest.agent import rules_entry
from sso.guest.agent.rules import Worth
from sso.guest.agent.rules_entry import (
    AFTER,
    Change,
    ClaimStep,
    ClientState,
    EntryFacts,
    Sight,
    SignedInAs,
    UnderWay,
    WatchFacts,
    WatchStep,
    enter,
    is_revoked,
    watch,
)
from sso.guest.records import Kind

KINDS = {kind.name.lower(): kind for kind in (Kind.PASSWORD, Kind.KERBEROS, Kind.IDENTITY)}
CLAIM: dict[str, dict[str, Any]] = {
    "current": dict(YES_NO),
    "login": words(UnderWay),
    "attempt": {"another": False, "the same": True},
    "secret": words(Worth),
    "let in": dict(YES_NO),
    "kind": KINDS,
    "signed in": words(SignedInAs),
}


def entered(
    current: bool,
    login: UnderWay,
    same: bool,
    worth: Worth,
    let_in: bool,
    kind: Kind,
    signed_in: SignedInAs,
) -> ClaimStep:
    return enter(EntryFacts(current, login, kind, same, worth, let_in, signed_in))


def test_a_session_that_begins_or_ends() -> None:
    facts = {"login": words(UnderWay), "event": words(Change)}

    def say(login: UnderWay, change: Change) -> str:
        return "revoke" if is_revoked(change, login) else "nothing"

    assert faults(8, ("do",), facts, say) == []


def test_a_claim_that_comes() -> None:
    assert faults(9, ("do",), CLAIM, entered) == []


def test_a_claim_that_comes_is_judged_once_and_compared_at_most_once() -> None:
    """Whatever the answers are: a comparison may cost a pause."""
    for login in UnderWay:
        for worth in Worth:
            facts = EntryFacts(True, login, Kind.PASSWORD, True, Worth.NOT_ASKED, False, SignedInAs.UNKNOWN)
            steps = [enter(facts)]
            if steps[-1] is ClaimStep.COMPARE_LOGIN:
                facts = facts._replace(worth=worth)
                steps.append(enter(facts) if worth is not Worth.NOT_ASKED else ClaimStep.REVOKE)
            if steps[-1] is ClaimStep.REVOKE:
                steps.append(enter(facts._replace(login=UnderWay.NONE)))
            assert steps[-1] in (ClaimStep.DROP, ClaimStep.GO_ON, ClaimStep.JUDGE, ClaimStep.LOCK_FIRST)
            assert len(set(steps)) == len(steps)


def test_a_new_client() -> None:
    facts = {
        "client": words(ClientState),
        "event": words(Sight),
        "guarded": dict(YES_NO),
        "waiting": dict(YES_NO),
    }
    assert faults(10, ("do",), facts, lambda *one: watch(WatchFacts(*one))) == []


def test_the_page_says_what_a_new_client_is_after_each_step() -> None:
    assert rule_tables.states_after(10) == {step.value: state.value for step, state in AFTER.items()}


def test_who_waits_until_it_is_locked_is_called_in_the_end() -> None:
    """From each state, by what can happen in it, one comes to a call."""
    ends = {WatchStep.CALL, WatchStep.FREE}
    for state in ClientState:
        steps = [watch(WatchFacts(state, Sight.TO_LOCK, True, False))]
        while steps[-1] not in ends:
            state = AFTER.get(steps[-1], state)
            sight = Sight.FOUND_OPEN if state is ClientState.LOOKING else Sight.LOCKED
            steps.append(watch(WatchFacts(state, sight, True, True)))
            assert len(steps) < 4, steps


def test_the_rules_are_pure() -> None:
    assert rule_tables.imports(rules_entry) == {
        *("enum", "typing", "sso.guest.agent.rules", "sso.guest.records"),
    }
