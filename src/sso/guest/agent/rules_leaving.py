"""The rules of a console that its client has left: what is locked, and when the user is logged off.

Pure, without state or I/O; Leaving and LogOff carry out what is said here. docs/login-rules.md has the same
as tables; tests/guest/agent/test_rules_leaving.py compares both for every case.
"""

from enum import Enum
from typing import NamedTuple


class Logind(Enum):
    """Whether logind tells which sessions there are."""

    TELLS = "tells"
    LATE = "is late"  # or has not told of all sessions
    SILENT = "is not there"  # there is no bus, or it was late too often


class LockFacts(NamedTuple):
    """What is known of the seat after a look.

    `waiting`: somebody waits until all is locked. `to_lock`: some session is still to be locked. `expected`:
    one may still come that could not be locked before. `due`: nobody was told for LOCK_EVERY seconds.
    """

    waiting: bool
    logind: Logind
    to_lock: bool
    expected: bool
    due: bool


class LockStep(Enum):
    """What is done to have all locked."""

    NOTHING = "nothing"
    LOCK_ALL = "lock every session"  # whichever there are
    LOCK_OPEN = "lock what is open"
    LOCK_NEW = "lock what is new"  # and was not told yet
    CALL = "call back"


def lock(facts: LockFacts) -> LockStep:
    """What is done after a look, until nothing is left to be locked."""
    if not facts.waiting:
        return LockStep.NOTHING
    if facts.logind is Logind.LATE:
        return LockStep.LOCK_ALL if facts.due else LockStep.NOTHING
    if not facts.to_lock and not facts.expected:
        return LockStep.CALL
    return LockStep.LOCK_OPEN if facts.due else LockStep.LOCK_NEW


class Exposure(NamedTuple):
    """What a session is to others. `to_lock`: it can be locked, and is not. `usable`: by whoever looks on."""

    to_lock: bool
    usable: bool


def exposure(graphical: bool, locked: bool) -> Exposure:
    """What a session is to others, by its kind and by what the login screen says of it."""
    return Exposure(to_lock=graphical and not locked, usable=not locked)


class LockEnd(NamedTuple):
    """What the log says of a session when nothing is left to be locked."""

    message: str
    reason: str


def lock_end(told: bool, graphical: bool) -> LockEnd:
    """How a session was left. `told`: logind tells who is there."""
    if told and graphical:
        return LockEnd("session-locked", "")
    return LockEnd("session-not-locked", "text" if told else "no-logind")


class Grace(Enum):
    """The time that a session is kept for its user to come back."""

    NONE = "none"
    WAITING = "waiting"  # for logind to tell who is there
    RUNNING = "running"
    OVER = "over"  # until logind tells who is there


class GraceEvent(Enum):
    """What happens to it."""

    LEFT = "the client has left"  # and the seat was looked at
    LOOKED = "the seat was looked at"
    TIME = "its time is over"
    BACK = "the user is back"


class GraceStep(Enum):
    """What is done about it; the state after it stands beside the rule."""

    NOTHING = "nothing"
    WAIT = "wait for logind"
    BEGIN = "begin"
    LOOK = "look at the seat"
    LOG_OFF = "log off"  # everybody who is there
    END = "end it"


class GraceFacts(NamedTuple):
    """`wanted`: users are to be logged off at all. `told`: logind tells who is there. `users`: anybody is."""

    grace: Grace
    event: GraceEvent
    wanted: bool
    told: bool
    users: bool


GRACE_AFTER = {
    GraceStep.WAIT: Grace.WAITING,
    GraceStep.BEGIN: Grace.RUNNING,
    GraceStep.LOOK: Grace.OVER,
    GraceStep.LOG_OFF: Grace.NONE,
    GraceStep.END: Grace.NONE,
}


def grace(facts: GraceFacts) -> GraceStep:
    """What is done about the grace; GRACE_AFTER has the state that follows, where it is another one."""
    match facts.event, facts.grace:
        case GraceEvent.LEFT, Grace.NONE if facts.wanted and not facts.told:
            return GraceStep.WAIT
        case GraceEvent.LEFT, Grace.NONE if facts.wanted and facts.users:
            return GraceStep.BEGIN
        case GraceEvent.LOOKED, Grace.WAITING if facts.told:
            return GraceStep.BEGIN if facts.users else GraceStep.END
        case GraceEvent.LOOKED, Grace.OVER if facts.told:
            return GraceStep.LOG_OFF
        case GraceEvent.TIME, Grace.RUNNING | Grace.OVER:
            return GraceStep.LOOK
        case GraceEvent.BACK, Grace.WAITING | Grace.RUNNING | Grace.OVER:
            return GraceStep.END
    return GraceStep.NOTHING
