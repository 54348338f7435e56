"""The guest's real main program, whose forked process for a peer does what a peer's code would do there.

As a program: python taken_over.py PATH ROLE OPTION... The deeds' outcomes are written to PATH, a line each:
a name and what the kernel said, 0 or an error's word. OPTIONS are those of sso-guest-agent.
"""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from sso.guest import main
from sso.guest.acceptor import peer_session
from sso.guest.channel import child
from sso.guest.packets import JUDGE, YES

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PIDFD_SIGNAL, TGKILL, TKILL, PROCESS_VM_READV, IO_URING = 16, 424, 234, 200, 310, 425
QUEUE_INFO, SECCOMP, CLONE3, EXECVEAT, PRLIMIT, OPENAT2 = 129, 317, 435, 322, 302, 437
AARCH64 = {PTRACE_ATTACH: 16, TGKILL: 131, TKILL: 130, PROCESS_VM_READV: 270, QUEUE_INFO: 138, SECCOMP: 277}
AARCH64 |= {EXECVEAT: 281, PRLIMIT: 261}


def call(number: int, *arguments: Any) -> None:
    if os.uname().machine == "aarch64":
        number = AARCH64.get(number, number)
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def libc(name: str, *arguments: Any) -> None:
    if getattr(LIBC, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def owner_of_a_pipe(parent: int) -> None:
    """The kernel itself sends the signal when something can be read (fcntl(2), F_SETSIG)."""
    reader, writer = os.pipe()
    fcntl.fcntl(reader, 10, signal.SIGKILL)
    fcntl.fcntl(reader, fcntl.F_SETOWN, parent)
    fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)
    os.write(writer, b"x")


Deeds = dict[str, Callable[[], Any]]


def against(parent: int) -> Deeds:
    """Try signals and other attacks on processes."""
    return {
        "kill": lambda: os.kill(parent, signal.SIGKILL),
        "stop": lambda: os.kill(parent, signal.SIGSTOP),
        "kill all": lambda: os.kill(-1, 0),
        "tkill": lambda: call(TKILL, parent, 9),
        "tgkill": lambda: call(TGKILL, parent, parent, 9),
        "sigqueue": lambda: libc("sigqueue", parent, 9, None),
        "pidfd_open": lambda: os.pidfd_open(parent),
        "pidfd_send_signal": lambda: call(PIDFD_SIGNAL, 0, 9, None, 0),
        "F_SETOWN": lambda: owner_of_a_pipe(parent),
        "ptrace": lambda: libc("ptrace", PTRACE_ATTACH, parent, 0, 0),
        "process_vm_readv": lambda: call(PROCESS_VM_READV, parent, None, 0, None, 0, 0),
        "prlimit": lambda: call(PRLIMIT, parent, 0, None, None),
        "setpriority": lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
        "setaffinity": lambda: os.sched_setaffinity(parent, {0}),
    }


def around(agent_socket: str) -> Deeds:
    """Try to escape: new connections, new processes, weaker limits."""
    return {
        "socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET),
        "internet": lambda: socket.socket(socket.AF_INET),
        "socketpair": lambda: socket.socketpair(),
        "connect": lambda: libc("connect", 0, b"\1\0" + agent_socket.encode() + b"\0", len(agent_socket) + 3),
        "bind": lambda: libc("bind", 0, b"\1\0x", 3),
        "listen": lambda: libc("listen", 0, 1),
        "accept": lambda: libc("accept", 0, None, None),
        "io_uring": lambda: call(IO_URING, 1, None),
        "fork": fork,
        "vfork": lambda: libc("vfork"),
        "clone3": lambda: call(CLONE3, None, 0),
        "execve": lambda: os.execv("/bin/true", ["true"]),
        "execveat": lambda: call(EXECVEAT, -100, b"/bin/true", None, None, 0),
        "seccomp": lambda: call(SECCOMP, 1, 0, None),
        "dumpable": lambda: libc("prctl", 4, 1, 0, 0, 0),
        "outlive": lambda: libc("prctl", 1, 0, 0, 0, 0),
        "setuid": lambda: os.setuid(os.getuid()),
        "mount": lambda: libc("mount", None, b"/", None, 0, None),
        "unshare": lambda: libc("unshare", 0x10000000),
        "chroot": lambda: os.chroot("/"),
        "openat2": lambda: call(OPENAT2, -100, b"/", None, 0),
        "TIOCSTI": lambda: fcntl.ioctl(0, 0x5412, b"x"),
    }


def in_files(folder: str) -> Deeds:
    return {
        "write a file": lambda: os.open(f"{folder}/written", os.O_WRONLY | os.O_CREAT, 0o600),
        "append": lambda: os.open(f"{folder}/written", os.O_WRONLY | os.O_APPEND),
        "unlink": lambda: os.unlink(f"{folder}/there"),
    }


def needed() -> Deeds:
    """Do what must go on working."""
    return {
        "read a file": lambda: os.read(os.open("/etc/passwd", os.O_RDONLY), 9),
        "time": lambda: os.times(),
        "random": lambda: os.urandom(9),
        "memory": lambda: bytes(50_000_000),
        "pipe": lambda: os.write(os.pipe()[1], b"x"),
        "blocking": lambda: os.set_blocking(os.pipe()[0], False),
        "log": lambda: print("the log is there", file=sys.stderr, flush=True),
    }


def outcomes(agent_socket: str, path: str, report: int) -> None:
    folder = os.path.dirname(path)
    deeds = against(os.getppid()) | around(agent_socket) | in_files(folder) | needed()
    for name, deed in deeds.items():
        try:
            deed()
            said = "0"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, str(error.errno))
        os.write(report, f"{name}={said}\n".encode())
    print("the end is there", file=sys.stderr, flush=True)


def take_over(path: str, agent_socket: str) -> None:
    """Replace what reads a peer's bytes in both kinds of process."""
    report = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.fchmod(report, 0o666)  # for who it becomes
    session = child.ChildConversation.receive_data

    def received(self: Any, data: bytes, now: float) -> None:
        outcomes(agent_socket, path, report)
        session(self, data, now)

    child.ChildConversation.receive_data = received  # type: ignore[method-assign]

    def reply(self: Any, packet: Any) -> bytes | None:
        if bytes(packet[:1]) != JUDGE:
            return YES  # the rehearsal
        outcomes(agent_socket, path, os.open(path, os.O_WRONLY | os.O_APPEND))
        return None

    peer_session.PeerSession.reply = reply  # type: ignore[method-assign]


if __name__ == "__main__":
    path, role, *options = sys.argv[1:]
    take_over(path, f"{os.path.dirname(path)}/{role}.sock")
    sys.exit(main.main(["--role", role, *options]))
