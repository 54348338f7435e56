"""Log lines of the unprivileged processes: a stable word first, no secret and no text of a peer.

In the journal such a line has the fields of sso.guest.journal; its MESSAGE_ID is that of the program's name
and the word, such as "sso.channel.child-stopped". A number `session=N` in the text is CONSOLE_SSO_SESSION.
"""

import re
import sys
from collections.abc import Callable

from sso.guest import journal

_WARNINGS = {
    *("child-stopped", "child-failed", "child-not-made", "agent-late", "record-malformed"),
    *("mechanism-failed", "mechanism-unavailable", "worker-failed", "worker-not-made", "no-fence"),
    *("digest-key-replaced", "digest-key-not-kept"),
}
_NOTICES = {"not-authenticated", "credential-refused", "peer-late"}
_SESSION = re.compile(r"\bsession=([0-9]{1,20})\b")


def log_as(name: str) -> Callable[[str, str], None]:
    """A function that says `name: id text`, to journald or to standard error."""
    entries = journal.open_journal()

    def log(id: str, text: str) -> None:
        line = f"{id} {text}".rstrip()
        if entries is None or not entries.send(_fields(name, id, line)):
            print(f"{name}: {line}", file=sys.stderr, flush=True)

    return log


def _fields(name: str, id: str, line: str) -> journal.Fields:
    priority = journal.INFO
    if id in _WARNINGS:
        priority = journal.WARNING
    elif id in _NOTICES:
        priority = journal.NOTICE
    session = _SESSION.search(line)
    return {
        "MESSAGE": line,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": name,
        "MESSAGE_ID": journal.message_id(f"{name.replace('-', '.')}.{id}"),
    } | ({"CONSOLE_SSO_SESSION": session[1]} if session else {})
