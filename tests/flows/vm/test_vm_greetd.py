"""greetd in a virtual machine as installed: its greeter waits for the agent, and opens alice's session."""

import re

import pytest
from vm_console import SPN, caches, session_of, sign_in, start, wait_for_event

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine
from sso.demo.vm.enrol import enrol

pytestmark = pytest.mark.vm


def test_a_ticket_opens_the_session_that_greetd_starts(vm: Machine, realm: Realm) -> None:
    enrol(vm, realm, SPN, login="greetd")
    start(
        vm,
        "sso install-pam --service login",
        "cp /usr/share/console-sso/greetd/config.toml /etc/greetd/config.toml",
        "systemctl stop getty@tty1 && systemctl start greetd",
    )
    wait_for_event(vm, "screen-ready")
    realm.kinit("alice", "-f")
    run = sign_in(vm, realm)
    assert (run.code, run.lines) == (Exit.SIGNED_IN, [])
    session = session_of(vm, "alice", Active="yes")
    assert (session["Service"], session["Seat"], session["Type"]) == ("greetd", "seat0", "tty")
    (cache,) = caches(vm)
    assert re.fullmatch(r"600 alice /tmp/krb5cc_4001_\w+", cache)
    vm.run("loginctl terminate-user alice", check=True)
    wait_for_event(vm, "session-over user=alice")
    assert not caches(vm)
    wait_for_event(vm, "screen-ready", count=2)
