"""The cache of a session that is open: a renewed ticket in the place of the old one, or none for a while.

Done by a forked process with the user's ids. A refresh never makes a cache: the exchange of the two files
fails when the old one is gone, also when that happens at the same moment. Only what was parked is made anew.
"""

import ctypes
import os
import pwd
import stat
from collections.abc import Callable

from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor

REFRESH_SECONDS = 5.0
REFRESH_EVERY = 60.0  # seconds between two refreshes of one session
RENAME_EXCHANGE = 2  # linux/fs.h
DONE = b"done"


def refresh(
    reactor: Reactor,
    path: str,
    uid: int,
    secret: int,
    done: Callable[[bool], None],
    *,
    parked: bool = False,
) -> Forked:
    """Put all of the file `secret` in the place of the cache `path` of user `uid`; `done` says if it worked.

    The descriptor stays the caller's, who may close it at once. A `parked` cache must not be there.
    """
    return Forked(
        reactor,
        lambda: _replace(path, uid, secret, parked),
        lambda answer: done(answer == DONE),
        REFRESH_SECONDS,
        keep=[secret],
    )


def remove(
    reactor: Reactor, path: str, uid: int, done: Callable[[bool], None], *, missing_ok: bool = False
) -> Forked:
    """Remove the cache `path` of user `uid`; `done` says if it was there (or may be missing) and is gone."""
    return Forked(
        reactor,
        lambda: _remove(path, uid, missing_ok),
        lambda answer: done(answer == DONE),
        REFRESH_SECONDS,
    )


def _remove(path: str, uid: int, missing_ok: bool) -> bytes:
    become(uid)
    try:
        directory, name = _enter(path)
        _check_own(directory, name, uid)
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        if not missing_ok:
            raise
    return DONE


def become(uid: int) -> None:
    """Become the user, without further groups. A forked process calls this before anything else."""
    entry = pwd.getpwuid(uid)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(uid)
    os.umask(0o077)


def _enter(path: str) -> tuple[int, str]:
    """Open the cache's folder."""
    folder, name = os.path.split(path)
    if not os.path.isabs(path) or not name or ".." in path.split("/"):
        raise OSError("no path of a cache")
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return directory, name


def _check_own(directory: int, name: str, uid: int) -> None:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != uid or found.st_nlink != 1:
        raise OSError("not a private file of the user")


def _replace(path: str, uid: int, secret: int, parked: bool) -> bytes:
    become(uid)
    return put(path, uid, secret, parked=parked)


def put(path: str, uid: int, secret: int, *, parked: bool = False) -> bytes:
    """Put the ticket in place, in a worker that is the user. After an OSError nothing has changed."""
    directory, name = _enter(path)
    if not parked:
        _check_own(directory, name, uid)
    fresh = f".{name}.{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(fresh, flags, 0o600, dir_fd=directory)
    try:
        _copy(secret, file)
        if parked:
            os.link(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            _exchange(directory, fresh, name)
    finally:
        # After the exchange this is the old ticket, else a second name of the new one: neither may stay.
        os.unlink(fresh, dir_fd=directory)
    return DONE


def _copy(source: int, target: int) -> None:
    """Copy a whole file within the kernel, so that no byte is copied into this process."""
    offset, size = 0, os.fstat(source).st_size
    while offset < size:
        sent = os.sendfile(target, source, offset, size - offset)
        if sent == 0:
            raise OSError("the ticket is shorter than it was")
        offset += sent


def _exchange(directory: int, first: str, second: str) -> None:
    """Swap two existing files (renameat2(2)); the standard library cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(directory, first.encode(), directory, second.encode(), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "the cache cannot be replaced")
