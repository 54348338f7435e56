"""The rules of a login: what is known of a claim, and what the agent does next. Pure, without state or I/O.

`decide` says the next step until one of them is an answer. A fact that costs something to find out (a worker,
a look at the seat, a comparison that may cost a pause) begins as not asked, and a step asks for it when it
matters and not before. Judge collects the facts and carries the steps out. docs/login-rules.md has the same
rules as tables; tests/guest/agent/test_rules.py compares both for every combination of facts.
"""

from enum import Enum, IntEnum
from typing import NamedTuple

from sso.guest.records import Kind, Verdict


class Eligibility(IntEnum):
    """What is known of an account or of a principal's right to it."""

    GOOD = 0
    NO_USER = 1
    NOT_AUTHORISED = 2
    ROOT = 3
    SYSTEM = 4
    NOT_IN_GROUP = 5
    NO_SHELL = 6
    BROKEN = 7
    NAME = 8  # one that cannot be used here, whosever it is


class Worth(Enum):
    """What the secret of a claim counts for. A ticket or an identity was proved by its mechanism."""

    NOT_ASKED = "?"
    UNUSABLE = "unusable"  # no plain file of a size that PAM takes
    PAUSED = "paused"  # the limiter lets nothing be compared or tried
    WRONG = "wrong"  # not what it was compared with
    FAILED_BEFORE = "failed before"  # PAM has refused this one already
    NOTHING = "nothing to compare"  # nothing is there that a password could be the same as
    LOCKED_OUT = "locked out"  # a failure now would lock the account
    COUNTED = "counted"  # a guess at a name that is none, and counted as a failure
    SAME = "same"  # what it was compared with; a ticket or an identity always is
    FREE = "free"  # the limiter has nothing against it
    ALLOWED = "allowed"  # nor has pam_faillock


class AtSeat(Enum):
    """Whose session is at the seat, and how; "own" is the claimed user's."""

    NOT_ASKED = "?"
    LOCKING = "locking"  # what is open is being locked, so that this is about to change
    UNTOLD = "untold"  # logind is late: somebody may be there
    NOBODY = "nobody"
    OTHER = "other"
    LOCKED = "own, locked"
    IN_FRONT = "own, in front"  # or nobody can tell where it is
    BEHIND = "own, behind another session"
    ASIDE = "own, elsewhere"  # a greeter is in front, or nothing, or it is in text


class Ours(Enum):
    """Whose the session is that the agent has opened and still tracks."""

    NONE = "none"
    OWN = "own"
    OTHER = "other"


class Renewal(Enum):
    """Whether the ticket takes the place of the one in the session's cache."""

    NONE = "no"
    NEWER = "newer"
    PARKED = "parked"  # the cache was taken away when the client left
    DONE = "done"
    FAILED = "failed"


class LoginFacts(NamedTuple):
    """What is known of one claim by now.

    `account` is None until it was asked for. `answered`: this attempt has got an answer before. `here`: the
    principal has signed in, and the client has not left since. `unlocks`: the login screen itself unlocks, by
    PAM.
    """

    kind: Kind
    accept_identity: bool = False
    unlocks: bool = False
    worth: Worth = Worth.NOT_ASKED
    account: Eligibility | None = None
    answered: bool = False
    seat: AtSeat = AtSeat.NOT_ASKED
    ours: Ours = Ours.NONE
    here: bool = False
    renewal: Renewal = Renewal.NONE


class Action(Enum):
    """What the agent does next: it asks for a fact, or it does something for the user, or it answers."""

    MAP = "ask who that is here"
    LOOK = "look at the seat"
    LOCK = "lock, then look again"
    COMPARE_ANSWER = "compare with the answer"
    COMPARE_SESSION = "compare with the session"
    ASK_LIMITER = "ask the limiter"
    ASK_FAILLOCK = "ask faillock"
    COUNT = "count a failure"
    REFRESH = "renew the ticket"  # of a user who is in
    REFILL = "put the ticket back"  # before the session is unlocked
    ASK_PAM = "ask PAM, unlock"
    ASK_SCREEN = "tell the login screen"
    REPEAT = "repeat the answer"
    SIGNED_IN = "say signed in"
    OFFER = "say signed in, serve a locker"
    ANSWER = "answer"
    ANSWER_OWN = "answer, lock nothing"  # the client has proved to be who is in


class Decision(NamedTuple):
    """The next step; an answer has a code, the word of the log, and a reason where that is the account."""

    action: Action
    code: Verdict | None = None
    message: str = ""
    reason: str = ""


