"""Limits the system calls of a forked process that talks to a peer (seccomp(2), with our own BPF program).

The process may compute, use the descriptors that it has, and read files. It cannot create processes, sockets
or connections, send signals, trace a process, or undo these limits. An attacker who controls it therefore
cannot kill its parent or connect in its place. The list says what is allowed, because kernels get new calls.

A refused call fails with ENOSYS, as on a kernel without that call: libraries then use an older call, and new
calls in future libraries do not break the login. SECCOMP_RET_KILL_PROCESS applies only to calls of another
architecture, which our processes never make.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Constants of linux/seccomp.h, linux/prctl.h, linux/audit.h and linux/bpf_common.h.
PR_SET_SECCOMP, MODE_FILTER = 22, 2
KILL, ALLOW = 0x80000000, 0x7FFF0000
REFUSE = 0x00050000 | errno.ENOSYS
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

IOCTLS = (0x5421, 0x5450, 0x5451, 0x5401, 0x541B)  # FIONBIO, FIONCLEX, FIOCLEX, TCGETS, FIONREAD
# All except those that send signals: with F_SETOWN the kernel signals any process of the same uid.
FCNTLS = (*range(8), 36, 37, 38, 1030, 1033, 1034)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _table(text: str) -> dict[str, tuple[int, int]]:
    """Parse a table: a call's name, its numbers on x86_64 and aarch64 (unistd.h); "-" (none) becomes -1."""
    rows = (row.split() for row in text.split(","))
    return {name: (int(x86), -1 if arm == "-" else int(arm)) for name, x86, arm in rows}


COMPUTE = _table("""
    read 0 63, write 1 64, recvfrom 45 207, sendto 44 206, poll 7 -, ppoll 271 73, recvmsg 47 212,
    sendmsg 46 211, futex 202 98, clock_gettime 228 113, getrandom 318 278, brk 12 214, mmap 9 222,
    munmap 11 215, mremap 25 216, mprotect 10 226, madvise 28 233, close 3 57, fstat 5 80,
    newfstatat 262 79, stat 4 -, lstat 6 -, statx 332 291, lseek 8 62, pread64 17 67, pwrite64 18 68,
    readv 19 65, writev 20 66, preadv 295 69, preadv2 327 286, mlock 149 228, mlock2 325 284,
    munlock 150 229, dup 32 23, dup2 33 -, dup3 292 24, pipe2 293 59, close_range 436 436, access 21 -,
    faccessat 269 48, faccessat2 439 439, readlink 89 -, readlinkat 267 78, getcwd 79 17,
    getdents64 217 61, statfs 137 43, fstatfs 138 44, select 23 -, pselect6 270 72, epoll_create1 291 20,
    epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2 441 441, shutdown 48 210,
    getsockname 51 204, getpeername 52 205, getsockopt 55 209, clock_getres 229 114,
    clock_nanosleep 230 115, nanosleep 35 101, gettimeofday 96 169, time 201 -, times 100 153,
    getrusage 98 165, pause 34 -, alarm 37 -, setitimer 38 103, restart_syscall 219 128,
    rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132,
    sched_yield 24 124, sched_getaffinity 204 123, getcpu 309 168, rseq 334 293, set_robust_list 273 99,
    uname 63 160, sysinfo 99 179, getpid 39 172, gettid 186 178, getppid 110 173, getuid 102 174,
    geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148, getresgid 120 150,
    getgroups 115 158, umask 95 166, getrlimit 97 163, exit 60 93, exit_group 231 94
""")
# Additional calls for a process with files of its own: the replay cache, a sealed file without a name.
KEEP_FILES = _table("""
    open 2 -, openat 257 56, fsync 74 82, fdatasync 75 83, flock 73 32, ftruncate 77 46, fchmod 91 52,
    rename 82 -, renameat 264 38, renameat2 316 276, unlink 87 -, unlinkat 263 35, mkdir 83 -,
    mkdirat 258 34, rmdir 84 -, memfd_create 319 279
""")
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column in the tables, AUDIT_ARCH_*


