"""The units under a systemd of their own: they start, hold what they promise, and nothing stays dead.

systemd runs as the first process of new namespaces, over a root whose changes are kept in memory. A pseudo
terminal stands for the port. What needs a device (the udev rule, plugging) is in the tests with a VM.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sso.guest import journal

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
PROBE = Path(__file__).with_name("sandbox_probe.py")
SERVICES = ("agent", "channel", "acceptor")
SECONDS = 60.0
PORT = "/dev/virtio-ports/spice.sso.0"
CONFIG = "/etc/console-sso/guest.toml"
GOOD = 'spn = "host/guest.example.org"\nlogin = "getty"\n'

# $1 an empty folder, $2 ours, $3 the folder of this Python's packages, $4 this Python's own
START = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys       # the machine's kernel stays as it is
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm dev/virtio-ports
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t cgroup2 cgroup2 sys/fs/cgroup
rm -rf lib/systemd/system/*.wants/* etc/systemd/system
mkdir -p etc/systemd/system etc/console-sso opt/sso/src opt/sso/mechs opt/sso/site opt/sso/python
for name in src mechs; do mount --bind "$2/$name" opt/sso/$name; done
mount --bind "$3" opt/sso/site
mount --bind "$4" opt/sso/python
cp -r "$2"/data/systemd/console-sso-* lib/systemd/system/
cp "$2/data/sysusers.d/console-sso.conf" usr/lib/sysusers.d/
cp "$2/data/tmpfiles.d/console-sso.conf" usr/lib/tmpfiles.d/
cp "$2/data/dbus-1/system.d/"*.conf usr/share/dbus-1/system.d/
: > etc/machine-id
for unit in systemd-journald-audit.socket systemd-remount-fs.service; do
    ln -s /dev/null etc/systemd/system/$unit
done
printf '%s\n' '[Unit]' 'Requires=sysinit.target basic.target' 'Wants=systemd-journald.service dbus.socket' \
    'Requires=systemd-sysusers.service systemd-tmpfiles-setup.service' > lib/systemd/system/sso-test.target
printf 'u alice 1234 - /home/alice /bin/bash\n' > usr/lib/sysusers.d/sso-test.conf
printf '%s\n' 'd /home/alice 0700 alice alice' 'f /home/alice/.k5login 0600 alice alice - alice@EXAMPLE.ORG' \
    'f /tmp/krb5cc_test 0600 alice alice - old' 'f /run/faillock/alice 0660 alice root - tally' \
    > usr/lib/tmpfiles.d/sso-test.conf
printf '[libdefaults]\ndefault_realm = EXAMPLE.ORG\n' > etc/krb5.conf
mkdir oldroot
pivot_root . oldroot
exec chroot . sh -c 'umount -l /oldroot
    exec env -i container=sso PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=sso-test.target'
"""
# Holds a pseudo terminal, and says its name.
TERMINAL = """
import os, pty, sys, tty
ours, port = pty.openpty()
tty.setraw(port)
print(os.ttyname(port), flush=True)
sys.stdin.read()
"""
AGENT = """#!{python}
import sys
sys.path += ["/opt/sso/src", "/opt/sso/mechs", "/opt/sso/site"]
from sso.guest.main import main
sys.exit(main())
"""


