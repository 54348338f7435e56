"""A guest to be examined by sso doctor: a folder that looks like a machine's root, and ways to break it.

It is made of our own data files, with a real process at a file that stands for the port. Only systemd and
the package manager are answered for, by `Machine.ask`; the real ones are in the tests with a virtual machine.
"""

import os
import re
import socket
import struct
import subprocess
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from beds_agent import let_in

from sso import doctor
from sso.doctor import Answer, Finding, FindingState, System
from sso.guest.checks import steps
from sso.guest.pam_files.pam_stack import add_lines

ROOT = Path(__file__).resolve().parents[2]
TOML = "/etc/console-sso/guest.toml"
KEYTAB = "/etc/console-sso/acceptor.keytab"
STATE = "/var/lib/console-sso/acceptor"
PORT = "/dev/virtio-ports/spice.sso.0"
MANAGER = "/etc/systemd/system/display-manager.service"
DROP_IN = "/etc/systemd/system/getty@tty1.service.d/console-sso.conf"
AGENT, ACCEPTOR, ALICE, GREETER = 4010, 4011, 4001, 4020
SPN, REALM = "host/guest.test.example", "TEST.EXAMPLE"
SECRET = bytes(range(200, 232))  # the bytes of every key
LOGIN = (
    "auth requisite pam_nologin.so\n@include common-auth\n@include common-account\n@include common-session\n"
)
MODULES = (
    *("unix", "deny", "permit", "nologin", "succeed_if", "selinux", "loginuid", "keyinit", "limits", "env"),
    "gnome_keyring",
)
SERVICES = dict.fromkeys(("pam", "getty", "channel", "acceptor"), 384) | {
    "verdict": 0o666,
    "greeter": 0o666,
}


def key(principal: str, version: int = 2, enctype: int = 18) -> bytes:
    """One entry of a keytab (MIT krb5, "Keytab file format")."""
    name, _, realm = principal.partition("@")
    words = [word.encode() for word in (realm, *name.split("/"))]
    body = struct.pack(">H", len(words) - 1)
    body += b"".join(struct.pack(">H", len(word)) + word for word in words)
    body += (
        struct.pack(">IIBHH", 1, 1, version & 255, enctype, len(SECRET)) + SECRET + struct.pack(">I", version)
    )
    return struct.pack(">i", len(body)) + body


def a_keytab(*entries: bytes) -> bytes:
    return b"\x05\x02" + b"".join(entries)


class Machine:
    """A folder with everything that a healthy guest has; `break_` it, and ask the doctor."""

    def __init__(self, root: Path, login: str = "getty") -> None:
        self.root = root
        self.units: dict[str, dict[str, str]] = {}
        self.versions: dict[str, str] = {"gnome-shell": "43.9-0+deb12u2", "sddm": "0.19.0-5"}
        self.said = ""
        self._ending: list[Callable[[], object]] = []
        for folder in ("run/systemd/system", "dev/virtio-ports", "etc/systemd/system", "proc/net"):
            (root / folder).mkdir(parents=True)
        self._accounts()
        self._files(login)
        self._port()
        self._sockets()

    def _accounts(self) -> None:
        ids = {"root": 0, "alice": ALICE, "sso-agent": AGENT, "sso-acceptor": ACCEPTOR, "_greetd": GREETER}
        self.write("/etc/passwd", "".join(f"{name}:x:{uid}:{uid}::/:/bin/sh\n" for name, uid in ids.items()))
        self.write("/etc/group", "".join(f"{name}:x:{gid}:\n" for name, gid in ids.items()))

    def _files(self, login: str) -> None:
        self.write("/etc/hostname", "guest\n")
        self.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        self.write("/etc/krb5.conf", f"[libdefaults]\n    default_realm = {REALM}\n")
        self.write(TOML, f'spn = "{SPN}"\nlogin = "{login}"\n')
        self.write(
            KEYTAB, a_keytab(key(f"{SPN}@{REALM}"), key(f"{SPN}@{REALM}", enctype=17)), 0o600, ACCEPTOR
        )
        self.path(STATE).mkdir(parents=True)
        self.path(STATE).chmod(0o700)
        os.chown(self.path(STATE), ACCEPTOR, ACCEPTOR)
        self.copy("data/udev/70-console-sso.rules", "/lib/udev/rules.d/70-console-sso.rules")
        self.copy("data/systemd/getty@.service.d/console-sso.conf", DROP_IN)
        self.copy("data/pam.d/gdm-ovirtcred", "/etc/pam.d/gdm-ovirtcred")
        self.copy("data/greetd/config.toml", "/etc/greetd/config.toml")
        self.write("/etc/pam.d/login", add_lines(LOGIN))
        self.write("/etc/pam.d/greetd", "@include login\n")
        for type in ("auth", "account", "session"):
            self.write(f"/etc/pam.d/common-{type}", f"{type} required pam_unix.so\n")
        self.write("/etc/pam.d/other", "auth required pam_deny.so\n")
        for name in ("lightdm", "sddm"):
            self.write(f"/etc/pam.d/{name}", add_lines(LOGIN))
        for module in ("sso", *MODULES):
            self.copy("pam/pam_sso.so", f"/lib/x/security/pam_{module}.so")

    def _port(self) -> None:
        self.write("/dev/vport1p1", "", 0o600, AGENT)
        self.path(PORT).symlink_to("../vport1p1")
        self.hold(AGENT)

    def hold(self, uid: int) -> int:
        """A process of that user has the port open; its pid."""
        with open(self.path(PORT), "rb") as port:
            process = subprocess.Popen(["sleep", "600"], stdin=port, user=uid, group=uid, extra_groups=[])
        self.path(f"/proc/{process.pid}").symlink_to(f"/proc/{process.pid}")
        self._ending += [process.wait, process.kill]
        return process.pid

    def let_go(self) -> None:
        while self._ending:
            self._ending.pop()()

    def _sockets(self) -> None:
        """Sockets of an agent; a table of ours says who listens: paths of tests are longer than theirs."""
        self.path("/run/console-sso").mkdir()
        for name, mode in SERVICES.items():
            path = self.path(f"/run/console-sso/{name}.sock")
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                here = os.open(path.parent, os.O_PATH)
                listener.bind(f"/proc/self/fd/{here}/{path.name}")
                os.close(here)
            path.chmod(mode)
            owner = {"channel": AGENT, "acceptor": ACCEPTOR}.get(name, 0)
            os.chown(path, owner, owner)
        self.listening = {f"/run/console-sso/{name}.sock" for name in SERVICES}

    def _table(self) -> None:
        lines = (f"0: 2 0 00010000 0005 01 1 {path}\n" for path in sorted(self.listening))
        self.write("/proc/net/unix", "Num RefCount Protocol Flags Type St Inode Path\n" + "".join(lines))

    # Changes to the machine

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    def write(self, inside: str, content: str | bytes, mode: int = 0o644, owner: int = 0) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        os.chown(path, owner, owner)

    def copy(self, ours: str, inside: str) -> None:
        self.write(inside, (ROOT / ours).read_bytes())

    def settings(self, *lines: str, login: str = "getty") -> None:
        self.write(TOML, "\n".join([f'login = "{login}"', *lines]) + "\n")

    # Answers of programs

    def ask(self, argv: Sequence[str]) -> Answer | None:
        match argv:
            case ["systemctl", "show", _, "--", *names]:
                return Answer(0, "\n\n".join(self._unit(name) for name in names))
            case ["journalctl", *_]:
                return Answer(0, self.said)
            case ["dpkg-query", *_, package]:
                version = self.versions.get(package, "")
                return Answer(0 if version else 1, version)
            case ["rpm", *_]:
                return None
        return doctor.ask(argv)

    def _unit(self, name: str) -> str:
        unit = {"Id": name, "LoadState": "loaded", "ActiveState": "active", "Result": "success"}
        return "\n".join(f"{name}={value}" for name, value in (unit | self.units.get(name, {})).items())

    def examine(self) -> list[tuple[str, Finding]]:
        """What the doctor finds; the bus and the clock of this machine are left out."""
        self._table()
        system = System(self.root, self.ask)
        return [
            line
            for line in doctor.examine(steps(system, Namespace(config=TOML), []))
            if line[0] not in ("bus", "clock")
        ]


