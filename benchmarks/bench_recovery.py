"""Measures how long the installed guest lacks one of its processes after SIGKILL, in the virtual machine.

From the signal until all three are joined again, by the guest's own journal. The machine is emulated, so
everything takes some ten times as long as on hardware; nothing else runs in it meanwhile. Beside them, in the
same machine, is a unit that restarts in the same way and is a bare Python that says at once that it is ready.
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
CASE = "SIGKILL to ready again, emulated"
JOURNAL = "journalctl -b -u '{}' -o short-monotonic --no-pager"
BARE, BARE_ROW = "beside.service", "python -I -S, ready at once"
SAYS_READY = """
import os, signal, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
"""


@pytest.fixture(scope="module")
def guest(debs: tuple[Path, ...], realm: Realm) -> Iterator[Machine]:
    with ExitStack() as ending:
        vm = set_up(Machines(debs, ending)(), realm)
        vm.run(f"sleep {REST}", timeout=60)
        yield vm


def seconds_without(guest: Machine, unit: str, units: str, ready: str) -> float:
    """From the signal to a line of the journal of `units`."""
    kill = f"systemctl kill -s KILL --kill-who=main {unit}"
    guest.run(f"{kill}; sleep {REST}", timeout=60, check=True)
    journal = f"{JOURNAL.format(units)} | grep -E 'Sent signal|{ready}' | tail -n 2"
    said = guest.run(journal, check=True).output
    killed, joined = (float(moment) for moment in re.findall(r"(?m)^\[ *([0-9.]+)\]", said))
    assert "Sent signal" in said.splitlines()[0] and re.search(ready, said.splitlines()[1]), said
    return joined - killed


@pytest.mark.parametrize("unit", UNITS)
def test_ready_again(benchmark: Any, guest: Machine, unit: str) -> None:
    def one() -> float:
        return seconds_without(guest, unit, "console-sso-*", "links-joined")

    show(benchmark, CASE, unit, "s", one, ROUNDS)


def test_a_bare_unit_ready_again(benchmark: Any, guest: Machine) -> None:
    parts = "-p Type=notify -p NotifyAccess=main -p Restart=always -p RestartSec=20ms"
    start = f"systemd-run --unit={BARE} --description=beside {parts} python3 -I -S -c '{SAYS_READY}'"
    guest.run(start, timeout=60, check=True)
    try:
        show(benchmark, CASE, BARE_ROW, "s", lambda: seconds_without(guest, BARE, BARE, "Started"), ROUNDS)
    finally:
        guest.run(f"systemctl stop {BARE}", timeout=60)
