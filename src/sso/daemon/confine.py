"""Give up everything that a process does not need, for good: uid, groups, new privileges, dumps."""

import ctypes
import grp
import os
import pwd
import resource
import signal

from sso.errors import ConfigError

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h


def confine(user: str = "") -> None:
    """Become `user` (its own group, no others), no core dump, not traceable, no new privileges.

    Without root, or when `user` is who we are, only the last three are done. Raises ConfigError when
    the user does not exist, OSError when the kernel refuses; a half confined process must not go on.
    """
    if user and os.geteuid() == 0:
        become(user)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_DUMPABLE, 0)


def become(user: str) -> None:
    """Take the uid and the one group of a system user; there is no way back."""
    try:
        entry = pwd.getpwnam(user)
        group = grp.getgrgid(entry.pw_gid).gr_gid
    except KeyError:
        raise ConfigError(f"there is no user {user}: create it, or name another one in guest.toml") from None
    if entry.pw_uid == 0:
        raise ConfigError(f"{user} is root: name a user without privileges in guest.toml")
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def die_with_parent(parent: int) -> None:
    """Of a forked process: be killed when `parent`, who forked it, is gone, however that ended.

    To be called once the uid is the last one: a change of it takes that back (prctl(2)).
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it was gone before


def owned_folder(folder: str, user: str) -> str:
    """Make a folder that only `user` may enter, if we are root; else one of our own (0700)."""
    os.makedirs(folder, mode=0o755, exist_ok=True)
    os.chmod(folder, 0o700)
    if user and os.geteuid() == 0:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise ConfigError(
                f"there is no user {user}: create it, or name another one in guest.toml"
            ) from None
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    return folder


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")
