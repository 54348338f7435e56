"""How a run of the client goes on and ends: its deadlines, exit codes, and the one line that says why."""

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from sso.credential import Credential
from sso.mech import SAID
from sso.protocol.messages import Code
from sso.protocol.session import Session
from sso.protocol.state import State

STEP_TIME = 10.0  # seconds for each step of the guest
VERDICT_TIME = 45.0  # seconds for the login itself: a grant lives 30 s
ASK_AGAIN = 2.0  # seconds until the client asks again what became of a login that goes on at the console


class Exit(IntEnum):
    """Exit codes of spice-client-sso; the manual and --help print this table."""

    SIGNED_IN = 0
    INTERNAL = 1
    USAGE = 2
    NO_GUEST = 3
    LAYER = 4
    IDENTITY = 5
    NO_TICKET = 6
    KDC = 7
    NOT_ACCEPTED = 8
    CLOCK = 9
    DENIED = 10
    TICKET_WANTED = 11
    TRY_LATER = 12
    NO_LOGIN_SCREEN = 13
    LOST = 14
    PROTOCOL = 15
    NO_CREDENTIAL = 16
    NOT_ALLOWED = 17
    CONSOLE_ASKS = 18
    TOO_LARGE = 19
    MECHANISM = 20


MEANING = {
    Exit.SIGNED_IN: "signed in, or already signed in; with --stay: and the console was left",
    Exit.INTERNAL: "an error of our own: please report it",
    Exit.USAGE: "wrong option or configuration",
    Exit.NO_GUEST: "nobody on the port speaks this protocol",
    Exit.LAYER: "the guest does not offer the protection that is required",
    Exit.IDENTITY: "the guest did not prove to be the one that was named",
    Exit.NO_TICKET: "no Kerberos ticket, or it has expired",
    Exit.KDC: "the KDC does not answer, does not know the guest's service, or has no AES key for it",
    Exit.NOT_ACCEPTED: "the guest did not accept the ticket or the password",
    Exit.CLOCK: "the clocks of client and guest differ too much",
    Exit.DENIED: "the guest does not let this user in, or another user is signed in",
    Exit.TICKET_WANTED: "the guest wants a ticket inside, and it may not be handed over",
    Exit.TRY_LATER: "the guest wants a pause after failed attempts",
    Exit.NO_LOGIN_SCREEN: "the guest's login screen did not take the login",
    Exit.LOST: "the connection ended in the middle",
    Exit.PROTOCOL: "the peer broke the protocol, or somebody changed it on the way",
    Exit.NO_CREDENTIAL: "nothing is there, or allowed, that the guest would take",
    Exit.NOT_ALLOWED: "local policy forbids what would be needed",
    Exit.CONSOLE_ASKS: "the console asks something: answer there; a client that stays waits for it",
    Exit.TOO_LARGE: "the ticket is too large for this protocol, or for an older guest",
    Exit.MECHANISM: "a mechanism that does not come with Console SSO failed: report it to its authors",
}


class RunResult(NamedTuple):
    """The end of a run: code, one line for a person, and a second one that helps, if any."""

    exit: Exit
    line: str
    hint: str = ""


OLD_TOKEN_MAX = 65535  # bytes of a token that older guests take
NEW_TICKET = "get a new ticket with kinit: the guest may have been set up anew"
AES_ONLY = (
    "Active Directory: msDS-SupportedEncryptionTypes of the guest's account to 24, then a new password for it"
    " and a new keytab; MIT: an AES key, no session_enctypes; and no allow_rc4 in krb5.conf"
)

