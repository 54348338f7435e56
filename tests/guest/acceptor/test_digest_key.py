"""The key of the digests survives a restart of the acceptor, and nothing that is not ours is taken for it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sso.guest.acceptor.digest_key import NAME, SIZE, digest_key


@pytest.fixture
def lines() -> list[str]:
    return []


def key_of(folder: Path, lines: list[str]) -> bytes:
    return digest_key(str(folder), lambda id, text: lines.append(f"{id} {text}"))


def test_the_next_start_has_the_same_key(tmp_path: Path, lines: list[str]) -> None:
    first = key_of(tmp_path, lines)
    assert len(first) == SIZE and any(first) and key_of(tmp_path, lines) == first and lines == []
    assert os.listdir(tmp_path) == [NAME]
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_each_folder_has_a_key_of_its_own(tmp_path: Path, lines: list[str]) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    assert len({key_of(folder, lines) for folder in folders}) == 2


def short(path: Path) -> None:
    path.write_bytes(b"x")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def long(path: Path) -> None:
    path.write_bytes(bytes(33))


def readable(path: Path) -> None:
    path.write_bytes(bytes(range(32)))
    path.chmod(0o640)


def two_names(path: Path) -> None:
    path.write_bytes(bytes(range(32)))
    path.chmod(0o600)
    os.link(path, path.with_name("another"))


def link(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(bytes(range(32)))
    target.chmod(0o600)
    path.symlink_to(target)


def fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def foreign(path: Path) -> None:
    path.write_bytes(bytes(range(32)))
    path.chmod(0o600)
    os.chown(path, 12345, -1)


FOREIGN = [short, empty, long, readable, two_names, link, fifo]


@pytest.mark.parametrize(
    "make", [*FOREIGN, pytest.param(foreign, marks=pytest.mark.e2e)], ids=lambda make: make.__name__
)
def test_whatever_is_no_key_of_ours_is_replaced_and_told(
    make: Callable[[Path], None], tmp_path: Path, lines: list[str]
) -> None:
    make(tmp_path / NAME)
    key = key_of(tmp_path, lines)
    assert key != bytes(range(32)) and len(key) == SIZE
    assert [line.split()[0] for line in lines] == ["digest-key-replaced"]
    assert key_of(tmp_path, lines) == key and len(lines) == 1
    assert not (tmp_path / NAME).is_symlink()


def test_what_a_crash_left_is_in_nobodys_way(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / f"{NAME}.new").write_bytes(b"half")
    assert key_of(tmp_path, lines) == key_of(tmp_path, lines) and lines == []
    assert os.listdir(tmp_path) == [NAME]


def test_a_folder_that_takes_nothing_costs_the_memory_alone(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / NAME).mkdir()
    first, second = key_of(tmp_path, lines), key_of(tmp_path, lines)
    assert first != second and len(first) == len(second) == SIZE
    assert [line.split()[0] for line in lines] == ["digest-key-replaced", "digest-key-not-kept"] * 2
