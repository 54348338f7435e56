"""The path to a file: every part belongs to root or to us, and no other user's link can redirect it."""

import os
from pathlib import Path
from typing import Any

import pytest

from sso.errors import ConfigError
from sso.trusted import LINKS_MAX, resolved


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A file in folders that are ours."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True, mode=0o755)
    (folder / "file").write_text("")
    return folder / "file"


def test_a_path_without_links_is_itself(deep: Path) -> None:
    assert resolved(str(deep)) == str(deep)
    assert resolved(f"{deep.parent}/./../c//file") == str(deep)
    assert resolved("/") == "/"


def test_links_are_followed(deep: Path, tmp_path: Path) -> None:
    (tmp_path / "near").symlink_to("a/b")
    (tmp_path / "a" / "far").symlink_to(tmp_path / "near" / "c")
    assert resolved(f"{tmp_path}/a/far/file") == str(deep)
    (tmp_path / "a" / "up").symlink_to("../near/../b/c")
    assert resolved(f"{tmp_path}/a/up/file") == os.path.realpath(f"{tmp_path}/a/up/file")


@pytest.mark.parametrize("place", ["a", "a/b", "a/b/c"])
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_that_others_may_write_to(deep: Path, tmp_path: Path, place: str, mode: int) -> None:
    (tmp_path / "link").symlink_to(deep)
    (tmp_path / place).chmod(mode)
    for path in (deep, tmp_path / "link"):
        with pytest.raises(ConfigError, match=f"{place}: others may change it"):
            resolved(str(path))
    (tmp_path / place).chmod(mode | 0o1000)
    assert resolved(str(deep)) == str(deep)


@pytest.mark.parametrize("place", ["a", "a/b/c", "a/b/c/file", "link"])
def test_a_part_that_is_somebody_elses(
    deep: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(deep)
    real = os.lstat

    def lstat(path: Any) -> os.stat_result:
        found = real(path)
        return os.stat_result([*found[:4], 4711, *found[5:]]) if str(path) == f"{tmp_path}/{place}" else found

    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(ConfigError, match=f"{place}: others may change it"):
        resolved(f"{tmp_path}/link")


@pytest.mark.e2e  # only root can change an owner
def test_a_strangers_link_in_a_sticky_folder(deep: Path, tmp_path: Path) -> None:
    """Any user can make such a link in /tmp: it leads to good folders, and then where that user likes."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(deep)
    assert resolved(str(shared / "link")) == str(deep)
    os.chown(shared / "link", 4001, 4001, follow_symlinks=False)
    with pytest.raises(ConfigError, match="tmp/link: others may change it"):
        resolved(str(shared / "link"))


def test_a_link_of_proc_leads_where_the_kernel_says(deep: Path, tmp_path: Path) -> None:
    """The link's text may name another file, such as one in another root."""
    fd = os.open(deep.parent, os.O_PATH)
    deep.parent.rename(tmp_path / "moved")
    way = f"/proc/{os.getpid()}/fd/{fd}"
    assert resolved(f"{way}/file") == f"{way}/file"
    (tmp_path / "moved").chmod(0o775)
    with pytest.raises(ConfigError, match=f"fd/{fd}: others may change it"):
        resolved(f"{way}/file")
    os.close(fd)


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ConfigError, match="too many links"):
        resolved(str(tmp_path / "circle"))
    (tmp_path / "0").mkdir()
    for number in range(LINKS_MAX):
        (tmp_path / str(number + 1)).symlink_to(str(number))
    assert resolved(str(tmp_path / str(LINKS_MAX))) == f"{tmp_path}/0"


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "none", tmp_path / "link", tmp_path / "none" / "x"):
        with pytest.raises(FileNotFoundError):
            resolved(str(path))
