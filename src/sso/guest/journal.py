"""What the agent says: one line an event, a stable word first, then key=value. Never a secret."""

import logging
import sys

# The stable words, and under which key their explanation stands.
MESSAGE_IDS = {
    "agent-started": "sso.agent.started",
    "agent-ended": "sso.agent.ended",
    "record-malformed": "sso.agent.record.malformed",
    "login-asked": "sso.login.asked",
    "login-given": "sso.login.given",
    "login-opened": "sso.login.opened",
    "login-repeated": "sso.login.repeated",
    "login-failed": "sso.login.failed",
    "login-unknown-user": "sso.login.unknown-user",
    "login-not-authorised": "sso.login.not-authorised",
    "login-account-refused": "sso.login.account-refused",
    "login-other-signed-in": "sso.login.other-signed-in",
    "login-already-signed-in": "sso.login.already-signed-in",
    "login-no-ticket": "sso.login.no-ticket",
    "login-try-later": "sso.login.try-later",
    "login-secret-failed-before": "sso.login.secret-failed-before",
    "login-secret-unusable": "sso.login.secret-unusable",
    "login-no-screen": "sso.login.no-screen",
    "login-expired": "sso.login.expired",
    "login-revoked": "sso.login.revoked",
    "login-mapping-failed": "sso.login.mapping-failed",
    "session-over": "sso.session.over",
    "ticket-refreshed": "sso.ticket.refreshed",
    "ticket-not-refreshed": "sso.ticket.not-refreshed",
    "pam-refused": "sso.pam.refused",
    "pam-malformed": "sso.pam.malformed",
    "screen-ready": "sso.screen.ready",
    "screen-refused": "sso.screen.refused",
    "screen-ended": "sso.screen.ended",
}

_log = logging.getLogger("sso.guest")


def note(id: str, **values: object) -> None:
    """Log one event; a blank or a control character in a value makes it appear quoted."""
    if id not in MESSAGE_IDS:
        raise KeyError(id)
    words = [id, *(f"{key}={_plain(value)}" for key, value in values.items())]
    _log.info(" ".join(words), extra={"message_id": MESSAGE_IDS[id]})


def to_stderr() -> None:
    """Show the events on standard error, unless the program has set up logging already."""
    if not _log.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("sso-agent: %(message)s"))
        _log.addHandler(handler)
        _log.setLevel(logging.INFO)


def _plain(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else ascii(text)
