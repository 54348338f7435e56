"""pam_faillock's tally: what the real module has written is read right, and a hostile file does no harm."""

import fcntl
import os
import signal
import struct
import time
from pathlib import Path

import pytest
from beds_agent import let_in

from sso.demo.sandbox import Sandbox
from sso.guest.agent import faillock
from sso.guest.agent.faillock import SIZE_MAX, FaillockSettings, would_lock

TALLY = struct.Struct("=52sHHQ")
NOW = 1_700_000_000.0

# Failures are counted as faillock.conf says, and nothing waits after one.
COUNTED = """\
auth requisite pam_faillock.so preauth nodelay
auth [success=1 default=ignore] pam_unix.so nodelay
auth [default=die] pam_faillock.so authfail nodelay
auth required pam_faillock.so authsucc nodelay
account required pam_permit.so
"""


class Tally:
    """A tally folder and its configuration, outside every sandbox."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder / "faillock", folder / "faillock.conf"
        self.file = self.folder / "alice"
        self.folder.mkdir()
        self.configure("")

    def configure(self, text: str) -> None:
        self.conf.write_text(f"dir = {self.folder}\n{text}\n")

    def write(self, *ages: float, status: int = 1) -> None:
        """Failures of so many seconds ago."""
        records = [TALLY.pack(b"tty1", 0, status, int(NOW - age)) for age in ages]
        self.file.write_bytes(b"".join(records))

    def locks(self, user: str = "alice", now: float = NOW) -> bool:
        return would_lock(user, str(self.conf), lambda: now)


@pytest.fixture
def tally(tmp_path: Path) -> Tally:
    return Tally(tmp_path)


# What the real module writes


@pytest.fixture
def counted(sandbox: Sandbox) -> Sandbox:
    """A sandbox where pam_faillock counts and nobody has failed."""
    sandbox.write("/etc/pam.d/sso-faillock", COUNTED)
    settle(sandbox, "deny = 3\n")
    return sandbox


def settle(sandbox: Sandbox, conf: str) -> None:
    """This configuration, and no failures."""
    sandbox.write("/etc/security/faillock.conf", conf)
    for folder in ("/run/faillock", "/run/elsewhere"):
        sandbox.path(folder).mkdir(exist_ok=True)
        for file in sandbox.path(folder).iterdir():
            file.unlink()


def attempt(sandbox: Sandbox, password: str = "wrong") -> bool:
    argv = ["pamtester", "sso-faillock", "alice", "authenticate"]
    return sandbox.run(argv, stdin=f"{password}\n", check=False).returncode == 0


def locks(sandbox: Sandbox, later: float = 0.0) -> bool:
    """Return our answer, with the configuration of the sandbox."""
    text = sandbox.path("/etc/security/faillock.conf").read_text()
    folder = faillock.read(str(sandbox.path("/etc/security/faillock.conf"))).folder
    conf = sandbox.path("/tmp/faillock.conf")
    conf.write_text(f"{text}\ndir = {sandbox.path(folder)}\n")
    return would_lock("alice", str(conf), lambda: time.time() + later)


@pytest.mark.e2e
def test_the_tally_of_the_real_module(counted: Sandbox) -> None:
    said = [locks(counted)]
    for _ in range(3):
        assert not attempt(counted)
        said.append(locks(counted))
    assert said == [False, False, True, True]
    assert not attempt(counted, counted.password("alice")), "pam_faillock itself says that it is locked"
    counted.run(["faillock", "--user", "alice", "--reset"])
    assert not locks(counted) and attempt(counted, counted.password("alice"))


@pytest.mark.e2e
def test_a_success_is_a_reset(counted: Sandbox) -> None:
    assert not attempt(counted) and not attempt(counted) and locks(counted)
    assert attempt(counted, counted.password("alice"))
    assert not locks(counted)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("conf", "later", "before_last", "at_last"),
    [
        ("deny = 2", 0, True, True),
        ("deny=2\nunlock_time = 60", 70, True, False),
        ("deny = 2\nunlock_time = 1000", 950, False, True),
        ("deny = 2\nunlock_time = never", 10**8, False, True),
        ("deny = 2\nunlock_time = 0", 10**8, False, True),
        ("deny 2\n", 0, True, True),
        ("deny = 1\n", 0, True, True),
        ("deny = 0\n", 0, False, False),
        ("dir = /run/elsewhere\ndeny = 2", 0, True, True),
        ("dir = elsewhere\ndeny = 2", 0, True, True),
        ("# deny = 9\n deny=2 # few\nfail_interval = soon\n= = =\nsilent\n\n", 0, True, True),
    ],
)
def test_settings_mean_what_the_real_module_makes_of_them(
    counted: Sandbox, conf: str, later: float, before_last: bool, at_last: bool
) -> None:
    settle(counted, conf)
    if "deny = 1" not in conf:
        assert not attempt(counted)
    assert locks(counted, later) is before_last
    assert not attempt(counted)
    assert locks(counted, later) is at_last
    assert attempt(counted, counted.password("alice")) is ("deny = 0" in conf), "the real module's word"


# Time


@pytest.mark.parametrize(
    ("conf", "ages", "expected"),
    [
        ("", [], False),
        ("", [899], False),
        ("", [899, 1], True),
        ("", [901, 1], False),
        ("", [900, 1], False),
        ("", [599, 400, 1], True),
        ("", [700, 650, 601], False),  # locked, and open again: the next failure is the first
        ("", [800, 650, 600], True),  # in the last second of the lock
        ("unlock_time = never", [10**6, 10**6 + 5, 10**6 + 9], True),
        ("unlock_time = never", [10**6, 2 * 10**6, 3 * 10**6], False),  # never three in one interval
        ("fail_interval = 10", [11, 9], False),
        ("deny = 5", [4, 3, 2], False),
        ("deny = 5", [4, 3, 2, 1], True),
        ("", [-50, -40], True),  # a clock that was set back
    ],
)
def test_only_failures_of_one_interval_count(
    tally: Tally, conf: str, ages: list[float], expected: bool
) -> None:
    tally.configure(conf)
    tally.write(*ages)
    assert tally.locks() is expected


def test_records_that_are_no_failures_any_more(tally: Tally) -> None:
    tally.write(3, 2, 1, status=0)
    assert not tally.locks()
    tally.write(3, 2, 1, status=7)  # a valid one, of a service, of a remote host
    assert tally.locks()


# The configuration


def test_without_a_configuration_the_defaults_hold(tmp_path: Path) -> None:
    assert faillock.read(str(tmp_path / "none")) == FaillockSettings("/var/run/faillock", 3, 900, 600)


@pytest.mark.parametrize(
    "text",
    [
        "deny = -1",
        "deny = many",
        "deny =",
        "deny",
        "unlock_time = 99999999999",
        "fail_interval = ٣",
        "\0\xff",
    ],
)
def test_nonsense_is_the_default(tmp_path: Path, text: str) -> None:
    conf = tmp_path / "faillock.conf"
    conf.write_text(text)
    assert faillock.read(str(conf)) == FaillockSettings()


def test_a_configuration_of_random_bytes_is_read(tmp_path: Path) -> None:
    conf = tmp_path / "faillock.conf"
    conf.write_bytes(os.urandom(2 * SIZE_MAX))
    assert faillock.read(str(conf)).folder.startswith("/")


# Hostile files: the tally belongs to the user it counts


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "socket"])
def test_what_is_no_file_locks_and_does_not_block(tally: Tally, kind: str) -> None:
    elsewhere = tally.folder / "bob"
    tally.file = elsewhere
    tally.write(1)
    alice = tally.folder / "alice"
    if kind == "symlink":
        alice.symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(alice)
    elif kind == "folder":
        alice.mkdir()
    else:
        os.mknod(alice, 0o140600)
    assert tally.locks() and not tally.locks("bob")


def test_a_huge_file_is_read_as_far_as_the_module_would(tally: Tally) -> None:
    tally.write(3, 2, 1)
    os.truncate(tally.file, 2**30)
    assert tally.locks()
    tally.file.write_bytes(b"")
    os.truncate(tally.file, 2**30)
    assert not tally.locks()


def test_the_whole_records_of_a_torn_file_count(tally: Tally) -> None:
    tally.write(3, 2, 1)
    whole = tally.file.read_bytes()
    tally.file.write_bytes(whole[:-1])
    assert tally.locks()
    tally.file.write_bytes(whole[: TALLY.size + 5])
    assert not tally.locks()
    tally.file.write_bytes(b"\xff" * SIZE_MAX)
    assert tally.locks(), "all in the year 584 billion"


@pytest.mark.parametrize("user", ["../alice", "/etc/shadow", "..", ".", "", "a/b", "-x", "a\0b", "x" * 300])
def test_a_name_leads_nowhere_else(tally: Tally, user: str) -> None:
    (tally.folder / "sub").mkdir()
    tally.write(3, 2, 1)
    tally.configure(f"dir = {tally.folder}/sub")
    assert not tally.locks(user) or user in (".", "..")


@pytest.mark.e2e
def test_a_tally_that_its_owner_hides_from_us_locks(tally: Tally) -> None:
    """The agent's unit has no capability that lets root read everything (capabilities(7))."""
    let_in(tally.folder.parent)
    tally.write(1)
    os.chown(tally.file, 4001, 0)
    for mode, expected in ((0o660, False), (0o600, True), (0o000, True)):
        tally.file.chmod(mode)
        os.seteuid(4002)  # as little as root has there: the group's part
        try:
            assert tally.locks() is expected
        finally:
            os.seteuid(0)


def test_a_lease_of_the_owner_does_not_hold_us_up(tally: Tally) -> None:
    """open(2) waits for the holder of a lease, up to /proc/sys/fs/lease-break-time (45 s)."""
    tally.write(1)
    with tally.file.open("r+b") as file:
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_WRLCK)
            assert tally.locks(), "it cannot be told"
            fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_UNLCK)
        finally:
            signal.signal(signal.SIGIO, before)
    assert not tally.locks()


def test_a_lock_of_the_owner_does_not_hold_us_up(tally: Tally) -> None:
    tally.write(3, 2, 1)
    with tally.file.open("r+b") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        assert tally.locks()
