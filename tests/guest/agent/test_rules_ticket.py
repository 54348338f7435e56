"""Tables 28 to 30 of docs/login-rules.md, for every case: where a ticket goes, its renewal, its end."""

from itertools import product
from typing import Any

import rule_tables
from rule_tables import YES_NO, faults, words

from sso.guest.agent import rules_ticket
from sso.guest.agent.rules import Renewal
from sso.guest.agent.rules_ticket import (
    CacheEvent,
    CacheFacts,
    CacheStep,
    RenewalFacts,
    cache_step,
    is_left_over,
    place,
    renewal,
)
from sso.guest.records import Kind

FLAGS = (False, True)
KINDS = {kind.name.lower(): kind for kind in (Kind.PASSWORD, Kind.KERBEROS, Kind.IDENTITY)}


def flags(*columns: str) -> dict[str, dict[str, Any]]:
    return {column: dict(YES_NO) for column in columns}


def test_where_a_ticket_goes() -> None:
    facts = flags("default") | {"kind": KINDS} | flags("known")
    assert faults(28, ("goes to",), facts, place) == []


def test_when_a_newer_one_takes_its_place() -> None:
    facts = {"kind": KINDS} | flags("cache") | {"principal": {"another": False, "the same": True}}
    facts |= flags("parked", "due", "ends later")
    assert faults(29, ("renewal",), facts, lambda *one: renewal(RenewalFacts(*one))) == []


def test_nobody_elses_ticket_takes_its_place() -> None:
    for kind, known in product(KINDS.values(), product(FLAGS, repeat=5)):
        facts = RenewalFacts(kind, *known)
        if renewal(facts) is not Renewal.NONE:
            assert facts.kind is Kind.KERBEROS and facts.same and facts.cache


def test_when_a_cache_is_made_or_removed() -> None:
    facts = {"event": words(CacheEvent)} | flags("busy", "park", "cache", "parked")
    assert faults(30, ("do",), facts, lambda *one: cache_step(CacheFacts(*one))) == []


def test_who_waits_for_a_worker_does_not_wait_for_ever() -> None:
    for event, known in product(CacheEvent, product(FLAGS, repeat=3)):
        assert cache_step(CacheFacts(event, True, *known)) is CacheStep.WAIT
        assert cache_step(CacheFacts(event, False, *known)) is not CacheStep.WAIT


def test_what_a_login_has_left() -> None:
    assert faults(30, ("left over",), flags("cache", "opened", "shared"), is_left_over) == []


def test_the_rules_are_pure() -> None:
    rules = {"sso.guest.agent.rules", "sso.guest.records"}
    assert rule_tables.imports(rules_ticket) == {"enum", "typing"} | rules