def own_python() -> str:
    """Debian's Python where ours is of the same version, so that its ctypes is what runs; else ours."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"/usr/bin/{version}" if Path(f"/usr/bin/{version}").exists() else f"/opt/sso/python/bin/{version}"


class Machine:
    """The namespaces with their systemd."""

    def __init__(self, folder: Path) -> None:
        self._cgroup = self._make_cgroup()
        into = f'echo $$ > "{self._cgroup}/cgroup.procs"; exec "$@"'
        apart = ["unshare", "-m", "-p", "-i", "-u", "-n", "-C", "--fork", "--kill-child"]
        site = Path(pytest.__file__).parent.parent
        arguments = [str(folder), str(ROOT), str(site), sys.base_prefix]
        self._terminal: subprocess.Popen[str] | None = None
        self._outer = subprocess.Popen(
            ["sh", "-c", into, "sh", *apart, "sh", "-c", START, "sh", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def boot(self) -> None:
        self.wait(lambda: self.run("systemctl", "is-active", "sso-test.target").returncode == 0)
        self.write("/usr/bin/sso-guest-agent", AGENT.format(python=own_python()), 0o755)
        self._terminal = subprocess.Popen(
            self.command(own_python(), "-c", TERMINAL),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._terminal.stdout is not None
        self.terminal = self._terminal.stdout.readline().strip()
        self.run("chown", "sso-agent", self.terminal)

    @staticmethod
    def _make_cgroup() -> Path:
        """A group below the machine's unified hierarchy, so that systemd sees nothing above it."""
        mounts = Path("/proc/self/mountinfo").read_text()
        unified = re.findall(r"^(?:\S+ ){4}(\S+) .* - cgroup2 ", mounts, re.MULTILINE)
        found = Path(unified[0]) / f"console-sso-test-{os.getpid()}"
        found.mkdir()
        return found

    def command(self, *words: str) -> list[str]:
        (first,) = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        return ["nsenter", f"--target={first}", "--all", "--root", "--wd", *clean, *words]

    def run(self, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        try:
            command = self.command(*words)
        except ValueError:  # it is just being born
            command = ["false"]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS)

    def tell(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.log())
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        self.run(
            "sh", "-ec", 'mkdir -p "${1%/*}"; cat > "$1"; chmod "$2" "$1"', "sh", path, f"{mode:o}", text=text
        )

    def log(self) -> str:
        return self.run("journalctl", "--no-pager", "--boot", "--lines=60", "--output=short-precise").stdout

    def said_by(self, pid: str) -> str:
        return self.tell("journalctl", "--boot", "--no-pager", "--output=cat", f"_PID={pid}")

    def wait(self, until: Callable[[], Any]) -> None:
        limit = time.monotonic() + SECONDS
        while not until():
            if self._outer.poll() is not None:
                assert self._outer.stderr is not None
                raise AssertionError(self._outer.stderr.read().decode())
            assert time.monotonic() < limit, self.log()

    # The units

    def state(self, service: str) -> dict[str, str]:
        shown = self.tell("systemctl", "show", f"console-sso-{service}.service")
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def pids(self) -> dict[str, str]:
        return {service: self.state(service)["MainPID"] for service in SERVICES}

    def active(self) -> set[str]:
        listed = self.tell(
            "systemctl", "list-units", "--plain", "--no-legend", "--state=active", "console-sso-*"
        )
        return {line.split()[0] for line in listed.splitlines()}

    def all_run(self) -> bool:
        return {f"console-sso-{service}.service" for service in SERVICES} <= self.active()

    def wait_for_another(self, service: str, before: str) -> None:
        """Until all run, and the service as another process."""
        self.wait(lambda: self.pids()[service] not in ("0", before) and self.all_run())

    def failed(self) -> str:
        return self.tell("systemctl", "list-units", "--plain", "--no-legend", "--state=failed")

    def plug(self) -> None:
        self.tell("ln", "-sf", self.terminal, PORT)

    def unplug(self) -> None:
        self.tell("rm", "-f", PORT)

    def up(self) -> None:
        """All three run."""
        self.write(CONFIG, GOOD)
        self.plug()
        self.tell("systemctl", "start", "console-sso-agent.service")
        self.wait(self.all_run)

    def down(self) -> None:
        self.tell("systemctl", "stop", "console-sso-agent.service")
        self.wait(lambda: not self.active())

    def close(self) -> None:
        limit = time.monotonic() + SECONDS
        if self._terminal is not None:
            self._terminal.kill()
            self._terminal.communicate()
        self._outer.kill()
        self._outer.communicate()
        while "populated 1" in (self._cgroup / "cgroup.events").read_text():
            assert time.monotonic() < limit
        for folder in sorted(self._cgroup.rglob("*/"), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        self._cgroup.rmdir()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    found = Machine(tmp_path_factory.mktemp("machine"))
    try:
        found.boot()
        yield found
    finally:
        found.close()


def test_without_a_port_nothing_runs_and_nothing_fails(machine: Machine) -> None:
    machine.unplug()
    machine.tell("systemctl", "start", "console-sso-agent.service")
    assert machine.active() == set() and machine.failed() == ""


def test_the_three_run_with_their_sockets(machine: Machine) -> None:
    machine.up()
    sockets = {f"console-sso-{name}.socket" for name in (*SERVICES, "greeter", "verdict")}
    assert machine.active() == sockets | {f"console-sso-{name}.service" for name in SERVICES}
    modes = machine.tell("stat", "--format=%n %U %a", *(f"/run/console-sso/{name}.sock" for name in (
        "pam", "getty", "greeter", "verdict", "channel", "acceptor")))  # fmt: skip
    assert modes.splitlines() == [
        "/run/console-sso/pam.sock root 600",
        "/run/console-sso/getty.sock root 600",
        "/run/console-sso/greeter.sock root 666",
        "/run/console-sso/verdict.sock root 666",
        "/run/console-sso/channel.sock sso-agent 600",
        "/run/console-sso/acceptor.sock sso-acceptor 600",
    ]


@pytest.mark.parametrize(
    ("service", "user", "capabilities"),
    [("agent", "root", {5, 6, 7}), ("channel", "sso-agent", set()), ("acceptor", "sso-acceptor", set())],
)
def test_each_is_confined(machine: Machine, service: str, user: str, capabilities: set[int]) -> None:
    machine.up()
    pid = machine.pids()[service]
    status = dict(re.findall(r"^(\w+):\s+(.*)$", machine.tell("cat", f"/proc/{pid}/status"), re.MULTILINE))
    assert status["Uid"].split() == [machine.tell("id", "-u", user).strip()] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[kind], 16) == sum(1 << number for number in capabilities)
    assert re.search(
        r"^Max core file size\s+0\s+0 ", machine.tell("cat", f"/proc/{pid}/limits"), re.MULTILINE
    )


