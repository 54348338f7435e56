"""Mechanisms of strangers: one that is broken is left out with a line in the log, and the others work on."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sso.errors import ConfigError, MechanismError
from sso.guest import mechanisms
from sso.guest.config import GuestConfig
from sso.mech import ENTRY_POINTS, Pair, names

MODULE = """
import os, signal
{first}
from sso.mech import Mechanism, Pair, Setting
PLUG = Pair(
    "X-{name}", "sasl", Mechanism, Mechanism,
    accepts=(Setting("path", str, "the path of a file"), Setting("count", int, "a number", 3)),
)
"""
BROKEN = {
    "RAISES": ("raise ZeroDivisionError('secret')", r"unavailable: X-RAISES: ZeroDivisionError"),
    "LACKS": ("import a_library_that_is_not_there", r"a_library_that_is_not_there"),
    "EXITS": ("raise SystemExit(3)", r"SystemExit"),
    "DIES": ("os.kill(os.getpid(), signal.SIGKILL)", r"it ended its process \(-9\)"),
    "HANGS": ("signal.pause()", r"it was not loaded within 1 s"),
}

Install = Callable[..., list[str]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that installs a mechanism X-NAME for each name, whose module begins with that line."""

    def make(**first: str) -> list[str]:
        info = tmp_path / "strangers-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1\n")
        points = [f"X-{name} = stranger_{name.lower()}:PLUG" for name in first]
        (info / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *points]))
        for name, line in first.items():
            module = f"stranger_{name.lower()}"
            (tmp_path / f"{module}.py").write_text(MODULE.format(name=name, first=line))
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(str(tmp_path))
        return [f"X-{name}" for name in first]

    return make


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def __call__(self, id: str, detail: str = "", /, *, mechanism: str) -> None:
        self.lines.append((id, mechanism, detail))


def config(*allowed: str, **tables: dict[str, object]) -> GuestConfig:
    found: dict[str, object] = {name.replace("_", "-"): table for name, table in tables.items()}
    return GuestConfig(mechanisms=allowed, spn="host/a.b", mechanism=found)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", BROKEN)
def test_one_that_is_broken_is_left_out_and_named(
    how: str, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, why = BROKEN[how]
    install(GOOD="", **{how: line})
    # What hangs is alone: at any load the other one would need a time of its own.
    good = [] if how == "HANGS" else ["X-GOOD"]
    monkeypatch.setattr(mechanisms, "TRY_SECONDS", 60.0 if good else 1.0)
    log, path = Log(), dict[str, object](path="/p")
    found = mechanisms.others(config(f"X-{how}", *good, X_GOOD=path, **{f"X_{how}": path}), log)
    assert list(found) == good
    ((id, mechanism, detail),) = log.lines
    assert (id, mechanism) == ("mechanism-left-out", f"X-{how}") and re.search(why, detail)
    assert f"stranger_{how.lower()}" not in sys.modules


def test_many_that_hang_have_one_time_together(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    names = install(**{f"HANGS{number}": "signal.pause()" for number in range(9)})
    monkeypatch.setattr(mechanisms, "TRY_SECONDS", 60.0)
    monkeypatch.setattr(mechanisms, "TRY_ALL_SECONDS", 0.9)
    log = Log()
    assert mechanisms.others(config(*names), log) == {}
    assert [name for _, name, _ in log.lines] == names
    assert all(detail.startswith("it was not loaded within 0") for _, _, detail in log.lines), log.lines


@pytest.mark.parametrize(
    ("left", "number", "seconds"),
    [(30.0, 1, 10.0), (30.0, 3, 10.0), (30.0, 10, 3.0), (27.0, 9, 3.0), (3.0, 1, 3.0), (-1.0, 2, 0.0)],
)
def test_each_has_its_share_of_the_time_that_is_left(left: float, number: int, seconds: float) -> None:
    assert mechanisms.share(left, number) == seconds


def test_none_is_imported_that_is_not_in_the_list(install: Install, tmp_path: Path) -> None:
    install(GOOD="", OTHER=f"open({str(tmp_path / 'imported')!r}, 'w')")
    assert "X-OTHER" in names()
    assert list(mechanisms.others(config("X-GOOD", X_GOOD={"path": "/p"}), Log())) == ["X-GOOD"]
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "[mechanism.X-GOOD] path: write the path of a file"),
        ({"path": 1}, "[mechanism.X-GOOD] path: write a text in quotes"),
        ({"path": "/p", "count": True}, "[mechanism.X-GOOD] count: write a whole number"),
        (
            {"path": "/p", "pth": "/p"},
            "[mechanism.X-GOOD] pth: there is no such option; write one of path, count",
        ),
    ],
)
def test_wrong_settings_are_named_with_key_and_cure(
    table: dict[str, object], why: str, install: Install
) -> None:
    install(GOOD="")
    log = Log()
    assert mechanisms.others(config("X-GOOD", X_GOOD=table), log) == {}
    assert [detail.startswith(why) for _, _, detail in log.lines] == [True], log.lines


def test_one_that_is_not_installed_is_left_out_too(install: Install) -> None:
    log = Log()
    assert mechanisms.others(config("GSSAPI", "X-NOBODY"), log) == {}
    assert log.lines == [("mechanism-left-out", "X-NOBODY", "no mechanism X-NOBODY is installed")]


def pair(**changes: object) -> Pair:
    from sso.mech import Mechanism

    class Half(Mechanism):
        def __init__(self, **settings: object) -> None:
            self.settings = settings

    return Pair("X-ONE", "sasl", Half, Half)._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "in_tls", "given"),
    [
        (("none",), True, {}),
        (("none", "int", "conf"), True, {"layers": ("none", "conf")}),
        (("none", "int", "conf"), False, {"layers": ("conf",)}),
        (("conf",), True, {"layers": ("conf",)}),
    ],
)
def test_a_half_gets_the_layers_that_are_allowed(
    layers: tuple[str, ...], in_tls: bool, given: dict[str, object]
) -> None:
    half = mechanisms.accepting(pair(layers=layers), in_tls)
    assert half.settings == given  # type: ignore[attr-defined]


@pytest.mark.parametrize("changes", [{}, {"layers": ("int",)}, {"layers": ("conf",), "confidential": True}])
def test_what_needs_a_layer_around_it_runs_inside_tls_alone(changes: dict[str, object]) -> None:
    mechanisms.accepting(pair(**changes), in_tls=True)
    with pytest.raises(ConfigError, match="inside TLS only"):
        mechanisms.accepting(pair(**changes), in_tls=False)


def test_gssapi_has_the_keys_above_the_tables() -> None:
    ours = mechanisms.ours(GuestConfig(mechanisms=("GSSAPI", "password"), spn="host/a.b"))
    assert set(ours) == {"GSSAPI", "password"}
    named = GuestConfig(spn="host/a.b", keytab="/nonexistent/keytab")
    ready = mechanisms.with_settings(named, ours["GSSAPI"])
    with pytest.raises(MechanismError, match="/nonexistent/keytab"):
        ready.accept()
