"""What the guest's processes load before they are ready: each of them is started anew when it was killed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jeepney
import pytest
import sso_mechs

import sso
import sso.settings
from sso.errors import ConfigError
from sso.guest import main as guest_main

SITE = Path(jeepney.__file__).parents[1]
TREE = [str(Path(package.__file__ or "").parents[1]) for package in (sso, sso_mechs)]
LATE = {"asyncio", "importlib.metadata", "logging", "subprocess", "tempfile", "uuid"}
HEAVY = ("dataclasses", "inspect", "pathlib", "urllib")  # gssapi brings some of them, as its own
ROLES = {
    "agent": ("sso.guest.agent.agent, sso.guest.screens.getty", {*HEAVY, "hashlib", "hmac", "ssl", "gssapi"}),
    "channel_main": ("sso.guest.channel.main", {*HEAVY, "ssl", "pyasn1", "gssapi"}),
    "acceptor_main": ("sso.guest.acceptor.main", {*HEAVY, "ssl", "gssapi"}),
    "mechanisms": ("sso_mechs.kerberos, sso_mechs.krb_cred, sso_mechs.password", {"ssl", "pyasn1"}),
}


@pytest.mark.parametrize("role", ROLES)
def test_no_process_of_the_guest_waits_for_what_it_does_not_need(role: str) -> None:
    imports, never = ROLES[role]
    program = f"import sys; sys.path += {[*TREE, str(SITE)]!r}\nimport {imports}\nprint(*sys.modules)"
    # Without site: what the tests' own installation loads is no matter of ours.
    argv = [sys.executable, "-I", "-S", "-c", program]
    loaded = set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())
    assert loaded & (never | LATE) == set()


def values(found: guest_main.Given) -> dict[str, Any]:
    return {name: getattr(found, name) for name in DEFAULTS}


DEFAULTS = {"config": guest_main.CONFIG, "foreground": False, "role": None, "agent": None, "peer": -1}


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--role", "agent"], {"role": "agent"}),
        (
            ["--config", "/c", "--role", "channel", "--agent", "3", "--peer", "4"],
            {"config": "/c", "role": "channel", "agent": 3, "peer": 4},
        ),
        (["--foreground"], {"foreground": True}),
        (["--foreground", "--config", "relative"], {"foreground": True, "config": "relative"}),
        (["--role=acceptor", "--agent", "5"], {"role": "acceptor", "agent": 5}),
    ],
)
def test_options_are_the_same_with_and_without_argparse(
    arguments: list[str], changed: dict[str, Any]
) -> None:
    found = values(guest_main.options(arguments))
    assert found == DEFAULTS | changed
    assert values(guest_main._parser().parse_args(arguments, guest_main.Given())) == found


@pytest.mark.parametrize(
    "arguments", [["--role"], ["--role", "root"], ["--agent", "x"], ["--agent", "3", "4"], ["agent"]]
)
def test_a_wrong_option_is_refused_as_before(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        guest_main.main(arguments)
    assert caught.value.code == 2 and "usage: sso-guest-agent" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", 'spn = "host/a.b"\nlockers = ["x"]\n[mechanism.X]\nn = -1\n']
)
def test_a_file_that_is_read_apart_says_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "guest.toml"
    path.write_text(text)
    assert guest_main.read_apart(str(path)) == sso.settings.read(str(path), guarded=True)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, 0)


@pytest.mark.parametrize(
    ("text", "mode"), [("=", 0o644), ("x = 1979-05-27", 0o644), ("spn = 'h'", 0o666), (None, 0)]
)
def test_what_goes_wrong_apart_is_reported(tmp_path: Path, text: str | None, mode: int) -> None:
    path = tmp_path / "guest.toml"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)

    def outcome(read: Any, **arguments: Any) -> str:
        try:
            return repr(read(str(path), **arguments))
        except (ConfigError, FileNotFoundError) as error:
            return repr(error)

    assert outcome(guest_main.read_apart) == outcome(sso.settings.read, guarded=True)


def test_a_unit_keeps_no_parser(tmp_path: Path) -> None:
    """Neither that of its options nor that of its settings."""
    path = tmp_path / "guest.toml"
    path.write_text('spn = "host/a.b"\n')
    program = f"""import sys; sys.path += {TREE!r}
from sso.guest import config, main
given = main.options(["--config", {str(path)!r}, "--role", "agent"])
assert config.load(given.config, main.read_apart).spn == "host/a.b"
print(*sys.modules)"""
    argv = [sys.executable, "-I", "-S", "-c", program]
    loaded = set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())
    assert loaded & {"argparse", "tomllib", "datetime"} == set()
