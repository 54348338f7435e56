"""Measures the guest's processes while nothing happens: wake-ups per second, and memory.

Agent, channel and acceptor run as the units start them, with the watchdog that they have to tell that they
live, and the login screen beside them. A wake-up is a context switch of any of their threads.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from beds_guest import MODULE, SPN, TIME
from interleave import show

from sso.demo.guest import PYTHON, Guest
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox

ROLES = ("agent", "channel", "acceptor")
NOTIFY = "/run/notify"
WATCHDOG = str(20 * 1_000_000)  # microseconds, as in data/systemd
SETTLE, WINDOW, WINDOWS = 3.0, 10.0, 3  # seconds, seconds, windows of which the median counts
MIB = 1024  # KiB
KINDS = ("Rss", "Pss", "Private_")

Pids = dict[str, int]


@contextmanager
def as_units(realm: Realm, keytab: Path) -> Iterator[tuple[Guest, Pids]]:
    """Start the guest's processes and wait until they are ready and quiet."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        sandbox.use_realm(realm)
        sandbox.use_pam_module(MODULE)
        guest = stack.enter_context(Guest(sandbox, spn=SPN, keytab=keytab))
        guest.stop()
        manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.settimeout(TIME)
        manager.bind(str(sandbox.path(NOTIFY)))
        sandbox.path(NOTIFY).chmod(0o666)
        guest.port.unlink(missing_ok=True)
        pids = {"agent": _start(stack, guest, "agent")}
        _wait(manager, 1)  # the others end where nobody listens: here no systemd holds the sockets
        pids |= {role: _start(stack, guest, role) for role in ROLES[1:]}
        _wait(manager, 2)
        guest.screen.expect("login: ")
        manager.setblocking(False)
        yield guest, pids | {"login screen": _screen(guest)}


def _wait(manager: socket.socket, ready: int) -> None:
    while ready:
        ready -= manager.recv(4096).startswith(b"READY=1")


def _start(stack: ExitStack, guest: Guest, role: str) -> int:
    env = {**guest.sandbox.env, "NOTIFY_SOCKET": NOTIFY, "WATCHDOG_USEC": WATCHDOG, "LD_BIND_NOW": "1"}
    process = subprocess.Popen(
        guest.sandbox.command([*PYTHON, "sso.guest.main", "--role", role]),
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process.pid


def _screen(guest: Guest) -> int:
    """Return the pid of sso-getty: the only child of the process that restarts it."""
    (pid,) = Path(f"/proc/{guest.screen.pid}/task/{guest.screen.pid}/children").read_text().split()
    return int(pid)


def switches(pids: Pids) -> int:
    total = 0
    for pid in pids.values():
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            lines = status.read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def memory(pid: int, kind: str) -> float:
    """MiB of resident memory: "Rss", "Pss" with shared pages counted in part, "Private_" without them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if re.match(rf"{kind}(Clean|Dirty)?:", line)) / MIB


def a_second(pids: Pids) -> float:
    before = switches(pids)
    time.sleep(WINDOW)
    return (switches(pids) - before) / WINDOW


@contextmanager
def nobody(guest: Guest, realm: Realm) -> Iterator[None]:
    yield


@contextmanager
def silent(guest: Guest, realm: Realm) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(guest.port))
        yield


@contextmanager
def stays(guest: Guest, realm: Realm) -> Iterator[None]:
    realm.kinit("alice", "-f")
    reader, writer = os.pipe()
    argv = [sys.executable, "-I", "-m", "sso.client.main", "--no-config", "--spn", SPN, "--stay"]
    client = subprocess.Popen(
        [*argv, "--status-fd", str(writer), "--port", f"unix:{guest.port}"],
        env={"PATH": os.environ["PATH"], **realm.env},
        pass_fds=[writer],
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as states:
            assert any(line.startswith("staying") for line in states), "it has not signed in"
            yield
    finally:
        client.send_signal(signal.SIGTERM)
        client.wait(TIME)


@pytest.mark.parametrize("client", [nobody, silent, stays])
def test_wakeups(benchmark: Any, realm: Realm, keytabs: dict[str, Path], client: Callable[..., Any]) -> None:
    with as_units(realm, keytabs["deleg"]) as (guest, pids), client(guest, realm):
        case = f"wake-ups a second of all processes, client: {client.__name__}"
        if client is stays:
            del pids["login screen"]  # it has become alice's login
            case += " (without the login screen)"
        time.sleep(SETTLE)
        show(benchmark, case, "console-sso", "a second", lambda: a_second(pids), WINDOWS)


@pytest.fixture(scope="module")
def idle(realm: Realm, keytabs: dict[str, Path]) -> Iterator[Pids]:
    with as_units(realm, keytabs["deleg"]) as (_, pids):
        time.sleep(SETTLE)
        yield pids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", [*ROLES, "login screen"])
def test_memory(benchmark: Any, idle: Pids, role: str, kind: str) -> None:
    show(benchmark, f"{kind} when idle", role, "MiB", lambda: memory(idle[role], kind))


@pytest.mark.parametrize("kind", KINDS)
def test_memory_of_a_bare_interpreter(benchmark: Any, kind: str) -> None:
    argv = [sys.executable, "-I", "-S", "-c", "print(flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare:
        assert bare.stdout is not None
        bare.stdout.readline()
        show(benchmark, f"{kind} when idle", "python -I -S", "MiB", lambda: memory(bare.pid, kind))
        bare.kill()
