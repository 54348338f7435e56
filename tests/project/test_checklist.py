"""docs/checklist.md is whole, and `make checklist` names its proofs and its gaps without running a test."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "checklist.py"
CONFTEST = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")

SAMPLE = """\
import pytest

@pytest.mark.proves("S001", "S003")
@pytest.mark.parametrize("n", [1, 2])
def test_both(n: int) -> None:
    raise AssertionError("collected only")
"""

CHECKLIST = """\
| id | item |
|---|---|
| S001 | The first |
| S002 | Req 4 **OUT: Windows** (why) |
| S003 | The third |
| S004 | The fourth |
"""

REPORT = """\
S001  The first
        tests/test_sample.py::test_both
S002  Req 4 OUT: Windows (why)
        out
S003  The third
        tests/test_sample.py::test_both
S004  The fourth
        -

no test yet:
  S004  The fourth

2 rows proved, 1 without a test, 1 out of scope
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of four rows and one test, with our own conftest (less its fixtures) and script."""
    files = {
        "docs/checklist.md": CHECKLIST,
        "scripts/checklist.py": SCRIPT.read_text(encoding="utf-8"),
        "tests/conftest.py": re.sub(r"(?m)^pytest_plugins = .*", "", CONFTEST),
        "tests/test_sample.py": SAMPLE,
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["tests"]\naddopts = "--strict-markers"\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60)


def test_our_copy_has_every_row_once() -> None:
    lines = (ROOT / "docs" / "checklist.md").read_text(encoding="utf-8").splitlines()
    ids = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| S")]
    assert ids == [f"S{number:03}" for number in range(1, 156)]


@pytest.mark.slow
def test_the_report_names_proofs_and_gaps(tree: Path) -> None:
    done = run(tree, "scripts/checklist.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, REPORT, "")


@pytest.mark.slow
def test_a_broken_test_file_is_told(tree: Path) -> None:
    (tree / "tests" / "test_broken.py").write_text("import no_such_module\n", encoding="utf-8")
    done = run(tree, "scripts/checklist.py")
    assert done.returncode == 1
    assert "no_such_module" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("marker", ['proves("S999")', 'proves("S001", "s3")', "proves()"])
def test_a_proof_of_no_row_is_refused(tree: Path, marker: str) -> None:
    text = f"import pytest\n\n@pytest.mark.{marker}\ndef test_it() -> None: ...\n"
    (tree / "tests" / "test_sample.py").write_text(text, encoding="utf-8")
    done = run(tree, "-m", "pytest", "-q")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "names no row of checklist.md" in done.stderr + done.stdout


@pytest.mark.slow
def test_a_failure_says_the_seed(tree: Path) -> None:
    done = run(tree, "-m", "pytest", "-q", "--hypothesis-seed=42")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "repeat with: --hypothesis-seed=42" in done.stdout


@pytest.mark.slow
def test_a_promised_build_that_is_missing_ends_the_run(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "tests" / "sso.py").write_text('"""No package, so nothing compiled in it."""\n', encoding="utf-8")
    monkeypatch.setenv("SSO_EXTENSION", "yes")
    done = run(tree, "-m", "pytest", "-q")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "the compiled core is missing" in done.stderr + done.stdout
