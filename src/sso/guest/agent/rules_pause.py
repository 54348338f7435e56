"""The rules of the limiter and of the answers that are kept: who pauses, and what is remembered.

Pure, without state or I/O; Attempts and Outcomes carry out what is said here. docs/login-rules.md has the
same as tables; tests/guest/agent/test_rules_pause.py compares both for every case.
"""

from enum import Enum
from typing import NamedTuple

from sso.guest.records import Kind, Verdict


class ByHand(Enum):
    """Whether the user has signed in by hand since the last failure."""

    NOT_ASKED = "?"
    NO = "no"
    YES = "yes"


class PauseFacts(NamedTuple):
    """What is remembered of a guess.

    `stopped`: the user has failed STOP_AFTER times. `in_pause`: the user's last pause is not over.
    `remembered`: something is known of the user. `full`: no record may be dropped for a new one.
    `console_in_pause`: as `in_pause`, for the console.
    """

    kind: Kind
    stopped: bool
    by_hand: ByHand
    in_pause: bool
    remembered: bool
    full: bool
    console_in_pause: bool


class PauseStep(Enum):
    """What the limiter does with a guess."""

    ASK_BY_HAND = "ask if signed in by hand"
    FORGET = "forget, ask again"  # what went wrong for the user
    LONGER = "pause, and longer"
    PAUSE = "pause"
    FREE = "let it be tried"


def pause(facts: PauseFacts) -> PauseStep:
    """Whether something may be compared or tried for a guess now."""
    if facts.stopped:
        asked = {ByHand.NOT_ASKED: PauseStep.ASK_BY_HAND, ByHand.YES: PauseStep.FORGET}
        return asked.get(facts.by_hand, PauseStep.PAUSE)
    password = facts.kind is Kind.PASSWORD
    if facts.in_pause:
        return PauseStep.LONGER if password else PauseStep.PAUSE
    if not password:
        return PauseStep.FREE  # however many passwords have failed
    barred = facts.console_in_pause or (facts.full and not facts.remembered)
    return PauseStep.PAUSE if barred else PauseStep.FREE


class UnseenStep(Enum):
    """What follows when a credential was handed out, and nobody saw what became of it."""

    FREE = "nothing"
    PAUSE_CONSOLE = "the console pauses"
    FAIL = "count a failure"


def unseen_end(kind: Kind, of_user: int, of_console: int) -> UnseenStep:
    """By how many ends nobody saw of this user and on this console, with this one."""
    if of_user > 1:
        return UnseenStep.FAIL
    return UnseenStep.PAUSE_CONSOLE if kind is Kind.PASSWORD and of_console > 1 else UnseenStep.FREE


def is_kept(kind: Kind, code: int, named: bool, answered: bool) -> bool:
    """Whether an answer is kept. `named`: the attempt has an id; `answered`: an earlier answer is kept."""
    if not named or answered:
        return False
    if kind is Kind.PASSWORD:
        return code in (Verdict.LOGGED_IN, Verdict.DENIED)
    return code != Verdict.TRY_LATER
