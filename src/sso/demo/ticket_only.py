"""The demo without root: the ticket arrives and works, but no login screen can be opened."""

import os
import socket
import subprocess
import sys
import threading
from typing import Any

from sso.demo.programs import BedError
from sso.demo.realm import Realm
from sso.demo.relay import WireReader, relay


def run(realm: Realm, show: Any, spn: str, web: str) -> None:
    """Send alice's ticket to a guest conversation in another process, store it, and use it."""
    keytab = realm.keytab(realm.folder / "guest.keytab", spn)
    store = realm.folder / "delivered.ccache"
    show.step("No root: the guest's half of the protocol runs alone, without login screen and PAM.")
    client, ours = socket.socketpair()
    theirs, guest = socket.socketpair()
    python = [sys.executable, "-I", "-m"]
    half = subprocess.Popen(
        [*python, "sso.demo.guest_half", spn, str(keytab), str(store)],
        stdin=guest.fileno(),
        stdout=guest.fileno(),
        env={**os.environ, **realm.env},
    )
    guest.close()
    wire = threading.Thread(target=relay, args=(ours, theirs, WireReader(show.line)), daemon=True)
    wire.start()
    argv = [*python, "sso.client.main", "--no-config", "--spn", spn, "-v"]
    with client:
        done = subprocess.run(
            argv,
            stdin=client.fileno(),
            stdout=client.fileno(),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **realm.env},
        )
    wire.join(5)
    half.wait(10)
    for text in done.stderr.splitlines():
        show.line(text)
    if done.returncode or not store.exists():
        raise BedError(f"the ticket did not arrive (exit code {done.returncode})")
    show.step("The ticket that arrived, and a service ticket got with it:")
    environment = {**os.environ, **realm.env, "KRB5CCNAME": f"FILE:{store}"}
    for command in (["kvno", web], ["klist", "-f"]):
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for text in said.splitlines():
            if text.strip():
                show.line(text.rstrip())
    show.step("Left out, because it needs root: sso-guest-agent's three processes, the PAM module, a login.")