# What a mechanism's cause means for the run.
_CAUSES = {
    "no-ticket": (Exit.NO_TICKET, "there is no Kerberos ticket", "get one with kinit"),
    "ticket-expired": (Exit.NO_TICKET, "the Kerberos ticket has expired", "get a new one with kinit"),
    "unknown-service": (Exit.KDC, "the KDC does not know the guest's service", "check --spn and the keytab"),
    "unknown-realm": (Exit.KDC, "no KDC is known for the realm of the guest's service", "check --spn"),
    "kdc-unreachable": (Exit.KDC, "the KDC does not answer", ""),
    "kdc-refused": (Exit.KDC, "the KDC gives no ticket for the guest's service", ""),
    "clock-skew": (Exit.CLOCK, "the clocks differ too much", ""),
    "certificate": (Exit.IDENTITY, "the guest's certificate is not the one that was asked for", ""),
    "target": (Exit.IDENTITY, "the ticket is for another service than the one that was named", ""),
    "wrong-key": (Exit.IDENTITY, "the guest does not hold the key of its service", NEW_TICKET),
    "weak-key": (Exit.KDC, "only AES is taken, and the KDC gives something weaker", AES_ONLY),
    "too-long": (Exit.TOO_LARGE, "the ticket is too large", "fewer groups make a ticket smaller"),
    "binding": (Exit.IDENTITY, "the connection is not bound to this channel", ""),
    "layer": (Exit.LAYER, "the guest does not offer a confidential layer", ""),
    "unavailable": (Exit.NO_CREDENTIAL, "a mechanism is not installed", "install console-sso[kerberos]"),
    "failed": (Exit.MECHANISM, "a mechanism failed", "report it to its authors"),
    "hang-up": (Exit.LOST, "the connection ended", ""),
    "tls": (Exit.IDENTITY, "TLS with the guest failed", ""),
}

# The errors that a guest names, in our words: whoever is on the way may have sent the name.
_CLAIMS = {
    "wrong-key": (Exit.NOT_ACCEPTED, "its key does not fit the ticket", NEW_TICKET),
    "clock-skew": (Exit.CLOCK, "the clocks differ too much", ""),
}

# What the guest's codes mean for the run.
_CODES = {
    Code.LAYER_REQUIRED: (Exit.LAYER, "the guest wants more protection than was offered", ""),
    Code.NOT_AUTHENTICATED: (
        Exit.NOT_ACCEPTED,
        "the guest did not accept the credential",
        "wrong password, or the guest's keytab does not fit",
    ),
    Code.TOO_LONG: (Exit.TOO_LARGE, "it was too long for the guest", ""),
    Code.CLOCK_SKEW: (Exit.CLOCK, "the guest says that the clocks differ too much", ""),
    Code.DENIED: (Exit.DENIED, "the guest does not let this user in", ""),
    Code.VERSION: (Exit.PROTOCOL, "client and guest have no protocol version in common", ""),
    Code.TOO_LATE: (Exit.LOST, "it took too long", ""),
    Code.NO_TICKET: (
        Exit.TICKET_WANTED,
        "authenticated, but the guest signs nobody in without a ticket",
        "have the KDC mark its service ok-as-delegate, or use --offer-tgt or --send-ticket",
    ),
    Code.TRY_LATER: (Exit.TRY_LATER, "the guest wants a pause after failed attempts", ""),
    Code.NO_LOGIN_SCREEN: (Exit.NO_LOGIN_SCREEN, "no login screen of the guest took the login", ""),
    Code.CREDENTIAL_REFUSED: (Exit.NOT_ACCEPTED, "the guest refused the credential", ""),
    Code.CONSOLE_ASKS: (Exit.CONSOLE_ASKS, "the console asks something: answer there", ""),
}


def by_cause(cause: str, detail: str = "") -> RunResult:
    """The outcome for a mechanism's cause; what we do not know is a protocol error."""
    exit, line, hint = _CAUSES.get(cause, (Exit.PROTOCOL, "the protocol was broken", ""))
    detail = "" if detail == cause else detail.removeprefix(f"{cause}: ")
    if cause.startswith(SAID):
        unknown = (Exit.NOT_ACCEPTED, detail or "it does not take the ticket", "")
        exit, line, hint = _CLAIMS.get(cause.removeprefix(SAID), unknown)
        return RunResult(exit, f"the guest says: {line}", hint)
    return RunResult(exit, f"{line} ({detail})" if detail and exit is not Exit.LOST else line, hint)


def by_code(code: int, unnamed: bool = False, ticket: bool = False) -> RunResult:
    """The outcome for an error code of the guest; its text is never shown.

    `unnamed`: nobody but the guest has said which service it is, so no option of ours hands it a ticket.
    `ticket`: it is the answer to a ticket.
    """
    if ticket and code == Code.NOT_AUTHENTICATED:
        return TICKET_REFUSED
    exit, line, hint = _CODES.get(Code(code) if code in list(Code) else Code.INTERNAL, (None, "", ""))
    if exit is None:
        return RunResult(Exit.PROTOCOL, f"the guest ended it with error {code}")
    if exit is Exit.TICKET_WANTED and unnamed:
        hint = "only a guest that --spn names gets a ticket"
    return RunResult(exit, line, hint)


