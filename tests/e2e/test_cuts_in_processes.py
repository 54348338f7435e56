"""Cuts through the real processes and PAM: wherever a client is cut off, the next one logs in, once."""

import random
import re
import socket
import threading

import pytest
from beds_guest import SPN, TIME, MakeGuest, Wire, sign_in

from sso.client.conversation import Conversation
from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.errors import PortClosed
from sso.loop import Pump
from sso.mech import load
from sso.policy import ClientPolicy
from sso.port import open_port

CUTS = 200
PER_GUEST = 4  # the guest forks five children at once, then one a second: a new guest begins anew
SHELL = re.compile(r"\$ ")


def cut_off(guest: Guest, cut: tuple[str, int]) -> None:
    """A client (the real conversation, in this process, for speed) whose wire ends at that octet."""
    conversation = Conversation(ClientPolicy(spn=SPN), load)
    client, ours = socket.socketpair()
    port = socket.socket(socket.AF_UNIX)
    port.connect(str(guest.port))
    relay = threading.Thread(target=Wire(cut).relay, args=(ours, port), daemon=True)
    relay.start()
    end = open_port(f"fd:{client.fileno()}")
    client.close()
    try:
        Pump(end, conversation).run()
    except PortClosed:
        pass
    finally:
        end.close()
        relay.join(TIME)
        for open_end in (ours, port):
            open_end.close()


@pytest.mark.e2e
@pytest.mark.slow
def test_cuts(realm: Realm, make_guest: MakeGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    realm.kinit("alice", "-f")
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    print(f"seed {seed}")
    guest = make_guest()
    opened = log_in_and_out(guest, realm, sizes := {"guest": 0, "client": 0})
    for _ in range(CUTS // PER_GUEST):
        guest.stop()
        guest.start()
        cuts = [(side, dice.randrange(1, sizes[side])) for side in dice.choices(list(sizes), k=PER_GUEST)]
        for cut in cuts:
            cut_off(guest, cut)
        before, opened = opened, log_in_and_out(guest, realm, {})
        # The last one is in; of the cut ones at most one was, and then the last one joined that session.
        assert opened - before == 1, (cuts, guest.log())


def log_in_and_out(guest: Guest, realm: Realm, sizes: dict[str, int]) -> int:
    """A whole client logs in as alice and out again; returns how many sessions were opened so far."""
    run = sign_in(guest, realm, "--spn", SPN)
    assert run.code == Exit.SIGNED_IN, (run.lines, guest.log())
    if sizes:
        sizes.update(guest=len(run.to_guest), client=len(run.to_client))
    guest.screen.expect(SHELL)
    guest.screen.send("id -un; exit")
    assert guest.screen.expect(re.compile(r"\n(\w+)\r\n"))[1] == "alice"
    guest.screen.expect("login: ")
    return guest.log().count("login-opened")
