"""Local listeners: our own, and those that the service manager holds."""

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sso.daemon import local, notify
from sso.errors import ConfigError

FIRST_FD = 800
HELLO = b"hello"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    local._inherited.cache_clear()
    yield
    for listener in local._inherited().values():
        listener.close()
    local._inherited.cache_clear()


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A path that the service manager, here the test, listens on and has handed to us."""
    path = str(tmp_path / "held.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as holder:
        holder.bind(path)
        holder.listen()
        assert fcntl.fcntl(holder.fileno(), fcntl.F_DUPFD, FIRST_FD) == FIRST_FD
        monkeypatch.setattr(notify, "FIRST_FD", FIRST_FD)
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "1")
        yield path


def test_our_own_listener_goes_with_its_path(tmp_path: Path) -> None:
    path = str(tmp_path / "own.sock")
    listener = local.listen(path)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    local.hang_up(listener, path)
    assert not Path(path).exists() and local.dial(path) is None


@pytest.mark.parametrize("place", ["run", "run/console-sso"])
def test_every_folder_above_a_listener_is_checked(place: str, tmp_path: Path) -> None:
    path = tmp_path / "run" / "console-sso" / "own.sock"
    path.parent.mkdir(parents=True, mode=0o755)
    local.hang_up(local.listen(str(path)), str(path))
    (tmp_path / place).chmod(0o775)
    with pytest.raises(ConfigError, match=r"can be changed by others|others may change it"):
        local.listen(str(path))
    assert not path.exists()


def test_a_path_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    path = str(tmp_path / "own.sock")
    listener = local.listen(path)
    os.unlink(path)
    local.hang_up(listener, path)


def test_the_managers_listener_is_used_and_its_path_stays(held: str) -> None:
    inode = os.stat(held).st_ino
    listener = local.listen(held)
    caller = local.dial(held)
    assert caller is not None
    link, _ = listener.accept()
    with caller, link:
        caller.send(HELLO)
        assert link.recv(16) == HELLO
    assert listener.gettimeout() == 0.0 and not os.get_inheritable(listener.fileno())
    local.hang_up(listener, held)
    assert os.stat(held).st_ino == inode


def test_who_calls_between_two_agents_is_heard_by_the_next(held: str) -> None:
    local.hang_up(local.listen(held), held)
    caller = local.dial(held)
    assert caller is not None
    caller.send(HELLO)
    listener = local.listen(held)
    link, _ = listener.accept()
    with caller, link:
        assert link.recv(16) == HELLO
    local.hang_up(listener, held)


def test_another_path_is_our_own_matter(held: str, tmp_path: Path) -> None:
    path = str(tmp_path / "other.sock")
    listener = local.listen(path)
    local.hang_up(listener, path)
    assert not Path(path).exists() and Path(held).exists()
