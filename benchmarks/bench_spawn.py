"""A spawned client that delivers a delegated TGT, beside `ssh -K` without a shell (whole processes)."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sshd import Missing, Sshd

from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox
from sso.guest.conversation import Claim, Conversation
from sso.loop import Pump
from sso.mech import load
from sso.policy import GuestPolicy
from sso.port import open_port

CASE = "client process delivers a delegated TGT"
SPN = "host/deleg.test.example"
ROUNDS = 20


class Guest:
    """The guest's half in a thread of this process: one conversation a client."""

    def __init__(self, keytab: Path) -> None:
        self.keytab = str(keytab)
        self.tickets = 0

    def serve(self, end: socket.socket) -> None:
        conversation: Conversation

        def make(name: str, **arguments: Any) -> Any:
            return load(name).accept(spn=SPN, keytab=self.keytab)

        def judge(claim: Claim) -> None:
            assert claim.credential is not None
            self.tickets += 1
            conversation.verdict(0, time.monotonic())

        conversation = Conversation(GuestPolicy(), make, judge)
        port = open_port(f"fd:{end.fileno()}")
        Pump(port, conversation).run()
        port.close()
        end.close()


def _deliver(guest: Guest, env: dict[str, str]) -> None:
    client, end = socket.socketpair()
    thread = threading.Thread(target=guest.serve, args=(end,))
    thread.start()
    argv = [sys.executable, "-I", "-m", "sso.client.main", "--no-config", "--spn", SPN]
    with client:
        ends = client.fileno()
        done = subprocess.run(argv, stdin=ends, stdout=ends, env=env, stderr=subprocess.PIPE)
    thread.join()
    assert done.returncode == 0, done.stderr


def test_spawned_client(
    benchmark: Any, realm: Realm, keytabs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    realm.kinit("alice", "-f")
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    guest = Guest(keytabs["deleg"])
    env = {"PATH": "/usr/bin:/bin", **realm.env}
    _deliver(guest, env)
    assert guest.tickets == 1
    benchmark.group = CASE
    benchmark.extra_info.update(case=CASE, peer="spice-client-sso")
    benchmark.pedantic(_deliver, args=(guest, env), rounds=ROUNDS, warmup_rounds=1)


def test_ssh(benchmark: Any, realm: Realm) -> None:
    realm.kinit("alice", "-f")
    benchmark.group = CASE
    try:
        # The realm's folder stays visible inside: ssh reads alice's cache there, sshd its keytab.
        with Sandbox(keep=[realm.folder]) as sandbox, Sshd(sandbox, realm) as sshd:
            benchmark.extra_info.update(case=CASE, peer="ssh -K, curve25519, no shell")

            def deliver() -> None:
                subprocess.run(sshd.login(), env=sshd.env, stdin=subprocess.DEVNULL, check=True)

            benchmark.pedantic(deliver, rounds=ROUNDS, warmup_rounds=1)
    except Missing as reason:
        pytest.fail(f"the peer ssh is missing: {reason}")
