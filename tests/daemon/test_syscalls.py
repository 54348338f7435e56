"""A forked process that a peer controls can do nothing to its parent."""

import os
import pwd
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds_agent import let_in

import sso
from sso.daemon import syscalls
from sso.daemon.syscalls import ALLOW, COMPUTE, KEEP_FILES, KILL, REFUSE, Fence, program
from sso.guest import records
from sso.guest.packets import JUDGE
from sso.guest.records import Child

PROGRAM = Path(__file__).with_name("taken_over.py")
SECONDS = 30.0
# What each may do; all the other deeds are refused.
NEEDED = {"read a file", "time", "random", "memory", "pipe", "blocking", "log"}
FILES = {"write a file", "append", "unlink"}  # the acceptor's worker keeps the replay cache


# The program


def run(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Return the kernel's answer: interpret the few BPF instructions that we use (bpf(4))."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    lines, at, loaded = list(struct.iter_unpack("=HBBI", code)), 0, 0
    while True:
        kind, then, otherwise, value = map(int, lines[at])
        at += 1
        if kind == syscalls.RETURN:
            return value
        if kind == syscalls.LOAD:
            (loaded,) = struct.unpack_from("<I", data, value)
            continue
        true = {
            syscalls.EQUAL: loaded == value,
            syscalls.AT_LEAST: loaded >= value,
            syscalls.ANY_BIT: bool(loaded & value),
        }[kind]
        at += then if true else otherwise


@pytest.mark.parametrize("keeps_files", [False, True])
@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_every_number_is_answered_as_the_tables_say(machine: str, keeps_files: bool) -> None:
    code = program(machine, keeps_files)
    assert code is not None
    column, architecture = syscalls.MACHINES[machine]
    calls = COMPUTE | (KEEP_FILES if keeps_files else {})
    ruled = {rule.number[column] for rule in (*syscalls.RULES, *syscalls.READ_FILES)}
    allowed = {numbers[column] for numbers in calls.values()}
    for number in (*range(1024), 0x40000000, 0x40000001, 0x7FFFFFFF, -1, -(2**31)):
        if number in ruled - allowed:
            continue
        answer = run(code, architecture, number)
        assert answer == (ALLOW if number in allowed and number >= 0 else REFUSE), number
        assert run(code, architecture ^ 1, number) == KILL


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_arguments_decide_where_a_call_does_many_things(machine: str) -> None:
    code = program(machine, False)
    assert code is not None
    column, architecture = syscalls.MACHINES[machine]
    control, ioctl, openat = (72, 25)[column], (16, 29)[column], (257, 56)[column]
    good = [run(code, architecture, control, 0, command) for command in (1, 2, 3, 4, 1030)]
    bad = [run(code, architecture, control, 0, command) for command in (8, 10, 15, 1024, 1026, 2**31)]
    assert set(good) == {ALLOW} and set(bad) == {REFUSE}
    assert run(code, architecture, ioctl, 0, 0x5421) == ALLOW
    assert run(code, architecture, ioctl, 0, 0x5412) == REFUSE
    for flags in (os.O_RDONLY, os.O_CLOEXEC | os.O_NOFOLLOW):
        assert run(code, architecture, openat, 0, 0, flags) == ALLOW
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_TMPFILE | os.O_RDWR):
        assert run(code, architecture, openat, 0, 0, flags) == REFUSE


def test_the_tables_are_those_of_the_kernels_headers() -> None:
    include = Path("/usr/include")
    found = []
    for path in (next(include.glob("*/asm/unistd_64.h")), include / "asm-generic/unistd.h"):
        pairs = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", path.read_text(), re.MULTILINE)
        found.append({name: int(number) for name, number in pairs})
    x86, generic = found
    generic["newfstatat"] = generic["fstatat"]
    calls = COMPUTE | KEEP_FILES | {"fcntl": (72, 25), "ioctl": (16, 29)}
    assert calls == {name: (x86.get(name, -1), generic.get(name, -1)) for name in calls}


def test_an_unknown_machine_has_no_fence_and_says_so() -> None:
    fence = Fence(machine="s390x")
    assert fence.why_not == "the processor is not known"
    fence.close_behind()
    os.kill(os.getpid(), 0)


# The real processes


class Taken:
    """A role of the guest as the foreground starts it; `said` is what a taken-over process achieved."""

    def __init__(self, folder: Path, role: str) -> None:
        let_in(folder)
        folder.chmod(0o777)
        (folder / "there").touch()
        (folder / "there").chmod(0o666)
        self.role, self.folder, self.path = role, folder, folder / "said"
        me = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        lines = [f'{role}_user = "{me}"']
        lines += [f'port = "unix:{folder}/port"', 'spn = "host/guest.test.example"']
        (folder / "guest.toml").write_text("\n".join(lines) + "\n")
        self.agent, agent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.peer, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = agent.fileno(), peer.fileno()
        options = ["--config", f"{folder}/guest.toml", "--agent", str(fds[0]), "--peer", str(fds[1])]
        state = f"import sso.guest.acceptor.main as m; m.STATE = {str(folder / 'state')!r}\n"
        program = f"{state}import runpy, sys\nsys.argv = sys.argv[1:]\n"
        program += "runpy.run_path(sys.argv[0], run_name='__main__')"
        argv = [sys.executable, "-c", program, str(PROGRAM), str(self.path), role, *options]
        places = {str(Path(package).parent) for package in (*sso.__path__, *_mechanisms())}
        self.process = subprocess.Popen(
            argv, pass_fds=fds, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ":".join(places)}
        )
        agent.close()
        peer.close()

    def said(self) -> dict[str, str]:
        assert self.process.stderr is not None
        heard = iter(self.process.stderr.readline, b"")
        assert any(b"the end is there" in line for line in heard), "it was ended before"
        return dict(line.split("=") for line in self.path.read_text().splitlines())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.agent.close()
        self.peer.close()


def _mechanisms() -> list[str]:
    import sso_mechs

    return list(sso_mechs.__path__)


@pytest.fixture
def taken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Taken]:
    found = Taken(tmp_path, request.param)
    yield found
    found.close()


def connected(taken: Taken) -> socket.socket:
    """A client at the port of a channel process that may still be on its way to it."""
    while True:
        assert taken.process.poll() is None, taken.process.stderr and taken.process.stderr.read()
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(taken.folder / "port"))
            return client
        except (FileNotFoundError, ConnectionRefusedError):  # its name is there a moment before it listens
            client.close()


def provoke(taken: Taken) -> dict[str, str]:
    """Bring the role to fork a process for a peer, and let that hear a byte: what it achieved then."""
    if taken.role == "channel":
        with connected(taken) as client:
            client.settimeout(SECONDS)
            assert client.recv(4096)
            client.sendall(b"a byte")
            return taken.said()
    else:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            records.send(taken.peer, Child(1), [theirs.fileno()])
            theirs.close()
            ours.send(JUDGE)
            return taken.said()


@pytest.mark.parametrize("taken", ["channel", "acceptor"], indirect=True)
def test_whoever_was_taken_over_can_do_nothing_to_who_forked_it(taken: Taken) -> None:
    said = provoke(taken)
    good = {name for name, outcome in said.items() if outcome == "0"}
    assert good == NEEDED | (FILES if taken.role == "acceptor" else set())
    assert {outcome for name, outcome in said.items() if name not in good} == {"ENOSYS"}
    assert taken.process.poll() is None, "the process that forked it lives"
    if taken.role == "acceptor":
        assert (taken.folder / "state" / "digest.key").stat().st_size == 32
