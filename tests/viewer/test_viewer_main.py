"""The command line of sso-viewer: what is wrong is one line and an exit code."""

import os
import sys
from pathlib import Path

import pytest

from sso.console.console import Console
from sso.viewer import intent as intents
from sso.viewer import main as program
from sso.viewer import settings
from sso.viewer.exits import NO_GTK, USAGE
from sso.viewer.intent import PLAIN_STREAM, Intent
from sso.viewer.main import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing://here"], "known forms"),
        (["/no/such/file.vv"], "/no/such/file.vv"),
        (["--ca", "/no/such/ca", "spice://h:1"], "/no/such/ca"),
        (["--password-fd", "999", "spice://h:1"], "--password-fd 999"),
        (["--settings", "/no/such/toml", "spice://h:1"], "/no/such/toml"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sso-viewer: ") and says in line


def test_without_gtk_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    (tmp_path / "viewer.toml").touch()
    assert main(["--settings", str(tmp_path / "viewer.toml"), "--no-plug-ins", "spice://h:1"]) == NO_GTK
    assert "gir1.2-spiceclientgtk-3.0" in capsys.readouterr().err


def test_options_go_above_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Console] = []

    def view(given: object, intent: Intent) -> int:
        seen.append(intent.reach.console)
        return 0

    monkeypatch.setattr(program, "_view", view)
    reader, writer = os.pipe()
    os.write(writer, b"ticket-1\nmore")
    os.close(writer)
    options = ["--stream", "unix:/s", "--title", "my machine"]
    assert main([*options, "--password-fd", str(reader), "vnc://h:5901"]) == 0
    os.close(reader)
    (console,) = seen
    assert (console.wish.stream, console.name) == ("unix:/s", "my machine")
    assert console.password is not None and console.password.secret == bytearray(b"ticket-1")
    assert "ticket" not in repr(console)


@pytest.mark.parametrize("where", ["option", "file"])
@pytest.mark.parametrize(
    ("stream", "warns"), [("tcp:h:6000", True), ("tls:h:6000", False), ("unix:/s", False)]
)
def test_a_stream_of_plain_tcp_warns(tmp_path: Path, where: str, stream: str, warns: bool) -> None:
    (tmp_path / "viewer.toml").touch()
    file = tmp_path / "console.vv"
    file.write_text(f"[virt-viewer]\ntype=vnc\nhost=h\nport=5901\n[x-sso]\nstream={stream}\n")
    options = ["--stream", stream, "vnc://h:5901"] if where == "option" else [str(file)]
    given = program._parser().parse_args(["--settings", str(tmp_path / "viewer.toml"), *options])
    _, notes = intents.chosen(intents.read(given, settings.load(given.settings)))
    assert (PLAIN_STREAM in notes) == warns


def test_a_password_that_is_no_text_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The libraries take text alone: later it would be a fault in a callback."""
    reader, writer = os.pipe()
    os.write(writer, b"\xff\xfe\n")
    os.close(writer)
    assert main(["--password-fd", str(reader), "vnc://h:5901"]) == USAGE
    os.close(reader)
    assert "the password is no UTF-8" in capsys.readouterr().err


def test_without_gtk_a_file_is_not_accepted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    (tmp_path / "viewer.toml").touch()
    file = tmp_path / "console.vv"
    file.write_text("[virt-viewer]\ntype=spice\nhost=h\nport=1\ndelete-this-file=1\n")
    assert main(["--settings", str(tmp_path / "viewer.toml"), str(file)]) == NO_GTK
    assert file.exists() and "gir1.2-spiceclientgtk-3.0" in capsys.readouterr().err
