"""The agent without a guest around it: the test plays channel, acceptor, PAM module and login screen."""

import os
import pwd
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_surroundings import FakeChecker, FakeDriver, FakeMapper, FakeSeat, OwnPeers

from sso.daemon.reactor import Reactor
from sso.guest import records
from sso.guest.agent.agent import Agent
from sso.guest.agent.attempts import NO_DIGEST, Attempts
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.config import GuestConfig
from sso.guest.records import Authenticated, Begin, Confirm, End, Gone, Kind, Outcome

ATTEMPT = bytes(range(16))
TURNS = 200


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def secret_file(content: bytes = b"secret") -> int:
    fd = os.memfd_create("credential", os.MFD_CLOEXEC)
    os.write(fd, content)
    return fd


def let_in(folder: Path) -> None:
    """Let every user into a folder of a test; the system's own folders above it stay as they are."""
    for parent in (folder, *folder.parents):
        if parent.stat().st_mode & 0o5 != 0o5:
            parent.chmod(0o755)


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def has(link: socket.socket) -> bool:
    """Whether data can be read now."""
    return bool(select.select([link], [], [], 0)[0])


def take(link: socket.socket, kind: Any) -> Any:
    """Receive the record that has arrived."""
    received = records.receive(link, kind)
    return received and received[0]


@dataclass
class Stage:
    """The agent and the ends of its sockets that the test holds."""

    agent: Agent
    reactor: Reactor
    clock: Clock
    driver: FakeDriver
    seat: FakeSeat
    checker: FakeChecker
    mapper: FakeMapper
    channel: socket.socket
    acceptor: socket.socket
    path: str
    almost_locked_out: set[str]
    pam: list[socket.socket] = field(default_factory=list)

    def turn(self, until: Callable[[], Any] | None = None) -> None:
        """Run the agent until a condition is true; without one, for a few turns."""
        for _ in range(TURNS if until is not None else 5):
            if until is not None and until():
                return
            self.reactor.turn(0.05 if until is not None else 0.0)
        assert until is None, "it did not happen"

    def begin(self, id: int = 1) -> None:
        records.send(self.channel, Begin(id))

    def end(self, id: int = 1) -> None:
        """End a peer session and wait for the confirmation."""
        records.send(self.channel, End(id))
        self.turn(lambda: has(self.channel))
        assert take(self.channel, Confirm) == Confirm(id)

    def gone(self, id: int = 1) -> None:
        """Let the client leave; do not wait for the confirmation."""
        records.send(self.channel, Gone(id))

    def confirmed(self, id: int = 1) -> bool:
        """Whether the agent reports that no login can go on."""
        self.turn()
        return has(self.channel) and bool(take(self.channel, Confirm) == Confirm(id))

    def claim(
        self,
        id: int = 1,
        principal: str = "alice@TEST.EXAMPLE",
        kind: Kind = Kind.KERBEROS,
        *,
        attempt: bytes = ATTEMPT,
        digest: bytes = NO_DIGEST,
        expires: int = 5000,
        content: bytes = b"secret",
        **brought: str,
    ) -> None:
        """Send the acceptor's message after an authentication; `brought`: mechanism and namespace."""
        fds = [secret_file(content)] if kind.files else []
        claim = Authenticated(id, attempt, kind, principal, digest, expires, **brought)
        records.send(self.acceptor, claim, fds)
        records.close_all(fds)

    def outcome(self) -> tuple[int, int]:
        """Wait for the agent's answer: session and code."""
        self.turn(lambda: has(self.acceptor))
        record = take(self.acceptor, Outcome)
        return record.id, record.code

    def silent(self) -> bool:
        """Whether the agent has not answered."""
        self.turn()
        return not has(self.acceptor)

    def armed(self) -> None:
        """Wait until the login screen was told."""
        self.turn(lambda: any(call.startswith("trigger") for call in self.driver.calls))

    def ask(self, user: str = "", *, service: str = "login", tty: str = "tty1", token: str = "") -> "Asked":
        """Return the agent's answer to a PAM module's GET."""
        module = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        module.connect(self.path)
        self.pam.append(module)
        records.send(module, Request(Operation.GET, service, tty, user, token))
        self.turn(lambda: has(module))
        received = records.receive(module, Reply)
        assert received is not None
        return Asked(self, module, *received)

    def signed_in(self, principal: str = "alice@TEST.EXAMPLE", path: str = "", **claim: Any) -> "Asked":
        """A whole login of session 1, which is over then."""
        self.begin()
        self.claim(1, principal, **claim)
        self.armed()
        asked = self.ask()
        asked.opens(path)
        assert self.outcome() == (1, 0)
        self.end()
        self.driver.calls.clear()
        return asked