@pytest.mark.parametrize("victim", SERVICES)
def test_whoever_is_killed_all_three_are_back(machine: Machine, victim: str) -> None:
    machine.up()
    for _ in range(3):
        before = machine.pids()[victim]
        machine.tell("systemctl", "kill", "--signal=KILL", f"console-sso-{victim}.service")
        machine.wait_for_another(victim, before)
    assert machine.failed() == "", machine.log()


def test_an_agent_that_is_killed_while_the_others_wait_for_it_leaves_nobody_behind(machine: Machine) -> None:
    """They wait as long as logind does not tell who is there, and each of them finds the next agent."""
    machine.up()
    logind = "systemd-logind.service"

    def ready() -> str:
        state = machine.state("agent")
        return state["MainPID"] if state["ActiveState"] == "active" else "0"

    machine.tell("systemctl", "kill", "--signal=STOP", logind)
    try:
        for _ in range(5):
            before = ready()
            machine.tell("systemctl", "kill", "--signal=KILL", "console-sso-agent.service")
            machine.wait(lambda before=before: ready() not in ("0", before))  # type: ignore[misc]
            machine.wait(lambda: "bus-back" in machine.said_by(ready()))
    finally:
        machine.tell("systemctl", "kill", "--signal=CONT", logind)
    machine.wait(lambda: "links-joined" in machine.said_by(ready()))
    machine.wait(machine.all_run)
    assert machine.failed() == "", machine.log()


