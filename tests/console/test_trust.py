"""Trusted keys: their tables, their folders, and the program `sso trust`."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from signed_files import ASKED, NOW, OTHER, SITE, entered, signed, site

from sso.console import trust_folder, trust_main
from sso.console.ed25519 import key_text, public_of
from sso.console.signed import check
from sso.console.trust import TrustedKey, trusted_key
from sso.errors import ConfigError

KEY = key_text(public_of(SITE))
TABLE: dict[str, Any] = {
    "key": KEY,
    "signs": ["entries"],
    "consoles": ["relay.example.org"],
    "services": ["host/*.example.org@EXAMPLE.ORG", "tls/*.example.org"],
}
ADD = (
    *("add", "site", KEY, "--signs", "entries", "--consoles", "relay.example.org"),
    *("--services", "host/*.example.org@EXAMPLE.ORG", "tls/*.example.org"),
)


# Tables


def test_a_table_is_a_key() -> None:
    services = tuple(TABLE["services"])
    wanted = TrustedKey("site", public_of(SITE), ("entries",), ("relay.example.org",), services)
    assert trusted_key(TABLE, "site") == wanted
    assert trusted_key(TABLE | {"name": "site"}) == wanted
    assert wanted.text == KEY


@pytest.mark.parametrize("key", [*TABLE, "name"])
def test_every_key_of_a_table_is_required(key: str) -> None:
    """A missing one never means: for all."""
    table = TABLE | {"name": "site"}
    del table[key]
    with pytest.raises(ConfigError, match=f"^{key}: it is missing$"):
        trusted_key(table)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"consoles": []}, "consoles"),
        ({"services": []}, "services"),
        ({"signs": []}, "signs"),
        ({"consoles": [""]}, "consoles"),
        ({"consoles": "*"}, "consoles"),
        ({"services": {"host": "*"}}, "services"),
        ({"services": [1]}, "services"),
        ({"services": ["a" * 256]}, "services"),
        ({"services": ["a\nb"]}, "services"),
        ({"consoles": ["a"] * 65}, "consoles"),
        ({"signs": ["everything"]}, "signs: known are entries, openings"),
        ({"key": 1}, "key"),
        ({"key": KEY[:-1]}, "key: a public key has to be"),
        ({"key": key_text(bytes(32))}, "key: this public key is no sound one"),
        ({"send-ticket": True}, "send-ticket: there is no such key"),
        ({"offer-tgt": True}, "offer-tgt: there is no such key"),
        ({"name": ".."}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "a" * 65}, "name"),
    ],
)
def test_a_wrong_table_is_no_key(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        trusted_key(TABLE | {"name": "site"} | changes)


# Folders


def write(folder: Path, name: str = "site.toml", text: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text or "".join(f"{key} = {value!r}\n" for key, value in TABLE.items()))
    return path


def test_both_folders_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    monkeypatch.setattr(trust_folder, "SYSTEM", str(tmp_path / "system"))
    assert trust_folder.load() == ((), ())
    write(tmp_path / "system")
    write(tmp_path / "own/console-sso/trust.d", "mine.toml")
    write(tmp_path / "own/console-sso/trust.d", "README", "no key")
    keys, notes = trust_folder.load()
    assert [key.name for key in keys] == ["site", "mine"] and notes == ()


def test_without_the_variable_it_is_the_users_own_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")
    assert trust_folder.own() == "/home/alice/.config/console-sso/trust.d"
    assert trust_folder.SYSTEM == "/etc/console-sso/trust.d"


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("broken.toml", "key = ", "Invalid value"),
        ("broken.toml", "x = 1", "key: it is missing"),
        ("broken.toml", "\0", ""),
        ("a b.toml", None, "its name"),
        (".toml", None, "its name"),
        ("long.toml", "#" * (64 * 1024 + 1), "KiB"),
    ],
)
def test_a_file_that_is_wrong_trusts_nobody_and_the_others_count(
    tmp_path: Path, name: str, text: str | None, word: str
) -> None:
    write(tmp_path)
    write(tmp_path, name, text)
    keys, notes = trust_folder.load(str(tmp_path))
    assert [key.name for key in keys] == ["site"]
    assert len(notes) == 1 and notes[0].startswith(f"{tmp_path}/{name}: this key is not trusted: ")
    assert word in notes[0]


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_key_that_others_may_change_is_not_trusted(tmp_path: Path, mode: int) -> None:
    write(tmp_path).chmod(mode)
    keys, notes = trust_folder.load(str(tmp_path))
    assert keys == () and "others may change /" in notes[0]


@pytest.mark.parametrize("level", [".", "..", "../.."])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_folder_that_others_may_change_brings_no_key(tmp_path: Path, level: str, mode: int) -> None:
    """The folder itself, or any above it: they would put a key of theirs there."""
    folder = tmp_path / "a/b/c"
    write(folder)
    assert len(trust_folder.load(str(folder))[0]) == 1
    (folder / level).resolve().chmod(mode)
    keys, notes = trust_folder.load(str(folder))
    assert keys == () and "others may change /" in notes[0]


def test_a_sticky_folder_above_is_none_that_others_may_change(tmp_path: Path) -> None:
    """Under /tmp nobody renames what is another's; the folder itself may not be such a one."""
    write(tmp_path / "a/b")
    (tmp_path / "a").chmod(0o1777)
    assert len(trust_folder.load(str(tmp_path / "a/b"))[0]) == 1
    (tmp_path / "a/b").chmod(0o1777)
    assert trust_folder.load(str(tmp_path / "a/b"))[0] == ()
    os.symlink(tmp_path / "a/b", tmp_path / "link")
    assert trust_folder.load(str(tmp_path / "link"))[0] == ()


