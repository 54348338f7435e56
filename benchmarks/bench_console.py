"""Times a login over SPICE in the VM, from the opening of the viewer's port to the open session in the guest.

Three parts: the client's start, up to the ticket for the guest, which is got before the line is taken; the
handshake, up to the guest's decision; and PAM with login, by the guest's own journal. The machine is
emulated, so what happens in it takes some ten times as long as on hardware.
"""

import re
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from beds_viewer import Desktop, wait_until_left
from beds_vm import Machines
from interleave import show
from vm_console import NOBODY, TIME, set_up, wait_for_event

from sso.demo.realm import Realm
from sso.demo.vm import Machine

ROUNDS = 5
CASE = "port open to session open, emulated"
JOURNAL = "journalctl -b -u console-sso-agent -o short-monotonic --no-pager"


@pytest.fixture(scope="module")
def parts(debs: tuple[Path, ...], realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The medians of each part, in seconds."""
    folder = tmp_path_factory.mktemp("desktop")
    folder.chmod(0o755)
    with ExitStack() as ending:
        machine = Machines(debs, ending)(console="spice")
        guest = set_up(machine, realm, disconnect="log-off", grace_seconds=1)
        realm.kinit("alice", "-f")
        desktop = Desktop(folder, realm)
        rounds = [one_login(guest, desktop) for _ in range(ROUNDS)]
    return {part: median(one[part] for one in rounds) for part in rounds[0]}


def one_login(guest: Machine, desktop: Desktop) -> dict[str, float]:
    """The parts of one login; then everything is as before."""
    guest.run("journalctl --rotate --vacuum-time=1us", check=True)
    with desktop.sign_in(guest, window=False) as viewer:
        viewer.expect("state signed-in", TIME)
        wanted = ("started", "state signing-in", "state signed-in")
        opened, ticket, signed_in = (
            next(at for line, at in zip(viewer.lines, viewer.times, strict=False) if word in line)
            for word in wanted
        )
        viewer.end()
    said = guest.run(f"{JOURNAL} | grep -E 'login-(asked|opened)'", check=True).output
    asked, let_in = (float(moment) for moment in re.findall(r"(?m)^\[ *([0-9.]+)\]", said))
    guest.wait(NOBODY, 60)
    wait_until_left(guest)
    wait_for_event(guest, "screen-ready")
    return {
        "client start": ticket - opened,
        "handshake": signed_in - ticket - (let_in - asked),
        "PAM and login": let_in - asked,
        "all": signed_in - opened,
    }


@pytest.mark.parametrize("part", ["client start", "handshake", "PAM and login", "all"])
def test_a_login_at_the_console(benchmark: Any, parts: dict[str, float], part: str) -> None:
    show(benchmark, CASE, part, "s", lambda: parts[part])
