"""sso-getty's options, with and without argparse; what it does then is in tests/flows."""

import pytest

from sso.guest.screens import getty_program
from sso.guest.screens.getty_program import LOGIN, SOCKET, options


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], (SOCKET, LOGIN, "")),
        (["-p"], (SOCKET, LOGIN, "")),
        (["-p", "--", "alice"], (SOCKET, LOGIN, "alice")),
        (["--socket", "/s", "--login", "/l"], ("/s", "/l", "")),
        (["--socket=/s", "-p", "bob"], ("/s", LOGIN, "bob")),
        (["--login", "relative"], (SOCKET, "relative", "")),
    ],
)
def test_options(arguments: list[str], wanted: tuple[str, str, str]) -> None:
    found = options(arguments)
    assert (found.socket, found.login, found.name) == wanted
    slowly = getty_program._by_argparse(arguments)
    assert (slowly.socket, slowly.login, slowly.name) == wanted


@pytest.mark.parametrize("arguments", [["--login"], ["--sock"], ["-x"], ["alice", "bob"]])
def test_wrong_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        getty_program.main(arguments)
    assert caught.value.code == 2 and "usage: sso-getty" in capsys.readouterr().err
