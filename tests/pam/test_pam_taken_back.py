"""A login that the agent takes back opens no session, whatever the program's order, the stack and the moment.

The real module under the real libpam in Debian's own stacks, with the agent in a process of its own. The test
plays the channel, the acceptor and the login screen's program; that one stops after each call, and within
the session's stack right before our last line, and there the agent is killed or the client goes.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_agent import ATTEMPT, raise_stage, secret_file
from beds_pam import CALLER, SOCKET, SOURCE, TICKET, build_module, caches, install_caller
from fake_surroundings import FakeDriver

from sso.demo.sandbox import PAM_MODULE, Sandbox
from sso.guest import log, records
from sso.guest.agent.attempts import NO_DIGEST
from sso.guest.pam_files.pam_stack import add_lines
from sso.guest.records import Authenticated, Begin, Confirm, End, Gone, Kind, Outcome

pytestmark = pytest.mark.e2e

SECONDS = 20.0  # for anything to happen at all
FOLDER = "/var/tmp/caches"
ORDERS = {
    "open, setcred": ("open_session", "setcred:2"),
    "setcred, open": ("setcred:2", "open_session"),
    "setcred, open, setcred again": ("setcred:2", "open_session", "setcred:0x8"),
}
# Debian's own, as it is installed with LightDM 1.26.
LIGHTDM = """\
auth      requisite pam_nologin.so
session      required pam_env.so readenv=1
session      required pam_env.so readenv=1 envfile=/etc/default/locale
@include common-auth
-auth  optional pam_gnome_keyring.so
@include common-account
session  [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close
session  required        pam_limits.so
@include common-session
session  [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so open
-session optional        pam_gnome_keyring.so auto_start
@include common-password
"""
STACKS = ("login", "greetd", "lightdm", "sddm", "gdm-ovirtcred")
TOKEN = {"gdm-ovirtcred"}


class Driver(FakeDriver):
    """A login screen that tells the test when it is to begin."""

    def __init__(self, service: str, teller: socket.socket) -> None:
        super().__init__(service in TOKEN)
        self.service, self._teller = service, teller

    def trigger(self, user: str, token: str) -> bool:
        self._teller.send(f"begin {token}".encode())
        return super().trigger(user, token)


class Agent:
    """The agent in a process of its own, with one authenticated client; `token` is for the greeter."""

    def __init__(self, guest: Sandbox, folder: Path, service: str, kind: Kind) -> None:
        self._log = folder / "log"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._live(guest, folder, service, theirs)
        theirs.close()
        ours.settimeout(SECONDS)
        _, fds, _, _ = socket.recv_fds(ours, 16, 2)
        self.channel, self.acceptor = (socket.socket(fileno=fd) for fd in fds)
        for link in (self.channel, self.acceptor):
            link.settimeout(SECONDS)
        records.send(self.channel, Begin(1))
        content = TICKET if kind is Kind.KERBEROS else guest.password("alice").encode()
        principal = "alice" if kind is Kind.PASSWORD else "alice@TEST.EXAMPLE"
        digest = b"d" * 32 if kind is Kind.PASSWORD else NO_DIGEST
        secret = secret_file(content)
        records.send(self.acceptor, Authenticated(1, ATTEMPT, kind, principal, digest, 5000), [secret])
        os.close(secret)
        self.token = ours.recv(100).decode().partition(" ")[2]
        ours.close()

    def _live(self, guest: Sandbox, folder: Path, service: str, teller: socket.socket) -> None:
        """The process: as sso.guest.agent.agent.run_agent ends, so does this one."""
        status = 1
        try:
            os.dup2(os.open(self._log, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
            sys.stderr = open(2, "w")  # noqa: SIM115  # pytest has another one
            log.open_as("sso-agent")
            stage = raise_stage(
                folder / "run", Driver(service, teller), {"pam_socket": str(guest.path(SOCKET))}
            )
            socket.send_fds(teller, [b"ready"], [stage.channel.fileno(), stage.acceptor.fileno()])
            stage.channel.close()
            stage.acceptor.close()
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
            try:
                while True:
                    stage.reactor.turn(0.05)  # a signal right before the waiting begins wakes nobody
            finally:
                stage.agent.close()
        except SystemExit:
            status = 0
        finally:
            os._exit(status)

    def end(self, number: int) -> None:
        """End the process; once more when it has not heard, for it forks workers of its own meanwhile."""
        if self.pid:
            life = os.pidfd_open(self.pid)
            os.kill(self.pid, number)
            while not select.select([life], [], [], 0.3)[0]:
                os.kill(self.pid, number)
            os.close(life)
            os.waitpid(self.pid, 0)
        self.pid = 0

    def log(self) -> list[str]:
        return self._log.read_text().splitlines()

    def confirmed(self, id: int) -> None:
        """Nothing of a peer session is left."""
        assert records.receive(self.channel, Confirm) == (Confirm(id), [])

    def close(self) -> None:
        self.end(signal.SIGKILL)
        self.channel.close()
        self.acceptor.close()

    def signed_in(self) -> bool:
        """Whether the client was told so; asked when the agent has ended."""
        try:
            received = records.receive(self.acceptor, Outcome)
        except TimeoutError:
            return False
        return received is not None and received[0].code == 0


def viewer_gone(agent: Agent) -> None:
    records.send(agent.channel, End(1))
    agent.confirmed(1)
    records.send(agent.channel, Gone(1))


def reset(agent: Agent) -> None:
    records.send(agent.channel, End(1))
    agent.confirmed(1)
    records.send(agent.channel, Begin(2))


FAULTS: dict[str, Callable[[Agent], None]] = {
    "SIGTERM": lambda agent: agent.end(signal.SIGTERM),
    "SIGKILL": lambda agent: agent.end(signal.SIGKILL),
    "viewer gone": viewer_gone,
    "reset": reset,
}
FOLDERS = {
    "full": "mount -t tmpfs -o size=4k,mode=1777 none {0} && head -c 4096 /dev/zero > {0}/x",
    "missing": "rmdir {0}",
    "read-only": "mount -t tmpfs -o ro,mode=1777 none {0}",
}


class Caller:
    """One process that plays login programs, each in a fork."""

    def __init__(self, guest: Sandbox) -> None:
        argv = guest.command([sys.executable, "-I", "-S", CALLER, "-"])
        self._process = subprocess.Popen(
            argv, env=guest.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def play(self, script: dict[str, Any], at: int, fault: Callable[[], None]) -> dict[str, Any]:
        """Play a script; at its pause number `at` the fault happens."""
        assert self._process.stdin is not None and self._process.stdout is not None
        pause = 0
        self._say(json.dumps(script))
        while (line := self._process.stdout.readline()) == "pause\n":
            if pause == at:
                fault()
            pause += 1
            self._say("go on")
        assert pause > at, "the fault did not happen"
        told: dict[str, Any] = json.loads(line)
        return told

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.communicate(timeout=SECONDS)


class Bed:
    """A sandbox with every login screen's service, and one login after the other."""

    def __init__(self, guest: Sandbox, folder: Path) -> None:
        self.guest, self._folder, self._runs = guest, folder, 0
        self.caller = Caller(guest)

    def log_in(
        self,
        stack: str,
        order: str,
        kind: Kind,
        at: int = -1,
        fault: Callable[[Agent], None] = lambda agent: None,
    ) -> "Login":
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        agent = Agent(self.guest, folder, stack, kind)
        try:
            steps = ["authenticate", "pause", "acct_mgmt", "pause"]
            steps += [word for step in ORDERS[order] for word in (step, "pause")]
            user = None if stack in TOKEN else "alice"
            script: dict[str, Any] = {"service": stack, "user": user, "items": {"tty": "tty1"}}
            script |= {"answers": [agent.token], "steps": [*steps, "look", "end"]}
            told = self.caller.play(script, at, lambda: fault(agent))
            found = [str(path) for path in caches(self.guest)]
            # Root's eyes see the folder also when nothing can be written there.
            found += [str(path) for path in self.guest.path("/var/tmp").glob("caches/krb5cc*")]
            agent.end(signal.SIGTERM)
            return Login(stack, order, kind, told, found, agent.log(), agent.signed_in())
        finally:
            agent.close()

    def pauses(self, order: str) -> int:
        """How often a program in that order stops before our last line has been reached."""
        # After authenticate, acct_mgmt, and setcred where that comes first; and in the session's stack.
        return 3 + ORDERS[order][0].startswith("setcred")


class Login:
    """What came of it."""

    def __init__(
        self,
        stack: str,
        order: str,
        kind: Kind,
        told: dict[str, Any],
        found: list[str],
        agent: list[str],
        signed_in: bool,
    ) -> None:
        # libpam drops what setcred says where another module judged the password, or the line jumps (GDM's).
        self.drops = kind is Kind.PASSWORD or stack in TOKEN
        self.found, self.agent, self.signed_in = found, agent, signed_in
        codes = [code for code in told["results"] if isinstance(code, int)][:-1]  # without "end"
        names = ("authenticate", "acct_mgmt", *ORDERS[order])
        self.codes = list(zip(names, codes, strict=True))
        self.look = next(result for result in told["results"] if isinstance(result, dict))
        self.module = [line for line in told["log"] if "pam_sso" in line]

    def opened(self) -> bool:
        return dict(self.codes)["open_session"] == 0

    def refused_from(self, call: str) -> bool:
        """Whether every call from that one on was refused, as far as libpam lets the program know."""
        names = [name for name, _ in self.codes]
        later = self.codes[names.index(call) :]
        return all(code != 0 or (name.startswith("setcred") and self.drops) for name, code in later)

    def __repr__(self) -> str:
        return f"{self.codes} {self.look} {self.found} module: {self.module} agent: {self.agent}"


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with Sandbox() as guest:
        guest.path("/etc/console-sso").mkdir()
        shutil.copyfile(build_module(tmp_path_factory.mktemp("pam")), guest.path(PAM_MODULE))
        install_caller(guest)
        guest.path(SOCKET).parent.mkdir()
        gdm = (SOURCE.parent / "data/pam.d/gdm-ovirtcred").read_text().replace("pam_sso.so", PAM_MODULE)
        guest.write("/etc/pam.d/lightdm", LIGHTDM)
        for name in ("login", "lightdm", "sddm"):
            text = guest.path(f"/etc/pam.d/{name}").read_text()
            guest.write(f"/etc/pam.d/{name}", with_pause(add_lines(text, PAM_MODULE)))
        guest.write("/etc/pam.d/gdm-ovirtcred", with_pause(gdm))
        bed = Bed(guest, tmp_path_factory.mktemp("agents"))
        yield bed
        bed.caller.close()


def with_pause(text: str) -> str:
    """The login program stops in the session's stack right before our last line."""
    lines = text.splitlines()
    last = max(at for at, line in enumerate(lines) if line.startswith("session") and "pam_sso.so" in line)
    lines.insert(last, "session optional pam_echo.so pause")
    return "\n".join(lines) + "\n"


KINDS = (Kind.KERBEROS, Kind.PASSWORD)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stack", STACKS)
def test_without_a_fault_it_opens(bed: Bed, stack: str, order: str) -> None:
    for kind in KINDS:
        login = bed.log_in(stack, order, kind)
        assert {code for _, code in login.codes} == {0} and not login.module, login
        assert bool(login.look["name"]) is (kind is Kind.KERBEROS), login
        for path in caches(bed.guest):
            path.unlink()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stack", STACKS)
def test_what_is_taken_back_opens_nothing(bed: Bed, stack: str, order: str, fault: str) -> None:
    for kind in KINDS:
        for at in range(bed.pauses(order)):
            login = bed.log_in(stack, order, kind, at, FAULTS[fault])
            names = [name for name, _ in login.codes]
            # The last moment is within the session's stack, the others are between two calls.
            first = names[min(at + 1, names.index("open_session"))]
            assert not login.opened() and login.refused_from(first), login
            assert (login.found, login.look["name"]) == ([], ""), login
            assert not login.signed_in, login
            assert len(login.module) == 1 and "the login is refused" in login.module[0], login
            revoked = [line for line in login.agent if "login-revoked" in line]
            assert len(revoked) == (fault != "SIGKILL"), login


@pytest.mark.parametrize("fault", FOLDERS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stack", STACKS)
def test_a_folder_that_takes_no_ticket_opens_nothing(bed: Bed, stack: str, order: str, fault: str) -> None:
    guest = bed.guest
    names = {name: guest.path(f"/etc/pam.d/{name}").read_text() for name in STACKS}
    folder = guest.path(FOLDER)
    folder.mkdir(mode=0o1777)
    for name, text in names.items():
        guest.write(f"/etc/pam.d/{name}", text.replace(PAM_MODULE, f"{PAM_MODULE} ccache_dir={FOLDER}"))
    guest.run(["sh", "-ec", FOLDERS[fault].format(FOLDER)])
    try:
        login = bed.log_in(stack, order, Kind.KERBEROS)
        assert not login.opened() and login.refused_from(ORDERS[order][0]), login
        assert (login.found, login.look["name"], login.signed_in) == ([], "", False), login
        assert len(login.module) == 1 and "the ticket cannot be stored" in login.module[0], login
        # A password needs no folder.
        assert bed.log_in(stack, order, Kind.PASSWORD).opened()
    finally:
        guest.run(["sh", "-c", f"umount {FOLDER}; rmdir {FOLDER}"], check=False)
        for name, text in names.items():
            guest.write(f"/etc/pam.d/{name}", text)