_REFUSED = {
    Worth.UNUSABLE: (Verdict.CREDENTIAL_REFUSED, "login-secret-unusable"),
    Worth.PAUSED: (Verdict.TRY_LATER, "login-try-later"),
    Worth.WRONG: (Verdict.NOT_AUTHENTICATED, "login-failed"),
    Worth.FAILED_BEFORE: (Verdict.NOT_AUTHENTICATED, "login-secret-failed-before"),
    Worth.NOTHING: (Verdict.DENIED, "login-other-signed-in"),
    Worth.LOCKED_OUT: (Verdict.TRY_LATER, "login-locked-out"),
}
_NOBODY = {
    Eligibility.NO_USER: "login-unknown-user",
    Eligibility.NAME: "login-name-unusable",
    Eligibility.NOT_AUTHORISED: "login-not-authorised",
}
_NOT_IN_FRONT = Verdict.NO_LOGIN_SCREEN, "login-not-in-front"
_ALREADY = "login-already-signed-in"


def decide(facts: LoginFacts) -> Decision:
    """The next step for a claim by what is known of it."""
    if facts.worth in _REFUSED:
        return Decision(Action.ANSWER, *_REFUSED[facts.worth])
    if facts.account is None:
        return Decision(Action.MAP)
    if facts.account is not Eligibility.GOOD:
        return _nobody(facts, facts.account)
    if facts.answered:
        if facts.worth is Worth.SAME:
            return Decision(Action.REPEAT, None, "login-repeated")
        return Decision(Action.COMPARE_ANSWER)
    return _at_seat(facts)


def _nobody(facts: LoginFacts, account: Eligibility) -> Decision:
    """Nobody who may sign in. With a password that is a guess at this console, as a wrong one is."""
    reason = account.name.lower()
    if account is Eligibility.BROKEN:
        return Decision(Action.ANSWER, Verdict.INTERNAL, "login-mapping-failed", reason)
    if facts.kind is Kind.PASSWORD and facts.worth is Worth.NOT_ASKED:
        return Decision(Action.ASK_LIMITER)
    if facts.kind is Kind.PASSWORD and facts.worth is Worth.FREE:
        return Decision(Action.COUNT)
    return Decision(Action.ANSWER, Verdict.DENIED, _NOBODY.get(account, "login-account-refused"), reason)


def _at_seat(facts: LoginFacts) -> Decision:
    """A user who may sign in, with nothing answered yet: it depends on who is there."""
    match facts.seat:
        case AtSeat.NOT_ASKED:
            return Decision(Action.LOOK)
        case AtSeat.LOCKING:
            return Decision(Action.LOCK)
        case AtSeat.UNTOLD:
            return Decision(Action.ANSWER, Verdict.TRY_LATER, "login-other-signed-in")
    if AtSeat.OTHER is facts.seat or facts.ours is Ours.OTHER:
        return Decision(Action.ANSWER, Verdict.DENIED, "login-other-signed-in")
    if facts.here:
        # What comes is a renewal: it opens and unlocks nothing.
        if facts.seat is AtSeat.NOBODY and facts.ours is Ours.NONE:
            return Decision(Action.ANSWER, Verdict.NO_LOGIN_SCREEN, "login-not-again")
        return _visit(facts, Action.SIGNED_IN)
    if facts.seat is AtSeat.LOCKED:
        return _try(facts)
    if facts.ours is Ours.OWN and facts.seat is AtSeat.BEHIND:
        ticket = facts.kind is not Kind.PASSWORD
        return Decision(Action.ANSWER_OWN if ticket else Action.ANSWER, *_NOT_IN_FRONT)
    if facts.ours is Ours.OWN or facts.seat is AtSeat.IN_FRONT:
        return _visit(facts, Action.SIGNED_IN if facts.seat is AtSeat.NOBODY else Action.OFFER)
    return _try(facts)


def _visit(facts: LoginFacts, end: Action) -> Decision:
    """The user is in. PAM is not asked, so that a password has to be the one that has opened the session."""
    if facts.worth is not Worth.SAME:
        return Decision(Action.COMPARE_SESSION)
    match facts.renewal:
        case Renewal.NEWER | Renewal.PARKED:
            return Decision(Action.REFRESH)
        case Renewal.DONE:
            return Decision(Action.ANSWER, Verdict.LOGGED_IN, _ALREADY)
        case Renewal.FAILED:
            return Decision(Action.ANSWER, Verdict.INTERNAL, _ALREADY)
    return Decision(end, Verdict.LOGGED_IN, _ALREADY)


def _try(facts: LoginFacts) -> Decision:
    """The user is not in, or the session is locked: PAM is asked, by the login screen or without it."""
    if facts.kind is Kind.IDENTITY and not facts.accept_identity:
        return Decision(Action.ANSWER, Verdict.NO_TICKET, "login-no-ticket")
    if facts.worth not in (Worth.FREE, Worth.ALLOWED):
        return Decision(Action.ASK_LIMITER)
    if facts.kind is Kind.PASSWORD and facts.worth is not Worth.ALLOWED:
        return Decision(Action.ASK_FAILLOCK)
    if facts.seat is AtSeat.LOCKED and facts.renewal is Renewal.PARKED:
        return Decision(Action.REFILL)
    if facts.seat is AtSeat.LOCKED and not facts.unlocks:
        return Decision(Action.ASK_PAM)
    return Decision(Action.ASK_SCREEN)
