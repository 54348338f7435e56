"""Remembers the consoles at which a user agreed to sign on: one line of JSON each, in a file of that user.

If the user deletes a line, or the file, the viewer asks again.
"""

import json
import os
import stat
from contextlib import suppress

from sso.console.vouch import Agreement
from sso.settings import own_state

SIZE_MAX = 256 * 1024  # bytes that are read
LINES_MAX = 1000  # the oldest are forgotten


class Agreed:
    """Reads and writes the file at `path`; ignores malformed lines, and a file that others could write."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path or own_state("agreed")

    def has(self, agreement: Agreement) -> bool:
        """Whether the user gave exactly this agreement before."""
        return agreement in self._read()

    def add(self, agreement: Agreement) -> None:
        """Remember an agreement; raises OSError if it cannot be written."""
        kept = [one for one in self._read() if one != agreement][-(LINES_MAX - 1) :]
        lines = [json.dumps(one._asdict()) + "\n" for one in (*kept, agreement)]
        while sum(map(len, lines)) > SIZE_MAX:  # _read ignores what is beyond
            del lines[0]
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        new = f"{self.path}.{os.getpid()}"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.writelines(lines)
            os.replace(new, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise

    def _read(self) -> list[Agreement]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return []
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or others_write:
                return []
            lines = file.read(SIZE_MAX).split(b"\n")
        return [one for line in lines if (one := _agreement(line)) is not None]


def _agreement(line: bytes) -> Agreement | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != set(Agreement._fields):
        return None
    return Agreement(**found) if all(isinstance(text, str) for text in found.values()) else None
