"""SIGKILL at each step of a login in a virtual machine: to the client, and to each process of the guest."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import count

import pytest
from beds_vm import Machines
from vm_console import (
    ASK,
    NOBODY,
    SPN,
    TIME,
    UNITS,
    caches,
    sessions,
    set_up,
    sign_in,
    wait_for_event,
    wait_for_units,
)

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine

pytestmark = pytest.mark.vm


def reaches(vm: Machine, realm: Realm, step: int, act: Callable[["subprocess.Popen[bytes]"], None]) -> bool:
    """Let a client sign in, and `act` when the wire changes direction for the `step`th time, if it does."""
    ours, theirs = socket.socketpair()
    with ours, socket.socket(socket.AF_UNIX) as port:
        port.connect(str(vm.port))
        with theirs:
            client = subprocess.Popen(
                [sys.executable, "-I", "-m", "sso.client.main", "--no-config", "--spn", SPN],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], **realm.env},
            )
        try:
            reached = _relay(ours, port, step, lambda: act(client))
        finally:
            client.kill()
            client.wait(TIME)
    return reached


def _relay(client: socket.socket, port: socket.socket, step: int, act: Callable[[], None]) -> bool:
    """Pass bytes on until one side is gone; whether the step came."""
    other, speaks, turns = {client: port, port: client}, None, 0
    while True:
        for end in select.select([client, port], [], [], TIME)[0]:
            try:
                data = end.recv(65536)
                if end is not speaks and data:
                    speaks, turns = end, turns + 1
                    if turns == step:
                        act()
                if not data:
                    return turns >= step
                other[end].sendall(data)
            except OSError:
                return turns >= step


def settled(vm: Machine) -> int:
    """Wait until everybody is ready again and see that no grant is left; how many were signed in."""
    wait_for_units(vm)
    assert vm.run(ASK, timeout=60, check=True).output == "NONE\n"
    assert vm.run("journalctl -b -u console-sso-agent -o cat | grep pam-refused").code == 1, "it may ask"
    opened = len(sessions(vm))
    vm.run("loginctl terminate-user alice")
    vm.wait(NOBODY, TIME)
    vm.wait("pgrep -x sso-getty", TIME)
    assert caches(vm) == []
    return opened


@pytest.mark.proves("S074", "S107")
@pytest.mark.parametrize(
    ("victim", "stride"),
    [("client", 6), *(pytest.param(name, 1, marks=pytest.mark.long) for name in ("client", *UNITS, "child"))],
)
def test_whoever_is_killed_at_whatever_step_the_next_one_signs_in_once(
    machines: Machines, realm: Realm, victim: str, stride: int
) -> None:
    """At each step, or at each `stride`th one."""
    vm = set_up(machines(), realm)
    realm.kinit("alice", "-f")

    def kill(client: "subprocess.Popen[bytes]") -> None:
        if victim == "client":
            client.kill()
        elif victim == "child":  # if there is one at that moment
            vm.run(f"pkill -KILL -P $(systemctl show -P MainPID {UNITS[1]})")
        else:
            vm.run(f"systemctl kill -s KILL --kill-who=main {victim}", check=True)

    for step in count(1, stride):
        if not reaches(vm, realm, step, kill):
            break
        assert settled(vm) <= 1, "signed in twice"
    print(f"{victim}: killed at {(step - 1) // stride} steps")
    assert step > 8
    settled(vm)
    assert sign_in(vm, realm).code == Exit.SIGNED_IN
    wait_for_event(vm, "login-opened")
    assert len(sessions(vm)) == 1 and len(caches(vm)) == 1
