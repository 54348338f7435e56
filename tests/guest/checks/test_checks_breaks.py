"""sso doctor guest names what is broken in configuration, port, keytab, units and sockets, and its cure."""

import shutil
from collections.abc import Callable

import pytest
from beds_doctor import (
    ACCEPTOR,
    ALICE,
    KEYTAB,
    PORT,
    REALM,
    SPN,
    STATE,
    TOML,
    Break,
    Machine,
    a_keytab,
    both,
    chmod,
    chown,
    edit,
    key,
    keys,
    machine,
    make_machine,
    names_it,
    remove,
    settings,
    unit,
    write,
)

__all__ = ["machine", "make_machine"]  # fixtures
pytestmark = pytest.mark.e2e  # files of several users, so it needs root

UDEV = "udevadm trigger --subsystem-match=virtio-ports --action=change"
FAILED = {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2"}


def _foreign_holder(machine: Machine) -> None:
    machine.let_go()
    machine.hold(ALICE)


def _silent(machine: Machine) -> None:
    machine.listening.discard("/run/console-sso/pam.sock")


def _says(said: str) -> Callable[[Machine], None]:
    return lambda machine: setattr(machine, "said", said)


BREAKS: dict[str, Break] = {
    # configuration
    "no file": (remove(TOML), "configuration", "guest.toml: No such file", 'with spn = "host/NAME"'),
    "no TOML": (
        write(TOML, "spn ="),
        "configuration",
        "it is no TOML",
        f"of {TOML}, then: systemctl restart",
    ),
    "unknown key": (settings('spm = "x"'), "configuration", "spm: there is no such option", f"of {TOML}"),
    "others may write it": (
        chmod(TOML, 0o666),
        "configuration",
        "others may change it",
        f"chmod 644 {TOML}",
    ),
    "a folder of another": (
        chown("/etc/console-sso", ALICE),
        "configuration",
        "/etc/console-sso belongs to alice",
        "chown root:root /etc/console-sso",
    ),
    # users and groups
    "no user": (
        edit("/etc/passwd", "sso-agent", "nobody"),
        "users",
        "there is no user sso-agent",
        "systemd-sysusers console-sso.conf",
    ),
    "the same uid": (
        edit("/etc/passwd", "sso-acceptor:x:4011", "sso-acceptor:x:4010"),
        "users",
        "sso-agent and sso-acceptor have the same uid 4010",
        "different uids",
    ),
    "no group": (
        settings('allowed_groups = ["console"]'),
        "who may sign in",
        "there is no group console, so it lets nobody in",
        "groupadd console",
    ),
    # mechanisms
    "no such mechanism": (
        settings('mechanisms = ["GSSAPI", "kerberos", "nonsuch"]'),
        "mechanisms",
        "no mechanism nonsuch is installed",
        f"take it out of mechanisms in {TOML}",
    ),
    # port
    "no port": (remove(PORT), "port", f"there is no {PORT}", "virtserialport,chardev=sso,name=spice.sso.0"),
    "port of root": (chown("/dev/vport1p1", 0), "port", f"{PORT} belongs to root, mode 600", UDEV),
    "open to all": (chmod("/dev/vport1p1", 0o666), "port", "belongs to sso-agent, mode 666", UDEV),
    "held by another": (_foreign_holder, "port", r"held by another program, sleep \(pid \d+\)", r"kill \d+"),
    "no rule": (
        remove("/lib/udev/rules.d/70-console-sso.rules"),
        "udev rule",
        "no udev rule gives the port spice.sso.0 to sso-agent",
        f"Reinstall console-sso-guest, then: udevadm control --reload && {UDEV}",
    ),
    "a rule that hides ours": (
        write("/etc/udev/rules.d/70-console-sso.rules", "# nothing\n"),
        "udev rule",
        "no udev rule gives the port",
        UDEV,
    ),
    # keytab
    "no keytab": (
        remove(KEYTAB),
        "keytab",
        f"there is no {KEYTAB}",
        f"install -o sso-acceptor -m 600 FILE {KEYTAB}",
    ),
    "keytab of root": (
        chown(KEYTAB, 0),
        "keytab",
        "belongs to root, not to sso-acceptor",
        "chown sso-acceptor",
    ),
    "keytab for all": (
        chmod(KEYTAB, 0o644),
        "keytab",
        "mode 644: others may use the key",
        f"chmod 600 {KEYTAB}",
    ),
    "another file": (write(KEYTAB, "hello", 0o600, ACCEPTOR), "keytab", "is no keytab", "as ktadd"),
    "cut keytab": (
        write(KEYTAB, a_keytab(key(f"{SPN}@{REALM}"))[:20], 0o600, ACCEPTOR),
        "keytab",
        "is no keytab",
        "as ktadd",
    ),
    "another service": (
        keys(key(f"host/other.test.example@{REALM}")),
        "keytab",
        f"no key of {SPN}@{REALM}, only host/other.test.example@{REALM}",
        f"Put the key of {SPN} there",
    ),
    "another realm": (
        keys(key(f"{SPN}@OTHER.EXAMPLE")),
        "keytab",
        f"holds {SPN}@OTHER.EXAMPLE, and the realm here is {REALM}",
        f'Write spn = "{SPN}@OTHER.EXAMPLE"',
    ),
    "only RC4": (
        keys(key(f"{SPN}@{REALM}", 1, 18), key(f"{SPN}@{REALM}", 3, 23)),
        "keytab",
        rf"only arcfour-hmac for {SPN}@{REALM} \(kvno 3\)",
        "make an AES key",
    ),
    "broken include": (
        write("/etc/krb5.conf", f"includedir /etc/nothing.d\n[libdefaults]\n    default_realm = {REALM}\n"),
        "Kerberos file",
        "includes /etc/nothing.d, which is no folder",
        "Make it, or remove that line",
    ),
    "no realm": (write("/etc/krb5.conf", ""), "keytab", "no default_realm", "Write default_realm = REALM"),
    # replay cache
    "no replay cache": (
        lambda machine: shutil.rmtree(machine.path(STATE)),
        "replay cache",
        f"there is no {STATE}",
        "systemd-tmpfiles --create console-sso.conf",
    ),
    "replay cache of root": (
        chown(STATE, 0),
        "replay cache",
        f"{STATE} belongs to root",
        f"chown sso-acceptor {STATE} && chmod 700",
    ),
    "a file of root in it": (
        write(f"{STATE}/krb5_4011.rcache2", "", 0o600, 0),
        "replay cache",
        "krb5_4011.rcache2 is not sso-acceptor's, so no login works",
        f"chown sso-acceptor {STATE}/krb5_4011.rcache2",
    ),
    # units and sockets
    "not installed": (
        unit("console-sso-agent.service", LoadState="not-found"),
        "units",
        "console-sso-agent.service: there is no such unit",
        "apt install --reinstall console-sso-guest",
    ),
    "masked": (
        unit("console-sso-channel.service", LoadState="masked", ActiveState="inactive"),
        "units",
        "console-sso-channel.service: masked",
        "systemctl unmask console-sso-channel.service",
    ),
    "failed": (
        both(
            unit("console-sso-acceptor.service", **FAILED),
            _says("first\nsso-guest-agent: spn: write service/host"),
        ),
        "units",
        r"console-sso-acceptor.service: failed \(exit-code, exit code 2\): sso-guest-agent: spn: write",
        "systemctl restart console-sso-agent.service",
    ),
    "stopped": (
        unit("console-sso-agent.service", ActiveState="inactive"),
        "units",
        "console-sso-agent.service: inactive",
        "systemctl start console-sso-agent.service",
    ),
    "another port": (
        both(
            settings('port = "unix:/run/x.sock"'),
            remove(PORT),
            unit("console-sso-agent.service", ActiveState="inactive"),
        ),
        "units",
        "waits for /dev/virtio-ports/spice.sso.0, and the port is unix:/run/x.sock",
        '"ConditionPathExists=" to /etc/systemd/system/console-sso-.service.d/port.conf',
    ),
    "socket not held": (
        unit("console-sso-verdict.socket", ActiveState="inactive"),
        "units",
        "not held by systemd: console-sso-verdict.socket",
        "systemctl restart console-sso-agent.service",
    ),
    "nobody listens": (
        _silent,
        "sockets",
        "no agent listens at /run/console-sso/pam.sock",
        "systemctl restart",
    ),
    "socket removed": (
        remove("/run/console-sso/pam.sock"),
        "sockets",
        "its file was removed",
        "systemctl restart",
    ),
    "socket for all": (
        chmod("/run/console-sso/pam.sock", 0o666),
        "sockets",
        "it belongs to root, mode 666, not to root, mode 600",
        "systemctl restart",
    ),
    "sockets' folder": (
        chmod("/run/console-sso", 0o777),
        "sockets",
        "others can put a socket of theirs there",
        "chmod 755 /run/console-sso",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_named_with_its_cure(machine: Machine, name: str) -> None:
    names_it(machine, BREAKS[name])
