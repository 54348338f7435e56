"""The login records of login(1) and the display managers: utmp (current) and wtmp (history), see utmp(5)."""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

UTMP = "/run/utmp"
WTMP = "/var/log/wtmp"
USER_PROCESS = 7
TAIL = 256  # records read from the end of wtmp
NAME_SIZE = 32  # bytes of ut_user
LINES = 4096  # records read from utmp: one for each line ever used, not sorted by time
_RECORD = struct.Struct("=h2xi32s4s32s256shhiii16s20s")


class UtmpEntry(NamedTuple):
    """A user's login on a line (a tty without /dev/, or a display)."""

    user: str
    line: str


def signed_in_since(user: str, since: float, path: str = WTMP) -> bool:
    """Whether `user` began a session after `since` (wall clock); False without records.

    A record holds only the first NAME_SIZE bytes of a name.
    """
    kept = _text(user.encode()[:NAME_SIZE])
    return any(name == kept and seconds > since for _, name, _, seconds in _logins(path, TAIL))


def on_line(line: str, path: str = UTMP) -> UtmpEntry | None:
    """Return the current login on a line: the last record whose process still exists, or None."""
    found = None
    for pid, name, at, _ in _logins(path, LINES):
        if line in ("", at) and os.path.isdir(f"/proc/{pid}"):
            found = UtmpEntry(name, at)
    return found


def _logins(path: str, most: int) -> Iterator[tuple[int, str, str, int]]:
    """Yield (process, user, line, time) of the logins among the last `most` records."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size // _RECORD.size - most) * _RECORD.size)
            data = file.read(most * _RECORD.size)
    except OSError:
        return
    whole = len(data) - len(data) % _RECORD.size
    for kind, pid, line, _, name, _, _, _, _, seconds, *_ in _RECORD.iter_unpack(data[:whole]):
        if kind == USER_PROCESS:
            yield pid, _text(name), _text(line), seconds


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
