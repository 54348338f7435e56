"""The units under a systemd of their own, which is the first process of new namespaces.

Its root is this machine's, with changes that are kept in memory. A pseudo terminal stands for the port.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("agent", "channel", "acceptor")
SECONDS = 60.0
KILLED, JOINED = "Sent signal SIGKILL", "links-joined"
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
        except ValueError:  # it is just starting
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

    def active(self, *more: str) -> set[str]:
        """The units that are up, or in one of these states."""
        states = ",".join(("active", *more))
        listed = self.tell(
            "systemctl", "list-units", "--plain", "--no-legend", f"--state={states}", "console-sso-*"
        )
        return {line.split()[0] for line in listed.splitlines()}

    def at_rest(self) -> bool:
        """Whether none is up, nor on its way up or down."""
        return not self.active("activating", "deactivating")

    def all_run(self) -> bool:
        return {f"console-sso-{service}.service" for service in SERVICES} <= self.active()

    def wait_for_another(self, service: str, before: str) -> None:
        """Wait until all run, the service as a new process."""
        self.wait(lambda: self.pids()[service] not in ("0", before) and self.all_run())

    def kill(self, service: str) -> float:
        """Kill it; return the seconds until all three are connected again, according to the journal."""
        before = len(self._kills_and_joins(KILLED))
        self.tell("systemctl", "kill", "--signal=KILL", f"console-sso-{service}.service")
        self.wait(lambda: len(self._kills_and_joins(KILLED)) > before)
        self.wait(lambda: self._kills_and_joins()[-1][1] == JOINED)
        (killed, _), (joined, _) = self._kills_and_joins()[-2:]
        return float(joined) - float(killed)

    def _kills_and_joins(self, word: str = "") -> list[tuple[str, str]]:
        said = self.tell("journalctl", "--boot", "--no-pager", "--output=short-monotonic")
        found = re.findall(rf"(?m)^\[ *([0-9.]+)\].* ({KILLED}|{JOINED})\b", said)
        return [each for each in found if word in each[1]]

    def failed(self) -> str:
        return self.tell("systemctl", "list-units", "--plain", "--no-legend", "--state=failed")

    def plug(self) -> None:
        self.tell("ln", "-sf", self.terminal, PORT)

    def unplug(self) -> None:
        self.tell("rm", "-f", PORT)

    def up(self) -> None:
        """Wait until all three run."""
        self.write(CONFIG, GOOD)
        self.plug()
        self.tell("systemctl", "start", "console-sso-agent.service")
        self.wait(self.all_run)

    def down(self) -> None:
        self.tell("systemctl", "stop", "console-sso-agent.service")
        self.wait(self.at_rest)

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
