"""The workflows are well-formed, end in time, and build the wheels that pyproject.toml promises."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))


def jobs(name: str) -> dict[str, Any]:
    """The jobs of one workflow."""
    path = ROOT / ".github" / "workflows" / name
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_something_to_test() -> None:
    assert [path.name for path in WORKFLOWS] == ["tests.yml", "wheels.yml"]
    assert f">={PYTHONS[0]}" == PROJECT["requires-python"]


@pytest.mark.slow
def test_they_fit_the_schema() -> None:
    """check-jsonschema brings its own copy of the schema, so no network is needed."""
    run("check_jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_job_ends_in_time_and_needs_no_secret(path: Path) -> None:
    assert all(0 < job["timeout-minutes"] <= 60 for job in jobs(path.name).values())
    assert "secrets." not in path.read_text(encoding="utf-8")


def test_every_supported_python_is_tested_compiled_and_pure() -> None:
    matrix = jobs("tests.yml")["pythons"]["strategy"]["matrix"]
    assert matrix == {"python": PYTHONS, "extension": ["yes", "no"]}


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_promised_wheels_are_built(machine: str) -> None:
    listed = run(
        "cibuildwheel", "--platform", "linux", "--archs", machine, "--print-build-identifiers"
    ).split()
    versions = ["cp" + version.replace(".", "") for version in PYTHONS]
    assert sorted(listed) == sorted(
        f"{v}-{libc}_{machine}" for v in versions for libc in ("manylinux", "musllinux")
    )


def test_wheels_are_built_on_both_machines() -> None:
    matrix = jobs("wheels.yml")["compiled"]["strategy"]["matrix"]
    assert [entry["arch"] for entry in matrix["include"]] == ["x86_64", "aarch64"]
