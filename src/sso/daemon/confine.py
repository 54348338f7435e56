"""Permanently drop what a process does not need: uid, groups, new privileges, core dumps."""

import ctypes
import grp
import os
import pwd
import resource
import signal

from sso.errors import ConfigError

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h


def confine(user: str = "") -> None:
    """Switch to `user` (with its primary group only); forbid core dumps, tracing and new privileges.

    Without root, or if we already run as `user`, only the last three are done. Raises ConfigError when the
    user does not exist, OSError when the kernel refuses; the process must end then, since it is only partly
    confined.
    """
    if user and os.geteuid() == 0:
        become(user)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_DUMPABLE, 0)


def become(user: str) -> None:
    """Switch permanently to the uid and the primary group of a system user."""
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
    """In a forked process: let the kernel kill us when `parent` ends, for whatever reason.

    Call this after the last change of the uid, which would clear the setting (prctl(2)).
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent ended before the call


def owned_folder(folder: str, user: str) -> str:
    """Make a folder (0700) that belongs to `user` if we are root, else to us."""
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
