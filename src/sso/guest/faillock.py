"""pam_faillock's tally, read before an automatic attempt: that one must never be the failure that locks.

Sources: faillock.conf(5), pam_faillock(8), and faillock.h of Linux-PAM (struct tally).
"""

import os
import stat
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from sso.guest.account import is_login_name

CONF = "/etc/security/faillock.conf"
SIZE_MAX = 64 * 1024  # octets of either file
VALID = 1  # TALLY_STATUS_VALID
_TALLY = struct.Struct("=52sHHQ")  # source, reserved, status, time


class Settings(NamedTuple):
    """What faillock.conf says; seconds, and `unlock` 0 for never."""

    folder: str = "/var/run/faillock"
    deny: int = 3
    interval: int = 900
    unlock: int = 600


def would_lock(user: str, conf: str = CONF, now: Callable[[], float] = time.time) -> bool:
    """Whether the account is locked, or one more failure would lock it; False where nothing is counted."""
    settings = read(conf)
    times = _failures(settings.folder, user)
    recent = [at for at in times if now() - at < settings.interval]
    if len(times) >= settings.deny:
        locked_until = max(times) + settings.unlock
        if settings.unlock == 0 or now() < locked_until:
            return True
    return len(recent) >= settings.deny - 1


def read(conf: str = CONF) -> Settings:
    """The settings of a file; what is missing or makes no sense there is the default."""
    values: dict[str, str] = {}
    for line in _contents(conf).decode(errors="replace").splitlines():
        name, equals, value = line.partition("#")[0].partition("=")
        if equals:
            values[name.strip()] = value.strip()
    default = Settings()
    unlock = "0" if values.get("unlock_time") == "never" else values.get("unlock_time", "")
    folder = values.get("dir", default.folder)
    return Settings(
        folder if folder.startswith("/") else default.folder,
        max(1, _number(values.get("deny", ""), default.deny)),
        _number(values.get("fail_interval", ""), default.interval),
        _number(unlock, default.unlock),
    )


def _failures(folder: str, user: str) -> list[int]:
    """When the failures were that count; of a file that is torn, the whole records."""
    if not is_login_name(user):
        return []
    data = _contents(os.path.join(folder, user))
    whole = data[: len(data) - len(data) % _TALLY.size]
    return [at for _, _, status, at in _TALLY.iter_unpack(whole) if status & VALID]


def _contents(path: str) -> bytes:
    """A file's beginning; b"" when there is none, or something else than a file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, SIZE_MAX) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
