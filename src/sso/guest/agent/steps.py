"""What a step of the PAM module means for the login that it belongs to: one pure function, no state."""

from enum import Enum, auto

from sso.guest.agent.pam_socket import Stage
from sso.guest.records import Kind


class Meaning(Enum):
    """What a login has to hear of its PAM connection."""

    WORKING = auto()  # PAM is at work, and may be asking a person something
    PROVED = auto()  # PAM has accepted the user of a locked session; whether it is open, the seat tells
    OPEN = auto()  # the user's session is open
    LEFT = auto()  # PAM is done with a locked session, and did not say how
    WRONG = auto()  # the password was tried, and did not pass
    REFUSED = auto()  # the account may not sign in now, or the screen gave up; no secret was wrong


def meaning(before: Stage, stage: Stage, kind: Kind, *, unlocking: bool) -> Meaning:
    """What the step from `before` to `stage` means; `unlocking`: there is a session, and it is locked.

    `kind` is what was handed out.
    """
    if stage is Stage.OPENED:
        return Meaning.OPEN
    if stage is Stage.ESTABLISHED and unlocking:
        return Meaning.PROVED
    if stage is not Stage.ENDED:
        return Meaning.WORKING
    if unlocking and (before, kind) != (Stage.GIVEN, Kind.PASSWORD):
        return Meaning.LEFT  # some screens do so although they unlock, but not by a password none has tried
    return Meaning.WRONG if before is Stage.TRIED else Meaning.REFUSED
