"""The compiled core's kernels and arena: each right, by itself and in the core; one kernel chosen at import.

`kernels/check.c` holds each beside a plain decoder, with pages behind every end that may not be touched. Here
it runs natively under the sanitizers, and for 64-bit ARM under qemu-user.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builds import compiled

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "kernels"
ALL = ("avx512", "avx2", "neon", "scalar")
SEED = "20261128"
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build(compiler: str, target: Path, *flags: str) -> Path:
    """Compile the program of that name."""
    assert shutil.which(compiler), f"{compiler} is missing; scripts/setup test installs it"
    warnings = ("-O3", "-Wall", "-Wextra", "-Werror")
    sources = ("-I", ROOT / "src/sso/_core", PROGRAMS / f"{target.name}.c", "-o", target)
    subprocess.run([compiler, *warnings, *flags, *sources], check=True)
    return target


def right(command: list[str | Path], rounds: int) -> list[str]:
    """Return the kernels that passed the check; a failure's text contains the seed."""
    done = subprocess.run([*command, SEED, str(rounds)], capture_output=True, text=True)
    assert done.returncode == 0, f"seed {SEED}: {done.stdout}{done.stderr}"
    return [line.removesuffix(": right") for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_each_kernel_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = right([build("gcc", tmp_path / "check", *SANITIZERS)], 20_000)
    assert found == list(compiled().KERNELS) and found[-1] == "scalar"
    with capsys.disabled():
        print(f"\nbase64 kernels that this CPU cannot run: {' '.join(set(ALL) - set(found))}")


@pytest.mark.slow
def test_the_account_of_the_arena(tmp_path: Path) -> None:
    assert right([build("gcc", tmp_path / "arena", *SANITIZERS)], 20_000) == ["arena"]


@pytest.mark.slow
@pytest.mark.long
def test_the_kernel_of_arm_under_emulation(tmp_path: Path) -> None:
    program = build("aarch64-linux-gnu-gcc", tmp_path / "check", "-static")
    assert right(["qemu-aarch64", program], 2_000) == ["neon", "scalar"]


def core(program: str, **env: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel", [name if name == "scalar" else pytest.param(name, marks=pytest.mark.long) for name in ALL]
)
def test_the_core_with_each_kernel(kernel: str) -> None:
    """The whole suite of lines and base64 with the kernel forced, where the CPU has it."""
    if kernel not in compiled().KERNELS:
        assert core("import sso._framing", SSO_BASE64=kernel).returncode
        return
    env = {**os.environ, "SSO_BASE64": kernel, "PYTHONDONTWRITEBYTECODE": "1"}
    own = f"import sso._framing as f; assert f.KERNEL == {kernel!r}"
    subprocess.run([sys.executable, "-c", own], env=env, check=True)
    files = ["tests/core/test_framing.py", "tests/core/test_base64.py", "tests/core/test_arena.py"]
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "compiled or both or arena",
        *files,
    ]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0 and passed and int(passed[1]) > 100, done.stdout


def test_the_best_kernel_is_taken_and_a_wrong_name_is_told() -> None:
    best = core("import sso._framing as f; print(f.KERNEL == f.KERNELS[0])", SSO_BASE64="")
    assert best.stdout == "True\n"
    wrong = core("import sso._framing", SSO_BASE64="sse9")
    assert wrong.returncode and "SSO_BASE64 is 'sse9'; on this machine it can be" in wrong.stderr
    assert "scalar" in wrong.stderr
