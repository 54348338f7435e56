"""Logins that wait at a chosen point of a virtual machine's own PAM stack, and what happens meanwhile."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from beds_guest import secret_fd
from vm_console import SPN, TIME, UNITS

from sso.demo.realm import Realm
from sso.demo.vm import Machine

SHELL = "pgrep -u alice -x bash"
NOBODY = "! loginctl --no-legend list-sessions | grep -E ' (alice|bob) '"
FOLDER = "/var/cc"  # for the caches: unlike /tmp, nothing else of the guest needs it
AGENT = UNITS[0]
_HOLD = "/usr/local/lib/hold"
# Run by pam_exec. Only the first login that comes by is held; it says so, and goes on when it may.
_SCRIPT = """#!/bin/sh
mv /run/hold/"$1" /run/hold/held 2>/dev/null || exit 0
while [ -e /run/hold/held ]; do sleep 0.1; done
logger -t hold released
"""


def with_points(text: str) -> str:
    """Add the points to a PAM file that has our lines; "secret" only where nothing jumps over it.

    secret: behind the line that decides, before the password is looked at. decided: before all account
    lines. account: behind them. session: before our last session line, with logind's session open.
    """
    lines = [line for line in text.splitlines() if _HOLD not in line]
    types = [_type(line) for line in lines]
    account = [at for at, type in enumerate(types) if type == "account"]
    points = [(account[0], "account", "decided"), (account[-1] + 1, "account", "account")]
    last = max(at for at, type in enumerate(types) if type == "session" and "pam_sso.so" in lines[at])
    points.append((last, "session", "session"))
    decides = max(at for at, type in enumerate(types) if type == "auth" and "pam_sso.so" in lines[at])
    if "success=done" in lines[decides]:
        points.append((decides + 1, "auth", "secret"))
    for at, type, point in sorted(points, reverse=True):
        lines.insert(at, f"{type} optional pam_exec.so quiet {_HOLD} {point}")
    return "\n".join([*lines, ""])


def _type(line: str) -> str:
    word, _, rest = line.strip().partition(" ")
    return rest.strip().removeprefix("common-") if word == "@include" else word.lstrip("-")


def add_points(vm: Machine, service: str) -> None:
    """Put the points into a service of the guest, and its caches into a folder of their own."""
    path = f"/etc/pam.d/{service}"
    text = re.sub(
        r"(pam_sso\.so)(?! early)\b(?!.*ccache_dir)", rf"\1 ccache_dir={FOLDER}", vm.read(path).decode()
    )
    vm.write(path, with_points(text))
    vm.write(_HOLD, _SCRIPT, 0o755)
    vm.run(f"mkdir -p /run/hold && mkdir -m 1777 {FOLDER}", check=True)
    vm.write(f"/etc/systemd/system/{AGENT}.service.d/folder.conf", f"[Service]\nReadWritePaths=-{FOLDER}\n")
    vm.run("systemctl daemon-reload", check=True)


class Client:
    """A client at the port whose connection is ours: it stays when the client has ended, until `leave`.

    A context manager, which leaves.
    """

    def __init__(self, vm: Machine) -> None:
        self._port = socket.socket(socket.AF_UNIX)
        self._port.connect(str(vm.port))
        self._client: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.leave()

    def begin(self, realm: Realm, *arguments: str, secret: str = "") -> "subprocess.Popen[bytes]":
        """Start a client on the connection; the one before is over, and the guest is not told."""
        self.end()
        program = [sys.executable, "-I", "-m", "sso.client.main", "--no-config"]
        with secret_fd(secret) as fds:
            words = [word for fd in fds for word in ("--password-fd", str(fd))]
            self._client = subprocess.Popen(
                [*program, *arguments, *words],
                stdin=self._port.fileno(),
                stdout=self._port.fileno(),
                env={"PATH": os.environ["PATH"], **realm.env},
                pass_fds=fds,
            )
        return self._client

    def end(self) -> None:
        """End the client by force; the connection stays."""
        if self._client is not None:
            self._client.kill()
            self._client.wait(TIME)

    def leave(self) -> None:
        """Close the connection: the viewer is gone; may be called twice."""
        self.end()
        self._port.close()


@dataclass
class Bed:
    """The guest, the realm, and the options of each client: alice's by kind, and bob's with a ticket."""

    vm: Machine
    realm: Realm
    alice: dict[str, tuple[str, ...]]
    bob: tuple[str, ...]

    def begin(self, client: Client, kind: str) -> "subprocess.Popen[bytes]":
        """Let alice's client begin."""
        secret = "alice-on-the-console" if kind == "password" else ""
        return client.begin(self.realm, *self.alice[kind], secret=secret)


def bed(vm: Machine, realm: Realm, by_password: tuple[str, ...], folder: Path) -> Bed:
    """Give both their tickets; `folder` is for bob's."""
    realm.kinit("alice", "-f")
    ccache = realm.kinit("bob", "-f", ccache=folder / "ccache")
    by_ticket = ("--spn", SPN)
    alice = {"ticket": by_ticket, "password": by_password}
    return Bed(vm, realm, alice, (*by_ticket, "--ccache", f"FILE:{ccache}"))


# Waiting happens inside: each look from outside would cost the guest more than what it waits for.


