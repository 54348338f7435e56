"""The SDDM driver: it speaks to SDDM's daemon as its greeter does, with an empty password.

PAM's service sddm then finds the grant. The protocol is SDDM's own and bound to its version (QDataStream over
a local socket, src/common/Messages.h): only 0.19 is known here, anything else is refused politely. The socket
belongs to the user sddm, so a forked process that becomes that user does the talking.
"""

import glob
import os
import pwd
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Callable

from sso.guest import local
from sso.guest.config import GuestConfig
from sso.guest.forked import Forked
from sso.guest.journal import note
from sso.guest.logind import Seat, Seated
from sso.guest.reactor import Reactor

KNOWN = "0.19."
USER = "sddm"
SOCKETS = "/tmp/sddm-:*"
STATE = "/var/lib/sddm/state.conf"
SESSIONS = "/usr/share/xsessions"
VERSION_SECONDS = 10.0
REPLY_SECONDS = 60.0  # for PAM to come to its end: a grant lives no longer
LOGIN, X11 = 1, 1  # GreeterMessages, Session::Type
SUCCEEDED, FAILED = 2, 3  # DaemonMessages


class SDDMDriver:
    """Knows the daemon's version, and has one login under way at a time."""

    service, place = "sddm", ""
    token = unlocks = False
    retry = 0.0

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat, sockets: str = SOCKETS) -> None:
        self.service = config.service or self.service
        self._reactor, self._seat, self._sockets = reactor, seat, sockets
        self._known = False
        self._talk: Forked | None = None

    def start(self, changed: Callable[[], None]) -> None:
        def told(version: bytes) -> None:
            self._known = version.decode(errors="replace").startswith(KNOWN)
            if self._known:
                changed()
            else:
                reason = f"SDDM {version.decode(errors='replace') or '?'}: only {KNOWN}x is known"
                note("screen-refused", reason=reason)

        Forked(self._reactor, _version, told, VERSION_SECONDS)

    def ready(self, user: str) -> bool:
        """Whether the greeter is in front, or without logind its socket is there."""
        found = self._seat.found
        in_front = not found.known or (found.active is not None and found.active.greeter)
        return self._known and in_front and self._talk is None and bool(glob.glob(self._sockets))

    def trigger(self, user: str, token: str) -> bool:
        def told(answer: bytes) -> None:
            self._talk = None

        sockets = self._sockets
        self._talk = Forked(self._reactor, lambda: _log_in(sockets, user), told, REPLY_SECONDS)
        return True

    def settled(self) -> None:
        pass

    def cancel(self) -> None:
        """Its PAM finds no grant, and SDDM shows its greeter again."""
        if self._talk is not None:
            self._talk.cancel()
            self._talk = None

    def lock(self, session: Seated) -> bool:
        return False

    def is_locked(self, session: Seated) -> bool:
        return session.locked

    def close(self) -> None:
        self.cancel()


def _version() -> bytes:
    """In a worker: the installed version, from the package's own record; SDDM itself does not tell it."""
    for words in (
        ["dpkg-query", "-W", "-f", "${Version}", "sddm"],
        ["rpm", "-q", "--qf", "%{VERSION}", "sddm"],
    ):
        if program := shutil.which(words[0], path="/usr/bin:/bin"):
            done = subprocess.run([program, *words[1:]], capture_output=True, timeout=VERSION_SECONDS)
            if done.returncode == 0:
                return done.stdout[:64]
    return b""


def _log_in(sockets: str, user: str) -> bytes:
    """In a worker: become sddm, ask for the login, and wait for SDDM's word."""
    session = _session(STATE, SESSIONS).encode("utf-16-be")
    name = user.encode("utf-16-be")
    message = struct.pack(">I", LOGIN) + _text(name) + _text(b"") + struct.pack(">I", X11) + _text(session)
    path = max(glob.glob(sockets), key=os.path.getmtime)
    found = os.stat(path, follow_symlinks=False)
    if os.geteuid() == 0:
        entry = pwd.getpwnam(USER)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid not in (0, entry.pw_uid):
            raise OSError("no socket of SDDM")
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(REPLY_SECONDS)
        link.connect(path)
        if local.peer(link).uid not in (0, os.geteuid()):
            raise OSError("not SDDM's daemon")
        link.sendall(message)
        reply = int.from_bytes(link.recv(4), "big")
    if reply not in (SUCCEEDED, FAILED):
        raise OSError("SDDM says what we do not know")
    return b"in" if reply == SUCCEEDED else b"refused"


def _text(octets: bytes) -> bytes:
    """A QString in a QDataStream: its length in octets, and UTF-16."""
    return struct.pack(">I", len(octets)) + octets


def _session(state: str, folder: str) -> str:
    """The session file that was used last, if it still exists, else the first one; "" for none."""
    try:
        with open(state, encoding="utf-8", errors="replace") as file:
            lines = file.read(65536).splitlines()
    except OSError:
        lines = []
    last = next((line.partition("=")[2].strip() for line in lines if line.startswith("Session=")), "")
    if last and os.path.isfile(os.path.join(folder, os.path.basename(last))):
        return os.path.basename(last)
    return next((os.path.basename(path) for path in sorted(glob.glob(f"{folder}/*.desktop"))), "")
