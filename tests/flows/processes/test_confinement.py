"""The child of a peer session while it runs, and how soon it is gone."""

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from beds_guest import SPN, MakeGuest, processes, sign_in

from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.protocol.greeting import Greeting
from sso.protocol.messages import signature_line
from sso.protocol.state import Role

pytestmark = pytest.mark.e2e
AGENT_UID, ACCEPTOR_UID = 4010, 4011


@contextmanager
def peer(guest: Guest) -> Iterator[socket.socket]:
    """A client that has greeted and now says nothing: its child waits."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(guest.port))
        client.sendall(signature_line(Greeting(Role.CLIENT, (), None, os.urandom).own()))
        heard = b""
        while b"authenticate" not in heard:
            heard += client.recv(4096)
        yield client


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_child_can_do_nothing_and_is_gone_with_its_peer(make_guest: MakeGuest) -> None:
    guest = make_guest()
    with peer(guest):
        (child,) = processes(guest)["child"]
        seen = status(child)
        assert set(seen["Uid"].split()) == {str(AGENT_UID)} and set(seen["Gid"].split()) == {str(AGENT_UID)}
        assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == 0
        assert seen["NoNewPrivs"] == "1" and seen["Groups"] == ""
        # A process that may not be dumped belongs to root in /proc: not even its own uid can trace it.
        assert os.stat(f"/proc/{child}/mem").st_uid == 0
        for name in ("mem", "environ", "maps"):
            look = guest.sandbox.command(["cat", f"/proc/{child}/{name}"], user="sso-agent")
            done = subprocess.run(look, env=guest.sandbox.env, capture_output=True)
            assert done.returncode != 0 and not done.stdout
        look = guest.sandbox.command(["cat", "/etc/console-sso/acceptor.keytab"], user="sso-agent")
        assert subprocess.run(look, env=guest.sandbox.env, capture_output=True).returncode != 0
        life = os.pidfd_open(child)
    gone, _, _ = select.select([life], [], [], 1.0)
    os.close(life)
    assert gone, "the child outlived its peer"


def test_the_processes_run_as_their_own_users(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest()
    assert sign_in(guest, realm, "--spn", SPN).code == 0
    found = processes(guest)
    (channel,), (acceptor,) = found["channel"], found["acceptor"]
    assert status(channel)["Uid"].split()[0] == str(AGENT_UID)
    assert status(acceptor)["Uid"].split()[0] == str(ACCEPTOR_UID)
    for pid in (channel, acceptor):
        assert status(pid)["NoNewPrivs"] == "1" and int(status(pid)["CapEff"], 16) == 0
    maps = Path(f"/proc/{guest.pid}/maps").read_text()
    assert "libgssapi" not in maps and "libssl" not in maps, "the root part loads neither"
    assert not [link for link in descriptors(acceptor) if "port.sock" in link]


def descriptors(pid: int) -> list[str]:
    return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def test_a_child_without_a_pulse_is_ended_and_the_next_peer_served(make_guest: MakeGuest) -> None:
    guest = make_guest()
    with peer(guest):
        (child,) = processes(guest)["child"]
        life = os.pidfd_open(child)
        os.kill(child, signal.SIGSTOP)
        gone, _, _ = select.select([life], [], [], 10.0)
        os.close(life)
        assert gone
    assert "child-stopped" in guest.log()
    with peer(guest):
        assert len(processes(guest)["child"]) == 1