def until(vm: Machine, condition: str) -> None:
    """Wait until a shell condition holds in the guest; raises BedError when it does not come."""
    vm.run(f"until {condition}; do sleep 0.2; done", timeout=TIME, check=True)


def event(vm: Machine, pattern: str, count: int = 1) -> None:
    """Wait until the journal has a pattern (grep -E) that often; raises BedError when it does not come."""
    journal = "<(exec journalctl -b -o cat -n all -f)"
    vm.run(f"bash -c \"grep -Em{count} -- '{pattern}' {journal}\"", timeout=TIME, check=True)


def hold(vm: Machine, point: str) -> None:
    """Let the next login wait at a point."""
    vm.run(f"rm -f /run/hold/*; touch /run/hold/{point}", check=True)


def held(vm: Machine) -> None:
    """Wait until a login has come to its point."""
    until(vm, "test -e /run/hold/held")


def release(vm: Machine) -> None:
    """Let it go on."""
    vm.run("rm -f /run/hold/*", check=True)


# What happens to the guest meanwhile; each returns when it has happened.


def restarted(vm: Machine, client: Client) -> None:
    vm.run(f"systemctl restart {AGENT}", timeout=TIME, check=True)


def stopped(vm: Machine, client: Client) -> None:
    vm.run(f"systemctl stop {AGENT}.service", timeout=TIME, check=True)


def killed(vm: Machine, client: Client) -> None:
    vm.run(f"systemctl kill -s KILL --kill-who=main {AGENT}", check=True)
    event(vm, f"{AGENT}.service: Scheduled restart job")


def gone(vm: Machine, client: Client) -> None:
    client.leave()
    event(vm, "^client-gone")
    event(vm, "^login-revoked")


Fault = Callable[[Machine, Client], None]
AGENT_FAULTS: Sequence[Fault] = (restarted, stopped, killed)

# What is wrong with the folder of the caches, and how it is mended.


@dataclass(frozen=True)
class Folder:
    """A broken folder: the commands that break and mend it."""

    spoil: str
    mend: str


FOLDERS = {
    "full": Folder(
        f"mount -t tmpfs -o size=4k,mode=1777 none {FOLDER} && head -c 4096 /dev/zero > {FOLDER}/full",
        f"umount {FOLDER}",
    ),
    "missing": Folder(f"mv {FOLDER} {FOLDER}.away", f"mv {FOLDER}.away {FOLDER}"),
    # It stays mounted: an umount would take the agent's own mount of ReadWritePaths= along.
    "read-only": Folder(
        f"mount --bind {FOLDER} {FOLDER} && mount -o remount,bind,ro {FOLDER}",
        f"mount -o remount,bind,rw {FOLDER}",
    ),
}

# What is left afterwards


def caches(vm: Machine) -> list[str]:
    """The caches in their folder, and those on their way there: mode, owner, path."""
    listed = f"stat -c '%a %U %n' {FOLDER}/krb5cc_* {FOLDER}/.krb5cc_* 2>/dev/null"
    return vm.run(listed).output.splitlines()


def nothing_of_alice(vm: Machine) -> None:
    """Assert that alice has no shell and no cache, and that alice's session disappears from logind."""
    assert vm.run(SHELL).code == 1, "alice's shell is open"
    until(vm, NOBODY)
    assert vm.run(SHELL).code == 1, "alice's shell is open"
    assert not (left := caches(vm)), left


def module_lines(vm: Machine) -> list[str]:
    """What the PAM module has said in the journal."""
    return vm.run(r"journalctl -b -o cat | grep 'pam_sso(.*:'").output.splitlines()


def one_clear_line(vm: Machine) -> None:
    """The journal says once why, be it the module's line or the agent's."""
    said = module_lines(vm)
    taken_back = vm.run("journalctl -b -o cat | grep -E '^login-(revoked|failed)'").output.splitlines()
    assert said or taken_back
    assert len(said) <= 1 and len(taken_back) <= 1, (said, taken_back)


def session_seconds(vm: Machine) -> float | None:
    """Return how long logind showed alice's session after the refusal; None if it never did."""
    said = vm.run("journalctl -b -o short-monotonic").output
    ends = re.findall(r"(?m)^\[ *([\d.]+)\].* Removed session", said)
    refused = r"(?m)^\[ *([\d.]+)\].*(?:\]: released|pam_sso\(.*\): |login-revoked)"
    begins = [float(begin) for begin in re.findall(refused, said) if ends and float(begin) <= float(ends[0])]
    return round(float(ends[0]) - max(begins), 2) if begins else None


def empty_journal(vm: Machine) -> None:
    """Forget what the guest's journal says so far."""
    vm.run("journalctl -q --rotate --vacuum-time=1us", timeout=TIME)


def cleaned(vm: Machine, *units: str) -> None:
    """Bring the guest back to nobody signed in and no cache, with a new agent, journal and login screen."""
    users = "loginctl terminate-user alice; loginctl terminate-user bob"
    vm.run(f"rm -f /run/hold/*; {users}", timeout=TIME)
    until(vm, f"{{ {NOBODY} && ! ls {FOLDER}/krb5cc_*; }}")
    vm.set_clock()
    empty_journal(vm)
    vm.run(f"systemctl restart {' '.join((AGENT, *units))}", timeout=TIME, check=True)
    event(vm, "^links-joined")
