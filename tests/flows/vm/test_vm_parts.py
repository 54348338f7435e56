"""The parts of the VM bed that need no guest: the cache, the order of kernel modules, the keyboard."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sso.demo.programs import BedError
from sso.demo.vm import cache, initrd, keyboard


def fill(folder: Path) -> None:
    (folder / "image").write_text("whole")


def never(folder: Path) -> None:
    raise AssertionError(f"built again in {folder}")


def test_a_built_entry_is_kept_and_a_half_built_one_is_not(tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), cache.entry(tmp_path, "image", "1", half):
        pytest.fail("a half-built entry was used")
    assert not list(tmp_path.glob("*image-1*"))
    with cache.entry(tmp_path, "image", "1", fill) as built:
        assert (built / "image").read_text() == "whole"
    with cache.entry(tmp_path, "image", "1", never) as found:
        assert found == built


def test_what_a_killed_builder_left_is_swept_and_not_used(tmp_path: Path) -> None:
    left = tmp_path / ".building-image-killed"
    left.mkdir()
    (left / "image").write_text("ha")
    with cache.entry(tmp_path, "image", "1", fill) as built:
        assert (built / "image").read_text() == "whole"
    assert not left.exists()


def test_the_newest_three_and_those_in_use_stay(tmp_path: Path) -> None:
    (tmp_path / "other-9").mkdir()
    with cache.entry(tmp_path, "image", "0", fill) as in_use:
        for number in range(1, 6):
            with cache.entry(tmp_path, "image", str(number), fill) as built:
                assert built.is_dir()
        assert in_use.is_dir()
        assert len(list(tmp_path.glob("image-*"))) == cache.KEPT + 1
    assert (tmp_path / "other-9").is_dir()


def test_of_two_builders_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    began, go_on, seen = threading.Event(), threading.Event(), list[Path]()

    def slow(folder: Path) -> None:
        began.set()
        assert go_on.wait(60)
        fill(folder)

    def use(build: Callable[[Path], None]) -> None:
        with cache.entry(tmp_path, "image", "1", build) as built:
            seen.append(built)

    first = threading.Thread(target=use, args=(slow,))
    second = threading.Thread(target=use, args=(never,))
    first.start()
    assert began.wait(60)
    second.start()
    go_on.set()
    first.join(60)
    second.join(60)
    assert seen == [tmp_path / "image-1"] * 2


def test_a_key_tells_texts_and_files_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    assert cache.digest("a", "b") != cache.digest("ab", "")
    assert cache.digest(tmp_path / "a") == cache.digest(b"one")


def test_the_cache_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_SSO_CACHE", str(tmp_path))
    assert cache.home() == tmp_path
    monkeypatch.delenv("CONSOLE_SSO_CACHE")
    assert cache.home() == Path.home() / ".cache/console-sso/vm"


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "kernel/a/virtio_pci.ko: kernel/a/virtio.ko kernel/a/virtio_ring.ko\n"
        "kernel/a/virtio.ko: kernel/a/virtio_ring.ko\n"
        "kernel/a/virtio_ring.ko:\n"
        "kernel/b/virtio-rng.ko: kernel/a/virtio.ko kernel/a/virtio_ring.ko\n"
    )
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    names = [Path(file).stem for file in initrd.in_order(tmp_path, ["virtio_pci", "virtio_rng", "ext4"])]
    assert names == ["virtio_ring", "virtio", "virtio_pci", "virtio-rng"]


def test_text_becomes_key_strokes() -> None:
    pressed = [[key["data"] for key in keys] for keys in keyboard.strokes("aB-_1!\n")]
    assert pressed == [["a"], ["shift", "b"], ["minus"], ["shift", "minus"], ["1"], ["shift", "1"], ["ret"]]
    with pytest.raises(BedError, match="no key"):
        list(keyboard.strokes("ä"))
