"""The demo without root: the ticket arrives and works, but no login screen can be opened."""

import os
import socket
import subprocess
import sys
from typing import Any

from sso.demo.client import run_client
from sso.demo.programs import BedError
from sso.demo.realm import Realm


def run(realm: Realm, show: Any, spn: str, web: str) -> None:
    """Send alice's ticket to a guest conversation in another process, store it, and use it."""
    keytab = realm.keytab(realm.folder / "guest.keytab", spn)
    store = realm.folder / "delivered.ccache"
    show.step("No root: the guest's half of the protocol runs alone, without login screen and PAM.")
    theirs, guest = socket.socketpair()
    half = subprocess.Popen(
        [sys.executable, "-I", "-m", "sso.demo.guest_half", spn, str(keytab), str(store)],
        stdin=guest.fileno(),
        stdout=guest.fileno(),
        env={**os.environ, **realm.env},
    )
    guest.close()
    code = run_client(realm, spn, theirs, show.line)
    half.wait(10)
    if code or not store.exists():
        raise BedError(f"the ticket did not arrive (exit code {code})")
    show.step("The ticket that arrived, and a service ticket got with it:")
    environment = {**os.environ, **realm.env, "KRB5CCNAME": f"FILE:{store}"}
    for command in (["kvno", web], ["klist", "-f"]):
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for text in said.splitlines():
            if text.strip():
                show.line(text.rstrip())
    show.step("Left out, because it needs root: sso-guest-agent's three processes, the PAM module, a login.")
