"""The log of the guest's processes: one line an event, a stable word first, then key=value. Never a secret.

Values are fields from the caller to the journal: nothing is ever read out of a text. What is not printable in
them is escaped (sso.printable), since a peer, PAM or the system may have said it.

Where journald reads our standard error, an event is an entry with fields (sso.daemon.journal): MESSAGE the
line, PRIORITY, MESSAGE_ID that of the event's dotted name, and each value as CONSOLE_SSO_KEY, such as
CONSOLE_SSO_USER and CONSOLE_SSO_SESSION. Elsewhere the line goes to standard error.
"""

import sys
from collections.abc import Callable, Mapping

from sso.daemon.journal import Fields, message_id, open_journal
from sso.printable import escaped, word

# The agent's stable words, and the dotted name of each.
MESSAGE_IDS = {
    "agent-started": "sso.agent.started",
    "agent-ended": "sso.agent.ended",
    "record-malformed": "sso.agent.record.malformed",
    "link-refused": "sso.link.refused",
    "links-joined": "sso.link.joined",
    "links-lost": "sso.link.lost",
    "login-asked": "sso.login.asked",
    "login-given": "sso.login.given",
    "login-asks": "sso.login.asks",
    "login-opened": "sso.login.opened",
    "login-repeated": "sso.login.repeated",
    "login-failed": "sso.login.failed",
    "login-unknown-user": "sso.login.unknown-user",
    "login-name-unusable": "sso.login.name-unusable",
    "login-not-authorised": "sso.login.not-authorised",
    "login-account-refused": "sso.login.account-refused",
    "login-other-signed-in": "sso.login.other-signed-in",
    "login-already-signed-in": "sso.login.already-signed-in",
    "login-no-ticket": "sso.login.no-ticket",
    "login-try-later": "sso.login.try-later",
    "login-secret-failed-before": "sso.login.secret-failed-before",
    "login-secret-unusable": "sso.login.secret-unusable",
    "login-not-again": "sso.login.not-again",
    "login-no-screen": "sso.login.no-screen",
    "login-not-in-front": "sso.login.not-in-front",
    "login-expired": "sso.login.expired",
    "login-revoked": "sso.login.revoked",
    "login-mapping-failed": "sso.login.mapping-failed",
    "session-over": "sso.session.over",
    "ticket-refreshed": "sso.ticket.refreshed",
    "ticket-not-refreshed": "sso.ticket.not-refreshed",
    "ticket-stored": "sso.ticket.stored",
    "ticket-not-stored": "sso.ticket.not-stored",
    "ticket-store-unknown": "sso.ticket.store-unknown",
    "ticket-removed": "sso.ticket.removed",
    "ticket-not-removed": "sso.ticket.not-removed",
    "session-locked": "sso.session.locked",
    "session-unlocked": "sso.session.unlocked",
    "session-not-locked": "sso.session.not-locked",
    "client-gone": "sso.client.gone",
    "client-unproved": "sso.client.unproved",
    "bus-lost": "sso.bus.lost",
    "bus-back": "sso.bus.back",
    "bus-name-refused": "sso.bus.name-refused",
    "login-locked-out": "sso.login.locked-out",
    "verdict-given": "sso.verdict.given",
    "verdict-refused": "sso.verdict.refused",
    "ticket-parked": "sso.ticket.parked",
    "ticket-not-parked": "sso.ticket.not-parked",
    "grace-began": "sso.grace.began",
    "grace-over": "sso.grace.over",
    "pam-refused": "sso.pam.refused",
    "pam-malformed": "sso.pam.malformed",
    "pam-other-version": "sso.pam.other-version",
    "screen-ready": "sso.screen.ready",
    "screen-refused": "sso.screen.refused",
    "screen-ended": "sso.screen.ended",
}

# How a session ended in itself: by our own core, or by one of our mechanisms.
ENDS = ("closed", "hang-up", "injected", "protocol", "reset", "tls", "gssapi")

