"""Does each deed of the agent once, inside its unit, and prints what came of it (test_units_run.py)."""

# ruff: noqa: SIM115  # what is opened ends with the process

import ctypes
import errno
import json
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path += ["/opt/sso/src", "/opt/sso/mechs", "/opt/sso/site"]

from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor
from sso.guest.agent import ccache
from sso.guest.agent.account import Rules
from sso.guest.agent.mapping import Mapped, Mapper
from sso.guest.records import Who
from sso.guest.seat.bus import Bus

NAME = "org.ovirt.vdsm.Credentials"
SECONDS = 20.0
CLONE_NEWNS = 0x20000

told: dict[str, Any] = {}
reactor = Reactor()


def turn_until(done: Callable[[], bool]) -> bool:
    limit = time.monotonic() + SECONDS
    while not done() and time.monotonic() < limit:
        reactor.turn(0.1)
    return done()


def refused(deed: Callable[[], object]) -> str:
    try:
        deed()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "allowed"


def unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")


def write_code() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def sleep_as_alice() -> bytes:
    os.setgid(1234)
    os.setuid(1234)
    time.sleep(SECONDS * 10)
    return b""


def mapped(answer: Mapped) -> None:
    told["mapped"] = [answer.finding.name, answer.user, answer.uid]


Mapper(reactor, Rules()).ask(Who("kerberos", "alice@EXAMPLE.ORG"), mapped)
turn_until(lambda: "mapped" in told)

secret = os.memfd_create("ticket")
os.write(secret, b"new")
ccache.refresh(reactor, "/tmp/krb5cc_test", 1234, secret, lambda good: told.update({"ticket replaced": good}))
turn_until(lambda: "ticket replaced" in told)

ends: list[bytes] = []
worker = Forked(reactor, sleep_as_alice, ends.append, SECONDS)
turn_until(lambda: f"Uid:\t{1234}" in open(f"/proc/{worker.pid}/status").read())
worker.cancel_late()
told["worker of another uid killed"] = turn_until(lambda: worker._life < 0)

told["sees the first process"] = all(
    os.path.exists(f"/proc/1/{name}") and bool(open(f"/proc/1/{name}").read())
    for name in ("cgroup", "loginuid", "task/1/children")
)
with open("/run/faillock/alice") as tally:
    told["reads a tally"] = tally.read().strip()

bus = Bus(reactor)
bus.own(NAME)
bus.open()
told["owns its name"] = turn_until(lambda: NAME in bus.owned)

told["internet"] = refused(lambda: socket.socket(socket.AF_INET))
told["writes /etc"] = refused(lambda: open("/etc/console-sso/x", "w"))
told["writable code"] = refused(write_code)
told["new namespace"] = refused(unshare)
told["reads a secret of another user"] = refused(lambda: open("/home/alice/.k5login"))
print(json.dumps(told))
