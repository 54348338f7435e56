"""The agent's socket for lockers without an agent: its loop, its clock, and connections of any uid."""

import os
import select
import socket
from pathlib import Path

from beds_agent import Clock, let_in

from sso.daemon.reactor import Reactor
from sso.guest.agent.locker_socket import LockerServer
from sso.guest.agent.pam_records import Operation, Request

ALICE = 4001
GET = Request(Operation.GET, "i3lock", "", "alice")


class Hall:
    """A server on its loop, a clock that stands still, and connections of any uid."""

    def __init__(self, folder: Path) -> None:
        let_in(folder)
        self.path = str(folder / "verdict.sock")
        self.clock = Clock()
        self.reactor = Reactor(self.clock)
        self.asked: list[tuple[int, str, str]] = []
        self.live = 1
        self.server = LockerServer(self.path, self.reactor, self.verdict)
        self.links: list[socket.socket] = []

    def verdict(self, uid: int, user: str, service: str) -> bool:
        self.asked.append((uid, user, service))
        yes = (uid, user) == (ALICE, "alice") and self.live > 0
        self.live -= yes
        return yes

    def close(self) -> None:
        self.server.close()
        self.reactor.close()
        for link in self.links:
            link.close()

    def connect(self, uid: int = ALICE, accept: bool = True) -> socket.socket:
        """A connection of that uid: the kernel tells the ids of the moment of connect()."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        os.seteuid(uid)
        try:
            link.connect(self.path)
        finally:
            os.seteuid(0)
        self.links.append(link)
        if accept:
            self.turn()
        return link

    def turn(self) -> None:
        """Until nothing is left to do."""
        while select.select([self.reactor._selector], [], [], 0)[0]:
            self.reactor.turn(0)
        self.reactor.turn(0)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.turn()

    def ask(self, uid: int = ALICE, request: bytes = GET.pack()) -> bytes:
        link = self.connect(uid)
        self.say(link, request)
        return self.hear(link)

    def say(self, link: socket.socket, packet: bytes) -> None:
        try:
            link.send(packet)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up
        self.turn()

    def hear(self, link: socket.socket) -> bytes:
        """What has arrived: b"" after a hang-up, b"nothing" else."""
        try:
            return link.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b"nothing"
        except ConnectionResetError:
            return b""