def by_clock(value: str, now: float) -> RunResult:
    """The outcome for wrong clocks: `value` is the guest's answer to `info time`, `now` our own time."""
    seconds = round(int(value) - now) if value.isdigit() and len(value) < 12 else 0
    ahead = f"the guest's clock is {abs(seconds)} s {'ahead' if seconds > 0 else 'behind'}"
    return RunResult(Exit.CLOCK, ahead, "set the guest's clock, for example after a resume")


def another_person(wanted: str) -> RunResult:
    """The outcome where what started us is meant for the principal `wanted`, who is not ours."""
    return RunResult(
        Exit.NOT_ALLOWED, f"this console was opened for {wanted}", "your ticket is somebody else's"
    )


def service_not_allowed(spn: str) -> RunResult:
    """The outcome where local policy does not let us talk to that service."""
    return RunResult(Exit.NOT_ALLOWED, f"the service {spn} is not allowed", "see allowed-spn in client.toml")


def older_guest(size: int) -> RunResult | None:
    """The outcome of a guest that ended without a word to a first token of that size, if that says why."""
    if size <= OLD_TOKEN_MAX:
        return None
    line = f"the guest ended without a word to a token of {size} bytes"
    hint = f"an older guest takes {OLD_TOKEN_MAX}: upgrade it, or use a ticket with fewer groups"
    return RunResult(Exit.TOO_LARGE, line, hint)


TICKET_REFUSED = RunResult(
    Exit.NOT_ACCEPTED, "the guest did not accept the ticket", f"{NEW_TICKET}, or its keytab does not fit"
)
NOTHING_LISTED = RunResult(
    Exit.NO_CREDENTIAL, "nothing to sign in with: no mechanism is left", "see mechanisms in client.toml"
)
NO_ANSWER = RunResult(Exit.NO_GUEST, "no guest answers on the port", "does its sso-guest-agent run?")


class Course:
    """What a conversation knows of its time and its end; ClientConversation adds what is said.

    When `finished`, `outcome` says how it ended.
    """

    session: Session

    def __init__(self, progress: Callable[[str], None], status: Callable[[str], None]) -> None:
        self.outcome: RunResult | None = None
        self.deadline: float | None = None
        self._progress, self._status = progress, status
        self._now = 0.0
        self._later: Callable[[], None] | None = None
        self._resting = False  # between two sessions of one login
        self._told = False  # the user was told that the console asks
        self._password: Credential | None = None  # until the end: the user is asked only once

    @property
    def finished(self) -> bool:
        return self.outcome is not None

    @property
    def asking(self) -> bool:
        """Whether the deadline is a question to a person, put off until all is written."""
        return self._later is not None

    def _ask_later(self, question: Callable[[], None]) -> None:
        """Put a question to a person off until what waits to be written is written.

        The time that a person takes is not the guest's: the pump comes back at once with a new now.
        """

        def ask() -> None:
            question()
            if not self.finished and self._later is None:
                self._later, self.deadline = lambda: None, self._now

        self._later, self.deadline = ask, self._now

    def _wait(self) -> None:
        """Give the guest its time for the step that it owes us now."""
        deciding = self.session.state in (State.DECIDING, State.CONCLUDING, State.REFUSED)
        if not self.finished:
            self.deadline = self._now + (VERDICT_TIME if deciding else STEP_TIME)

    def _rest(self) -> None:
        """The login goes on at the console: ask again with the same attempt id, which gets the outcome."""
        if not self._told:
            self._told = True
            self._status("console-asks")
            self._progress(by_code(Code.CONSOLE_ASKS).line)
        self.session.close()
        self.session.data_to_send()  # dropped: the guest would take its close_notify for the next client
        self._resting, self.deadline = True, self._now + ASK_AGAIN

    def _finish(self, outcome: RunResult) -> None:
        if self.outcome is not None:
            return
        self.outcome, self.deadline = outcome, None
        if self._password is not None:
            self._password.wipe()
        ended_by_guest = self.session.state in (State.DONE, State.ENDED)
        self.session.close()
        if ended_by_guest:  # dropped, as above
            self.session.data_to_send()
