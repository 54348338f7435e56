"""A checker by script, for the inside of a sandbox: the agent's loop, and what it said.

python -I -S verify_probe.py SOURCE '{"what": "account"|"password", "service": ..., "user": ..., ...}'
"""

import ctypes
import json
import os
import sys
from typing import Any

sys.path.insert(0, sys.argv[1])

from sso.daemon.reactor import Reactor
from sso.guest.agent import verify

PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN = 65, 1  # linux/prctl.h


def secret_file(script: dict[str, Any]) -> int:
    fd = os.memfd_create("secret", os.MFD_CLOEXEC)
    # By another process: this one is searched for what is left of it.
    pid = os.fork()
    if pid == 0:
        os.write(fd, bytes.fromhex(script["secret"]))
        os._exit(0)
    os.waitpid(pid, 0)
    os.lseek(fd, script.get("offset", 0), os.SEEK_SET)
    return fd


def ask(checker: verify.PamChecker, reactor: Reactor, script: dict[str, Any]) -> list[str]:
    """One question, to its end."""
    said: list[str] = []
    secret = secret_file(script)
    service, user = script["service"], script["user"]
    if script["what"] == "password":
        work = checker.password(service, user, secret, lambda found: said.append(found.value))
    else:
        work = checker.account(service, user, "tty1", lambda found: said.append(found.value))
    os.close(secret)
    if script.get("kill"):
        os.kill(work.pid, script["kill"])
    if script.get("cancel"):
        work.cancel()
    while os.path.exists(f"/proc/{work.pid}"):
        reactor.turn(1.0)
    return said


def occurrences(digits: str) -> int:
    """How often a byte string, in hexadecimal, is in the memory of this process; asked in another one."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, str(_count(os.getppid(), bytes.fromhex(digits))).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(reader, 20))


def _count(pid: int, octets: bytes) -> int:
    count = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            place, mode = line.split()[:2]
            if mode.startswith("rw"):
                begin, end = (int(word, 16) for word in place.split("-"))
                memory.seek(begin)
                count += memory.read(end - begin).count(octets)
    return count


def main() -> None:
    script = json.loads(sys.argv[2])
    told: dict[str, Any] = {"said": []}
    verify.SECONDS = script.get("seconds", verify.SECONDS)
    verify.LIBPAM = script.get("libpam", verify.LIBPAM)
    if script.get("mdwe"):
        told["mdwe"] = ctypes.CDLL(None).prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
    reactor = Reactor()
    checker = verify.PamChecker(reactor)
    told["files_before"] = len(os.listdir("/proc/self/fd"))
    for _ in range(script.get("times", 1)):
        told["said"] += ask(checker, reactor, script)
    told["files_after"] = len(os.listdir("/proc/self/fd"))
    told["reaped"] = True
    if script.get("scan"):
        told["found_in_memory"] = occurrences(script["secret"])
        told["found_of_the_script"] = occurrences(script["service"].encode().hex())
    print(json.dumps(told))


if __name__ == "__main__":
    main()
