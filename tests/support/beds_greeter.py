"""sso-greetd with a scripted greetd, and the driver as the agent would run it."""

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sso.daemon.reactor import Reactor
from sso.demo.terminal import Terminal
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.records import Hello
from sso.guest.screens.greetd import HELLO, GreetdDriver

HOST = socket.gethostname().partition(".")[0]
PROMPT = f"{HOST} login: "
PROGRAM = [sys.executable, "-m", "sso.guest.screens.greetd_greeter"]
SUCCESS = {"type": "success"}


def question(style: str, text: str) -> dict[str, str]:
    return {"type": "auth_message", "auth_message_type": style, "auth_message": text}


def problem(style: str, text: str) -> dict[str, str]:
    return {"type": "error", "error_type": style, "description": text}


def framed(body: bytes) -> bytes:
    return struct.pack("=I", len(body)) + body


class FakeGreetd:
    """Answers each request with the next reply of a login; cancel_session always succeeds."""

    def __init__(self, path: Path, *replies: dict[str, str] | bytes) -> None:
        self.path = path
        self.requests: list[dict[str, Any]] = []
        self._replies = list(replies)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
            last.send(struct.pack("=I", 0))
        self._thread.join(10)
        self._listener.close()

    def words(self) -> list[str]:
        """The requests, without the cancel_session with which every login begins."""
        return [str(request["type"]) for request in self.requests][1:]

    def _serve(self) -> None:
        while True:
            link, _ = self._listener.accept()
            with link:
                while header := link.recv(4, socket.MSG_WAITALL):
                    (length,) = struct.unpack("=I", header)
                    if not length:
                        return
                    request = json.loads(link.recv(length, socket.MSG_WAITALL))
                    self.requests.append(request)
                    reply: dict[str, str] | bytes = SUCCESS
                    if request["type"] != "cancel_session" and self._replies:
                        reply = self._replies.pop(0)
                    link.sendall(reply if isinstance(reply, bytes) else framed(json.dumps(reply).encode()))
                    if isinstance(reply, bytes):
                        break


@dataclass
class Bed:
    """A folder with greetd's and the agent's socket."""

    folder: Path
    greetds: list[FakeGreetd] = field(default_factory=list)
    terminals: list[Terminal] = field(default_factory=list)
    desks: list["Desk"] = field(default_factory=list)

    def greetd(self, *replies: dict[str, str] | bytes) -> FakeGreetd:
        self.greetds.append(FakeGreetd(self.folder / "greetd.sock", *replies))
        return self.greetds[-1]

    def screen(self, *options: str) -> Terminal:
        self.terminals.append(Terminal([*PROGRAM, "--socket", self.agent, *options], self.env))
        return self.terminals[-1]

    def desk(self, clock: Callable[[], float] = time.monotonic) -> "Desk":
        self.desks.append(Desk(self.agent, clock))
        return self.desks[-1]

    @property
    def agent(self) -> str:
        return str(self.folder / "greeter.sock")

    @property
    def env(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
        return {"PATH": "/usr/bin:/bin", "GREETD_SOCK": str(self.folder / "greetd.sock"), **kept}


class Desk:
    """The driver with its reactor, as the agent would have it."""

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        self.reactor = Reactor(clock)
        self.changes: list[str] = []
        self.path = path
        self.driver = GreetdDriver(GuestConfig(greeter_socket=path, greeter_user="nobody"), self.reactor)
        self.driver.start(lambda: self.changes.append("changed"))

    def turn(self, until: Callable[[], object]) -> None:
        limit = time.monotonic() + 10
        while not until():
            assert time.monotonic() < limit, "it did not happen"
            self.reactor.turn(0.05)

    def connect(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link.connect(self.path)
        return link

    def greeter(self) -> socket.socket:
        """Connect a scripted greeter that waits."""
        count = len(self.changes)
        link = self.connect()
        records.send(link, Hello(HELLO))
        self.turn(lambda: len(self.changes) > count)
        return link

    def sign_in(self, user: str) -> None:
        self.turn(lambda: self.driver.ready(user))
        assert self.driver.trigger(user, "")

    def close(self) -> None:
        self.driver.close()
        self.reactor.close()


@pytest.fixture(name="bed")
def make_bed(tmp_path: Path) -> Iterator[Bed]:
    bed = Bed(tmp_path)
    yield bed
    for terminal in bed.terminals:
        terminal.close()
    for desk in bed.desks:
        desk.close()
    for greetd in bed.greetds:
        greetd.close()
