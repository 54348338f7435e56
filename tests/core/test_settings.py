"""The one checker of settings: what is wrong names the file, the key and what to write."""

import re
from pathlib import Path
from typing import Any

import pytest

from sso import settings
from sso.errors import ConfigError
from sso.settings import Option, checked, own_config, own_state, read, take_tables, write

KNOWN = {
    "text": Option(str, write("a word in small letters", str.islower)),
    "flag": Option(bool),
    "count": Option(int, write("0 to 9", lambda value: 0 <= value <= 9)),
    "names": Option(tuple, lambda value: "more than 2" if len(value) > 2 else ""),
}


def test_values_come_back_with_tuples_for_lists() -> None:
    given = {"text": "a", "flag": True, "count": 9, "names": ["a", "b"]}
    assert checked(given, KNOWN) == {**given, "names": ("a", "b")}
    assert checked({}, KNOWN) == {}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("txet", "a", "there is no such key; known are count, flag, names, text"),
        ("{key}", "a", "there is no such key; known are count, flag, names, text"),
        ("text", 1, 'write a text in quotes, such as "x"'),
        ("text", "A", "write a word in small letters"),
        ("flag", "true", "write true or false"),
        ("flag", 1, "write true or false"),
        ("count", True, "write a whole number"),
        ("count", 1.0, "write a whole number"),
        ("count", 10, "write 0 to 9"),
        ("names", "a", 'write a list of texts, such as ["x", "y"]'),
        ("names", ["a", 1], 'write a list of texts, such as ["x", "y"]'),
        ("names", [["a"]], 'write a list of texts, such as ["x", "y"]'),
        ("names", ["a", "b", "c"], "more than 2"),
    ],
)
def test_what_is_wrong_names_the_key_and_what_to_write(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"[[table]] {key}: {said}") + "$"):
        checked({key: value}, KNOWN, "[[table]] ")


def test_tables_are_taken_out_of_the_content() -> None:
    content = {"guest": [{"a": 1}, {}], "flag": True}
    assert take_tables(content, "guest", 2) == [{"a": 1}, {}] and content == {"flag": True}
    assert take_tables(content, "guest", 2) == []
    wrong: Any
    for wrong in (1, {}, [1], [[]]):
        with pytest.raises(ConfigError, match=re.escape("guest: write [[guest]]")):
            take_tables({"guest": wrong}, "guest", 2)
    with pytest.raises(ConfigError, match="guest: more than 2"):
        take_tables({"guest": [{}] * 3}, "guest", 2)


def test_a_file_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    with pytest.raises(FileNotFoundError):
        read(str(file))
    file.write_text("# nothing\n")
    assert read(str(file)) == {}
    file.write_text('a = ["b"]\n')
    assert read(str(file), guarded=True) == {"a": ["b"]}
    file.chmod(0o666)
    assert read(str(file)) == {"a": ["b"]}
    with pytest.raises(ConfigError, match=re.escape(f"{file}: others may change it")):
        read(str(file), guarded=True)


@pytest.mark.parametrize("text", [b"a =", b"a = '\xff'", b"a = 1\na = 1", b"a", b"\0"])
def test_a_file_that_is_no_toml_is_named(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes(text)
    with pytest.raises(ConfigError, match=re.escape(f"{file}: it is no TOML: ")):
        read(str(file))


def test_a_file_that_cannot_be_read_or_is_too_large_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}: Is a directory")):
        read(str(tmp_path))
    file = tmp_path / "file.toml"
    monkeypatch.setattr(settings, "SIZE_MAX", 8)
    file.write_bytes(b"a = 1234")
    assert read(str(file)) == {"a": 1234}
    file.write_bytes(b"a = 12345")
    with pytest.raises(ConfigError, match=re.escape(f"{file}: it is larger than 8 bytes")):
        read(str(file))


def test_the_user_s_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("HOME", "/home/alice")
    assert own_config("client.toml") == "/home/alice/.config/console-sso/client.toml"
    assert own_state("agreed") == "/home/alice/.local/state/console-sso/agreed"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    assert (own_config("x"), own_state("x")) == ("/c/console-sso/x", "/s/console-sso/x")
