"""The client as its own process: two pipes as stdio, signals, the lines for a viewer, what ends how."""

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from beds import GUEST, Certificates
from beds_guest import children
from flows import PASSWORD, tls_guest

from sso.client.exits import Exit
from sso.client.options import complain
from sso.client.status import Status
from sso.demo.realm import Realm
from sso.demo.terminal import spawn
from sso.framing import b64encode
from sso.guest.channel.conversation import Claim, GuestConversation
from sso.mech import load
from sso.policy import GuestPolicy
from sso.ports.port import FilePort, Port
from sso.ports.pump import Pump
from sso.protocol.messages import Code

SPN = "host/deleg.test.example"
SECONDS = 30.0
ARGV = [sys.executable, "-I", "-m", "sso.client.start", "--no-config"]


class Guest(threading.Thread):
    """Serves whoever speaks on two pipes, session by session, while somebody is there and `sessions` last."""

    def __init__(
        self, reader: int, writer: int, keytab: Path, code: int = 0, sessions: int = 9, tls: Any = None
    ) -> None:
        super().__init__()
        self._policy = GuestPolicy(tls=tls is not None, types=("kerberos", "password"))
        self._arguments = {"TLS": tls or {}, "GSSAPI": {"spn": SPN, "keytab": str(keytab)}}
        self._port = FilePort("pipes", reader, writer)
        self._code, self._sessions = code, sessions
        self.claims: list[Claim] = []

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._port, select.POLLIN)
        while self._sessions and poll.poll() and self._serve(self._port):
            self._sessions -= 1
        self._port.close()

    def _serve(self, port: Port) -> bool:
        def make(name: str, **arguments: Any) -> Any:
            return load(name).accept(**self._arguments.get(name, {}))

        def judge(claim: Claim) -> None:
            self.claims.append(claim)
            conversation.verdict(self._code, time.monotonic())

        conversation = GuestConversation(self._policy, make, judge)
        return Pump(port, conversation).run() == "finished"


class Run:
    """One process: `lines` of its status descriptor as they come, stderr and exit code at its end."""

    def __init__(self, process: "subprocess.Popen[str]", status: int) -> None:
        self.process, self.status, self._rest = process, status, b""
        self.lines: list[str] = []

    def expect(self, beginning: str) -> str:
        """Wait for the next line; it begins so."""
        while b"\n" not in self._rest:
            data = os.read(self.status, 4096)
            assert data, (self.lines, self.process.communicate())
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self.lines.append(line.decode())
        assert self.lines[-1].startswith(beginning), self.lines
        return self.lines[-1]

    def end(self) -> tuple[int, str]:
        said = self.process.communicate(timeout=SECONDS)[1]
        return self.process.returncode, said


@contextmanager
def running(
    realm: Realm, stdin: int, stdout: int, *arguments: str, keep: Sequence[int] = ()
) -> Iterator[Run]:
    status, theirs = os.pipe()
    process = subprocess.Popen(
        [*ARGV, "--status-fd", str(theirs), *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        pass_fds=[theirs, *keep],
        env={"PATH": os.environ["PATH"], **realm.env},
        text=True,
    )
    os.close(theirs)
    try:
        yield Run(process, status)
    finally:
        process.kill()
        process.communicate()
        with suppress(OSError):
            os.close(status)


@pytest.fixture
def start(
    realm: Realm, keytabs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Run, Guest]]]:
    """A function that starts a guest and the client, with a pipe for each direction between them."""
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    realm.kinit("alice", "-f", "-l", "1h")
    guests: list[Guest] = []
    with ExitStack() as stack:

        def begin(*arguments: str, **guest: int) -> tuple[Run, Guest]:
            to_guest, from_client = os.pipe()
            to_client, from_guest = os.pipe()
            guests.append(Guest(to_guest, from_guest, keytabs["deleg"], **guest))
            guests[-1].start()
            run = stack.enter_context(running(realm, to_client, from_client, "--spn", SPN, *arguments))
            os.close(to_client)
            os.close(from_client)
            return run, guests[-1]

        yield begin
    for guest in guests:
        guest.join(SECONDS)
        assert not guest.is_alive()


Start = Callable[..., tuple[Run, Guest]]


def test_two_pipes_are_a_port(start: Start) -> None:
    run, guest = start()
    run.expect("signing-in alice@TEST.EXAMPLE")
    run.expect("signed-in")
    assert run.end() == (0, "")
    assert [claim.principal for claim in guest.claims] == ["alice@TEST.EXAMPLE"]


