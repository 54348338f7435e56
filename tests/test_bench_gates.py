"""The gates of `make bench`: what breaks one is said, a missing row too."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/run.py with one gate and one ceiling."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.delitem(sys.modules, "gates", raising=False)
    spec = importlib.util.spec_from_file_location("bench_run", BENCHMARKS / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "GATES", [("a case", "ours", "a peer", 0.5)])
    monkeypatch.setattr(module, "CEILINGS", [("wake-ups", "ours", 10.0)])
    return module


def rows(run: Any, ours: float = 1.0, peer: float = 2.0, wakeups: float = 10.0) -> Any:
    return {
        "a case": {"ours": run.Row(ours, 3), "a peer": run.Row(peer, 3)},
        "wake-ups": {"ours": run.Row(wakeups, 3, "a second")},
    }


def test_what_is_at_its_limit_holds(run: Any) -> None:
    assert run._broken(rows(run)) == []


def test_a_ratio_and_a_ceiling_can_break(run: Any) -> None:
    assert run._broken(rows(run, ours=1.1)) == ["a case: ours / a peer = 0.55 is over 0.5"]
    assert run._broken(rows(run, wakeups=10.5)) == [
        "wake-ups: ours = 10.50 a second, and at most 10.0 is allowed"
    ]


def test_a_missing_row_is_a_broken_gate(run: Any) -> None:
    assert len(run._broken({})) == 2
