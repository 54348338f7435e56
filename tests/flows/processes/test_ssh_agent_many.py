"""Many connections to the desktop's agent at a time: OpenSSH's ssh, sshd and ssh-agent, and gpg-agent."""

import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from beds_dbus import daemon, make_daemon
from beds_logind import logind
from beds_ssh_agent import (
    ALICE,
    ALICE_NAME,
    ENV,
    PYTHON,
    SECONDS,
    Console,
    console,
    first_line,
    frame,
    run,
    until,
)

from sso.demo.programs import find_sshd
from sso.ssh_agent import CLOSE, DATA, OPEN, PENDING_MAX, Frames, hello

__all__ = ["console", "daemon", "logind", "make_daemon"]
pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOST = "vm.example"


class Question:
    """A program of the desktop that asks the person, and waits for the answer of the test."""

    def __init__(self, folder: Path, name: str, script: str) -> None:
        self._asked, self._fifo, self.program = (
            folder / f"{name}.asked",
            folder / f"{name}.answer",
            folder / name,
        )
        os.mkfifo(self._fifo)
        self._asked.touch()
        for path in (self._fifo, self._asked):
            path.chmod(0o666)  # alice's programs ask, too
        self.program.write_text(script.format(asked=self._asked, fifo=self._fifo))
        self.program.chmod(0o755)

    @property
    def asked(self) -> int:
        """Number of times it has asked."""
        return len(self._asked.read_text().splitlines())

    def answer(self, text: str) -> None:
        """Answer it; it waits."""
        self._fifo.write_text(f"{text}\n")

    def give_up(self) -> None:
        """Let it end, if it waits still."""
        os.close(os.open(self._fifo, os.O_RDWR))


ASKPASS = '#!/bin/sh\necho "$1" >> {asked}\nread answer < {fifo}\necho "$answer"\n'
# Speaks as gpg-agent expects (pinentry's Assuan protocol): a passphrase at once, a confirmation by the test.
PINENTRY = """#!/bin/sh
echo OK
while read -r command rest; do
  case $command in
    GETPIN) echo D wombat-7-Wombat; echo OK ;;
    CONFIRM) echo "$rest" >> {asked}; read answer < {fifo}
             if [ "$answer" = yes ]; then echo OK; else echo ERR 83886179 cancelled; fi ;;
    BYE) echo OK; exit ;;
    *) echo OK ;;
  esac
done
"""


class Host:
    """A machine that alice reaches from the console: a real sshd, started for each ssh."""

    def __init__(self, console: Console) -> None:
        self._console, self._folder = console, console.folder / "host"
        self._folder.mkdir()
        program, env = find_sshd()
        shutil.copy(program, self._folder / "sshd")
        for library in Path(env.get("LD_LIBRARY_PATH", "/nowhere")).glob("libwrap.so*"):
            shutil.copy(library, self._folder)
        key = self.key("host_key")
        self._known = self._folder / "known_hosts"
        self._known.write_text(f"{HOST} {Path(f'{key}.pub').read_text()}")
        (self._folder / "config").write_text(
            f"HostKey {key}\nAuthorizedKeysFile {self._folder}/authorized\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nSubsystem sftp internal-sftp\nPidFile none\n"
        )
        self.allow(console.key)

    def key(self, name: str, passphrase: str = "") -> Path:
        """A new key of alice's, in the guest."""
        path = self._folder / name
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", path)
        os.chown(path, ALICE, -1)
        return path

    def allow(self, key: Path) -> None:
        """Let alice in with that key."""
        with (self._folder / "authorized").open("a") as file:
            file.write(Path(f"{key}.pub").read_text())

    def only_here(self) -> None:
        """Give the agent its key anew, for this host alone (ssh-add -h)."""
        run("ssh-add", "-q", "-D", SSH_AUTH_SOCK=str(self._console.agent))
        self._console.add("-h", HOST, "-H", str(self._known))

    def login(self, *options: str, **env: str) -> "subprocess.Popen[bytes]":
        """alice's ssh in the guest; it ends with 0 if the login succeeded."""
        sshd = [
            "env",
            f"LD_LIBRARY_PATH={self._folder}",
            self._folder / "sshd",
            "-i",
            "-f",
            self._folder / "config",
        ]
        words = {
            "ProxyCommand": shlex.join(map(str, sshd)),
            "UserKnownHostsFile": str(self._known),
            "GlobalKnownHostsFile": "/dev/null",
            "PreferredAuthentications": "publickey",
        }
        flags = [part for key, value in words.items() for part in ("-o", f"{key}={value}")]
        return self._console.start(
            "ssh", "-F", "none", *flags, *options, "-s", f"{ALICE_NAME}@{HOST}", "sftp", **env
        )


