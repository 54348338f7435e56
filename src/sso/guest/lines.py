"""The words of the unprivileged processes' logs: the channel process with its children, and the acceptor.

In the journal such a line has the fields of sso.guest.log; its MESSAGE_ID is that of the program's name
and the word, such as "sso.channel.child-stopped".
"""

from sso.guest.log import NOTICE, WARNING, Log

# How a session ended in itself: by our own core, or by one of our mechanisms.
ENDS = ("closed", "hang-up", "injected", "protocol", "reset", "tls", "gssapi")
_WORDS = {
    "sso-channel": (
        *("session-begin", "session-end", "session-failed", *(f"session-{cause}" for cause in ENDS)),
        *("child-stopped", "child-failed", "child-not-made", "agent-late", "record-malformed"),
        *("peer-silent", "peer-late", "authenticated", "not-authenticated"),
        *("mechanism-unavailable", "credential-refused", "no-fence"),
    ),
    "sso-acceptor": (
        *("mechanism-failed", "record-malformed", "worker-failed", "worker-not-made", "no-fence"),
        *("digest-key-replaced", "digest-key-not-kept"),
    ),
}
_PRIORITIES = {
    **dict.fromkeys(("child-stopped", "child-failed", "child-not-made", "agent-late"), WARNING),
    **dict.fromkeys(("record-malformed", "mechanism-failed", "mechanism-unavailable"), WARNING),
    **dict.fromkeys(("worker-failed", "worker-not-made", "no-fence"), WARNING),
    **dict.fromkeys(("digest-key-replaced", "digest-key-not-kept"), WARNING),
    **dict.fromkeys(("not-authenticated", "credential-refused", "peer-late"), NOTICE),
}


def log_as(name: str) -> Log:
    """The log of the program of that name, to journald or to standard error."""
    dotted = name.replace("-", ".")
    return Log(name, {word: f"{dotted}.{word}" for word in _WORDS[name]}, _PRIORITIES)


def ending(cause: str) -> str:
    """The word for the end of a session; a mechanism that is not ours may have causes of its own."""
    return f"session-{cause}" if cause in ENDS else "session-failed"