@pytest.mark.parametrize("victim", SERVICES)
def test_one_that_hangs_is_replaced(machine: Machine, victim: str) -> None:
    quick = "[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\n"
    folder = f"/run/systemd/system/console-sso-{victim}.service.d"
    machine.write(f"{folder}/quick.conf", quick)
    machine.tell("systemctl", "daemon-reload")
    try:
        machine.down()
        machine.up()
        before = machine.pids()[victim]
        machine.tell("kill", "-STOP", before)
        machine.wait_for_another(victim, before)
    finally:
        machine.tell("rm", "-r", folder)
        machine.tell("systemctl", "daemon-reload")


def test_when_the_port_is_gone_nothing_is_tried_for_ever(machine: Machine) -> None:
    machine.up()
    machine.unplug()
    machine.tell("systemctl", "kill", "--signal=KILL", "console-sso-agent.service")
    machine.wait(lambda: not machine.active())
    assert machine.failed() == "", machine.log()
    machine.up()


def test_a_wrong_configuration_is_not_tried_for_ever(machine: Machine) -> None:
    machine.down()
    machine.write(CONFIG, "no_such_option = 1\n")
    assert machine.run("systemctl", "start", "console-sso-agent.service").returncode
    state = machine.state("agent")
    assert (state["ActiveState"], state["ExecMainStatus"], state["NRestarts"]) == ("failed", "2", "0")
    machine.wait(lambda: not machine.active())
    machine.up()


def test_their_lines_are_found_in_the_journal(machine: Machine) -> None:
    machine.down()
    machine.up()

    def entries(id: str) -> list[dict[str, str]]:
        found = machine.tell("journalctl", "--boot", "--output=json", f"MESSAGE_ID={journal.message_id(id)}")
        return [json.loads(line) for line in found.splitlines()]

    machine.wait(lambda: entries("sso.agent.started") and entries("sso.channel.session-begin"))
    agent, channel = entries("sso.agent.started")[-1], entries("sso.channel.session-begin")[-1]
    assert (agent["SYSLOG_IDENTIFIER"], agent["_UID"], agent["PRIORITY"]) == ("sso-agent", "0", "6")
    assert (agent["CONSOLE_SSO_LOGIN"], agent["_SYSTEMD_UNIT"]) == ("getty", "console-sso-agent.service")
    assert channel["SYSLOG_IDENTIFIER"] == "sso-channel" and channel["CONSOLE_SSO_SESSION"].isdigit()


def test_what_the_agents_workers_do_is_allowed_and_no_more(machine: Machine) -> None:
    """The same unit with another program, which does each of the agent's deeds once."""
    machine.write("/opt/sso/probe.py", PROBE.read_text())
    unit = machine.tell("cat", "/lib/systemd/system/console-sso-agent.service")
    others = "ConditionPathExists|Wants|Type|NotifyAccess|ExecStart|Sockets|Restart|WatchdogSec"
    unit = re.sub(rf"^({others})=.*\n", "", unit, flags=re.MULTILINE)
    run = f"[Service]\nType=oneshot\nExecStart={own_python()} /opt/sso/probe.py\n"
    run += "StandardOutput=truncate:/tmp/probe.json\n"
    machine.write("/run/systemd/system/probe.service", unit.replace("[Service]\n", run))
    machine.tell("systemctl", "daemon-reload")
    machine.tell("systemctl", "start", "probe.service")
    told = json.loads(machine.tell("cat", "/tmp/probe.json"))
    assert told == {
        "mapped": ["GOOD", "alice", 1234],
        "ticket replaced": True,
        "worker of another uid killed": True,
        "sees the first process": True,
        "reads a tally": "tally",
        "owns its name": True,
        "internet": "EAFNOSUPPORT",
        "writes /etc": "EROFS",
        "writable code": "EPERM",
        "new namespace": "EPERM",
        "reads a secret of another user": "EACCES",
    }
    assert machine.tell("cat", "/tmp/krb5cc_test") == "new"
