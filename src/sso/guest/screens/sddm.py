"""The SDDM driver: it sends a login to SDDM's daemon as the greeter does, with an empty password.

PAM's service sddm then finds the grant. The protocol is private to SDDM and depends on its version
(QDataStream over a local socket, src/common/Messages.h): we know only 0.19 and refuse other versions. The
socket belongs to the user sddm, so a forked process switches to that user and talks to SDDM.

Three facts about SDDM 0.19 matter here (src/daemon/Display.cpp, SocketServer.cpp). First, the process that
asks for a login must stay connected until SDDM has finished, because SDDM answers to that connection even if
it is closed. Second, SDDM reports each message of PAM as a failure, so a failure is not the end. Third, only
the process that asked learns of the success: the greeter, which would then exit, does not, so we end it.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from sso.daemon import local
from sso.daemon.confine import become
from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor
from sso.guest.config import GuestConfig
from sso.guest.log import note
from sso.guest.seat.logind import Seat, Seated

KNOWN = "0.19."
USER = "sddm"
SOCKETS = "/tmp/sddm-:*"
STATE = "/var/lib/sddm/state.conf"
SETTINGS = ("/usr/lib/sddm/sddm.conf.d/*", "/etc/sddm.conf.d/*", "/etc/sddm.conf")  # later files win
LOGIN, X11, WAYLAND = 1, 1, 2  # GreeterMessages, Session::Type
SUCCEEDED, FAILED = 2, 3  # DaemonMessages
FOLDERS = {X11: ("X11", "/usr/share/xsessions"), WAYLAND: ("Wayland", "/usr/share/wayland-sessions")}
VERSION_SECONDS = 10.0
TALK_SECONDS = 120.0  # for PAM to finish; a talk that SDDM never answers blocks the next one as long
QUIET_SECONDS = 5.0  # after a failure, for the next message of the same login
GREETER_SECONDS = 5.0  # for a greeter that is starting
GREETER_PAUSE = 0.05


class SDDMDriver:
    """Reads SDDM's version and runs one login at a time."""

    service, place = "sddm", ""
    token = unlocks = False
    retry = 0.0

    def __init__(self, config: GuestConfig, reactor: Reactor, seat: Seat, sockets: str = SOCKETS) -> None:
        self.service = config.service or self.service
        self._reactor, self._seat, self._sockets = reactor, seat, sockets
        self._known = False
        self._talk: Forked | None = None
        self._wanted = False  # whether the login of the current talk is still wanted
        self._user = ""  # the user of that login
        self._helpers: list[int] = []  # pidfds of processes to end after the talk
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed

        def told(version: bytes) -> None:
            self._known = version.decode(errors="replace").startswith(KNOWN)
            if self._known:
                changed()
            else:
                reason = f"SDDM {version.decode(errors='replace') or '?'}: only {KNOWN}x is known"
                note("screen-refused", reason=reason)

        Forked(self._reactor, _version, told, VERSION_SECONDS)

    def ready(self, user: str) -> bool:
        """Whether the greeter is in front or, without logind, its socket exists."""
        found = self._seat.found
        in_front = not found.known or (found.active is not None and found.active.greeter)
        return self._known and in_front and self._talk is None and bool(_candidates(self._sockets))

    def trigger(self, user: str, token: str) -> bool:
        def told(answer: bytes) -> None:
            self._talk = None
            self._end_helpers()
            if not self._wanted:
                self._changed()  # another login may be waiting for the end of this talk

        sockets = self._sockets
        self._talk = Forked(self._reactor, lambda: _log_in(sockets, user), told, TALK_SECONDS)
        self._wanted, self._user = True, user
        return True

    def settled(self) -> None:
        self._wanted = False

    failed = settled

    def cancel(self) -> None:
        """End the process that runs PAM; let the talk go on to its end, as SDDM requires.

        PAM may be asking a question (for a new password), which SDDM 0.19 cannot answer: it would wait for
        ever and block the next login. So the process is killed once the talk is over; the greeter learns of
        that as of any failure. Until then no one else can answer the question.
        """
        wanted, self._wanted = self._wanted, False
        if wanted:
            self._helpers += _running(b"sddm-helper", self._user.encode())
        if self._talk is None:
            self._end_helpers()

    def _end_helpers(self) -> None:
        helpers, self._helpers = self._helpers, []
        _end_all(helpers, signal.SIGKILL)

    def lock(self, session: Seated) -> bool:
        return False

    def is_locked(self, session: Seated) -> bool:
        return session.locked

    def close(self) -> None:
        if self._talk is not None:
            self._talk.cancel()
            self._talk = None
        self._end_helpers()


def _version() -> bytes:
    """In a worker: return the installed version from the package database, since SDDM does not report it."""
    for words in (
        ["dpkg-query", "-W", "-f", "${Version}", "sddm"],
        ["rpm", "-q", "--qf", "%{VERSION}", "sddm"],
    ):
        if program := shutil.which(words[0], path="/usr/bin:/bin"):
            done = subprocess.run([program, *words[1:]], capture_output=True, timeout=VERSION_SECONDS)
            if done.returncode == 0:
                return done.stdout[:64]
    return b""


