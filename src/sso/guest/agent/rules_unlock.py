"""The rules of a locker that asks the agent: whether a verdict is kept for it, and whether it gets it.

Pure, without state or I/O; Unlocker carries out what is said here. docs/login-rules.md has the same as
tables; tests/guest/agent/test_rules_unlock.py compares both for every case.
"""

from enum import Enum
from typing import NamedTuple

from sso.guest.records import Kind


class OfferFacts(NamedTuple):
    """A user has proved to be who is in. `unlocks`: the login screen itself unlocks, by PAM."""

    kind: Kind
    accept_identity: bool
    graphical: bool
    unlocks: bool


def is_offered(facts: OfferFacts) -> bool:
    """Whether a verdict is kept for the user's locker, once PAM says that the account may be used."""
    proved = facts.kind is not Kind.IDENTITY or facts.accept_identity
    return proved and facts.graphical and not facts.unlocks


class Offered(Enum):
    """Whose verdict is kept, beside the locker that asks."""

    NOTHING = "nobody's"
    OTHER = "another user's"
    OWN = "its user's"


class VerdictFacts(NamedTuple):
    """`listed`: guest.toml names the locker's PAM service. `unproved`: a new client looks on that has not
    proved to be who is in. `in_time`: the verdict is not too old."""

    offered: Offered
    listed: bool
    unproved: bool
    in_time: bool


class VerdictStep(Enum):
    """What a locker hears, and whether the verdict is kept."""

    NO = "no"
    TOO_LATE = "no, and forget it"
    YES = "yes, and forget it"


def verdict(facts: VerdictFacts) -> VerdictStep:
    """What a locker hears that asks."""
    if facts.offered is not Offered.OWN or not facts.listed or facts.unproved:
        return VerdictStep.NO
    return VerdictStep.YES if facts.in_time else VerdictStep.TOO_LATE
