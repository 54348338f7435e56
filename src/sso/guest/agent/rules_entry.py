"""The rules before a claim is judged: peer sessions, whose claim it is, and a new client at an open screen.

Pure, without state or I/O. Judge and Newcomer carry out what is said here. docs/login-rules.md has the same
as tables; tests/guest/agent/test_rules_entry.py compares both for every case.
"""

from enum import Enum
from typing import NamedTuple

from sso.guest.agent.rules import Worth
from sso.guest.records import Kind


class UnderWay(Enum):
    """The login that is under way, as its client knows it."""

    NONE = "none"
    WAITED_FOR = "its client waits"
    TOLD = "its client was told"  # that the console asks something (414): it goes on there


class Change(Enum):
    """What happens to peer sessions, beside the login that is under way."""

    BEGINS = "a session begins"
    ENDS = "its own session ends"
    OTHER_ENDS = "another session ends"
    UNPROVED = "the client is another one"  # who has not proved to be who was there: all is being locked
    GONE = "the client has left"  # or the agent ends


_REVOKED = {
    (Change.BEGINS, UnderWay.WAITED_FOR),
    (Change.ENDS, UnderWay.WAITED_FOR),
    (Change.OTHER_ENDS, UnderWay.TOLD),
    (Change.UNPROVED, UnderWay.TOLD),
    (Change.GONE, UnderWay.WAITED_FOR),
    (Change.GONE, UnderWay.TOLD),
}


def is_revoked(change: Change, login: UnderWay) -> bool:
    """Whether the login that is under way ends by it, without an answer."""
    return (change, login) in _REVOKED


class SignedInAs(Enum):
    """Who is known to be signed in, beside the claim's principal."""

    UNKNOWN = "nobody knows"
    SAME = "the same"
    OTHER = "another"


class EntryFacts(NamedTuple):
    """What is known of a claim when it comes.

    `current`: its peer session is the one that runs, and has claimed nothing. `same_attempt`: it names the
    attempt of the login that is under way; `worth`, what its secret is then, begins as not asked. `let_in`:
    its attempt has let its client in before.
    """

    current: bool
    login: UnderWay
    kind: Kind
    same_attempt: bool
    worth: Worth
    let_in: bool
    signed_in: SignedInAs


class ClaimStep(Enum):
    """What is done with a claim that comes."""

    DROP = "drop it"  # nobody waits for an answer
    COMPARE_LOGIN = "compare with the login's"
    GO_ON = "go on with the login"  # its client is there again, and waits for it
    REVOKE = "revoke the login"  # then it is asked again; what the client may find is what is open now
    JUDGE = "judge"  # it may be a renewal by who is signed in; else all is locked before the answer
    LOCK_FIRST = "lock, then judge"


def enter(facts: EntryFacts) -> ClaimStep:
    """What is done with a claim, by who was there before."""
    if not facts.current or facts.login is UnderWay.WAITED_FOR:
        return ClaimStep.DROP
    if facts.login is UnderWay.TOLD:
        if facts.same_attempt and facts.worth is Worth.NOT_ASKED:
            return ClaimStep.COMPARE_LOGIN
        return ClaimStep.GO_ON if facts.same_attempt and facts.worth is Worth.SAME else ClaimStep.REVOKE
    if facts.let_in:
        return ClaimStep.JUDGE  # by the client that waited for it; a password is compared with the answer's
    if facts.kind is Kind.PASSWORD or facts.signed_in is SignedInAs.OTHER:
        return ClaimStep.LOCK_FIRST  # a password never is a renewal: PAM alone proves it
    return ClaimStep.JUDGE


class ClientState(Enum):
    """The client of the present peer session, as far as it has not proved to be who is signed in."""

    NOBODY = "nobody"  # no new client, or none that found anything open
    LOOKING = "looking"  # what it finds is still to be told
    WATCHED = "watched"  # it found an open session, and has not proved anything
    LOCKING = "locking"  # until the screen is locked


class Sight(Enum):
    """What happens to that client, or is found out or wanted of it."""

    BEGINS = "a session begins"
    FOUND_OPEN = "something is open"  # or about to open
    FOUND_SHUT = "nothing is open"
    TO_LOCK = "it is to find nothing open"  # it was refused, is over, or RENEWAL_SECONDS have passed
    PROVED = "nothing to watch"  # it has proved to be who is signed in, or has left and all is locked
    LOCKED = "all is locked"


class WatchStep(Enum):
    """What is done about it; the state after it stands beside the rule."""

    NOTHING = "nothing"
    LOOK = "look at the seat"
    WATCH = "watch"
    WAIT = "wait"  # whoever wants it locked is called when it is
    LOCK = "lock"
    CALL = "call back"  # at once: there is nothing to lock
    FREE = "let go, call back"  # nobody is watched; whoever waits is called


class WatchFacts(NamedTuple):
    """`guarded`: something is done when the client leaves. `waiting`: somebody waits until it is locked."""

    watch: ClientState
    sight: Sight
    guarded: bool
    waiting: bool


AFTER = {
    WatchStep.LOOK: ClientState.LOOKING,
    WatchStep.WATCH: ClientState.WATCHED,
    WatchStep.LOCK: ClientState.LOCKING,
    WatchStep.FREE: ClientState.NOBODY,
}


def watch(facts: WatchFacts) -> WatchStep:
    """What is done about a new client; AFTER has the state that follows, where it is another one."""
    match facts.sight:
        case Sight.BEGINS:
            return (
                WatchStep.LOOK
                if facts.guarded and facts.watch is not ClientState.LOCKING
                else WatchStep.NOTHING
            )
        case Sight.FOUND_OPEN | Sight.FOUND_SHUT if facts.watch is not ClientState.LOOKING:
            return WatchStep.NOTHING
        case Sight.FOUND_OPEN:
            return WatchStep.LOCK if facts.waiting else WatchStep.WATCH
        case Sight.PROVED if facts.watch is ClientState.LOCKING:
            return WatchStep.NOTHING
        case Sight.FOUND_SHUT | Sight.PROVED | Sight.LOCKED:
            return WatchStep.FREE
    wanted = {ClientState.NOBODY: WatchStep.CALL, ClientState.WATCHED: WatchStep.LOCK}
    return wanted.get(facts.watch, WatchStep.WAIT)
