"""Tables 31 and 32 of docs/login-rules.md, for every case: a verdict is kept, and a locker asks."""

from typing import Any

import rule_tables
from rule_tables import YES_NO, faults, words

from sso.guest.agent import rules_unlock
from sso.guest.agent.rules_unlock import (
    Offered,
    OfferFacts,
    VerdictFacts,
    is_offered,
    verdict,
)
from sso.guest.records import Kind

KINDS = {kind.name.lower(): kind for kind in (Kind.PASSWORD, Kind.KERBEROS, Kind.IDENTITY)}


def flags(*columns: str) -> dict[str, dict[str, Any]]:
    return {column: dict(YES_NO) for column in columns}


def test_whether_a_verdict_is_kept() -> None:
    facts = {"kind": KINDS} | flags("accept identity", "graphical", "screen unlocks")
    assert faults(31, ("keep",), facts, lambda *one: is_offered(OfferFacts(*one))) == []


def test_a_locker_asks() -> None:
    facts = {"verdict": words(Offered)} | flags("listed", "unproved", "in time")
    assert faults(32, ("says",), facts, lambda *one: verdict(VerdictFacts(*one))) == []


def test_the_rules_are_pure() -> None:
    assert rule_tables.imports(rules_unlock) == {"enum", "typing", "sso.guest.records"}
