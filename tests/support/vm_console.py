"""The desktop's side of a virtual machine in tests: a client at its port, and what the guest says of it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beds import Certificates
from beds_guest import Run, secret_fd

from sso.demo.realm import Realm
from sso.demo.vm import Machine
from sso.demo.vm.enrol import GETTY, UNITS, enrol, start, wait_for_event, wait_for_units

SPN = "host/deleg.test.example"
__all__ = ["GETTY", "UNITS", "enrol", "start", "wait_for_event", "wait_for_units"]  # used through here
TIME = 600.0  # seconds; everything is slow in an emulated machine
# As the PAM module of login would ask, from a process of the system: what kind of credential it gets.
ASK = """python3 -I -c '
from sso.daemon import local
from sso.guest import records
from sso.guest.agent.pam_records import Operation, Reply, Request
link = local.dial("/run/console-sso/pam.sock")
link.setblocking(True)
records.send(link, Request(Operation.GET, "login", "tty1", "alice"))
reply = records.receive(link, Reply)
print(reply[0].kind.name if reply else "NONE")
'"""
NOBODY = 'test -z "$(loginctl --no-legend)"'


def argv(vm: Machine, *arguments: str) -> list[str]:
    """The command line of the real client at the port of a machine."""
    program = [sys.executable, "-I", "-m", "sso.client.main", "--no-config", "--port", f"unix:{vm.port}"]
    return [*program, *arguments]


def sign_in(vm: Machine, realm: Realm, *arguments: str, secret: str = "") -> Run:
    """Run the client until it ends: by default with a ticket for SPN; it leaves the port at its end."""
    with secret_fd(secret) as fds:
        words = argv(vm, *(arguments or ("--spn", SPN)))
        for fd in fds:
            words += ["--password-fd", str(fd)]
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **realm.env},
            pass_fds=fds,
            timeout=TIME,
        )
    return Run(done.returncode, done.stderr.decode().splitlines(), b"", b"")


@contextmanager
def staying(
    vm: Machine, realm: Realm, *arguments: str, secret: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """The client that stays at the port after it has signed in; the console is left when it ends."""
    reader, writer = os.pipe()
    words = argv(vm, "--stay", "--status-fd", str(writer), *(arguments or ("--spn", SPN)))
    with secret_fd(secret) as fds:
        for fd in fds:
            words += ["--password-fd", str(fd)]
        client = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], **realm.env},
            pass_fds=[writer, *fds],
        )
    os.close(writer)
    try:
        with os.fdopen(reader) as states:
            for line in states:
                if line.startswith("signed-in"):
                    break
            else:
                raise AssertionError("the client has not signed in")
            yield client
    finally:
        client.terminate()
        client.wait(TIME)


def set_up(vm: Machine, realm: Realm, spn: str = SPN, **options: object) -> Machine:
    """What an administrator does with a text console."""
    enrol(vm, realm, spn, login="getty", **options)
    start(vm, GETTY)
    wait_for_event(vm, "screen-ready tty=tty1")
    return vm


def sessions(vm: Machine) -> list[dict[str, str]]:
    """logind's sessions of users, as loginctl shows them."""
    ids = [line.split()[0] for line in vm.run("loginctl --no-legend list-sessions").output.splitlines()]
    found = []
    for id in ids:
        shown = vm.run(f"loginctl show-session {id}").output
        values = dict(re.findall(r"(?m)^(\w+)=(.*)$", shown))
        if values.get("Class") == "user" and values.get("State") != "closing":
            found.append(values)
    return found


def caches(vm: Machine) -> list[str]:
    """The ticket caches that lie in the guest, one line each: mode, owner, path."""
    listed = vm.run("stat -c '%a %U %n' /tmp/krb5cc_* /tmp/.krb5cc_* 2>/dev/null").output
    return listed.splitlines()


def artefact(vm: Machine, name: str) -> Path:
    """A picture of the guest's screen, kept in build/vm-artefacts/."""
    folder = Path(__file__).resolve().parents[2] / "build" / "vm-artefacts"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    vm.screenshot(path)
    return path


def enrol_with_passwords(
    vm: Machine, realm: Realm, certificates: Certificates, **options: object
) -> tuple[str, ...]:
    """Make a guest take tickets and, inside TLS, passwords; the client's options for alice's password."""
    files = {"tls_certificate": "/etc/console-sso/tls.pem", "tls_key": "/etc/console-sso/tls.key"}
    mechanisms = ["TLS", "GSSAPI", "kerberos", "password"]
    enrol(vm, realm, SPN, mechanisms=mechanisms, **files, **options)
    for path, source in zip(
        files.values(), (certificates.guest.certificate, certificates.guest.key), strict=True
    ):
        vm.write(path, source.read_bytes(), 0o600, "sso-agent:sso-agent")
    tls = certificates.options
    return (*tls, "--ccache", "FILE:/none", "--spn", SPN, "--password", "--user", "alice")


def session_of(vm: Machine, user: str, **values: str) -> dict[str, str]:
    """Wait until a user has a session of which loginctl shows these values; all of what it shows.

    One that is opening is none yet: to end it then would leave PAM waiting for logind's answer.
    """
    wanted = " && ".join(f'echo "$s" | grep -qx {name}={value}' for name, value in values.items()) or "true"
    script = (
        f"for i in $(loginctl --no-legend list-sessions | awk '$3 == \"{user}\" {{print $1}}'); do "
        f's="$(loginctl show-session $i)"; echo "$s" | grep -qx Class=user && '
        f'echo "$s" | grep -qxE "State=(active|online)" && {wanted} && exit 0; '
        "done; exit 1"
    )
    vm.wait(script, TIME)
    (session,) = (one for one in sessions(vm) if one["Name"] == user)
    return session


def wait_for_shell(vm: Machine, user: str) -> None:
    """Wait until a user's GNOME Shell is whole: before that it hears no sign-on and has no lock screen."""
    vm.wait(f"journalctl -b -o cat _UID=$(id -u {user}) | grep -q 'GNOME Shell started'", TIME)


def pam_failures(vm: Machine) -> int:
    """How often pam_unix has refused somebody since the guest was restored."""
    return int(vm.run("journalctl -b -o cat | grep -c 'pam_unix.*authentication failure'").output)


def tickets_of(vm: Machine, user: str, program: str) -> str:
    """What klist shows in the environment of a user's running program."""
    script = (
        f"pid=$(pgrep -u {user} -o {program}) && "
        "cache=$(tr '\\0' '\\n' < /proc/$pid/environ | sed -n s/^KRB5CCNAME=//p) && "
        f'setpriv --reuid {user} --regid {user} --clear-groups klist -c "$cache"'
    )
    return vm.run(script, check=True).output
