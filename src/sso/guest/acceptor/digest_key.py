"""The key of the digests by which the agent knows a password again: one file in the acceptor's state folder.

A restart of the acceptor must not make the agent forget which passwords failed, nor count a repeated attempt
anew. The agent's memory ends at the next boot at the latest; the file is kept for good all the same, because
no digest ever reaches a disk: without one the key tells nothing.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress

NAME = "digest.key"
SIZE = 32


def digest_key(folder: str, note: Callable[[str, str], None]) -> bytes:
    """The key in this folder of ours; a new one replaces what is no key, or is not ours alone, and says so.

    A folder that takes no file costs only the memory: the key of this start is not kept then.
    """
    path = os.path.join(folder, NAME)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        note("digest-key-replaced", str(error))
    key = os.urandom(SIZE)
    try:
        _keep(folder, path, key)
    except OSError as error:
        note("digest-key-not-kept", error.strerror or type(error).__name__)
    return key


def _read(path: str) -> bytes:
    """The file's key; raises ValueError for anything that we did not write so."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != SIZE:
            raise ValueError("it is no key")
        if found.st_uid != os.geteuid() or found.st_mode & 0o077 or found.st_nlink != 1:
            raise ValueError("others could have read or changed it")
        return os.read(fd, SIZE)
    finally:
        os.close(fd)


def _keep(folder: str, path: str, key: bytes) -> None:
    """Write it beside and put it in place, so that a crash leaves the former file or the whole new one."""
    fresh = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(fresh)  # of a start that did not get through
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, key)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(fresh, path)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(place)
    finally:
        os.close(place)