def test_a_folder_of_somebody_else_brings_no_key_though_it_is_sticky(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner may rename what is in it."""
    write(tmp_path / "a/b")
    (tmp_path / "a").chmod(0o1777)
    if os.getuid() == 0:
        os.chown(tmp_path / "a", 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert trust_folder.load(str(tmp_path / "a/b"))[0] == ()


def test_a_key_of_somebody_else_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    if os.getuid() == 0:  # who gives it away; anybody else becomes somebody else
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert trust_folder.load(str(tmp_path))[0] == ()


def test_links_and_what_is_no_file_bring_no_key(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere")
    folder = tmp_path / "trust.d"
    folder.mkdir()
    os.symlink(tmp_path / "elsewhere/site.toml", folder / "link.toml")
    os.mkfifo(folder / "pipe.toml")  # it must not wait for a writer
    (folder / "folder.toml").mkdir()
    keys, notes = trust_folder.load(str(folder))
    assert keys == () and len(notes) == 3


def test_too_many_keys_are_none(tmp_path: Path) -> None:
    for number in range(64):
        write(tmp_path, f"{number}.toml")
    assert len(trust_folder.load(str(tmp_path))[0]) == 64
    write(tmp_path, "more.toml")
    keys, notes = trust_folder.load(str(tmp_path))
    assert keys == () and "more than 64" in notes[0]


# The program


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(trust_folder, "SYSTEM", str(tmp_path / "system/trust.d"))
    return tmp_path / "console-sso/trust.d"


def counted() -> bool:
    keys, _ = trust_folder.load()
    return check(memoryview(signed()), ASKED, keys, NOW).opening is not None


def test_a_key_comes_and_goes_and_with_it_what_it_has_signed(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust_main.main(["list"]) == 0
    assert "no key is trusted" in capsys.readouterr().out
    assert not counted()
    assert trust_main.main([*ADD]) == 0
    path = own / "site.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert tomllib.loads(path.read_text()) == TABLE
    assert counted()
    assert capsys.readouterr().out.startswith(f"{path}:\n    signs    entries\n")
    assert trust_main.main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("site", KEY, "entries", *TABLE["consoles"], *TABLE["services"]))
    assert trust_main.main(["remove", "site"]) == 0
    assert os.listdir(own) == [] and not counted()


def test_several_keys_for_everybody_and_for_me(own: Path, tmp_path: Path) -> None:
    other = [key_text(public_of(OTHER)) if word == KEY else word for word in ADD]
    other[1] = "next"
    assert trust_main.main([*ADD, "--system"]) == 0
    assert trust_main.main(other) == 0
    assert os.listdir(tmp_path / "system/trust.d") == ["site.toml"] and os.listdir(own) == ["next.toml"]
    keys, _ = trust_folder.load()
    for seed in (SITE, OTHER):
        assert check(memoryview(entered(seed=seed)), ASKED, keys, NOW).entry is not None
    assert trust_main.main(["remove", "site"]) == 1  # it is the system's
    assert trust_main.main(["remove", "site", "--system"]) == 0
    keys, _ = trust_folder.load()
    assert check(memoryview(entered()), ASKED, keys, NOW).entry is None


@pytest.mark.parametrize("option", ["--signs", "--consoles", "--services"])
def test_no_key_is_added_without_saying_how_far(
    own: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = list(ADD)
    at = words.index(option)
    end = next((n for n in range(at + 1, len(words)) if words[n].startswith("--")), len(words))
    with pytest.raises(SystemExit, match=r"^2$"):
        trust_main.main([*words[:at], *words[end:]])
    assert f"say {option}, too" in capsys.readouterr().err
    assert not own.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["grant"], ["add"], ["add", "site"], ["remove"], ["list", "x"], ["remove", "x", KEY]),
        ["add", "../site", *ADD[2:]],
        ["add", "site", "ed25519:x", *ADD[3:]],
        ["add", "site", key_text(bytes(32)), *ADD[3:]],
        [*ADD, "--signs", "everything"],
        [*ADD, "--system", "--folder", "/x"],
    ],
)
def test_wrong_usage_changes_nothing(
    own: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        trust_main.main(arguments)
    assert "sso trust: error: " in capsys.readouterr().err
    assert not own.exists()


def test_a_name_is_taken_once(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust_main.main([*ADD]) == 0
    before = (own / "site.toml").read_bytes()
    assert trust_main.main([*ADD, "--consoles", "*"]) == 1
    assert "already" in capsys.readouterr().err
    assert (own / "site.toml").read_bytes() == before and os.listdir(own) == ["site.toml"]


@pytest.mark.parametrize("name", ["gone", "../site", "", "a/b"])
def test_only_a_key_that_is_there_is_removed(
    own: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "console-sso").mkdir()
    (tmp_path / "console-sso/site.toml").write_text("not ours")
    if name:
        assert trust_main.main(["remove", name]) == 1
        assert "no key there" in capsys.readouterr().err
    assert (tmp_path / "console-sso/site.toml").exists()


def test_the_list_says_which_files_are_wrong(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(own)
    write(own, "broken.toml", "x = 1")
    assert trust_main.main(["list"]) == 1
    said = capsys.readouterr()
    assert "site: ed25519:" in said.out and "broken.toml: this key is not trusted" in said.err


def test_any_text_that_is_taken_is_written_as_it_is(own: Path) -> None:
    odd = 'h"\\\u00fc\U0001f511*.example.org'
    assert trust_main.main([*ADD, "--consoles", odd]) == 0
    keys, notes = trust_folder.load()
    assert notes == () and keys[0].consoles == ("relay.example.org", odd)
    assert keys[0]._replace(consoles=()) == site()._replace(consoles=(), services=tuple(TABLE["services"]))


def test_a_key_that_will_not_count_is_said_at_once(
    tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Because of a folder above that others may change, which the person has to mend; ours are made well."""
    old = os.umask(0o002)
    try:
        assert trust_main.main([*ADD]) == 0
        assert stat.S_IMODE((tmp_path / "console-sso").stat().st_mode) == 0o755
    finally:
        os.umask(old)
    assert trust_main.main(["remove", "site"]) == 0
    (tmp_path / "console-sso").chmod(0o775)
    capsys.readouterr()
    assert trust_main.main([*ADD]) == 1
    assert f"others may change {tmp_path}/console-sso: make it yours" in capsys.readouterr().err


def test_another_folder(tmp_path: Path, own: Path) -> None:
    folder = tmp_path / "new/trust.d"
    assert trust_main.main([*ADD, "--folder", str(folder)]) == 0
    assert os.listdir(folder) == ["site.toml"] and not own.exists()
    assert trust_main.main(["list", "--folder", str(folder)]) == 0
    assert trust_main.main(["remove", "site", "--folder", str(folder)]) == 0


def test_what_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert trust_main.main([*ADD, "--folder", f"{tmp_path}/file/trust.d"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
