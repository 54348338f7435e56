"""The login records without logind: real ones of real processes, stale ones, torn files."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from beds_dbus import Desk
from beds_logind import look
from hypothesis import given
from hypothesis import strategies as st

from sso.guest.seat import utmp
from sso.guest.seat.logind import Found, Seat, Seated
from sso.guest.seat.utmp import LINES, TAIL, UtmpEntry, on_line, signed_in_since

SIZE = 384
LOGIN_PROCESS, DEAD_PROCESS = 6, 8


def record(
    user: str, line: str = "tty1", *, pid: int | None = None, at: int = 1000, kind: int = utmp.USER_PROCESS
) -> bytes:
    """One record as login(1) writes it; ours is the process unless another is given."""
    return struct.pack(
        "=h2xi32s4s32s256shhiii16s20s",
        *(kind, os.getpid() if pid is None else pid, line.encode(), b"1", user.encode(), b"", 0, 0, 0, at, 0),
        *(b"", b""),
    )


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as process:
        process.wait()
        return process.pid


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "utmp")


def write(path: str, *records: bytes) -> None:
    Path(path).write_bytes(b"".join(records))


def test_a_record_has_the_size_of_the_c_library() -> None:
    assert len(record("alice")) == SIZE == utmp._RECORD.size


def test_who_is_on_a_line(path: str) -> None:
    write(path, record("bob", "tty2"), record("alice"))
    assert on_line("tty1", path) == UtmpEntry("alice", "tty1")
    assert on_line("tty2", path) == UtmpEntry("bob", "tty2")
    assert on_line("tty", path) is None


def test_any_line(path: str) -> None:
    write(path, record("bob", "tty2"), record("alice", ":0"))
    assert on_line("", path) == UtmpEntry("alice", ":0")


def test_a_record_of_a_process_that_is_gone_is_nobody(path: str, gone: int) -> None:
    write(path, record("alice", pid=gone), record("bob", pid=0), record("bob", pid=-1))
    assert on_line("tty1", path) is None


@pytest.mark.parametrize("kind", [LOGIN_PROCESS, DEAD_PROCESS, 0, -1])
def test_only_logins_count(kind: int, path: str) -> None:
    write(path, record("LOGIN", kind=kind))
    assert on_line("tty1", path) is None


def test_a_line_is_found_however_many_others_there_are(path: str) -> None:
    """utmp has one record for each line in the order of their first use, so the console's is an early one."""
    write(path, record("alice"), *(record("bob", f"pts/{n}") for n in range(TAIL * 2)))
    assert on_line("tty1", path) == UtmpEntry("alice", "tty1")


def test_a_file_without_end_is_read_in_part(path: str) -> None:
    write(path, *(record("bob", f"pts/{n}") for n in range(LINES)), record("alice"))
    assert on_line("tty1", path) == UtmpEntry("alice", "tty1")


@pytest.mark.parametrize("extra", [1, SIZE // 2, SIZE - 1])
def test_a_torn_file(extra: int, path: str) -> None:
    write(path, record("alice"), record("bob")[:extra])
    assert on_line("tty1", path) == UtmpEntry("alice", "tty1")
    write(path, record("alice")[:extra])
    assert on_line("tty1", path) is None


def test_no_file(path: str, tmp_path: Path) -> None:
    assert on_line("tty1", path) is None and not signed_in_since("alice", 0, path)
    assert on_line("tty1", str(tmp_path)) is None, "a folder"


@given(data=st.binary(max_size=SIZE * 3))
def test_any_bytes(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.getbasetemp() / "any-utmp")
    write(path, data, *(struct.pack("h", utmp.USER_PROCESS) + data for _ in range(3)))
    on_line("", path)
    signed_in_since("alice", 0, path)


def test_a_name_that_is_no_text(path: str) -> None:
    write(path, record("alice").replace(b"alice", b"\xff\xfe\xfd\xfc\xfb"))
    entry = on_line("tty1", path)
    assert entry is not None and entry.user == "\ufffd" * 5


def test_a_name_without_end(path: str) -> None:
    write(path, record("a" * 32))
    assert on_line("tty1", path) == UtmpEntry("a" * 32, "tty1")


def test_who_has_signed_in_since(path: str, gone: int) -> None:
    write(path, record("alice", pid=gone, at=500), record("bob", at=900))
    assert signed_in_since("alice", 499, path) and not signed_in_since("alice", 500, path)
    assert not signed_in_since("mallory", 0, path)


@pytest.mark.parametrize("name", ["a" * 31, "a" * 32, "a" * 33, "a" * 255, "b" * 31 + "ü" * 20])
def test_a_longer_name_than_a_record_has_room_for_is_found(name: str, path: str) -> None:
    """Otherwise a user with such a name would stay stopped for ever after three failures."""
    write(path, record(name, at=900))
    assert signed_in_since(name, 499, path) and not signed_in_since(name, 900, path)
    assert not signed_in_since(name[:30], 0, path)


def test_only_the_end_of_wtmp_is_read(path: str) -> None:
    write(path, record("alice"), *(record("bob") for _ in range(TAIL)))
    assert not signed_in_since("alice", 0, path) and signed_in_since("bob", 0, path)


def test_the_machines_own_programs_agree(path: str) -> None:
    """What `who` of coreutils reads is what we read."""
    who = shutil.which("who")
    assert who is not None
    write(path, record("alice"), record("bob", "tty2", kind=DEAD_PROCESS))
    said = subprocess.run([who, path], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
    assert said.stdout.split()[:2] == ["alice", "tty1"] and "bob" not in said.stdout


def test_the_seat_without_logind(tmp_path: Path, gone: int) -> None:
    path = str(tmp_path / "utmp")
    desk = Desk(f"unix:path={tmp_path}/nothing")
    seat = Seat(desk.reactor, desk.bus, "tty1", path, "/nonexistent")
    assert look(desk, seat) == Found(False)
    write(path, record("bob", pid=gone), record("alice"))
    (alice,) = look(desk, seat).users
    assert alice == Seated("", "alice", -1, "tty", tty="tty1") and not seat.found.known
    assert alice.belongs_to("alice", 4001) and not alice.belongs_to("bob", 4002)
    late = Seat(desk.reactor, desk.bus, "tty1", path, str(tmp_path))
    (stranger,) = look(desk, late).users
    assert not late.found.known and not stranger.belongs_to("alice", 4001), "logind is there, and will tell"
    desk.close()
