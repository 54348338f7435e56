"""Sends entries with fields to journald's native socket (systemd's Native Journal Protocol); never blocks.

MESSAGE_ID is the UUID of an event's dotted name (version 5, RFC 4122, in NAMESPACE). A shell computes it so:

    uuidgen --sha1 --namespace 88f4a691-3233-4348-bfcf-bdcbe8da7875 --name sso.login.opened | tr -d -
"""

import os
import socket
import struct
from collections.abc import Mapping

NAMESPACE = "88f4a691-3233-4348-bfcf-bdcbe8da7875"
SOCKET = "/run/systemd/journal/socket"
VALUE_MAX = 1024  # characters of a field's value

Fields = Mapping[str, str]


def message_id(name: str) -> str:
    """Return the MESSAGE_ID of a dotted name."""
    import uuid  # here, because it would slow down the start of every process

    return uuid.uuid5(uuid.UUID(NAMESPACE), name).hex


class Journal:
    """The native socket; each entry is one datagram."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, fields: Fields) -> bool:
        """Send an entry; False if that failed. An entry lost because journald is busy returns True."""
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
    """Open journald if it reads our standard error (JOURNAL_STREAM, systemd.exec(5)), else return None."""
    try:
        found = os.fstat(2)
    except OSError:
        return None
    ours = os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return Journal(path) if ours and os.path.exists(path) else None


def _field(key: str, value: str) -> bytes:
    """Encode one field; a value with a line break gets its length before it instead of "="."""
    data = value.encode(errors="backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (key.encode(), data)
    return b"%s\n%s%s\n" % (key.encode(), struct.pack("<Q", len(data)), data)
