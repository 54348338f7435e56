"""The rules of a login that the screen or PAM was asked for: what ends it, and how.

Pure, without state or I/O. Judge and Asking carry out what is said here; what a step of PAM means says
sso.guest.agent.steps.
docs/login-rules.md has the same as tables; tests/guest/agent/test_rules_end.py compares both for every case.
"""

from enum import Enum
from typing import NamedTuple

from sso.guest.agent.steps import Stage
from sso.guest.records import Kind, Verdict

TRIGGERS_MAX = 3  # how often one login is begun on a screen that comes and goes


class LoginProgress(NamedTuple):
    """How far a login is.

    `stage` is that of PAM's connection, or the last one of a connection that has `left` a locked session;
    WAITING when the credential was not fetched. `unlocking`: a locked session is to be unlocked. `asked`: PAM
    is asked for that without a screen. `proved`: it may open any moment. `opened`: PAM has opened a session.
    `triggered`: the screen was told.
    """

    kind: Kind
    stage: Stage
    left: bool
    unlocking: bool
    asked: bool
    proved: bool
    opened: bool
    triggered: bool

    @property
    def fetched(self) -> bool:
        """Whether a screen's PAM module has fetched the credential."""
        return self.stage is not Stage.WAITING


class Late(NamedTuple):
    """What is done when the time of the grant is over; `take_back` comes before the answer."""

    take_back: bool
    code: Verdict
    message: str


_STILL_ASKING = Late(False, Verdict.CONSOLE_ASKS, "login-asks")
_OPENED_UNSEEN = Late(False, Verdict.NO_LOGIN_SCREEN, "login-not-in-front")
_PROVED_UNSEEN = Late(True, Verdict.NO_LOGIN_SCREEN, "login-not-in-front")
_EXPIRED = Late(True, Verdict.NO_LOGIN_SCREEN, "login-expired")


def late(progress: LoginProgress) -> Late:
    """The time of the grant is over, and with it the client's: what PAM has begun goes on."""
    if progress.opened:
        return _OPENED_UNSEEN
    if progress.proved:
        return _PROVED_UNSEEN
    return _STILL_ASKING if progress.fetched else _EXPIRED


class TakenBack(NamedTuple):
    """What is done to take a login back, each by itself.

    `hang_up` on PAM's connection: it hears no yes any more. `counts`: the password is one of which nobody saw
    what became. `relock`: the screen may still show the session. `cancel` what the screen was told.
    """

    hang_up: bool
    counts: bool
    relock: bool
    cancel: bool


def take_back(progress: LoginProgress) -> TakenBack:
    """What is left of a login whose client is gone, or whose time is over."""
    unseen = progress.stage is Stage.TRIED or progress.asked
    return TakenBack(
        hang_up=progress.fetched and not progress.left and not progress.opened,
        counts=unseen and progress.kind is Kind.PASSWORD,
        relock=progress.unlocking and (progress.proved or progress.fetched),
        cancel=progress.triggered,
    )


class Revoked(NamedTuple):
    """What is done with a login for which nobody waits any more. `take_back` comes before the log's word."""

    take_back: bool
    message: str
    reason: str


def revoked(opened: bool) -> Revoked:
    """The end of a login without an answer. `opened`: it is a session by now, which the console locks."""
    return Revoked(False, "login-opened", "client-gone") if opened else Revoked(True, "login-revoked", "")


class AtLast(Enum):
    """What the seat shows of a login."""

    WAIT = "wait"
    OPENED = "say opened"
    UNLOCKED = "say unlocked"


class SeatFacts(NamedTuple):
    """`awaited`: PAM is through with a session. `shown`: it is in front. `in_front`: the session that was
    locked is in front, and nobody has to unlock it."""

    kind: Kind
    awaited: bool
    shown: bool
    unlocking: bool
    proved: bool
    opened: bool
    in_front: bool


def at_last(facts: SeatFacts) -> AtLast:
    """Say yes as soon as the session is what the screen shows, and nobody has to unlock it."""
    if facts.awaited and facts.shown:
        return AtLast.OPENED
    proved = facts.proved or facts.kind is not Kind.PASSWORD  # somebody may unlock it by hand
    unlocked = facts.unlocking and not facts.opened and facts.in_front
    return AtLast.UNLOCKED if unlocked and proved else AtLast.WAIT


class ScreenEvent(Enum):
    """What may be a reason to tell the login screen."""

    READY = "the screen may be ready"
    SEAT = "the seat has changed"
    RETRY = "the driver's time is over"
    TOO_LATE = "SCREEN_SECONDS are over"


class ScreenStep(Enum):
    """What is done about the login screen."""

    NOTHING = "nothing"
    TELL = "tell the screen"  # if it is ready
    TELL_AGAIN = "tell it again, another token"
    NO_SCREEN = "say there is no screen"


class ScreenFacts(NamedTuple):
    """`armed`: the credential waits to be fetched. `told`: how often the screen was told. `retries`: the
    driver names a time after which a screen that has not asked is told again."""

    event: ScreenEvent
    armed: bool
    fetched: bool
    told: int
    retries: bool


def screen_step(facts: ScreenFacts) -> ScreenStep:
    """Whether the login screen is told to begin, and when nobody waits for it any more."""
    if facts.event is ScreenEvent.TOO_LATE:
        return ScreenStep.NOTHING if facts.told or facts.fetched else ScreenStep.NO_SCREEN
    if not facts.armed:
        return ScreenStep.NOTHING
    if facts.event is ScreenEvent.RETRY:
        return ScreenStep.TELL_AGAIN if facts.told else ScreenStep.NOTHING
    if not facts.told:
        return ScreenStep.TELL
    # It was told: one whose driver has a time gets that time.
    again = facts.event is ScreenEvent.READY and not facts.retries and facts.told < TRIGGERS_MAX
    return ScreenStep.TELL if again else ScreenStep.NOTHING


class AfterPam(Enum):
    """What follows from the answer of a PAM that was asked without a screen."""

    WAIT = "wait for the seat"
    COUNT_FAILURE = "count a failure, answer"
    COUNT_UNSEEN = "count as unseen, answer"
    ANSWER = "answer"


_AFTER_PAM = {
    Verdict.LOGGED_IN: AfterPam.WAIT,
    Verdict.NOT_AUTHENTICATED: AfterPam.COUNT_FAILURE,
    Verdict.INTERNAL: AfterPam.COUNT_UNSEEN,
}


def after_pam(code: Verdict) -> AfterPam:
    """What follows from PAM's answer, which is the code too."""
    return _AFTER_PAM.get(code, AfterPam.ANSWER)


class Conclusion(NamedTuple):
    """What follows from an answer, each by itself.

    `present`: this principal is here from now on. `settle`: the client has proved to be who is in, so that
    nothing is watched. `keep` the answer for the same attempt. `tell` the client, when all is locked.
    """

    present: bool
    settle: bool
    keep: bool
    tell: bool


def conclude(code: int, told: bool, repeated: bool) -> Conclusion:
    """What follows from an answer. `told`: its client has heard that the console asks, and may be another."""
    let_in = code == Verdict.LOGGED_IN
    return Conclusion(present=let_in, settle=let_in and not told, keep=not repeated, tell=not told)