def program(machine: str, keeps_files: bool) -> bytes | None:
    """Build the BPF program for a machine (its name as in uname); None for a machine without a table."""
    if machine not in MACHINES or struct.calcsize("P") != 8:
        return None
    column, architecture = MACHINES[machine]
    calls: Mapping[str, tuple[int, int]] = COMPUTE | (KEEP_FILES if keeps_files else {})
    verdicts = {numbers[column]: _answer(ALLOW) for numbers in calls.values()}
    for rule in RULES if keeps_files else (*RULES, *READ_FILES):
        verdicts[rule.number[column]] = [_code(LOAD, ARGUMENTS + 8 * rule.argument), *rule.test]
    verdicts.pop(-1, None)
    head = [_code(LOAD, ARCHITECTURE), _code(EQUAL, architecture, 1, 0), *_answer(KILL), _code(LOAD, NUMBER)]
    return b"".join([*head, *_search(_runs(verdicts))])


Run = tuple[int, list[bytes]]  # the first call number, and the code for the run


def _runs(verdicts: Mapping[int, list[bytes]]) -> list[Run]:
    """Divide all call numbers into runs; numbers without a verdict are refused."""
    runs: list[Run] = []
    for number in sorted({0, *verdicts, *(number + 1 for number in verdicts)}):
        code = verdicts.get(number, _answer(REFUSE))
        if not runs or runs[-1][1] != code:
            runs.append((number, code))
    return runs


def _search(runs: list[Run]) -> list[bytes]:
    """Generate a binary search for the run of the loaded number; the kernel runs this at every call."""
    if len(runs) == 1:
        return runs[0][1]
    left, right = runs[: len(runs) // 2], runs[len(runs) // 2 :]
    below = _search(left)
    return [_code(AT_LEAST, right[0][0], len(below), 0), *below, *_search(right)]


def _answer(value: int) -> list[bytes]:
    return [_code(RETURN, value)]


def _code(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """Encode one struct sock_filter."""
    return struct.pack("=HBBI", code, then, otherwise, value)


class Rule(NamedTuple):
    """A call whose verdict depends on one argument: its low 32 bits (both machines are little-endian)."""

    number: tuple[int, int]
    argument: int
    test: list[bytes]


def _among(values: Iterable[int]) -> list[bytes]:
    return _search(_runs(dict.fromkeys(values, _answer(ALLOW))))


def _without(bits: int) -> list[bytes]:
    return [_code(ANY_BIT, bits, 0, 1), *_answer(REFUSE), *_answer(ALLOW)]


RULES = (Rule((72, 25), 1, _among(FCNTLS)), Rule((16, 29), 1, _among(IOCTLS)))
READ_FILES = (Rule((2, -1), 1, _without(WRITING)), Rule((257, 56), 2, _without(WRITING)))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class Fence:
    """The filter, prepared before the fork, so that the forked process needs only one call to apply it.

    `why_not` says why this machine has no filter, or is "". Without a filter the process runs unlimited.
    """

    def __init__(self, keeps_files: bool = False, machine: str = "") -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._octets = program(machine or os.uname().machine, keeps_files)
        octets = self._octets or b""
        self._program = _Program(len(octets) // 8, octets)
        self.why_not = ""
        if self._octets is None:
            self.why_not = "the processor is not known"
        # prctl(2) with a null pointer: a kernel that supports filters answers EFAULT.
        elif self._prctl(None) != errno.EFAULT:
            self.why_not = "the kernel has no filters"

    def close_behind(self) -> None:
        """Apply the filter, if there is one, permanently to this process; OSError when the kernel refuses.

        The process needs PR_SET_NO_NEW_PRIVS, which `confine` sets.
        """
        if not self.why_not and (failed := self._prctl(ctypes.byref(self._program))):
            raise OSError(failed, "the filter of system calls was refused")

    def _prctl(self, program: object) -> int:
        """Call prctl and return the error number, 0 for success."""
        ctypes.set_errno(0)
        done = self._libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(MODE_FILTER), program, 0, 0)
        return ctypes.get_errno() if done else 0
