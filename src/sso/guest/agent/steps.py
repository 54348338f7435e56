"""The steps of a login at the PAM socket: where each leads, and what it means. Pure, without state or I/O.

docs/login-rules.md has the same as tables; tests/guest/agent/test_steps.py compares both for every case.
"""

from enum import Enum
from typing import NamedTuple

from sso.guest.agent.pam_records import Operation
from sso.guest.records import Kind


class Stage(Enum):
    """How far a login is. Each stage before OPENED can be taken back; OPENED is a session."""

    WAITING = "waiting"  # nothing was asked
    GIVEN = "given"  # a credential was handed out
    TRIED = "tried"  # the next PAM module has got the password: the only stage whose end is a failure of it
    PASSED = "passed"  # and the password was right
    ESTABLISHED = "established"  # the credentials are set
    OPENED = "opened"  # a session is open
    ENDED = "ended"


_STEPS = {
    (Stage.WAITING, Operation.GET): Stage.GIVEN,
    (Stage.GIVEN, Operation.TRIED): Stage.TRIED,
    (Stage.TRIED, Operation.PASSED): Stage.PASSED,
    (Stage.GIVEN, Operation.HELD): Stage.GIVEN,
    (Stage.PASSED, Operation.HELD): Stage.PASSED,
    (Stage.ESTABLISHED, Operation.HELD): Stage.ESTABLISHED,
    (Stage.GIVEN, Operation.ESTABLISHED): Stage.ESTABLISHED,
    (Stage.PASSED, Operation.ESTABLISHED): Stage.ESTABLISHED,
    (Stage.ESTABLISHED, Operation.OPENED): Stage.OPENED,
}  # CLOSED, which gets no answer, leads to ENDED as all else does


class Ask(NamedTuple):
    """What the PAM module asks at a connection; `operation` is None for a hang-up, and what is no request.

    `kind` is what was handed out. `named`: the request has the user of the grant. `opening`: the answer to
    an earlier one is still due.
    """

    stage: Stage
    kind: Kind
    operation: Operation | None
    named: bool
    opening: bool


def next_stage(ask: Ask) -> Stage:
    """Where a request leads, if what it asks for is there; ENDED for what breaks the contract."""
    if ask.operation is None or ask.opening or not (ask.named or ask.operation is Operation.GET):
        return Stage.ENDED
    if ask.stage is Stage.GIVEN and (ask.operation is Operation.TRIED) is not (ask.kind is Kind.PASSWORD):
        return Stage.ENDED  # a password, and nothing else, has to be tried before anything follows from it
    return _STEPS.get((ask.stage, ask.operation), Stage.ENDED)


class Whose(Enum):
    """What a PAM connection belongs to."""

    NOTHING = "nothing"  # or what was taken back
    LOGIN = "the login"  # the one that is under way
    SESSION = "the session"  # the one that is open and tracked
    BOTH = "both"  # that session is open, and its login waits until the seat shows it


class Meaning(Enum):
    """What a step tells."""

    NOTHING = "nothing"
    WORKING = "PAM is at work"  # and may be asking a person something
    PROVED = "PAM lets the user in"  # to a locked session; whether it is open, the seat tells
    OPEN = "the session is open"
    LEFT = "PAM has left"  # a locked session, and did not say how
    WRONG = "the password was wrong"
    REFUSED = "refused"  # the account may not sign in now, or the screen gave up; no secret was wrong
    OVER = "the session is over"
    OVER_UNSEEN = "the session is over, refused"  # before the seat has shown it


class PamStep(NamedTuple):
    """A connection has moved. `unlocking`: there is a session for the login, and it is locked."""

    of: Whose
    before: Stage
    after: Stage
    kind: Kind
    unlocking: bool


def meaning(step: PamStep) -> Meaning:
    """What a step means for the login or the session that it belongs to."""
    ended = step.after is Stage.ENDED
    if step.of is not Whose.LOGIN:
        over = {Whose.SESSION: Meaning.OVER, Whose.BOTH: Meaning.OVER_UNSEEN}
        return over.get(step.of, Meaning.NOTHING) if ended else Meaning.NOTHING
    if step.after is Stage.OPENED:
        return Meaning.OPEN
    if step.after is Stage.ESTABLISHED and step.unlocking:
        return Meaning.PROVED
    if not ended:
        return Meaning.WORKING
    # Some screens leave so although they unlock, but not by a password that nobody has tried.
    if step.unlocking and (step.before, step.kind) != (Stage.GIVEN, Kind.PASSWORD):
        return Meaning.LEFT
    return Meaning.WRONG if step.before is Stage.TRIED else Meaning.REFUSED


def unseen(left: Stage) -> Meaning:
    """PAM has left a locked session at this stage, and the seat has not shown it in UNLOCKED_SECONDS."""
    if left is Stage.ESTABLISHED:
        return Meaning.WORKING  # PAM had said yes: the time of the grant ends it
    return Meaning.WRONG if left is Stage.TRIED else Meaning.REFUSED