MakeMachine = Callable[..., Machine]


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[MakeMachine]:
    made: list[Machine] = []

    def make(login: str = "getty") -> Machine:
        made.append(Machine(tmp_path / "root", login))
        # The processes at the port are other users, who have to pass here.
        let_in(tmp_path)
        return made[-1]

    yield make
    for machine in made:
        machine.let_go()


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    return make_machine()


def of_state(lines: list[tuple[str, Finding]], state: FindingState) -> list[str]:
    return [doctor.text(line) for line in lines if line[1].state == state]


# Ways to break it


def chown(inside: str, uid: int) -> Callable[[Machine], None]:
    return lambda machine: os.chown(machine.path(inside), uid, uid)


def chmod(inside: str, mode: int) -> Callable[[Machine], None]:
    return lambda machine: machine.path(inside).chmod(mode)


def remove(inside: str) -> Callable[[Machine], None]:
    return lambda machine: machine.path(inside).unlink()


def write(inside: str, content: str | bytes, mode: int = 0o644, owner: int = 0) -> Callable[[Machine], None]:
    return lambda machine: machine.write(inside, content, mode, owner)


def settings(*lines: str, login: str = "getty", spn: str = SPN) -> Callable[[Machine], None]:
    return lambda machine: machine.settings(f'spn = "{spn}"', *lines, login=login)


def keys(*entries: bytes) -> Callable[[Machine], None]:
    return write(KEYTAB, a_keytab(*entries), 0o600, ACCEPTOR)


def edit(inside: str, old: str, new: str) -> Callable[[Machine], None]:
    def edit(machine: Machine) -> None:
        text = machine.path(inside).read_text()
        assert old in text
        machine.path(inside).write_text(text.replace(old, new))

    return edit


def unit(name: str, **properties: str) -> Callable[[Machine], None]:
    return lambda machine: machine.units.update({name: properties})


def both(*breaks: Callable[[Machine], None]) -> Callable[[Machine], None]:
    def run(machine: Machine) -> None:
        for one in breaks:
            one(machine)

    return run


Break = tuple[Callable[[Machine], None], str, str, str]


def names_it(machine: Machine, way: Break) -> None:
    """Break it; the step must report that and say how to correct it."""
    breaks, step, found, mend = way
    breaks(machine)
    lines = machine.examine()
    bad = [finding for at, finding in lines if at == step and finding.state == FindingState.WRONG]
    assert any(re.search(found, one.found) and re.search(mend, one.mend) for one in bad), lines
    assert all(one.mend for _, one in lines if one.state == FindingState.WRONG)
    assert not any("the check itself failed" in one.found for _, one in lines), lines
