"""Checks the agent's sockets: a process listens, and only permitted users can connect. We never connect."""

import stat
from collections.abc import Iterator

from sso.doctor import Finding, System, ok, wrong
from sso.guest.checks.guest import ExaminedGuest, sentence

LISTENS = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix (proc(5))


def listening(system: System) -> set[str]:
    """Return the paths of the listening unix sockets."""
    entries = (line.split(maxsplit=7) for line in system.read("/proc/net/unix").splitlines()[1:])
    return {fields[7] for fields in entries if len(fields) == 8 and int(fields[3], 16) & LISTENS}


def sockets(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check the sockets that must exist: always PAM's, and that of the login screen in use."""
    heard = listening(guest.system)
    good, silent = [], []
    for key, owner, mode in _wanted(guest):
        path = getattr(guest.config, key)
        if path not in heard:
            silent.append(path)
        elif problem := _problem(guest.system, path, owner, mode):
            yield wrong(f"{path}: {problem}", sentence(guest.restart))
        else:
            good.append(path)
    if silent:
        yield wrong(f"no agent listens at {', '.join(silent)}", sentence(guest.restart))
    if good:
        yield ok(f"the agent can be reached at {', '.join(good)}")
    folder = guest.config.pam_socket.rpartition("/")[0]
    if guest.system.path(folder).is_dir():
        found = guest.system.path(folder).stat()
        if found.st_uid != 0 or found.st_mode & 0o022:
            yield wrong(
                f"{folder} belongs to {guest.system.user_name(found.st_uid)},"
                f" mode {found.st_mode & 0o7777:o}: others can put a socket of theirs there",
                f"Make it root's alone: chown root:root {folder} && chmod 755 {folder}",
            )


def _wanted(guest: ExaminedGuest) -> Iterator[tuple[str, str, int]]:
    """Yield each socket's configuration key, its required owner, and its widest allowed mode."""
    yield "pam_socket", "root", 0o600
    if guest.screen == "getty":
        yield "getty_socket", "root", 0o600
    if guest.screen == "greetd":
        yield "greeter_socket", "", 0o666
    yield "verdict_socket", "", 0o666
    if guest.system.has_systemd:
        yield "channel_socket", guest.config.channel_user, 0o600
        yield "acceptor_socket", guest.config.acceptor_user, 0o600


def _problem(system: System, path: str, owner: str, mode: int) -> str:
    """Return what is wrong with a socket, or ""; without `owner` the agent itself checks who connects."""
    try:
        found = system.path(path).lstat()
    except FileNotFoundError:
        return "its file was removed, so nobody reaches who listens there"
    whose = system.user_name(found.st_uid)
    if not stat.S_ISSOCK(found.st_mode):
        return "it is no socket"
    if owner and (whose != owner or found.st_mode & 0o777 & ~mode):
        return f"it belongs to {whose}, mode {found.st_mode & 0o777:03o}, not to {owner}, mode {mode:o}"
    return ""