def test_a_failure_is_one_line_for_a_person_and_one_for_a_viewer(start: Start) -> None:
    run, _ = start("--stay", code=int(Code.DENIED), sessions=1)
    run.expect("signing-in ")
    run.expect("failed 10 the guest does not let this user in")
    code, said = run.end()
    assert (code, said) == (Exit.DENIED, "spice-client-sso: the guest does not let this user in\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("verbose", [(), ("-v",)])
def test_a_client_that_stays_is_told_to_end(
    start: Start, number: signal.Signals, verbose: tuple[str]
) -> None:
    run, guest = start("--stay", *verbose)
    run.expect("signing-in ")
    run.expect("signed-in")
    until = int(run.expect("staying until=").rpartition("=")[2])
    assert abs(until - time.time() - 3600) < 120
    assert run.process.poll() is None
    run.process.send_signal(number)
    code, said = run.end()
    assert code == 0
    assert said.splitlines()[-1:] == ["spice-client-sso: signed in, and the console was left"] * len(verbose)
    guest.join(SECONDS)
    assert not guest.is_alive(), "the guest has seen the hang-up"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_client_that_waits_for_the_console_is_told_to_end(start: Start, number: signal.Signals) -> None:
    run, _ = start("--stay", code=int(Code.CONSOLE_ASKS))
    run.expect("signing-in ")
    run.expect("console-asks")
    run.process.send_signal(number)
    run.expect("failed 14 interrupted")
    code, said = run.end()
    assert (code, said.splitlines()[-1]) == (Exit.LOST, "spice-client-sso: interrupted")


def test_a_client_that_stays_ends_with_the_port(start: Start) -> None:
    run, _ = start("--stay", sessions=1)
    for beginning in ("signing-in", "signed-in", "staying"):
        run.expect(beginning)
    assert run.end() == (0, "")


def test_nobody_has_to_read_the_states(start: Start) -> None:
    run, _ = start("--stay", sessions=1)
    os.close(run.status)
    assert run.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_client_that_waits_for_a_guest_is_told_to_end(realm: Realm, number: signal.Signals) -> None:
    reader, writer = os.pipe()
    from_client, to_nobody = os.pipe()
    with running(realm, reader, to_nobody, "--stay") as run:
        assert os.read(from_client, 100).startswith(b"\nSIGNATURE")
        run.process.send_signal(number)
        run.expect("failed 14 interrupted")
        assert run.end() == (Exit.LOST, "spice-client-sso: interrupted\n")
    assert os.get_blocking(reader) and os.get_blocking(to_nobody), "shared flags are as they were"
    for fd in (reader, writer, from_client, to_nobody):
        os.close(fd)


WINDOW = 12
PROMPT = """
import sys
from sso.client import main
from sso.client.prompts import Prompts
main.sign_in = lambda options, status: Prompts(user="alice").password()
sys.exit(main.main(["--no-config"]))
"""


def test_a_terminal_has_its_echo_again_when_a_prompt_is_ended() -> None:
    argv = ["sh", "-c", '"$@"; echo "exit $?"; stty -a', "sh", sys.executable, "-I", "-c", PROMPT]
    with spawn(argv) as screen:
        screen.expect("Password for alice")
        (prompt,) = children(screen.pid)
        os.kill(prompt, signal.SIGTERM)
        screen.expect(f"exit {int(Exit.LOST)}")
        assert screen.expect(re.compile(r"\s(-?)echo\s"))[1] == ""


def test_states_are_single_lines_and_wait_for_nobody() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    Status(writer)("failed 6 two\nlines and a \u2028 word, \x1b[2J\u202e\udcff")
    assert os.read(reader, 100) == rb"failed 6 two lines and a word, \x1b[2J\u202e\udcff" + b"\n"
    for _ in range(20_000):
        Status(writer)("renewed until=1")  # far more than a pipe holds
    os.close(reader)
    Status(writer)("renewed until=2")
    os.close(writer)
    Status()("nobody")


def test_what_goes_wrong_is_two_lines_that_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    complain("a file named\n\x1b]0;title\x07", "mend \u2029it\u202e")
    shown = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert shown == [
        r"spice-client-sso: a file named\n\x1b]0;title\x07",
        r"spice-client-sso: hint: mend \u2029it\u202e",
    ]


def memory_of(pid: int) -> bytes:
    """All that a process has in its writable memory."""
    found = bytearray()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(place, 16) for place in line.split()[0].split("-"))
            if line.split()[1].startswith("rw"):
                memory.seek(start)
                found += memory.read(end - start) or b""
    return bytes(found)


def test_no_password_is_left_in_the_memory_of_a_client_that_stays(
    realm: Realm, certificates: Certificates, keytabs: dict[str, Path]
) -> None:
    to_guest, from_client = os.pipe()
    to_client, from_guest = os.pipe()
    guest = Guest(to_guest, from_guest, keytabs["deleg"], tls=tls_guest(certificates))
    guest.start()
    secret, writer = os.pipe()
    os.write(writer, PASSWORD + b"\n")
    os.close(writer)
    trust = ("--tls-name", GUEST, "--tls-ca", str(certificates.ca), "--password", "--user", "alice")
    fd = ("--password-fd", str(secret))
    with running(realm, to_client, from_client, "--stay", *trust, *fd, keep=[secret]) as run:
        for beginning in ("signing-in alice", "signed-in", "staying"):
            run.expect(beginning)
        memory = memory_of(run.process.pid)
    forms = [PASSWORD, *(b64encode(bytes(shift) + PASSWORD)[4:-4] for shift in range(3))]
    windows = [bytes(form[i : i + WINDOW]) for form in forms for i in range(len(form) - WINDOW)]
    assert b"sso.client.staying" in memory and not [window for window in windows if window in memory]
    for end in (secret, to_client, from_client):
        os.close(end)
    guest.join(SECONDS)
