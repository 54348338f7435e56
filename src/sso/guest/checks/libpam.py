"""Finds out which modules the real libpam calls for a service, and in which order, without running them.

Our own parser of PAM files (pam_files.pam_stack) cannot verify itself. So we start the real service in a
forked process with its own mount namespace, in which other modules replace all modules: pam_echo, which
always succeeds, pam_warn, which returns PAM_IGNORE, or pam_deny. libpam logs under the name of the module
that it calls (pam_syslog(3)), and we read that log.
"""

import ctypes
import json
import os
import re
import select
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from sso.guest.pam_types import PamConversation, PamResponse, PamTalk

SECONDS = 30.0  # it normally takes a tenth of a second
ANSWER_MAX = 1 << 20
SAYS_YES, SAYS_NOTHING, SAYS_NO = "pam_echo.so", "pam_warn.so", "pam_deny.so"  # pam_deny logs no call
CALLS = {"auth": "authenticate", "account": "acct_mgmt", "session": "open_session"}
_FOLDER = "/etc/pam.d"
_NEWNS, _BIND, _REC, _PRIVATE = 0x20000, 0x1000, 0x4000, 1 << 18  # sched.h, sys/mount.h
_LOG_PERROR, _LOG_AUTHPRIV, _LOG_INFO = 0x20, 10 << 3, 6  # syslog.h
_MODULE_PATH = re.compile(rb"/[^\s\[\]#]+\.so")
_CALLED = re.compile(
    r"(?:[^ ]+: )?([^ :()]+)\([^ ()]*:(?:auth|account|session)\): (?:called=(.*)|function=.*)"
)


class TrialError(Exception):
    """The trial was not possible; the text says why."""


class Call(NamedTuple):
    """One module that libpam called: its name without .so, and its arguments if it succeeded."""

    module: str
    arguments: str


class Ran(NamedTuple):
    """The result of one call of libpam: its return code, and the modules in order."""

    code: int
    calls: tuple[Call, ...]


def run(
    service: str, files: Mapping[str, bytes], modules: Path, substitutes: Mapping[str, str]
) -> dict[str, Ran]:
    """Run the "auth", "account" and "session" parts of a service; return the result of each.

    `files` are the PAM files of the machine to check, by name. `substitutes` maps each module's file name to
    the module that replaces it; there are no other modules. `modules` is the folder in which libpam looks.
    Needs root. Raises TrialError when it is not possible, or takes more than SECONDS.
    """
    answer = _forked(lambda: _trial(service, files, modules, substitutes))
    told: dict[str, Any] = json.loads(answer or '{"error": "the trial took too long"}')
    if "error" in told:
        raise TrialError(told["error"])
    return {
        type: Ran(code, tuple(Call(*call) for call in calls)) for type, (code, calls) in told["ran"].items()
    }


