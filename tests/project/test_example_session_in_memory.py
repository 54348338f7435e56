"""examples/session-in-memory: it does what its README shows, and nobody is signed in without the secret."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "session-in-memory"


def test_it_says_what_its_readme_shows() -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "session_in_memory.py")], capture_output=True, text=True, check=True
    )
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("$ python3 session_in_memory.py\n")[2].partition("\n\n")[0]
    assert done.stdout.splitlines() == [line.strip() for line in shown.splitlines()]


@pytest.mark.parametrize("who", ["client_secret", "guest_secret"])
def test_who_does_not_know_the_secret_gets_nowhere(who: str) -> None:
    program = f"import sys, session_in_memory; sys.exit(session_in_memory.main({who}=b'let me in'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "not signed in" and "LayerStarted" not in done.stdout