def ended(process: "subprocess.Popen[bytes]") -> int:
    """Wait for the exit code."""
    process.communicate(timeout=SECONDS)
    return process.returncode


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def host(console: Console) -> Host:
    return Host(console)


@pytest.fixture
def askpass(console: Console, ending: ExitStack) -> Question:
    """What OpenSSH's programs ask with; the agent's asks with it, too."""
    question = Question(console.folder, "askpass", ASKPASS)
    ending.callback(question.give_up)
    return question


@pytest.fixture
def pinentry(console: Console, ending: ExitStack) -> Question:
    question = Question(console.folder, "pinentry", PINENTRY)
    ending.callback(question.give_up)
    return question


@pytest.fixture
def gpg_agent(console: Console, pinentry: Question, ending: ExitStack) -> Path:
    """A real gpg-agent with the key, which it asks the person for."""
    home = console.folder / "gnupg"
    home.mkdir(0o700)
    found = run("gpgconf", "--homedir", home, "--list-dirs", "agent-ssh-socket").stdout.strip()
    argv = ["gpg-agent", "--homedir", str(home), "--daemon", "--no-detach", "--enable-ssh-support"]
    argv += ["--s2k-count", "65536"]  # it measures for seconds what a passphrase may cost
    process = subprocess.Popen(
        [*argv, "--pinentry-program", str(pinentry.program)], env=ENV, stdout=subprocess.DEVNULL
    )
    ending.callback(process.wait, SECONDS)
    ending.callback(process.kill)
    ending.callback(run, "gpgconf", "--homedir", home, "--kill", "gpg-agent")  # what serves is a child of it
    until(Path(found).is_socket)
    run("ssh-add", "-q", "-c", console.key, SSH_AUTH_SOCK=found)
    return Path(found)


def sign(console: Console) -> "subprocess.Popen[bytes]":
    """alice signs something at the console."""
    return console.start("ssh-keygen", "-Y", "sign", "-f", f"{console.key}.pub", "-n", "file")


def names(console: Console) -> str:
    return ended_with(console.start("ssh-add", "-l"))


def ended_with(process: "subprocess.Popen[bytes]") -> str:
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    return said.decode()


# Connections of one program, and of several


def test_two_programs_are_served_at_a_time(console: Console) -> None:
    viewer = console.look()
    held = [console.hold() for _ in range(3)]
    assert "alice's key" in names(console)
    assert all(one.poll() is None for one in held)
    assert viewer.dials() == len(held)
    for one in held:
        one.kill()
        ended(one)
    until(lambda: viewer.dials() == 0)


def test_ssh_that_adds_its_key_to_the_agent_goes_on_without(console: Console, host: Host) -> None:
    """It opens a second connection while it has the first one; to add is refused."""
    key = host.key("other")
    host.allow(key)
    console.look()
    options = ("-o", "AddKeysToAgent=yes", "-o", "IdentitiesOnly=yes", "-i", str(key))
    assert ended(host.login(*options)) == 0
    assert "other" not in names(console)


def test_ssh_at_a_passphrase_keeps_nobody_waiting(console: Console, host: Host, askpass: Question) -> None:
    key = host.key("locked", "wombat")
    host.allow(key)
    console.look()
    waiting = host.login(
        *("-o", "IdentitiesOnly=yes", "-i", str(key)),
        SSH_ASKPASS=str(askpass.program),
        SSH_ASKPASS_REQUIRE="force",
    )
    until(lambda: askpass.asked)
    assert "alice's key" in names(console)
    assert ended(host.login()) == 0
    askpass.answer("wombat")
    assert ended(waiting) == 0


