"""A renewed ticket in the place of the old one: as the user, all at once, and never a new cache."""

import gc
import os
import time
from pathlib import Path

import pytest
from beds_agent import let_in, open_fds, secret_file

from sso.daemon.reactor import Reactor
from sso.guest.agent import ccache

pytestmark = pytest.mark.e2e  # becomes another user, so it needs root
UID = 1  # daemon's, on every Debian
NEW = b"new ticket" * 3000


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    let_in(tmp_path)
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    path = folder / "krb5cc_1_x"
    path.write_bytes(b"old ticket")
    path.chmod(0o600)
    os.chown(path, UID, UID)
    return path


def refresh(path: Path | str, uid: int = UID, content: bytes = NEW) -> bool:
    reactor, secret, got = Reactor(time.monotonic), secret_file(content), list[bool]()
    gc.collect()  # what other tests left open
    before = open_fds()
    ccache.refresh(reactor, str(path), uid, secret, got.append)
    while not got:
        reactor.turn(1.0)
    assert open_fds() == before
    os.close(secret)
    reactor.close()
    return got[0]


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def test_the_new_ticket_takes_the_place_of_the_old(cache: Path) -> None:
    with cache.open("rb") as reader:
        assert refresh(cache)
        assert reader.read() == b"old ticket", "who reads the old file still reads all of it"
    found = cache.stat()
    assert cache.read_bytes() == NEW and names(cache) == ["krb5cc_1_x"]
    assert (found.st_uid, found.st_mode & 0o7777, found.st_nlink) == (UID, 0o600, 1)


def nothing(cache: Path) -> None:
    cache.unlink()


def link(cache: Path) -> None:
    target = cache.parent / "target"
    cache.rename(target)
    cache.symlink_to(target)


def hard_link(cache: Path) -> None:
    os.link(cache, cache.parent / "second")


def of_root(cache: Path) -> None:
    os.chown(cache, 0, 0)


def of_another(cache: Path) -> None:
    os.chown(cache, 2, 2)


def folder(cache: Path) -> None:
    cache.unlink()
    cache.mkdir()
    os.chown(cache, UID, UID)


def fifo(cache: Path) -> None:
    cache.unlink()
    os.mkfifo(cache)
    os.chown(cache, UID, UID)


def folder_is_a_link(cache: Path) -> None:
    moved = cache.parent.with_name("moved")
    cache.parent.rename(moved)
    cache.parent.symlink_to(moved)


@pytest.mark.parametrize(
    "trap", [nothing, link, hard_link, of_root, of_another, folder, fifo, folder_is_a_link]
)
def test_what_is_no_private_file_of_the_user_is_left_alone(trap: object, cache: Path) -> None:
    trap(cache)  # type: ignore[operator]
    before = names(cache)
    assert not refresh(cache)
    assert names(cache) == before
    found = [path.read_bytes() for path in cache.parent.iterdir() if path.is_file()]
    assert set(found) <= {b"old ticket"}


def test_a_cache_that_goes_in_the_same_moment_is_not_made_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = ccache._copy

    def slow(source: int, target: int) -> None:
        copy(source, target)
        cache.unlink()  # as the session's end would do it

    monkeypatch.setattr(ccache, "_copy", slow)
    assert not refresh(cache)
    assert names(cache) == []


def test_a_folder_that_the_user_may_not_write_is_refused(cache: Path) -> None:
    cache.parent.chmod(0o755)
    assert not refresh(cache)
    assert cache.read_bytes() == b"old ticket" and names(cache) == ["krb5cc_1_x"]


@pytest.mark.parametrize("path", ["krb5cc", "", "/", "/tmp/../tmp/krb5cc_1_x", "/no/such/folder/x"])
def test_odd_paths_are_refused(path: str) -> None:
    assert not refresh(path)


def test_an_unknown_uid_is_refused(cache: Path) -> None:
    assert not refresh(cache, 4_000_000)
