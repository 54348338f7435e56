"""What every test run keeps: checklist ids that exist, a printed seed, a compiled core where promised."""

import os
import re
import secrets
import signal
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["beds", "beds_guest", "beds_vm", "flows", "beds_viewer", "beds_console", "beds_spice"]

CHECKLIST = Path(__file__).parent.parent / "docs" / "checklist.md"

# No deadline: a slow machine is no error of the code.
settings.register_profile("sso", deadline=None, print_blob=True)
settings.load_profile("sso")


# A run in the background, or by nohup, ignores them, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed before hypothesis reads it, and refuse to run without the promised build."""
    config.addinivalue_line("markers", "proves(*ids): the rows of docs/checklist.md that this test proves")
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))
    if os.environ.get("SSO_EXTENSION") == "yes":
        try:
            import_module("sso._framing")
        except ImportError as error:
            raise pytest.UsageError(f"SSO_EXTENSION=yes, but the compiled core is missing: {error}") from None


def pytest_report_header(config: pytest.Config) -> str:
    """Say the seed at the start."""
    return f"repeat with: --hypothesis-seed={config.getoption('hypothesis_seed')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say the seed again where something failed, since -q leaves the header out."""
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(pytest_report_header(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that claims to prove a row that is not in the checklist."""
    known = set(re.findall(r"^\| (S\d{3}) \|", CHECKLIST.read_text(encoding="utf-8"), re.MULTILINE))
    for item in items:
        for marker in item.iter_markers("proves"):
            unknown = [name for name in marker.args if name not in known]
            if unknown or not marker.args or marker.kwargs:
                raise pytest.UsageError(f"{item.nodeid}: proves{marker.args} names no row of checklist.md")
