"""Times an installed, spawned client that sends a delegated TGT, and `ssh -K` without a shell.

Whole processes, started by the same means in the same sandbox, in turns, so that a slow moment of the machine
meets all. The client's time to its first byte is a row of its own, and so is what it cannot be without: a
Python that does nothing, and one that imports the Kerberos library and ends as Pythons do.
"""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import installed
import pytest
from bench_idle import show
from sshd import Missing, Sshd

from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox
from sso.guest.channel.conversation import Claim, GuestConversation
from sso.mech import load
from sso.policy import GuestPolicy
from sso.ports.port import open_port
from sso.ports.pump import Pump

CASE = "client process delivers a delegated TGT"
SPN = "host/deleg.test.example"
ROUNDS = 30
WHEEL, DEB = installed.PROGRAM, f"{installed.PROGRAM}, .deb"
SSH, PIPES = "ssh -K, curve25519, no shell", "ssh -K, curve25519, no shell, no TCP"
FIRST, FIRST_DEB = f"{WHEEL}, to its first byte", f"{DEB}, to its first byte"
BARE, KERBEROS = "floor: python -I -S, nothing", "floor: python -I -S, import gssapi.raw"
LOGINS = (WHEEL, DEB, SSH, PIPES)
PEERS = (*LOGINS, FIRST, FIRST_DEB, BARE, KERBEROS)

Times = dict[str, list[float]]


class Guest:
    """The guest's half in a thread of this process: one conversation a client."""

    def __init__(self, keytab: Path) -> None:
        self.keytab = str(keytab)
        self.tickets = 0
        self.first = 0.0  # when the first byte came

    def serve(self, end: socket.socket) -> None:
        conversation: GuestConversation

        def make(name: str, **arguments: Any) -> Any:
            return load(name).accept(spn=SPN, keytab=self.keytab)

        def judge(claim: Claim) -> None:
            assert claim.credential is not None
            self.tickets += 1
            conversation.verdict(0, time.monotonic())

        conversation = GuestConversation(GuestPolicy(), make, judge)
        end.recv(1, socket.MSG_PEEK)
        self.first = time.perf_counter()
        port = open_port(f"fd:{end.fileno()}")
        Pump(port, conversation).run()
        port.close()
        end.close()


def _process(argv: list[str], env: dict[str, str], stdio: int = subprocess.DEVNULL) -> float:
    """Seconds from the start of a process to its end."""
    began = time.perf_counter()
    done = subprocess.run(argv, env=env, stdin=stdio, stdout=stdio, stderr=subprocess.PIPE)
    ended = time.perf_counter()
    assert done.returncode == 0, done.stderr
    return ended - began


def _client(argv: list[str], env: dict[str, str], guest: Guest) -> tuple[float, float]:
    """Seconds to the first byte, and to the end."""
    client, end = socket.socketpair()
    thread = threading.Thread(target=guest.serve, args=(end,))
    thread.start()
    with client:
        began = time.perf_counter()
        whole = _process(argv, env, client.fileno())
    thread.join()
    return guest.first - began, whole


@pytest.fixture(scope="module")
def times(
    realm: Realm, keytabs: dict[str, Path], debs: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Times]:
    realm.kinit("alice", "-f")
    folder = tmp_path_factory.mktemp("installed")
    env = installed.wheel(folder)
    root = installed.debian(tmp_path_factory.mktemp("debian"), debs, realm)
    with ExitStack() as ending, pytest.MonkeyPatch.context() as patch:
        # The realm's folder stays visible inside: ssh reads alice's cache there, sshd its keytab.
        sandbox = ending.enter_context(Sandbox(keep=[realm.folder, folder, root]))
        try:
            sshd = ending.enter_context(Sshd(sandbox, realm))
        except Missing as reason:
            pytest.fail(f"the peer ssh is missing: {reason}")
        for name, value in realm.env.items():
            patch.setenv(name, value)
        yield _measure(_contenders(sandbox, realm, sshd, Guest(keytabs["deleg"]), env, root), realm)


def _contenders(
    sandbox: Sandbox, realm: Realm, sshd: Sshd, guest: Guest, env: Path, root: Path
) -> dict[str, Callable[[], Any]]:
    python, (packages,) = str(env / "bin/python"), env.glob("lib/python*/site-packages")
    kerberos = f"import sys; sys.path.append({str(packages)!r}); import gssapi.raw"

    def client(*argv: str) -> Callable[[], tuple[float, float]]:
        return partial(_client, sandbox.command(["env", *argv, "--spn", SPN]), realm.env, guest)

    def bare(code: str) -> Callable[[], float]:
        return partial(_process, sandbox.command(["env", python, "-I", "-S", "-c", code]), realm.env)

    return {
        WHEEL: client(f"{env}/bin/{installed.PROGRAM}"),
        DEB: client("chroot", str(root), f"/usr/bin/{installed.PROGRAM}"),
        SSH: partial(_process, list(sshd.login()), sshd.env),
        PIPES: partial(_process, list(sshd.login(pipes=True)), sshd.env),
        BARE: bare("pass"),
        KERBEROS: bare(kerberos),
    }


def _measure(contenders: dict[str, Callable[[], Any]], realm: Realm) -> Times:
    """Time all in turns; the first turn fills the caches, the second is checked against the KDC's log."""
    found: Times = {peer: [] for peer in PEERS}
    for turn in range(-2, ROUNDS):
        for peer, run in contenders.items():
            asked = _tickets_asked(realm)
            result = run()
            if turn == -1 and peer in LOGINS:
                # Equal work: the service's ticket is in the cache, and a new TGT was got to be forwarded.
                assert _tickets_asked(realm) == asked + 1, f"{peer}: other work than the others'"
            if turn < 0:
                continue
            first, whole = result if isinstance(result, tuple) else (None, result)
            found[peer].append(whole)
            if first is not None:
                found[FIRST if peer == WHEEL else FIRST_DEB].append(first)
    return found


def _tickets_asked(realm: Realm) -> int:
    return realm.log().count("TGS_REQ")


@pytest.mark.parametrize("peer", PEERS)
def test_delivery(benchmark: Any, times: Times, peer: str) -> None:
    show(benchmark, CASE, peer, "", iter(times[peer]).__next__, ROUNDS)
