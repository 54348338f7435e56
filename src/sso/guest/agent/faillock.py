"""pam_faillock's tally, read before an automatic attempt: that one must never be the failure that locks.

Sources: faillock.conf(5), pam_faillock(8), and faillock.h of Linux-PAM (struct tally).
"""

import os
import re
import stat
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from sso.guest.records import is_login_name

CONF = "/etc/security/faillock.conf"
SIZE_MAX = 64 * 1024  # bytes of either file
VALID = 1  # TALLY_STATUS_VALID
_TALLY = struct.Struct("=52sHHQ")  # source, reserved, status, time


class FaillockSettings(NamedTuple):
    """What faillock.conf says; seconds, `unlock` 0 for never, `deny` 0 for no lock at all.

    Arguments on the module's own lines, which come before the file's, are not known here.
    """

    folder: str = "/var/run/faillock"
    deny: int = 3
    interval: int = 900
    unlock: int = 600


def would_lock(user: str, conf: str = CONF, now: Callable[[], float] = time.time) -> bool:
    """Whether the account is locked, or one more failure would lock it; False where nothing is counted.

    It follows check_tally() and write_tally() of pam_faillock. A tally that cannot be read counts as locked:
    the user owns the file, and can hide it from us, who lack root's capabilities.
    """
    settings, at = read(conf), now()
    if not settings.deny:
        return False
    failures = _failures(settings.folder, user)
    if failures is None:
        return True
    latest = max(failures, default=0)
    if sum(latest - failure < settings.interval for failure in failures) >= settings.deny:
        # After the lock the count begins anew.
        return not settings.unlock or at <= latest + settings.unlock or settings.deny == 1
    return sum(at - failure < settings.interval for failure in failures) >= settings.deny - 1


def read(conf: str = CONF) -> FaillockSettings:
    """Read the settings of a file; what is missing or makes no sense is the default."""
    values: dict[str, str] = {}
    for line in (_contents(conf) or b"").decode(errors="replace").splitlines():
        name, *value = re.split(r"\s*=\s*|\s+", line.partition("#")[0].strip(), maxsplit=1)
        values[name] = "".join(value)
    default = FaillockSettings()
    unlock = "0" if values.get("unlock_time") == "never" else values.get("unlock_time", "")
    folder = values.get("dir", "")
    return FaillockSettings(
        folder if folder.startswith("/") and "\0" not in folder else default.folder,
        _number(values.get("deny", ""), default.deny),
        _number(values.get("fail_interval", ""), default.interval),
        _number(unlock, default.unlock),
    )


def _failures(folder: str, user: str) -> list[int] | None:
    """Return the times of the failures that count, of whole records only; None if the file cannot be read."""
    if not is_login_name(user):
        return []
    data = _contents(os.path.join(folder, user))
    if data is None:
        return None
    whole = data[: len(data) - len(data) % _TALLY.size]
    return [at for _, _, status, at in _TALLY.iter_unpack(whole) if status & VALID]


def _contents(path: str) -> bytes | None:
    """Return a file's beginning; b"" for no file, None if it cannot be read or is no plain file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    except OSError:
        return None
    try:
        return os.read(fd, SIZE_MAX) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(fd)


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