def test_a_key_for_one_host_opens_it_again_and_again(console: Console, host: Host, askpass: Question) -> None:
    """Each ssh binds its session to its connection (session-bind@openssh.com), also two at a time."""
    host.only_here()
    key = host.key("locked", "wombat")
    host.allow(key)
    console.look()
    assert [ended(host.login()) for _ in range(3)] == [0, 0, 0]
    waiting = host.login(  # bound, and not at its end
        *("-i", str(key), "-o", "IdentitiesOnly=yes"),
        SSH_ASKPASS=str(askpass.program),
        SSH_ASKPASS_REQUIRE="force",
    )
    until(lambda: askpass.asked)
    together = [host.login() for _ in range(4)]
    assert [ended(one) for one in together] == [0] * 4
    askpass.answer("wrong")
    waiting.kill()
    ended(waiting)


def test_a_key_for_one_host_signs_nothing_else(console: Console, host: Host) -> None:
    host.only_here()
    console.look()
    assert ended(host.login()) == 0
    assert ended(sign(console)) != 0


# A slow person


def test_a_slow_confirmation_keeps_nobody_else_waiting(
    console: Console, gpg_agent: Path, pinentry: Question
) -> None:
    console.look(gpg_agent)
    signing = sign(console)
    until(lambda: pinentry.asked)
    held = console.hold()
    assert "ED25519" in names(console)
    assert signing.poll() is None
    pinentry.answer("yes")
    assert "BEGIN SSH SIGNATURE" in ended_with(signing)
    held.kill()
    ended(held)


def test_a_viewer_that_leaves_at_a_confirmation_leaves_nothing_behind(
    console: Console, gpg_agent: Path, pinentry: Question
) -> None:
    """Who waited is told at once, and the next visit works while the question still stands there."""
    viewer = console.look(gpg_agent)
    signing = sign(console)
    until(lambda: pinentry.asked)
    viewer.close()
    assert ended(signing) != 0
    console.look(gpg_agent)
    assert "ED25519" in names(console)


def test_the_next_visit_works_when_openssh_has_its_answer(console: Console, askpass: Question) -> None:
    """OpenSSH's agent itself serves nobody while it asks, so the question has to go first."""
    run("ssh-add", "-q", "-D", SSH_AUTH_SOCK=str(console.agent))
    console.add("-c")
    viewer = console.look()
    signing = sign(console)
    until(lambda: askpass.asked)
    viewer.close()
    assert ended(signing) != 0
    askpass.answer("no")
    console.look()
    assert "alice's key" in names(console)
    signing = sign(console)
    until(lambda: askpass.asked == 2)
    askpass.answer("yes")
    assert "BEGIN SSH SIGNATURE" in ended_with(signing)


def test_who_leaves_at_a_confirmation_frees_its_connection(
    console: Console, gpg_agent: Path, pinentry: Question
) -> None:
    viewer = console.look(gpg_agent)
    signing = sign(console)
    until(lambda: pinentry.asked)
    assert viewer.dials() == 1
    signing.kill()
    ended(signing)
    until(lambda: viewer.dials() == 0)


# Hostile and slow ends


def test_a_program_that_takes_no_answers_keeps_nobody_waiting(console: Console) -> None:
    flood = (
        "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); print(1, flush=True);"
        " s.sendall(bytes([0, 0, 0, 1, 11]) * 100000)"
    )
    viewer = console.look()
    stuck = console.start(PYTHON, "-I", "-c", flood, str(console.socket))
    assert first_line(stuck) == b"1\n"
    assert ["alice's key" in names(console) for _ in range(5)] == [True] * 5
    stuck.kill()
    ended(stuck)
    until(lambda: viewer.dials() == 0)


def test_the_client_keeps_little_for_a_guest_that_takes_nothing(console: Console) -> None:
    """It stops reading; when the guest reads again every answer is there."""
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-I", "-m", "sso.client.ssh_agent", "--socket", str(console.agent)]
    with ours, subprocess.Popen(argv, stdin=theirs.fileno(), stdout=theirs.fileno(), env=ENV) as client:
        theirs.close()
        ours.sendall(hello(bytes(16)) + frame(OPEN, 1))
        asked = answered = 0
        add = frame(DATA, 1, b"\x11")
        while select.select([], [ours], [], 1.0)[1]:
            ours.sendall(add * 100)
            asked += 100
            assert asked * len(add) < 8 * PENDING_MAX
        frames = Frames()
        while answered < asked:
            data = ours.recv(65536)
            assert data
            answered += sum(one == add[4:-1] + b"\x05" for one in frames.feed(data))
        ours.sendall(frame(DATA, 1, b"\x0b") + frame(CLOSE, 1))
        ours.shutdown(socket.SHUT_WR)
        assert client.wait(SECONDS) == 0
