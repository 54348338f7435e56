"""Counts the framing core's instructions per message with callgrind; each run on a machine gives the same.

The count is marginal: what 2 N messages take more than N, over N, so that the start of the interpreter is
not in it.
It is made of the AVX2 and the scalar kernel; callgrind knows no AVX-512.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from counted import LINES
from interleave import show
from kernels import KERNELS

HERE = Path(__file__).resolve().parent
TIMES = {"authenticate": 2000, "ok": 2000, "secret of 16K": 200}
COUNTED = [kernel for kernel in KERNELS if kernel in ("avx2", "scalar")]


def count(case: str, kernel: str, times: int) -> int:
    """All instructions of a process that reads the message so many times."""
    source = HERE.parent / "src"
    env = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONPATH": f"{source}:{HERE}"}
    argv = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-S", "-B"]
    argv += [str(HERE / "counted.py"), case, str(times)]
    done = subprocess.run(argv, env=env | {"SSO_BASE64": kernel}, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert done.returncode == 0 and found, done.stderr
    return int(found.group(1))


@cache
def counts() -> dict[tuple[str, str], float]:
    """Count all cases, two processes at a time, since load does not change a count."""
    wanted = [(case, kernel, more) for case in LINES for kernel in COUNTED for more in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: count(one[0], one[1], TIMES[one[0]] * one[2]), wanted))
    totals = dict(zip(wanted, found, strict=True))
    return {
        (case, kernel): (totals[case, kernel, 2] - totals[case, kernel, 1]) / TIMES[case]
        for case in LINES
        for kernel in COUNTED
    }


@pytest.mark.parametrize("kernel", COUNTED)
@pytest.mark.parametrize("case", LINES)
def test_instructions(benchmark: Any, case: str, kernel: str) -> None:
    show(benchmark, f"instructions: {case}", kernel, "instructions", lambda: counts()[case, kernel])
