"""How long the guest is without one of its processes after SIGKILL, as installed, in the virtual machine.

From the signal until all three are joined again, by the guest's own journal. The machine is emulated, so
everything takes some ten times as long as on hardware; nothing else runs in it meanwhile.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from beds_vm import Machines
from interleave import show
from vm_console import UNITS, set_up

from sso.demo.realm import Realm
from sso.demo.vm import Machine

ROUNDS = 5
REST = 8  # seconds in which it is back, and the guest is quiet again
JOURNAL = "journalctl -b -u 'console-sso-*' -o short-monotonic --no-pager"


@pytest.fixture(scope="module")
def guest(debs: tuple[Path, ...], realm: Realm) -> Iterator[Machine]:
    with ExitStack() as ending:
        vm = set_up(Machines(debs, ending)(), realm)
        vm.run(f"sleep {REST}", timeout=60)
        yield vm


def seconds_without(guest: Machine, unit: str) -> float:
    kill = f"systemctl kill -s KILL --kill-who=main {unit}"
    guest.run(f"{kill}; sleep {REST}", timeout=60, check=True)
    said = guest.run(f"{JOURNAL} | grep -E 'Sent signal|links-joined' | tail -n 2", check=True).output
    killed, joined = (float(moment) for moment in re.findall(r"(?m)^\[ *([0-9.]+)\]", said))
    assert "Sent signal" in said.splitlines()[0] and "links-joined" in said.splitlines()[1], said
    return joined - killed


@pytest.mark.parametrize("unit", UNITS)
def test_ready_again(benchmark: Any, guest: Machine, unit: str) -> None:
    case = "SIGKILL to ready again, emulated"
    show(benchmark, case, unit, "s", lambda: seconds_without(guest, unit), ROUNDS)
