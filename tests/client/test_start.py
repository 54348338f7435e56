"""What a spawned client loads before it has signed in: start-up is its main cost."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sso.demo.realm import Realm
from sso.guest.conversation import Claim, Conversation
from sso.loop import Pump
from sso.mech import load
from sso.policy import GuestPolicy
from sso.port import open_port

SPN = "host/deleg.test.example"
NEVER = (
    "asyncio",
    "importlib.metadata",
    "logging",
    "ssl",
    "pyasn1",
    "tomllib",
    "subprocess",
    "sso.client.staying",
    "sso.guest",
)
RUN = f"""
import sys
from sso.client.main import main
status = main(["--no-config", "--spn", "{SPN}"])
loaded = [name for name in {NEVER!r} if name in sys.modules]
print(status, loaded, file=sys.stderr)
"""


def serve(end: socket.socket, keytab: Path) -> None:
    conversation: Conversation

    def make(name: str, **arguments: Any) -> Any:
        return load(name).accept(spn=SPN, keytab=str(keytab))

    def judge(claim: Claim) -> None:
        conversation.verdict(0, time.monotonic())

    conversation = Conversation(GuestPolicy(), make, judge)
    port = open_port(f"fd:{end.fileno()}")
    Pump(port, conversation).run()
    port.close()
    end.close()


@pytest.mark.proves("S067", "S071")
def test_a_login_with_a_ticket_loads_only_what_it_needs(
    realm: Realm, keytabs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    realm.kinit("alice", "-f")
    client, end = socket.socketpair()
    guest = threading.Thread(target=serve, args=(end, keytabs["deleg"]))
    guest.start()
    argv = [sys.executable, "-I", "-c", RUN]
    with client:
        fd = client.fileno()
        done = subprocess.run(
            argv, stdin=fd, stdout=fd, stderr=subprocess.PIPE, env={**os.environ}, text=True
        )
    guest.join()
    assert done.stderr == "0 []\n"
