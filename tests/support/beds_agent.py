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

from sso.daemon.forked import Forked
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor
from sso.guest import records
from sso.guest.agent.account import Checked
from sso.guest.agent.agent import Agent
from sso.guest.agent.attempts import NO_DIGEST, Attempts
from sso.guest.agent.mapping import Mapped
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.agent.pam_socket import Peers
from sso.guest.agent.rules import Eligibility
from sso.guest.config import GuestConfig
from sso.guest.records import Authenticated, Begin, Confirm, End, Gone, Kind, Outcome, Who
from sso.guest.seat.bus import Bus
from sso.guest.seat.logind import Found, Seat, Seated

ATTEMPT = bytes(range(16))
TURNS = 200


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeDriver:
    """A login screen that remembers what it was told."""

    service, place = "login", "tty1"
    retry = 0.0

    def __init__(self, token: bool = False, unlocks: bool = False) -> None:
        self.calls: list[str] = []
        self.tokens: list[str] = []
        self.token, self.unlocks = token, unlocks
        self.is_ready = True
        self.changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def ready(self, user: str) -> bool:
        return self.is_ready

    def trigger(self, user: str, token: str) -> bool:
        self.calls.append(f"trigger {user}")
        self.tokens.append(token)
        return True

    def settled(self) -> None:
        self.calls.append("settled")

    failed = settled

    def cancel(self) -> None:
        self.calls.append("cancel")

    def lock(self, session: Seated) -> bool:
        return False

    def is_locked(self, session: Seated) -> bool:
        return session.locked

    def close(self) -> None:
        self.calls.append("close")


class FakeSeat(Seat):
    """A seat that a test sets, beside the real one of test_logind.py; it remembers what it was told."""

    def __init__(self, reactor: Reactor) -> None:
        super().__init__(reactor, Bus(reactor, "unix:path=/nonexistent"))
        self.calls: list[str] = []
        self.found = Found(True)
        self.obeys = True

    def hint(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            self._reactor.after(0.0, lambda done=done: done(self.found))  # type: ignore[misc]
        for changed in self._watchers:
            self._reactor.after(0.0, changed)

    def put(self, *users: Seated, active: Seated | None = None) -> None:
        """Set the sessions of the seat."""
        self.found = Found(True, active or next(iter(users), None), users)
        self.hint()

    def lock(self, session: str) -> None:
        self.calls.append(f"lock {session}")
        if self.obeys:
            self._set(session, True)

    def unlock(self, session: str) -> None:
        self.calls.append(f"unlock {session}")
        if self.obeys:
            self._set(session, False)

    def terminate(self, session: str) -> None:
        self.calls.append(f"terminate {session}")
        self.put(*(user for user in self.found.users if user.id != session))

    def _set(self, session: str, locked: bool) -> None:
        self.put(*(user._replace(locked=locked) if user.id == session else user for user in self.found.users))


class FakeChecker:
    """PAM without a login screen, as a test wants it."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.calls: list[str] = []
        self.answer = Checked.GOOD
        self.until = -1  # a pipe: PAM's modules take their time until something can be read

    def account(self, service: str, user: str, tty: str, done: Callable[[Checked], None]) -> Forked:
        self.calls.append(f"account {service} {user}")
        return self._work(done)

    def password(self, service: str, user: str, secret: int, done: Callable[[Checked], None]) -> Forked:
        self.calls.append(f"password {service} {user}")
        return self._work(done)

    def _work(self, done: Callable[[Checked], None]) -> Forked:
        keep = [self.until] if self.until >= 0 else []

        def work() -> bytes:
            return os.read(self.until, 1) if keep else b""

        return Forked(self._reactor, work, lambda _: done(self.answer), 500.0, keep)


class OwnPeers(Peers):
    """Accept our own uid as root, so that tests need no root; other users are refused as usual."""

    def refusal(self, peer: Peer, unlocking: int) -> str:
        return super().refusal(peer._replace(uid=0) if peer.uid == os.geteuid() else peer, unlocking)


class FakeMapper:
    """Maps alice@REALM to alice at once, by a real worker, so that descriptors are counted too."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.uids = {"alice": 4001, "bob": 4002}
        self.finding: Eligibility | None = None
        self.store = ""

    def ask(self, who: Who, done: Callable[[Mapped], None]) -> Forked:
        name = who.principal.partition("@")[0]
        known = name in self.uids
        finding = self.finding or (Eligibility.GOOD if known else Eligibility.NO_USER)
        answer = Mapped(finding, self.uids.get(name, 0), name, self.store)
        return Forked(self._reactor, answer.pack, lambda data: done(Mapped.unpack(data)), 5.0)


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