# In a worker that becomes the user sddm


def _log_in(sockets: str, user: str) -> bytes:
    """Ask for the login, wait until SDDM has finished, and end the greeter if the login succeeded."""
    paths, daemons = _candidates(sockets), {0, os.getuid()}
    name = user.encode("utf-16-be")  # before `become`: the user sddm may not be able to load the codec
    if os.geteuid() == 0:
        become(USER)  # before we read any file that belongs to sddm
    kind, session = _session(STATE, _folders(SETTINGS))
    message = struct.pack(">I", LOGIN) + _text(name) + _text(b"")
    message += struct.pack(">I", kind) + _text(session.encode("utf-16-be"))
    link, path = _connected(paths, daemons)
    with link:
        link.sendall(message)
        if not _succeeds(link):
            return b"refused"
    _end_greeter(path)
    return b"in"


def _candidates(pattern: str) -> list[str]:
    """Return sockets that may be SDDM's, newest first; skip files of other users with such a name in /tmp."""
    owners, found = _owners(), []
    for path in glob.glob(pattern):
        try:
            about = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISSOCK(about.st_mode) and about.st_uid in owners:
            found.append((about.st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


def _owners() -> set[int]:
    """The possible owners of the socket: SDDM's daemon makes it as root and gives it to its greeter."""
    owners = {0, os.getuid()}
    with suppress(KeyError):
        owners.add(pwd.getpwnam(USER).pw_uid)
    return owners


def _connected(paths: list[str], daemons: set[int]) -> tuple[socket.socket, str]:
    """Connect to the first socket on which SDDM's daemon listens; skip one that the greeter made itself."""
    for path in paths:
        link = socket.socket(socket.AF_UNIX)
        with suppress(OSError):  # no process listens there any more
            link.connect(path)
            if local.peer(link).uid in daemons:
                return link, path
        link.close()
    raise OSError("no socket of SDDM's daemon")


def _succeeds(link: socket.socket) -> bool:
    """Whether SDDM reports success before it hangs up or, after a failure, is silent for QUIET_SECONDS."""
    while True:
        try:
            reply = int.from_bytes(link.recv(4, socket.MSG_WAITALL), "big")
        except TimeoutError:
            return False
        if reply != FAILED:
            return reply == SUCCEEDED
        link.settimeout(QUIET_SECONDS)


def _end_greeter(path: str) -> None:
    """End the greeter on that socket; it may still be starting."""
    limit = time.monotonic() + GREETER_SECONDS
    while not _end_all(_running(b"sddm-greeter", path.encode()), signal.SIGTERM):
        if time.monotonic() > limit:
            return
        time.sleep(GREETER_PAUSE)


def _end_all(lives: list[int], how: signal.Signals) -> bool:
    """Signal these processes and close their pidfds; True if at least one got the signal."""
    ended = False
    for life in lives:
        with suppress(OSError):  # it has ended, or belongs to another user
            signal.pidfd_send_signal(life, how)
            ended = True
        os.close(life)
    return ended


def _running(program: bytes, option: bytes) -> list[int]:
    """Return pidfds of processes of that program started with that argument; the caller closes them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            life = os.pidfd_open(int(pid))
        except OSError:
            continue
        with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            path, *options = file.read(4096).split(b"\0")
            if os.path.basename(path) == program and option in options:
                found.append(life)
                continue
        os.close(life)
    return found


def _text(octets: bytes) -> bytes:
    """Encode a QString for QDataStream: its length in bytes, then UTF-16."""
    return struct.pack(">I", len(octets)) + octets


# Sessions


def _folders(settings: tuple[str, ...]) -> dict[int, str]:
    """Return the folders in which SDDM finds the sessions of each type."""
    found = dict(FOLDERS.values())
    for path in (path for pattern in settings for path in sorted(glob.glob(pattern))):
        section = ""
        for line in _lines(path):
            key, _, value = (word.strip() for word in line.partition("="))
            if line.startswith("["):
                section = line.strip("[] \t")
            elif key == "SessionDir" and section in found:
                found[section] = value
    return {kind: found[section] for kind, (section, _) in FOLDERS.items()}


def _session(state: str, folders: dict[int, str]) -> tuple[int, str]:
    """Return type and file of the last used session if it still exists, else of the first session."""
    last = next((line.partition("=")[2].strip() for line in _lines(state) if line.startswith("Session=")), "")
    known = [(kind, path) for kind in folders for path in sorted(glob.glob(f"{folders[kind]}/*.desktop"))]
    if not known:
        raise OSError("SDDM knows no session")
    names = [os.path.basename(path) for _, path in known]
    paths = [path for _, path in known]
    name = os.path.basename(last)
    at = paths.index(last) if last in paths else names.index(name) if name in names else 0
    return known[at][0], names[at]


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536).splitlines()
    except OSError:
        return []