@dataclass
class Asked:
    """One PAM login after its GET."""

    stage: Stage
    module: socket.socket
    reply: Reply
    fds: list[int]
    tried: bool = False  # a password was handed to the next module

    def secret(self) -> bytes:
        (fd,) = self.fds
        self.fds = []
        content = os.pread(fd, self.reply.length + 1, 0)
        os.close(fd)
        return content

    def report(self, operation: Operation, path: str = "") -> bool:
        """Send what the module would send now; return whether the agent says yes. CLOSED gets no answer."""
        records.close_all(self.fds)
        self.fds = []
        if self.reply.kind is Kind.PASSWORD and not self.tried and operation is not Operation.TRIED:
            assert self.report(Operation.TRIED) and self.report(Operation.PASSED)
        self.tried = self.tried or operation is Operation.TRIED
        records.send(self.module, Request(operation, "login", "tty1", self.reply.user, "", path))
        self.stage.turn()
        if operation is Operation.CLOSED or not has(self.module):
            return False
        received = records.receive(self.module, Reply)
        return received is not None and received[0] == Reply(Kind.IDENTITY, 0, self.reply.user)

    def opens(self, path: str = "") -> None:
        """Let PAM finish: the session is open."""
        assert self.report(Operation.ESTABLISHED, path) and self.report(Operation.OPENED, path)

    def hang_up(self) -> None:
        records.close_all(self.fds)
        self.fds = []
        self.module.close()
        self.stage.turn()

    def hung_up(self) -> bool:
        """Whether the agent has closed its end."""
        self.stage.turn()
        return has(self.module) and records.receive(self.module, Reply) is None


MakeStage = Callable[..., Stage]


def raise_stage(folder: Path, driver: FakeDriver, options: dict[str, Any]) -> Stage:
    """An agent on its loop; the test plays all other parts."""
    folder.mkdir(mode=0o755)
    paths = {"pam_socket": str(folder / "pam.sock"), "verdict_socket": str(folder / "verdict.sock")}
    config = GuestConfig(**paths | options)
    clock = Clock()
    reactor = Reactor(clock)
    seat, checker, mapper = FakeSeat(reactor), FakeChecker(reactor), FakeMapper(reactor)
    locked_out: set[str] = set()
    agent = Agent(
        config,
        reactor,
        seat=seat,
        driver=driver,
        checker=checker,
        mapper=mapper,
        peers=OwnPeers("", proc=folder / "no-proc"),
        attempts=Attempts(clock, lambda user, since: False, lambda: 0.0),
        would_lock=lambda user: user in locked_out,
    )
    channel, acceptor = (socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    agent.attach(channel[0], acceptor[0], reactor.stop)
    ends = channel[1], acceptor[1]
    return Stage(agent, reactor, clock, driver, seat, checker, mapper, *ends, config.pam_socket, locked_out)


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[MakeStage]:
    """A function that makes an agent; options go to its configuration."""
    stages: list[Stage] = []

    def make(driver: FakeDriver | None = None, **options: Any) -> Stage:
        stages.append(raise_stage(tmp_path / f"run{len(stages)}", driver or FakeDriver(), options))
        return stages[-1]

    yield make
    for stage in stages:
        stage.agent.close()
        stage.reactor.close()
        for link in (stage.channel, stage.acceptor, *stage.pam):
            link.close()


def account(name: str, uid: int, shell: str = "/bin/sh", gid: int | None = None) -> pwd.struct_passwd:
    """An account as getpwnam would tell it."""
    return pwd.struct_passwd((name, "x", uid, uid if gid is None else gid, "", f"/home/{name}", shell))


GET = Request(Operation.GET, "login", "tty1")


def connect(stage: Stage) -> socket.socket:
    """A PAM module that has not asked yet."""
    module = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    module.connect(stage.path)
    stage.pam.append(module)
    return module


def armed(make_stage: MakeStage) -> Stage:
    """An agent with a login that waits for its PAM module."""
    stage = make_stage()
    stage.begin()
    stage.claim()
    stage.armed()
    return stage


def given(stage: Stage, claim: dict[str, Any], id: int = 1, **more: Any) -> Asked:
    """A login whose credential PAM has got."""
    stage.driver.calls.clear()
    stage.begin(id)
    stage.claim(id, **{"attempt": bytes([id]) * 16} | claim | more)
    stage.armed()
    return stage.ask()


def go(asked: Asked, way: tuple[Operation, ...], path: str = "") -> None:
    """Let the module take these steps; the agent says yes to each."""
    for operation in way:
        assert asked.report(operation, path if operation is Operation.ESTABLISHED else "")
