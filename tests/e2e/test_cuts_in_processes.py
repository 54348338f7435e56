"""Cuts through the real processes and PAM: wherever a client is cut off, the next one logs in, once."""

import random
import re

import pytest
from beds_guest import SPN, MakeGuest, Wire, sign_in

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm

CUTS = 200
PER_GUEST = 4  # the guest forks five children at once, then one a second: a new guest begins anew
SHELL = re.compile(r"\$ ")


def signed_in(guest: Guest) -> bool:
    """Whether the login screen has become a session; it is alice's or nobody's."""
    guest.screen.send("id -un")
    shown = guest.screen.expect(re.compile(r"\n(alice|bob|root)\r\n|assword|login: "), 5.0)
    assert shown[1] in ("alice", None)
    return shown[1] == "alice"


@pytest.mark.e2e
@pytest.mark.slow
def test_cuts(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    print(f"seed {seed}")
    guest = make_guest()
    whole = sign_in(guest, realm, "--spn", SPN)
    assert whole.code == Exit.SIGNED_IN
    sizes = {"guest": len(whole.to_guest), "client": len(whole.to_client)}
    for _ in range(CUTS // PER_GUEST):
        guest = make_guest()
        guest.screen.expect("login: ")
        for _ in range(PER_GUEST):
            direction = dice.choice(["guest", "client"])
            cut = (direction, dice.randrange(1, sizes[direction]))
            run = sign_in(guest, realm, "--spn", SPN, wire=Wire(cut))
            assert run.code in (Exit.LOST, Exit.NO_GUEST, Exit.SIGNED_IN), (cut, run.lines)
        last = sign_in(guest, realm, "--spn", SPN)
        assert last.code == Exit.SIGNED_IN, (last.lines, guest.log())
        guest.screen.expect(SHELL)
        assert signed_in(guest)
        opened = guest.log().count("login-opened")
        assert opened == 1, guest.log()
        guest.close()
