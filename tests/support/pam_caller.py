"""A login program by script, for the inside of a sandbox: it calls libpam and tells what came of it.

    python -IS pam_caller.py '{"service": ..., "user": ..., "items": {...}, "answers": [...], "steps": [...]}'

Steps: authenticate, acct_mgmt, setcred:FLAGS, open_session, close_session, look, children, pause, end:STATUS.
With "stop" it ends at the first failure, as login programs do.
It prints one JSON object: "results" (a code, or what `look` or `children` saw), "prompts", "user", "seconds".
At a pause, and when a PAM module shows "pause", it prints that word and waits for a line.
With "-" instead of a script it takes one a line from its input, each for a process of its own, and tells in
"log" too what PAM's modules said to syslog.
"""

import ctypes
import hashlib
import json
import os
import subprocess
import sys
import time
from typing import Any

# Where beds_pam.install_caller puts it: the one module of ours that it needs lies beside it.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from sso.guest.pam_types import PamConversation, PamResponse, PamTalk

ITEMS = {"service": 1, "user": 2, "tty": 3, "rhost": 4}

libpam = ctypes.CDLL("libpam.so.0")
libc = ctypes.CDLL(None)
libc.strdup.restype = ctypes.c_void_p
libc.calloc.restype = ctypes.c_void_p
libpam.pam_getenv.restype = ctypes.c_char_p


class Caller:
    """One PAM handle."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.prompts: list[str] = []
        self._answers = list(script.get("answers", []))
        self._conversation = PamConversation(PamTalk(self._talk), None)
        self._handle = ctypes.c_void_p()
        user = script.get("user")
        started = libpam.pam_start(
            script["service"].encode(),
            user and user.encode(),
            ctypes.byref(self._conversation),
            ctypes.byref(self._handle),
        )
        assert started == 0
        for name, value in script.get("items", {}).items():
            assert libpam.pam_set_item(self._handle, ITEMS[name], value.encode()) == 0

    def step(self, step: str) -> Any:
        word, _, value = step.partition(":")
        if word in ("look", "children", "pause"):
            return getattr(self, word)()
        return getattr(libpam, f"pam_{word}")(self._handle, int(value or "0", 0))

    def user(self) -> str:
        found = ctypes.c_char_p()
        libpam.pam_get_item(self._handle, ITEMS["user"], ctypes.byref(found))
        return (found.value or b"").decode()

    def look(self) -> dict[str, Any]:
        """The credential cache that the session would get, and how many there are."""
        name = (libpam.pam_getenv(self._handle, b"KRB5CCNAME") or b"").decode()
        path = name.removeprefix("FILE:")
        seen: dict[str, Any] = {
            "name": name,
            "count": sum("krb5cc_" in entry for entry in os.listdir("/tmp")),
        }
        if name and os.path.lexists(path):
            found = os.lstat(path)
            with open(path, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            seen |= {"mode": found.st_mode, "uid": found.st_uid, "gid": found.st_gid, "sha256": digest}
        return seen

    def children(self) -> list[str]:
        """Which open files a child inherits."""
        argv = ["ls", "-l", "/proc/self/fd"]
        shown = subprocess.run(argv, close_fds=False, capture_output=True, text=True, check=True).stdout
        return [line.partition(" -> ")[2] for line in shown.splitlines() if " -> " in line]

    def pause(self) -> None:
        """Let the test do something meanwhile."""
        print("pause", flush=True)
        sys.stdin.readline()

    def _talk(self, count: int, messages: Any, responses: Any, _: Any) -> int:
        room = libc.calloc(count, ctypes.sizeof(PamResponse))
        for index in range(count):
            message = messages[index].contents
            text = (message.text or b"").decode().strip("\n")
            if text == "pause":
                self.pause()
                continue
            self.prompts.append(text)
            if message.style in (1, 2):
                if not self._answers:
                    libc.free(ctypes.c_void_p(room))
                    return 19  # PAM_CONV_ERR
                place = PamResponse.from_address(room + index * ctypes.sizeof(PamResponse))
                place.text = libc.strdup(self._answers.pop(0).encode())
        responses[0] = room
        return 0


def asleep() -> float:
    """Seconds that this process has waited for others so far; not those in which it ran, or wanted to on a
    busy machine (/proc/PID/schedstat: nanoseconds of both)."""
    with open("/proc/self/schedstat") as file:
        running, wanting, _ = map(int, file.read().split())
    return time.monotonic() - (running + wanting) / 1e9


def play(script: dict[str, Any]) -> dict[str, Any]:
    """What one login program sees."""
    caller = Caller(script)
    results: list[Any] = []
    user = ""
    began = asleep()
    for step in script["steps"]:
        if step.startswith("end"):
            user = caller.user()
        elif script.get("stop") and any(isinstance(result, int) and result for result in results):
            continue
        results.append(caller.step(step))
    seconds = asleep() - began
    return {"results": results, "prompts": caller.prompts, "user": user, "seconds": seconds}


def play_apart(script: dict[str, Any]) -> None:
    """One script in a process of its own, as a login screen would run it; its syslog goes along."""
    pid = os.fork()
    if pid == 0:
        log = os.memfd_create("log")
        os.dup2(log, 2)
        libc.openlog(None, 0x20, 10 << 3)  # LOG_PERROR, LOG_AUTHPRIV
        seen = play(script)
        seen["log"] = os.pread(log, 65536, 0).decode(errors="replace").splitlines()
        print(json.dumps(seen), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)


def main() -> None:
    if sys.argv[1] != "-":
        print(json.dumps(play(json.loads(sys.argv[1]))))
        return
    # Unbuffered: what comes after a line is for the process of the next one, or for a pause.
    while line := sys.stdin.readline():
        play_apart(json.loads(line))


if __name__ == "__main__":
    main()
