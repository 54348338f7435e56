"""`make bench`: run every benchmark, print medians and ratios of one run, and hold the gates.

A gate is a ratio to a peer of the same run, or a ceiling: what must not be lost. Usage:
python benchmarks/run.py [pytest arguments]; exit code 1 when a gate is broken or a row failed.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from gates import CEILINGS, GATES, OURS

HERE = Path(__file__).resolve().parent


class Row(NamedTuple):
    """The median of so many rounds: seconds, or of that unit."""

    median: float
    rounds: int
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.median:.2f} {self.unit}" if self.unit else _time(self.median)


Rows = dict[str, dict[str, Row]]


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "benchmarks.json"
        files = sorted(str(path) for path in HERE.glob("bench_*.py"))
        command = [
            sys.executable,
            "-m",
            "pytest",
            *files,
            f"--benchmark-json={report}",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        command += ["-W", "default", "--benchmark-disable-gc", "--benchmark-columns=median", *arguments]
        print(f"running {len(files)} files of benchmarks; this takes some minutes", flush=True)
        with open(Path(folder) / "log", "w+") as log:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
            if status:
                log.seek(0)
                print(log.read())
        if not report.exists():
            return 1
        rows = _rows(report)
    _print(rows)
    broken = _broken(rows)
    for text in broken:
        print(f"gate broken: {text}")
    if not broken and not status:
        print(f"all {len(GATES) + len(CEILINGS)} gates hold")
    return 1 if broken or status else 0


def _rows(report: Path) -> Rows:
    rows: Rows = {}
    for entry in json.loads(report.read_text())["benchmarks"]:
        info = entry["extra_info"]
        stats = entry["stats"]
        row = Row(stats["median"], stats["rounds"], info.get("unit", ""))
        rows.setdefault(info["case"], {})[info["peer"]] = row
    return rows


def _print(rows: Rows) -> None:
    for case, peers in rows.items():
        ours = next((peers[name].median for name in OURS if name in peers), None)
        print(f"\n{case}")
        for peer, row in sorted(peers.items(), key=lambda item: item[1].median):
            ratio = f"{row.median / ours:8.2f} x ours" if ours else ""
            print(f"  {row!s:>12}  n={row.rounds:<7} {ratio}  {peer}")


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e9:.1f} ns"


def _broken(rows: Rows) -> list[str]:
    """A gate whose rows are missing is broken too: nothing is gated by leaving it out."""
    broken = []
    for case, ours, peer, most in GATES:
        try:
            ratio = rows[case][ours].median / rows[case][peer].median
        except KeyError:
            broken.append(f"{case}: no row for {ours} or {peer}")
            continue
        print(f"gate: {case}: {ours} / {peer} = {ratio:.2f}, at most {most}")
        if ratio > most:
            broken.append(f"{case}: {ours} / {peer} = {ratio:.2f} is over {most}")
    return broken + _over(rows)


def _over(rows: Rows) -> list[str]:
    broken = []
    for case, ours, most in CEILINGS:
        row = rows.get(case, {}).get(ours)
        print(f"gate: {case}: {ours} = {row}, at most {most}")
        if row is None or row.median > most:
            broken.append(f"{case}: {ours} = {row}, and at most {most} is allowed")
    return broken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
