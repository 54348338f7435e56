"""The rules of a ticket in the guest: where it goes, when a newer one replaces it, when it is removed.

Pure, without state or I/O; Tickets carries out what is said here. docs/login-rules.md has the same as tables;
tests/guest/agent/test_rules_ticket.py compares both for every case.
"""

from enum import Enum
from typing import NamedTuple

from sso.guest.agent.rules import Renewal
from sso.guest.records import Kind


class Place(Enum):
    """Where a ticket of a login goes."""

    FILE = "a file of the session"  # which PAM's module makes; also where there is no ticket
    DEFAULT = "the user's default cache"
    UNKNOWN = "a file of the session, and say so"


def place(wanted: bool, kind: Kind, known: bool) -> Place:
    """Where it goes. `wanted`: guest.toml says the default cache; `known`: that one is of a kind of ours."""
    if not wanted or kind is not Kind.KERBEROS:
        return Place.FILE
    return Place.DEFAULT if known else Place.UNKNOWN


class RenewalFacts(NamedTuple):
    """A claim beside the session that the agent has opened.

    `cache`: there is one, and its cache is known. `same`: both are of one principal. `parked`: that cache was
    taken away. `due`: REFRESH_EVERY seconds have passed since the last renewal. `later`: the claim's ticket
    ends later.
    """

    kind: Kind
    cache: bool
    same: bool
    parked: bool
    due: bool
    later: bool


def renewal(facts: RenewalFacts) -> Renewal:
    """Whether the claim's ticket takes the place of the one in the session's cache."""
    if facts.kind is not Kind.KERBEROS or not facts.cache or not facts.same:
        return Renewal.NONE
    if facts.parked:
        return Renewal.PARKED
    return Renewal.NEWER if facts.due and facts.later else Renewal.NONE


class CacheEvent(Enum):
    """Why a cache is made, or may be removed."""

    STORE = "its session is about to open"
    LEFT = "the client has left"
    OVER = "its session is over"


class CacheStep(Enum):
    """What is done about it."""

    WAIT = "wait for the worker"  # then ask again
    STORE = "store the ticket"
    REMOVE = "remove it"
    NOTHING = "nothing"


class CacheFacts(NamedTuple):
    """`busy`: a worker changes a cache. `park`: guest.toml has a ticket taken away while the client is gone.
    `cache`: it is known. `parked`: it was taken away."""

    event: CacheEvent
    busy: bool
    park: bool
    cache: bool
    parked: bool


def cache_step(facts: CacheFacts) -> CacheStep:
    """What is done about a cache. One change follows the other: a removal would find what comes after it."""
    if facts.busy:
        return CacheStep.WAIT
    if facts.event is CacheEvent.STORE:
        return CacheStep.STORE
    wanted = facts.park or facts.event is CacheEvent.OVER
    return CacheStep.REMOVE if wanted and facts.cache and not facts.parked else CacheStep.NOTHING


def is_left_over(cache: bool, opened: bool, shared: bool) -> bool:
    """Whether a login that is over has left a cache that no session has.

    `cache`: one was made for it. `opened`: its session is open. `shared`: the open session has the same one.
    """
    return cache and not opened and not shared