def _forked(work: Callable[[], object]) -> bytes:
    """Run `work` in a forked process and return its output; b"" when it takes too long."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _tell(writing, work)
    os.close(writing)
    parts: list[bytes] = []
    try:
        while sum(map(len, parts)) < ANSWER_MAX and select.select([reading], [], [], SECONDS)[0]:
            if not (part := os.read(reading, 65536)):
                return b"".join(parts)
            parts.append(part)
        return b""
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _tell(pipe: int, work: Callable[[], object]) -> NoReturn:
    try:
        try:
            answer = {"ran": work()}
        except BaseException as error:
            answer = {"error": str(error)}
        with os.fdopen(pipe, "wb") as file:
            file.write(json.dumps(answer).encode())
    finally:
        os._exit(0)


# In the forked process


def _trial(
    service: str, files: Mapping[str, bytes], modules: Path, substitutes: Mapping[str, str]
) -> dict[str, tuple[int, list[tuple[str, str]]]]:
    libpam = ctypes.CDLL("libpam.so.0")
    for name in set(substitutes.values()):
        ctypes.CDLL(str(modules / name))  # also loads the libraries that it needs
    _set_stage(files, modules, substitutes)
    log = os.memfd_create("log")
    os.dup2(log, 2)
    ctypes.CDLL(None).openlog(None, _LOG_PERROR, _LOG_AUTHPRIV)
    before, stage = _mapped(), os.stat(modules).st_dev
    handle = _Handle(libpam, service)
    # Otherwise a real module would run and act as at a login.
    for device, path in _mapped() - before:
        if device != f"{os.major(stage):02x}:{os.minor(stage):02x}":
            raise TrialError(f"libpam loads {path}, in whose place nothing stands")
    ran = {}
    for type, name in CALLS.items():
        start = os.lseek(log, 0, os.SEEK_END)
        code = getattr(libpam, f"pam_{name}")(handle.handle, 0)
        lines = os.pread(log, ANSWER_MAX, start).decode("latin-1").split("\n")
        found = [match for line in lines if (match := _CALLED.fullmatch(line))]
        ran[type] = (code, [(match[1], bytes.fromhex(match[2] or "").decode("latin-1")) for match in found])
    return ran


def _set_stage(files: Mapping[str, bytes], modules: Path, substitutes: Mapping[str, str]) -> None:
    """Put files and replacement modules where libpam looks; keep its messages out of the system log."""
    content = {name: (modules / name).read_bytes() for name in set(substitutes.values())}
    _call("unshare", _NEWNS)
    _mount("none", "/", "", _REC | _PRIVATE)
    for folder in (modules, Path(_FOLDER)):
        _mount("tmpfs", str(folder), "tmpfs", 0)
    for name, text in files.items():
        (Path(_FOLDER) / name).write_bytes(text)
    for name, substitute in substitutes.items():
        (modules / name).write_bytes(content[substitute])
        (modules / name).chmod(0o755)
    for named in {os.fsdecode(path) for text in files.values() for path in _MODULE_PATH.findall(text)}:
        stand = modules / os.path.basename(named)
        if stand.is_file() and os.path.isfile(named) and not os.path.samefile(stand, named):
            _mount(str(stand), os.path.realpath(named), "", _BIND)
    if os.path.exists("/dev/log"):
        _mount("/dev/null", os.path.realpath("/dev/log"), "", _BIND)


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise TrialError(f"{name}: {os.strerror(ctypes.get_errno())}")


def _mapped() -> set[tuple[str, str]]:
    """Return (device, path) of the files from which this process has code mapped (proc_pid_maps(5))."""
    with open("/proc/self/maps", encoding="latin-1") as maps:
        fields = (line.rstrip("\n").split(maxsplit=5) for line in maps)
        return {(each[3], each[5]) for each in fields if len(each) == 6 and "x" in each[1] and each[4] != "0"}


class _Handle:
    """A libpam handle; the text that pam_echo shows goes to the log under the module's name."""

    def __init__(self, libpam: ctypes.CDLL, service: str) -> None:
        self._libpam = libpam
        self.handle = ctypes.c_void_p()
        self._conversation = PamConversation(PamTalk(self._talk), None)
        libc = ctypes.CDLL(None)
        libc.calloc.restype = ctypes.c_void_p
        self._calloc = libc.calloc
        conversation, handle = ctypes.byref(self._conversation), ctypes.byref(self.handle)
        code = libpam.pam_start(service.encode(), b"nobody", conversation, handle)
        if code:
            raise TrialError(f"libpam refuses the whole service {service} (code {code})")

    def _talk(self, count: int, messages: Any, responses: Any, _: Any) -> int:
        for index in range(count):
            shown = (messages[index].contents.text or b"").hex().encode()
            self._libpam.pam_syslog(self.handle, _LOG_INFO, b"called=%s", ctypes.c_char_p(shown))
        responses[0] = self._calloc(count, ctypes.sizeof(PamResponse))
        return 0
