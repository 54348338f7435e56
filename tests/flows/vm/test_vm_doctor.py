"""`sso doctor guest` in a virtual machine as installed: all is well, and then it is not."""

import json

import pytest
from vm_console import SPN, start

from sso.demo.realm import Realm
from sso.demo.vm import Machine
from sso.demo.vm.enrol import enrol

pytestmark = pytest.mark.vm

GETTY = (
    "mkdir -p /etc/systemd/system/getty@tty1.service.d",
    "cp /usr/share/console-sso/getty@.service.d/* /etc/systemd/system/getty@tty1.service.d/",
    "sso install-pam --service login && systemctl daemon-reload && systemctl restart getty@tty1",
)


def wrong(vm: Machine) -> str:
    """What the doctor finds wrong, all in one text."""
    said = vm.run("sso doctor guest --json", timeout=120)
    findings = json.loads(said.output)["findings"]
    found = [json.dumps(step) for step in findings if step["state"] == "wrong"]
    assert (said.code == 1) == bool(found), said.output
    return "\n".join(found)


def test_a_healthy_guest_and_what_breaks_it(vm: Machine, realm: Realm) -> None:
    enrol(vm, realm, SPN, login="getty")
    start(vm, *GETTY)
    assert wrong(vm) == ""
    vm.run("chmod 644 /etc/console-sso/acceptor.keytab && systemctl stop console-sso-acceptor", check=True)
    vm.run("sso install-pam --service login --remove", check=True)
    found = wrong(vm)
    assert all(word in found for word in ("keytab", "console-sso-acceptor", "install-pam"))
