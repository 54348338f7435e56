"""Runs spice-client-sso as a viewer would, and prints what crosses the port and what the client says."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from .realm import Realm
from .relay import WireReader, relay


def run_client(realm: Realm, spn: str, guest: socket.socket, say: Callable[[str], None]) -> int:
    """Run one client for the service `spn` at the guest's end of a port; return its exit code.

    `guest` is closed at the end; `say` gets each line.
    """
    client, ours = socket.socketpair()
    wire = threading.Thread(target=relay, args=(ours, guest, WireReader(say).hear), daemon=True)
    wire.start()
    with client:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "sso.client.main", "--no-config", "--spn", spn, "-v"],
            stdin=client.fileno(),
            stdout=client.fileno(),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **realm.env},
        )
    wire.join(5)
    for text in done.stderr.splitlines():
        say(text)
    return done.returncode
