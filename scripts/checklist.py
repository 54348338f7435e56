"""`make checklist`: every row of docs/checklist.md with the tests that prove it; then the rows without one.

Nothing is run: pytest only collects, and the marker `proves` of each test is read.
"""

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECKLIST = ROOT / "docs" / "checklist.md"


class Row(NamedTuple):
    """One row of the checklist; `out` when the design itself puts it out of scope."""

    id: str
    item: str
    out: bool


class Collector:
    """A pytest plugin that notes which tests prove which rows."""

    def __init__(self) -> None:
        self.proofs: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Read the markers of the collected tests; the cases of one test count once."""
        for item in session.items:
            test = item.nodeid.partition("[")[0]
            for marker in item.iter_markers("proves"):
                for row in marker.args:
                    tests = self.proofs.setdefault(row, [])
                    if test not in tests:
                        tests.append(test)


def rows(text: str) -> list[Row]:
    """The rows of a checklist, in its order."""
    found = re.findall(r"^\| (S\d{3}) \| (.*) \|$", text, re.MULTILINE)
    return [Row(id, item.replace("**", ""), "**OUT" in item) for id, item in found]


def report(listed: list[Row], proofs: dict[str, list[str]]) -> str:
    """The whole answer of `make checklist` as text."""
    lines = []
    for row in listed:
        lines.append(f"{row.id}  {row.item}")
        lines += [f"        {test}" for test in proofs.get(row.id, ["out" if row.out else "-"])]
    proved = [row for row in listed if row.id in proofs]
    out = [row for row in listed if row.out and row.id not in proofs]
    missing = [row for row in listed if row not in proved and row not in out]
    if missing:
        lines += ["", "no test yet:", *(f"  {row.id}  {row.item}" for row in missing)]
    lines += ["", f"{len(proved)} rows proved, {len(missing)} without a test, {len(out)} out of scope"]
    return "\n".join(lines)


def collect(arguments: list[str]) -> tuple[int, dict[str, list[str]]]:
    """Let pytest collect; its exit code, and the tests by row. What it says is shown only when it fails."""
    collector, said = Collector(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = pytest.main(
            ["--collect-only", "-q", "-p", "no:cacheprovider", *arguments], plugins=[collector]
        )
    if status:
        before, errors, after = said.getvalue().partition("= ERRORS =")  # less the list of all tests
        print(errors + after if errors else before, file=sys.stderr)
    return int(status), collector.proofs


def main(arguments: list[str]) -> int:
    """Print the report; 1 when the tests could not be collected."""
    status, proofs = collect([f"--rootdir={ROOT}", *(arguments or [str(ROOT / "tests")])])
    print(report(rows(CHECKLIST.read_text(encoding="utf-8")), proofs))
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
