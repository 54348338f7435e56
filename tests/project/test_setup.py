"""scripts/setup says what is wrong before it changes anything."""

import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "scripts" / "setup"


def run(*arguments: str, **environ: str) -> tuple[int, str]:
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"} | environ
    command = [str(SETUP), *arguments]
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def test_an_unknown_goal_is_wrong_usage() -> None:
    assert run("everything") == (2, "setup: usage: scripts/setup [demo|test|bench]\n")


@pytest.mark.parametrize("python", ["/nonexistent/python", "/bin/false"])
def test_a_python_that_will_not_do_is_named(python: str) -> None:
    status, said = run("demo", PYTHON=python)
    assert status == 3
    assert said.startswith(f"setup: PYTHON={python} is not a Python 3.11 or newer")