# The words of each program. The dotted name of an unprivileged one's begins with the program's, such as
# "sso.channel.child-stopped".
PROGRAMS: dict[str, Mapping[str, str]] = {
    "sso-agent": MESSAGE_IDS,
    "sso-channel": {
        word: f"sso.channel.{word}"
        for word in (
            *("session-begin", "session-end", "session-failed", *(f"session-{cause}" for cause in ENDS)),
            *("child-stopped", "child-failed", "child-not-made", "agent-late", "record-malformed"),
            *("peer-silent", "peer-late", "authenticated", "not-authenticated"),
            *("mechanism-unavailable", "mechanism-left-out", "mechanism-failed", "credential-refused"),
            "no-fence",
        )
    },
    "sso-acceptor": {
        word: f"sso.acceptor.{word}"
        for word in (
            *("mechanism-failed", "mechanism-late", "mechanism-left-out", "record-malformed"),
            *("worker-failed", "worker-not-made", "no-fence"),
            *("digest-key-replaced", "digest-key-not-kept"),
        )
    },
}
_WORDS = frozenset(word for words in PROGRAMS.values() for word in words)

INFO, NOTICE, WARNING = 6, 5, 4  # syslog(3)

# Events above INFO: somebody was refused, or something failed.
_PRIORITIES = {
    NOTICE: (
        *("login-unknown-user", "login-name-unusable", "login-not-authorised", "login-account-refused"),
        "login-other-signed-in",
        *("login-no-ticket", "login-try-later", "login-secret-failed-before"),
        *("login-locked-out", "client-unproved", "verdict-refused", "pam-refused", "screen-refused"),
        *("link-refused", "not-authenticated", "credential-refused", "peer-late"),
    ),
    WARNING: (
        *("login-failed", "login-secret-unusable", "login-no-screen", "login-expired"),
        "login-not-in-front",
        *("login-mapping-failed", "session-not-locked", "ticket-not-refreshed", "ticket-not-parked"),
        *("ticket-not-stored", "ticket-store-unknown", "ticket-not-removed"),
        *("bus-lost", "bus-name-refused", "links-lost", "record-malformed", "pam-malformed"),
        "pam-other-version",
        *("child-stopped", "child-failed", "child-not-made", "agent-late"),
        *("mechanism-failed", "mechanism-late", "mechanism-left-out", "mechanism-unavailable"),
        *("worker-failed", "worker-not-made", "no-fence"),
        *("digest-key-replaced", "digest-key-not-kept"),
    ),
}
PRIORITIES = {id: priority for priority, ids in _PRIORITIES.items() for id in ids}  # the others: INFO


_say: Callable[[str, str, Fields], None] | None = None  # takes word, line, values; None before `open_as`


def note(id: str, detail: str = "", /, **values: object) -> None:
    """Log one event of this process; `detail` is what somebody else said of it.

    A blank or what is not printable in a value makes it appear quoted. Raises KeyError for a word that the
    program does not have.
    """
    if id not in _WORDS:
        raise KeyError(id)
    if detail:
        values["detail"] = detail
    if _say is not None:
        _say(id, line(id, values), {key: str(value) for key, value in values.items()})


def open_as(program: str) -> None:
    """Log the events of this process from now on, as entries or on standard error."""
    global _say
    _say = Log(program).say


class Log:
    """The events of one program of PROGRAMS."""

    def __init__(self, program: str) -> None:
        self._program, self._ids = program, PROGRAMS[program]
        self._journal = open_journal()

    def say(self, id: str, text: str, values: Fields) -> None:
        _ = self._ids[id]  # a word of this program, wherever the line goes
        if self._journal is None or not self._journal.send(self._entry(id, text, values)):
            print(f"{self._program}: {text}", file=sys.stderr, flush=True)

    def _entry(self, id: str, text: str, values: Fields) -> Fields:
        return {
            "MESSAGE": text,
            "SYSLOG_IDENTIFIER": self._program,
            "MESSAGE_ID": message_id(self._ids[id]),
            "PRIORITY": str(PRIORITIES.get(id, INFO)),
            **{f"CONSOLE_SSO_{key.upper()}": escaped(value) for key, value in values.items()},
        }


def line(id: str, values: Mapping[str, object]) -> str:
    """An event for a person: the word, and key=value."""
    return " ".join([id, *(f"{key}={word(value)}" for key, value in values.items())])


def ending(cause: str) -> str:
    """The word for the end of a session; a mechanism that is not ours may have causes of its own."""
    return f"session-{cause}" if cause in ENDS else "session-failed"
