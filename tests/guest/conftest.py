"""Fixtures of the guest's own tests."""

import pytest
from beds_agent import make_stage

from sso.guest import log

__all__ = ["make_stage"]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the agent's events, as they come."""
    lines: list[str] = []
    monkeypatch.setattr(log, "_say", lambda id, line, values: lines.append(line))
    return lines
