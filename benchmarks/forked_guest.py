"""The guest's channel and acceptor processes as they are, and an agent that says yes to everybody.

What cannot be done some hundred times a second is left out: PAM, the login screen, the change of uids, and
the limit of one session a second. Each session still is a forked child, its tokens still cross to the process
with the keytab, and its ticket arrives at the agent in a sealed file, from where it goes to disk.

As a program: python forked_guest.py ROLE DESCRIPTOR DESCRIPTOR WORD...
"""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from sso.guest import records
from sso.guest.acceptor.acceptor import AcceptorProcess
from sso.guest.channel import channel, child
from sso.guest.channel.channel import Channel
from sso.mech import Mechanism, load
from sso.policy import GuestPolicy
from sso.ports.port import open_port
from sso.ports.watch import PortWatch

UNLIMITED = 1_000_000  # sessions at once


@contextmanager
def forked_guest(spn: str, keytab: Path, store: Path, path: Path) -> Iterator[str]:
    """The address of its port; each ticket replaces the file `store`."""
    with ExitStack() as stack:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
        (channel_agent, agent_channel), (acceptor_agent, agent_acceptor), (channel_acceptor, acceptor) = pairs
        for pair in pairs:
            for end in pair:
                stack.callback(end.close)
        address = f"unix:{path}"
        _start(stack, "agent", agent_channel, agent_acceptor, str(store))
        _start(stack, "acceptor", acceptor_agent, acceptor, spn, str(keytab))
        said = _start(stack, "channel", channel_agent, channel_acceptor, address)
        assert said.read(1) == b"."  # the port is open
        yield address


def _start(
    stack: ExitStack, role: str, first: socket.socket, second: socket.socket, *words: str
) -> IO[bytes]:
    fds = first.fileno(), second.fileno()
    argv = [sys.executable, __file__, role, *map(str, fds), *words]
    process = stack.enter_context(subprocess.Popen(argv, pass_fds=fds, stdout=subprocess.PIPE))
    stack.callback(process.kill)
    assert process.stdout is not None
    return process.stdout


def serve_port(agent: socket.socket, acceptor: socket.socket, address: str) -> None:
    channel.BURST = UNLIMITED
    port = open_port(address, listen=True)
    policy = GuestPolicy()

    def serve(connection: socket.socket, pulse: int) -> int:
        return child.run(port, connection, pulse, policy, pairs, Mechanism, lambda attribute: None, _silent)

    pairs = {"GSSAPI": load("GSSAPI")}  # before a child is forked, as the channel process does it
    os.write(1, b".")
    Channel(port, PortWatch(port), agent, acceptor, serve, _silent).run()


def accept(agent: socket.socket, link: socket.socket, spn: str, keytab: str) -> None:
    pair = load("GSSAPI")
    if pair.prepare is not None:
        pair.prepare()
    AcceptorProcess(agent, link, lambda name, in_tls: pair.accept(spn=spn, keytab=keytab), load).run()


def say_yes(channel: socket.socket, acceptor: socket.socket, store: str) -> None:
    """Confirm every end, store every ticket, and answer that the user is signed in."""
    poll = select.poll()
    for link in (channel, acceptor):
        poll.register(link, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == channel.fileno():
                received = records.receive(channel, records.Begin, records.End, records.Gone)
                if received is None:
                    return
                if not isinstance(received[0], records.Begin):
                    records.send(channel, records.Confirm(received[0].id))
                continue
            claim = records.receive(acceptor, records.Authenticated)
            if claim is None:
                return
            for secret in claim[1]:
                Path(store).write_bytes(os.pread(secret, records.SECRET_MAX, 0))
                os.close(secret)
            records.send(acceptor, records.Outcome(claim[0].id, 0))


def _silent(id: str, detail: str = "", /, **fields: object) -> None:
    """Drop the log lines."""


if __name__ == "__main__":
    role, one, two, *words = sys.argv[1:]
    part = {"channel": serve_port, "acceptor": accept, "agent": say_yes}[role]
    part(socket.socket(fileno=int(one)), socket.socket(fileno=int(two)), *words)  # type: ignore[operator]
