"""`sso`: one line for each command, and each command's module imported only when it is called."""

import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from sso import __version__
from sso.cli import COMMANDS, main


@pytest.mark.parametrize("arguments", [[], ["--verbose"], ["-n", "now"], ["--help"], ["demo"]])
def test_a_command_gets_all_that_follows_it(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    given: list[list[str]] = []

    def command(rest: list[str]) -> int:
        given.append(rest)
        return 7

    monkeypatch.setitem(sys.modules, "sso.demo.main", SimpleNamespace(main=command))
    assert main(["demo", *arguments]) == 7
    assert given == [arguments]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_there(name: str) -> None:
    assert callable(import_module(COMMANDS[name][0]).main)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said and text in said for name, (_, text) in COMMANDS.items())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"console-sso {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["--no-such-option"]])
def test_anything_else_is_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert "usage: sso " in capsys.readouterr().err
