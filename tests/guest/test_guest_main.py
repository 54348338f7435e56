"""What the guest's processes load before they are ready: each of them is started anew when it was killed."""

import subprocess
import sys
from pathlib import Path

import jeepney
import pytest
import sso_mechs

import sso

SITE = Path(jeepney.__file__).parents[1]
TREE = [str(Path(package.__file__ or "").parents[1]) for package in (sso, sso_mechs)]
LATE = {"asyncio", "importlib.metadata", "logging", "subprocess", "tempfile", "uuid"}
HEAVY = ("dataclasses", "inspect", "pathlib", "urllib")  # gssapi brings some of them, as its own
ROLES = {
    "agent": ("sso.guest.agent.agent, sso.guest.screens.getty", {*HEAVY, "hashlib", "hmac", "ssl", "gssapi"}),
    "channel_main": ("sso.guest.channel.main", {*HEAVY, "ssl", "pyasn1", "gssapi"}),
    "acceptor_main": ("sso.guest.acceptor.main", {*HEAVY, "ssl", "gssapi"}),
    "mechanisms": ("sso_mechs.kerberos, sso_mechs.krb_cred, sso_mechs.password", {"ssl", "pyasn1"}),
}


@pytest.mark.parametrize("role", ROLES)
def test_no_process_of_the_guest_waits_for_what_it_does_not_need(role: str) -> None:
    imports, never = ROLES[role]
    program = f"import sys; sys.path += {[*TREE, str(SITE)]!r}\nimport {imports}\nprint(*sys.modules)"
    # Without site: what the tests' own installation loads is no matter of ours.
    argv = [sys.executable, "-I", "-S", "-c", program]
    loaded = set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())
    assert loaded & (never | LATE) == set()
