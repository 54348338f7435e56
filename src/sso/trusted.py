"""Checks that only root and we can change where a path leads: every folder and link on the way.

Whoever may write to a folder can replace everything below it, so checking only the last folder is not enough.
"""

import os
import stat

from sso.errors import ConfigError

LINKS_MAX = 40  # links in one path; the kernel's own limit (path_resolution(7))


def resolved(path: str) -> str:
    """Return the absolute path without links, `.` and `..`; every part must belong to root or to us.

    A folder that others may write to is allowed if it is sticky (/tmp), since the part in it is checked too.
    Of the last part only the owner is checked. Raises ConfigError that names the part that others may change,
    and OSError for a part that does not exist.
    """
    done, todo, links = "", path.split("/"), 0
    _check(os.lstat("/"), "/")
    while todo:
        part, *todo = todo
        if part in ("", "."):
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{part}"
        found = os.lstat(here)
        _check(found, here, last=not any(todo))
        if here.startswith("/proc/") and stat.S_ISLNK(found.st_mode):
            found = os.stat(here)  # its text is not its target (proc(5)), so keep the link itself
            _check(found, here, last=not any(todo))
        if not stat.S_ISLNK(found.st_mode):
            done = here
            continue
        links += 1
        if links > LINKS_MAX:
            raise ConfigError(f"{path}: too many links")
        target = os.readlink(here)
        done, todo = "" if target.startswith("/") else done, [*target.split("/"), *todo]
    return done or "/"


def _check(found: os.stat_result, path: str, last: bool = False) -> None:
    foreign = found.st_uid not in (0, os.geteuid())
    writable = stat.S_ISDIR(found.st_mode) and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if foreign or (writable and not last and not found.st_mode & stat.S_ISVTX):
        raise ConfigError(f"{path}: others may change it: make it root's, and writable by nobody else")
