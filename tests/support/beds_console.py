"""Fixtures with a guest whose console is shown: tests of one file use it one after the other."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from beds import Certificates
from beds_viewer import wait_until_left
from beds_vm import Machines
from vm_console import (
    GETTY,
    NOBODY,
    TIME,
    UNITS,
    enrol_with_passwords,
    start,
    wait_for_event,
    wait_for_units,
)

from sso.demo.realm import Realm
from sso.demo.vm import Machine

LOG_OFF = {"disconnect": "log-off", "grace_seconds": 1}


@pytest.fixture(scope="module")
def by_password() -> list[str]:
    """The client's options for alice's password, once the guest is installed."""
    return []


@pytest.fixture(scope="module")
def installed(
    debs: tuple[Path, ...], realm: Realm, certificates: Certificates, by_password: list[str]
) -> Iterator[Machine]:
    """A guest with a SPICE console that takes tickets and passwords, and logs off who has left."""
    with ExitStack() as ending:
        vm = Machines(debs, ending)(console="spice")
        by_password += enrol_with_passwords(vm, realm, certificates, login="getty", **LOG_OFF)
        start(vm, GETTY)
        wait_for_event(vm, "screen-ready tty=tty1")
        yield vm


@pytest.fixture
def guest(installed: Machine) -> Machine:
    """That guest without a session, with its login screen on tty1 and an empty journal."""
    installed.set_clock()
    wait_until_left(installed)
    for user in ("alice", "bob"):
        installed.run(f"loginctl terminate-user {user}")
    installed.wait(NOBODY, 60)
    installed.run("journalctl --rotate --vacuum-time=1us", check=True)
    installed.run(f"systemctl restart {' '.join(UNITS)} getty@tty1", timeout=TIME, check=True)
    wait_for_units(installed)
    wait_for_event(installed, "screen-ready tty=tty1")
    return installed


@pytest.fixture
def bare(bare_machines: Machines) -> Callable[[str], Machine]:
    """Opens a guest without our packages, in which a Python program has the SSO port as `port`."""

    def open_one(code: str) -> Machine:
        vm = bare_machines(console="spice")
        vm.write("/run/program.py", PORT + code)
        vm.run("(setsid python3 -I /run/program.py >/run/said 2>&1 &)", check=True)
        return vm

    return open_one


PORT = """\
import os, select, time
def opened():
    return os.open("/dev/virtio-ports/spice.sso.0", os.O_RDWR | os.O_NONBLOCK)
port = opened()
def wait(mask):
    poll = select.epoll()
    poll.register(port, mask | select.EPOLLET)
    poll.poll(1)
    poll.close()
"""
