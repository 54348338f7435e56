"""Whether somebody signed in by hand: the records that login(1) leaves in wtmp (utmp(5))."""

import os
import struct

WTMP = "/var/log/wtmp"
USER_PROCESS = 7
TAIL = 256  # records from the end that are looked at
_RECORD = struct.Struct("=h2xi32s4s32s256shhiii16s20s")


def signed_in_since(user: str, since: float, path: str = WTMP) -> bool:
    """Whether `user` began a session after `since` (wall clock); False when nothing is known."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size // _RECORD.size - TAIL) * _RECORD.size)
            data = file.read(TAIL * _RECORD.size)
    except OSError:
        return False
    whole = len(data) - len(data) % _RECORD.size
    for fields in _RECORD.iter_unpack(data[:whole]):
        kind, name, seconds = fields[0], fields[4], fields[9]
        if kind == USER_PROCESS and name.rstrip(b"\0") == user.encode() and seconds > since:
            return True
    return False
