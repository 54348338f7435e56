"""The gates of `make bench`: what breaks one is said, a missing row too. And the table of a run."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/run.py with one gate and one ceiling."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("figures", "gates", "owned", "rows", "table"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("bench_run", BENCHMARKS / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "GATES", [("a case", "ours", "a peer", 0.5)])
    monkeypatch.setattr(module, "CEILINGS", [("wake-ups", "ours", 10.0)])
    figures = sys.modules["figures"]
    ratios = [figures.Figure("a case", ("a p*",), 0.5, "the peers", ("ours",))]
    values = [figures.Value("wake-ups", 12.0, "a second", True, ("ours",))]
    monkeypatch.setattr(module.table, "FIGURES", ratios)
    monkeypatch.setattr(module.table, "VALUES", values)
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


def test_a_partial_run_judges_what_it_has(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run._broken({}, partial=True) == []
    assert "2 gates of missing rows not judged" in capsys.readouterr().out
    assert len(run._broken(rows(run, ours=1.1), partial=True)) == 1


def test_a_figure_is_reached_or_not_or_has_no_row(run: Any) -> None:
    verdicts = [(one.shown, one.reached) for one in run.table.verdicts(rows(run))]
    assert verdicts == [("0.5", "yes"), ("10", "no")]
    assert [one.reached for one in run.table.verdicts({})] == ["no row", "no row"]


def test_the_best_peer_does_the_whole_job(run: Any) -> None:
    times = {
        "compiled": 2.0,
        "floor: memcpy": 0.1,
        "a splitter (line only)": 0.2,
        "a peer": 4.0,
        "another": 8.0,
    }
    peers = {name: run.Row(seconds, 3) for name, seconds in times.items()}
    line = next(iter(run.table.lines({"a case": peers})))
    assert line.best == "a peer 4.00 s (0.5)"
    assert "another 8.00 s (0.25)" in line.others and "floor: memcpy" in line.others


def test_the_wipe_is_taken_off(run: Any, tmp_path: Path) -> None:
    medians = {"compiled": 5.0, "the wipe alone": 2.0}
    entries = [
        {"extra_info": {"case": "a case", "peer": name}, "stats": {"median": seconds, "rounds": 3}}
        for name, seconds in medians.items()
    ]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"benchmarks": entries}))
    assert run.read(report)["a case"]["compiled, without the wipe"].median == 3.0
