"""`make bench`: run every benchmark, print one table of ratios of that run, and hold the gates.

A gate is a ratio to a peer of the same run, or a ceiling: what must not be lost. Usage:

    benchmarks/run.py [--picture PATH] [--document] [--again] [pytest arguments, as -k framing]

    --picture PATH  draw the plot there too; docs/pictures/bench.png is the committed one
    --document      write the table of figures into docs/performance.md
    --again         measure nothing: print, draw and write what the last run has left in build/bench

Exit code 1 when a gate is broken, a peer or a row is missing, or a benchmark failed. A run of a part (-k, -m)
judges only the gates whose rows it has.
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import table
from figures import OURS
from gates import CEILINGS, GATES
from owned import give_back
from rows import Row, Rows, read

__all__ = ["OURS", "Row"]
HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"
DOCUMENT = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- written by benchmarks/run.py --document -->\n", "<!-- end -->\n"
PARTS = ("-k", "-m", "--deselect", "--lf")


def main(arguments: list[str]) -> int:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style, allow_abbrev=False)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--document", action="store_true")
    parser.add_argument("--again", action="store_true")
    options, rest = parser.parse_known_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    report = BUILD / "pytest-benchmark.json"
    status = 0 if options.again else _measure(report, rest)
    if not report.exists():
        return 1
    rows = read(report)
    if not options.again:
        _write_json(rows, any(argument.startswith(PARTS) for argument in rest))
    run = json.loads((BUILD / "bench.json").read_text())
    print(table.as_text(rows))
    (BUILD / "rows.txt").write_text(table.listing(rows) + "\n")
    _draw(rows, [options.picture] if options.picture else [])
    if options.document:
        _document(rows, run)
    give_back(BUILD, *([options.picture] if options.picture else []))
    return 1 if _judge(rows, run["partial"], run["missing"]) or status else 0


def _measure(report: Path, arguments: list[str]) -> int:
    report.unlink(missing_ok=True)
    files = sorted(str(path) for path in HERE.glob("bench_*.py"))
    command = [sys.executable, "-m", "pytest", *files, f"--benchmark-json={report}", "-q"]
    command += ["-p", "no:cacheprovider", "-W", "default", "--benchmark-disable-gc"]
    command += ["--benchmark-columns=median", *arguments]
    print(f"running {len(files)} files of benchmarks; all of them take some minutes", flush=True)
    with open(BUILD / "log", "w+") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        if status:
            log.seek(0)
            print(log.read())
    return status


def _write_json(rows: Rows, partial: bool) -> None:
    import peers
    import peers_lines  # noqa: F401  # it looks for its own libraries

    from sso._framing import KERNEL, KERNELS

    written: dict[str, Any] = {
        "partial": partial,
        "missing": [f"{name} ({reason})" for name, reason in peers.MISSING.items()],
        "machine": {"processor": _processor(), "system": platform.platform()},
        "kernel": KERNEL,
        "kernels": KERNELS,
        "versions": peers.versions(),
        "rows": [
            {"case": case, "peer": peer, **row._asdict()}
            for case, of_case in rows.items()
            for peer, row in of_case.items()
        ],
        "figures": [verdict._asdict() for verdict in table.verdicts(rows)],
    }
    (BUILD / "bench.json").write_text(json.dumps(written, indent=1) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _draw(rows: Rows, others: list[Path]) -> None:
    try:
        from picture import draw
    except ImportError as error:
        print(f"no plot: {error}")
        return
    draw(rows, [BUILD / "bench.svg", BUILD / "bench.png", *others])
    print(f"\nmedians and rounds, JSON and plot: {BUILD}/rows.txt, bench.json, bench.svg, bench.png")
    if not others:
        print("`benchmarks/run.py --again --document --picture docs/pictures/bench.png` refreshes the docs")


def _document(rows: Rows, said: dict[str, Any]) -> None:
    """The table, and what it was measured with, between the marks."""
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise SystemExit(f"{DOCUMENT} has not the marks")
    versions = ", ".join(f"{name} {version}" for name, version in said["versions"].items())
    kernels = ", ".join(said["kernels"]) or "no choice of kernels"
    told = f"Measured on {said['machine']['processor']}; kernels: {kernels}. {versions}."
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table.as_markdown(rows)}\n\n{told}\n\n{END}{after}")


def _judge(rows: Rows, partial: bool, missing: list[str]) -> bool:
    """Print the gates; whether something is broken."""
    broken = _broken(rows, partial)
    for text in broken:
        print(f"gate broken: {text}")
    for text in missing:
        print(f"missing peer: {text}")
    gates = len(GATES) + len(CEILINGS)
    if not broken:
        print("the gates of the rows at hand hold" if partial else f"all {gates} gates hold")
    return bool(broken or missing)


def _broken(rows: Rows, partial: bool = False) -> list[str]:
    """A gate whose rows are missing is broken too: nothing is gated by leaving it out of a full run."""
    broken, absent = [], 0
    for case, ours, peer, most in GATES:
        try:
            ratio = rows[case][ours].median / rows[case][peer].median
        except KeyError:
            absent += 1
            if not partial:
                broken.append(f"{case}: no row for {ours} or {peer}")
            continue
        print(f"gate: {case}: {ours} / {peer} = {ratio:.3g}, at most {most}")
        if ratio > most:
            broken.append(f"{case}: {ours} / {peer} = {ratio:.2f} is over {most}")
    for case, ours, most in CEILINGS:
        row = rows.get(case, {}).get(ours)
        if row is None and partial:
            absent += 1
            continue
        print(f"gate: {case}: {ours} = {row}, at most {most}")
        if row is None or row.median > most:
            broken.append(f"{case}: {ours} = {row}, and at most {most} is allowed")
    if partial and absent:
        print(f"partial run: {absent} gates of missing rows not judged")
    return broken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
