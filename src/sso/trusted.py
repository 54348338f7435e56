"""A path that nobody can bend but root and we: each folder on the way to it is looked at, and each link.

Who may write to a folder may put another one in the place of what is below it: the owner of the last folder
alone says nothing.
"""

import os
import stat

from sso.errors import ConfigError

LINKS_MAX = 40  # on the way, as the kernel has it (path_resolution(7))


def resolved(path: str) -> str:
    """An absolute path without links, `.` and `..`, whose every part is root's or our own.

    A folder that others may write to counts where it is sticky (/tmp): what lies in it is checked as well.
    The last part is not judged but for its owner. Raises ConfigError that names what others may change, and
    OSError for what is not there.
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
            found = os.stat(here)  # it leads where its text does not say (proc(5)): it stays
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
