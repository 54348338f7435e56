"""The measurements: for each case the median of each peer."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from figures import OURS, WIPE


class Row(NamedTuple):
    """The median of so many rounds: seconds, or of that unit."""

    median: float
    rounds: int
    unit: str = ""

    def __str__(self) -> str:
        if not self.unit:
            return _time(self.median)
        number = f"{self.median:.0f}" if self.median >= 1000 else f"{self.median:.2f}"
        return f"{number} {self.unit}"


Rows = dict[str, dict[str, Row]]


def read(report: Path) -> Rows:
    """The rows of a report of pytest-benchmark, and ours without the wipe."""
    rows: Rows = {}
    for entry in json.loads(report.read_text())["benchmarks"]:
        info: dict[str, Any] = entry["extra_info"]
        stats = entry["stats"]
        row = Row(stats["median"], stats["rounds"], info.get("unit", ""))
        rows.setdefault(info["case"], {})[info["peer"]] = row
    for peers in rows.values():
        if WIPE in peers:
            _take_off(peers[WIPE].median, peers)
    return rows


def _take_off(wipe: float, peers: dict[str, Row]) -> None:
    for name in [name for name in peers if name.startswith("compiled")]:
        ours = peers[name]
        peers[f"{name}, without the wipe"] = Row(ours.median - wipe, ours.rounds)


def ours_of(peers: dict[str, Row], names: tuple[str, ...] = OURS) -> str:
    """The name of our row; empty when there is none."""
    return next((name for name in names if name in peers), "")


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e9:.1f} ns"
