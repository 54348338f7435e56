"""Login drivers are found by name, and only the one that is named is loaded."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from beds_agent import Clock

from sso.daemon.reactor import Reactor
from sso.errors import ConfigError
from sso.guest.config import GuestConfig
from sso.guest.screens import driver
from sso.guest.screens.driver import ENTRY_POINTS, LoginDriver, load_driver
from sso.guest.screens.getty import GettyDriver


def test_getty_is_there_without_a_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_installed", lambda name: pytest.fail("scanned"))
    loaded: object = load_driver("getty")
    assert loaded is GettyDriver


def test_getty_is_a_login_driver(tmp_path: Path) -> None:
    config = GuestConfig(getty_socket=str(tmp_path / "getty.sock"), tty="pts/7")
    driver: LoginDriver = GettyDriver(config, Reactor(Clock()))
    assert (driver.service, driver.place) == ("login", "pts/7")
    driver.close()


@pytest.mark.proves("S056")
def test_only_the_named_driver_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wanted_driver", "rogue_driver"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / name)!r}, 'w').close()\nclass Driver: ...\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint(name, f"{name}_driver:Driver", ENTRY_POINTS) for name in ("wanted", "rogue")]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group, name: [p for p in points if p.name == name]
    )
    assert load_driver("wanted").__name__ == "Driver"
    assert (tmp_path / "wanted_driver").exists() and not (tmp_path / "rogue_driver").exists()


def test_a_driver_that_is_missing_or_broken_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no login driver nothing"):
        load_driver("nothing")
    monkeypatch.setattr(driver, "_installed", lambda name: f"{name}_is_not_there:Driver")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_driver("broken")
