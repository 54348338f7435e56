"""What an administrator does to a guest with our packages: a keytab, a configuration, a login screen."""

import json
import re

from ..realm import Realm
from .machine import Machine

UNITS = ("console-sso-agent", "console-sso-channel", "console-sso-acceptor")
GETTY = (
    "mkdir -p /etc/systemd/system/getty@tty1.service.d && "
    "cp /usr/share/console-sso/getty@.service.d/* /etc/systemd/system/getty@tty1.service.d/ && "
    "sso install-pam --service login && systemctl daemon-reload && systemctl restart getty@tty1"
)
_SECONDS = 180.0  # everything is slow in an emulated machine


def enrol(vm: Machine, realm: Realm, spn: str, **options: object) -> None:
    """Make a guest the service `spn` of a realm: new keytab, krb5.conf, guest.toml, and the right time.

    `options` go to guest.toml as they are. Whoever runs already has to be started again.
    """
    owned = vm.run("id -u sso-acceptor").code == 0
    keytab = realm.keytab(realm.folder / f"{spn.replace('/', '-')}.vm.keytab", spn)
    owner = "sso-acceptor:root" if owned else "root:root"
    vm.write("/etc/console-sso/acceptor.keytab", keytab.read_bytes(), 0o600, owner)
    keytab.unlink()
    without_kdc = re.sub(r"^ *kdc = .*\n", "", realm.krb5_conf.read_text(), flags=re.MULTILINE)
    vm.write("/etc/krb5.conf", without_kdc)
    values: dict[str, object] = {"spn": spn, **options}
    # These texts, lists, numbers and truths look the same in JSON and TOML.
    vm.write("/etc/console-sso/guest.toml", "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
    vm.set_clock()


def start(vm: Machine, *commands: str) -> None:
    """Let the port's rule start the agent, after what an administrator has to do."""
    for command in commands:
        vm.run(command, timeout=_SECONDS, check=True)
    vm.run("udevadm trigger --subsystem-match=virtio-ports --action=change && udevadm settle", check=True)
    wait_for_units(vm)


def wait_for_units(vm: Machine) -> None:
    """Wait until all three processes are ready."""
    vm.wait(f"systemctl is-active {' '.join(UNITS)} | grep -c '^active' | grep -qx {len(UNITS)}", _SECONDS)


def wait_for_event(vm: Machine, text: str, count: int = 1) -> str:
    """Wait until the agent's journal has a pattern (grep -E) that often; the lines."""
    command = f"journalctl -b -o cat --no-pager | grep -E -- '{text}'"
    return vm.wait(f"test $({command} | wc -l) -ge {count} && {command}", _SECONDS)
