"""sso doctor client and the viewer's configuration: what vouches, and what only looks as if it did."""

from pathlib import Path
from typing import Any

import pytest
from beds_door import AGENT, PORT, Bed, make_door, ovirt

from sso import doctor
from sso.viewer import settings

__all__ = ["make_door"]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """What the doctor says of a viewer.toml."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(settings, "SYSTEM_CONFIG", str(tmp_path / "none"))
    (tmp_path / "console-sso").mkdir()

    def run(text: str) -> list[str]:
        (tmp_path / "console-sso" / "viewer.toml").write_text(text)
        doctor.main(["client", "--no-config"])
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if "  consoles: " in line or "  trusted keys: " in line]

    return run


NONE = "ok           trusted keys: none, so no signature of a connection file counts"
ONE = "ok           consoles: 1 tables say which consoles show which guests"
ASKED = (
    "ok           consoles: no table says which console shows which guest: from a connection file you are"
    " asked"
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", [ASKED]),
        ('[[console]]\nplaces = ["a.org"]\nservices = ["host/vm"]\n', [ONE]),
        (
            '[[console]]\nplaces = ["*"]\nservices = ["host/vm"]\n',
            [
                "wrong        consoles: [[console]] 1: its places name nothing, so it vouches for nothing."
                " Write hosts, such as node*.example.org",
                ASKED,
            ],
        ),
        (
            '[[console]]\nplaces = ["a.org"]\nservices = ["host/*"]\n',
            [
                "wrong        consoles: [[console]] 1: its services name nothing, so it vouches for nothing."
                " Write guests, such as host/vm*.example.org",
                ASKED,
            ],
        ),
        (
            '[[console]]\nplaces = ["a.org"]\nplain = true\nca = "/no/such"\n',
            [
                "wrong        consoles: [[console]] 1: ca: /no/such: No such file or directory."
                " Write the path of the CA's certificate, as PEM",
                "warning      consoles: [[console]] 1: plain TCP counts for a.org:"
                " anybody on the way can redirect it",
                ASKED,
            ],
        ),
    ],
)
def test_what_the_doctor_says_of_consoles(say: object, text: str, says: list[str]) -> None:
    assert say(text) == [*says, NONE]  # type: ignore[operator]


def test_a_file_that_is_wrong_is_said(say: object) -> None:
    (wrong, _) = say("[[console]]\nplace = 1\n")  # type: ignore[operator]
    assert wrong.startswith("wrong        consoles: ") and "place: there is no such key" in wrong


def test_what_others_may_change_vouches_for_nothing(say: Any, tmp_path: Path) -> None:
    file = tmp_path / "console-sso" / "viewer.toml"
    file.touch()
    file.chmod(0o664)
    assert say('[[console]]\nplaces = ["a.org"]\nservices = ["host/vm"]\n') == [
        f"wrong        consoles: nothing in {file} vouches for a console: {file}: others may change it."
        " Make it, and every folder above it, yours or root's, and writable by nobody else",
        ASKED,
        NONE,
    ]


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o646])
def test_a_plug_in_of_such_a_file_starts_nowhere(bed: Bed, mode: int) -> None:
    table = bed.console('"hyp*.example.org"', '"host/vm*.example.org"', "O=example.org,CN=*")
    bed.configure(table, agent="*.example.org")
    (bed.folder / "viewer.toml").chmod(mode)
    window = bed.open(ovirt())
    window.opened(AGENT)
    assert set(window.started) == ({PORT, AGENT} if mode == 0o644 else set())
