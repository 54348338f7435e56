"""`make bench`: run every benchmark, print medians and ratios of one run, and hold the gates.

A gate is a ratio to a peer of the same run, never a time: it says what must not be lost. Usage:
python benchmarks/run.py [pytest arguments]; exit code 1 when a gate is broken or a row failed.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from gates import GATES, OURS

HERE = Path(__file__).resolve().parent
Rows = dict[str, dict[str, tuple[float, int]]]


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
        print(f"all {len(GATES)} gates hold")
    return 1 if broken or status else 0


def _rows(report: Path) -> Rows:
    rows: Rows = {}
    for entry in json.loads(report.read_text())["benchmarks"]:
        info = entry["extra_info"]
        stats = entry["stats"]
        rows.setdefault(info["case"], {})[info["peer"]] = stats["median"], stats["rounds"]
    return rows


def _print(rows: Rows) -> None:
    for case, peers in rows.items():
        ours = next((peers[name][0] for name in OURS if name in peers), None)
        print(f"\n{case}")
        for peer, (median, rounds) in sorted(peers.items(), key=lambda row: row[1][0]):
            ratio = f"{median / ours:8.2f} x ours" if ours else ""
            print(f"  {_time(median):>12}  n={rounds:<7} {ratio}  {peer}")


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
            ratio = rows[case][ours][0] / rows[case][peer][0]
        except KeyError:
            broken.append(f"{case}: no row for {ours} or {peer}")
            continue
        print(f"gate: {case}: {ours} / {peer} = {ratio:.2f}, at most {most}")
        if ratio > most:
            broken.append(f"{case}: {ours} / {peer} = {ratio:.2f} is over {most}")
    return broken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
