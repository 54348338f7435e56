"""Cuts through the real processes and PAM: wherever a client is cut off, the next one logs in, once."""

import random
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from beds_guest import SPN, TIME, MakeGuest, Wire, sign_in

from sso.client.conversation import ClientConversation
from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.errors import PortClosed
from sso.mech import load
from sso.policy import ClientPolicy
from sso.ports.port import open_port
from sso.ports.pump import Pump

CUTS = 200
WORKERS = 2
PER_GUEST = 4  # the guest forks five children at once, then one a second: a new guest begins anew
SHELL = re.compile(r"\$ ")


def cut_off(guest: Guest, cut: tuple[str, int]) -> None:
    """A client (the real conversation, in this process, for speed) whose wire ends at that byte."""
    conversation = ClientConversation(ClientPolicy(spn=SPN), load)
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
    print(f"seed {seed}")
    guests = [make_guest() for _ in range(WORKERS)]
    sizes: dict[str, int] = {"guest": 0, "client": 0}
    log_in_and_out(guests[0], realm, sizes)
    rounds = CUTS // PER_GUEST // WORKERS
    with ThreadPoolExecutor(WORKERS) as pool:
        dice = [random.Random(f"{seed} {number}") for number in range(WORKERS)]
        work = partial(cut_and_log_in, sizes=sizes, rounds=rounds, realm=realm)
        assert list(pool.map(work, guests, dice)) == [rounds] * WORKERS


def cut_and_log_in(
    guest: Guest, dice: random.Random, *, sizes: dict[str, int], rounds: int, realm: Realm
) -> int:
    """Rounds of cut clients and a whole one behind them; returns how many went as they should."""
    for _ in range(rounds):
        guest.stop()
        guest.start()
        opened = guest.log().count("login-opened")
        cuts = [(side, dice.randrange(1, sizes[side])) for side in dice.choices(list(sizes), k=PER_GUEST)]
        for cut in cuts:
            cut_off(guest, cut)
        log_in_and_out(guest, realm, {})
        # The last one is in; of the cut ones at most one was, and then the last one joined that session.
        if guest.log().count("login-opened") - opened != 1:
            raise AssertionError(f"{cuts}: {guest.log()}")
    return rounds


def log_in_and_out(guest: Guest, realm: Realm, sizes: dict[str, int]) -> None:
    """A whole client logs in as alice and out again; `sizes` takes how much crossed."""
    run = sign_in(guest, realm, "--spn", SPN)
    assert run.code == Exit.SIGNED_IN, (run.lines, guest.log())
    if sizes:
        sizes.update(guest=len(run.to_guest), client=len(run.to_client))
    guest.screen.expect(SHELL)
    guest.screen.send("id -un; exit")
    assert guest.screen.expect(re.compile(r"\n(\w+)\r\n"))[1] == "alice"
    guest.screen.expect("login: ")
