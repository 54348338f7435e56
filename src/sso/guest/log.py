"""What the guest's processes say: one line an event, a stable word first, then key=value. Never a secret.

Values are fields from the caller to the journal: nothing is ever read out of a text. What is not printable in
them is escaped (sso.printable), since a peer, PAM or the system may have said it.

Where journald reads our standard error, an event is an entry with fields (systemd's Native Journal Protocol):
MESSAGE the line, PRIORITY, and each value as CONSOLE_SSO_KEY, such as CONSOLE_SSO_USER and
CONSOLE_SSO_SESSION. MESSAGE_ID is the UUID of the event's dotted name (version 5, RFC 4122, in NAMESPACE),
which a shell makes so:

    uuidgen --sha1 --namespace 88f4a691-3233-4348-bfcf-bdcbe8da7875 --name sso.login.opened | tr -d -

Elsewhere the line goes to standard error.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping

from sso.printable import escaped, word

# The stable words, and under which key their explanation stands.
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
    "session-ended": "sso.session.ended",
    "client-gone": "sso.client.gone",
    "client-unproved": "sso.client.unproved",
    "screen-found": "sso.screen.found",
    "bus-lost": "sso.bus.lost",
    "bus-back": "sso.bus.back",
    "bus-name-refused": "sso.bus.name-refused",
    "login-not-local": "sso.login.not-local",
    "login-locked-out": "sso.login.locked-out",
    "verdict-given": "sso.verdict.given",
    "verdict-refused": "sso.verdict.refused",
    "ticket-parked": "sso.ticket.parked",
    "ticket-unparked": "sso.ticket.unparked",
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

INFO, NOTICE, WARNING = 6, 5, 4  # syslog(3)

# What is no matter of course: somebody was refused, or something failed.
_PRIORITIES = {
    NOTICE: (
        *("login-unknown-user", "login-name-unusable", "login-not-authorised", "login-account-refused"),
        "login-other-signed-in",
        *("login-no-ticket", "login-try-later", "login-secret-failed-before", "login-not-local"),
        *(
            "login-locked-out",
            "client-unproved",
            "verdict-refused",
            "pam-refused",
            "screen-refused",
            "link-refused",
        ),
    ),
    WARNING: (
        *("login-failed", "login-secret-unusable", "login-no-screen", "login-expired"),
        "login-not-in-front",
        *("login-mapping-failed", "session-not-locked", "ticket-not-refreshed", "ticket-not-parked"),
        *("ticket-not-stored", "ticket-store-unknown", "ticket-not-removed"),
        *("bus-lost", "bus-name-refused", "links-lost", "record-malformed", "pam-malformed"),
        "pam-other-version",
    ),
}
PRIORITIES = {id: priority for priority, ids in _PRIORITIES.items() for id in ids}  # the others: INFO

NAMESPACE = "88f4a691-3233-4348-bfcf-bdcbe8da7875"
SOCKET = "/run/systemd/journal/socket"
VALUE_MAX = 1024  # characters of a field's value

Fields = Mapping[str, str]

Say = Callable[[str, str, Fields], None]  # the stable word, the line, the values

_say: Say | None = None  # who takes the events; nobody before `to_stderr`


def note(id: str, **values: object) -> None:
    """Log one event of the agent; a blank or what is not printable in a value makes it appear quoted.

    Raises KeyError for a word that MESSAGE_IDS does not have.
    """
    _ = MESSAGE_IDS[id]
    if _say is not None:
        _say(id, line(id, values), {key: str(value) for key, value in values.items()})


def to_stderr() -> None:
    """Show the agent's events on standard error, as entries where journald reads it."""
    global _say
    _say = Log("sso-agent", MESSAGE_IDS, PRIORITIES).say


class Log:
    """The events of one program, to journald or to standard error.

    `ids` are its stable words with their dotted names; `priorities` those of the words above INFO.
    """

    def __init__(self, program: str, ids: Mapping[str, str], priorities: Mapping[str, int]) -> None:
        self._program, self._ids, self._priorities = program, ids, priorities
        self._journal = open_journal()

    def __call__(self, id: str, detail: str = "", /, **values: object) -> None:
        """Log one event; `detail` is what somebody else said of it. KeyError for a word that is none."""
        _ = self._ids[id]
        values = {**values, "detail": detail} if detail else values
        self.say(id, line(id, values), {key: str(value) for key, value in values.items()})

    def say(self, id: str, text: str, values: Fields) -> None:
        if self._journal is None or not self._journal.send(self._entry(id, text, values)):
            print(f"{self._program}: {text}", file=sys.stderr, flush=True)

    def _entry(self, id: str, text: str, values: Fields) -> Fields:
        return {
            "MESSAGE": text,
            "SYSLOG_IDENTIFIER": self._program,
            "MESSAGE_ID": message_id(self._ids[id]),
            "PRIORITY": str(self._priorities.get(id, INFO)),
            **{f"CONSOLE_SSO_{key.upper()}": escaped(value) for key, value in values.items()},
        }


def line(id: str, values: Mapping[str, object]) -> str:
    """An event for a person: the word, and key=value."""
    return " ".join([id, *(f"{key}={word(value)}" for key, value in values.items())])


def message_id(name: str) -> str:
    """The MESSAGE_ID that belongs to a dotted name."""
    import uuid  # late: no process has to wait for it when it starts

    return uuid.uuid5(uuid.UUID(NAMESPACE), name).hex


class Journal:
    """journald's native socket: an entry is one datagram, and nobody waits for it."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, fields: Fields) -> bool:
        """Whether the entry was taken; what journald is too busy for is lost, and counts as taken."""
        entry = b"".join(_field(key, value[:VALUE_MAX]) for key, value in fields.items())
        try:
            self._socket.sendto(entry, self._path)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


def open_journal(path: str = SOCKET) -> Journal | None:
    """journald, if it is what reads our standard error (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        found = os.fstat(2)
    except OSError:
        return None
    ours = os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return Journal(path) if ours and os.path.exists(path) else None


def _field(key: str, value: str) -> bytes:
    """One field; a value with a line break is preceded by its length instead of "="."""
    data = value.encode(errors="backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (key.encode(), data)
    return b"%s\n%s%s\n" % (key.encode(), struct.pack("<Q", len(data)), data)
