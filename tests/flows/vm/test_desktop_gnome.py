"""The GNOME film: GDM opens alice's desktop with a ticket, locks when alice leaves, unlocks on return."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from beds import Certificates
from vm_console import (
    SPN,
    TIME,
    argv,
    artefact,
    caches,
    enrol,
    enrol_with_passwords,
    pam_failures,
    session_of,
    sign_in,
    start,
    staying,
    tickets_of,
    wait_for_event,
    wait_for_shell,
)

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine

pytestmark = pytest.mark.desktop
SLOW = 39  # seconds, while a client waits for 40: Shell in an emulated machine may take more than the default


@pytest.fixture
def gnome(desktop: Callable[[str], Machine]) -> Machine:
    """A guest with GDM's greeter on its screen."""
    return desktop("gdm3")


def dial_as_bob(vm: Machine, realm: Realm, ccache: Path) -> "subprocess.Popen[bytes]":
    """Another user waits behind alice at the port, which accepts one client at a time."""
    realm.kinit("bob", "-f", ccache=ccache)
    words = argv(vm, "--spn", SPN, "--ccache", f"FILE:{ccache}")
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], **realm.env})


def locked_before_heard(vm: Machine) -> bool:
    """Whether nobody was heard between alice's leaving and the lock of alice's screen."""
    wait_for_event(vm, "login-other-signed-in")
    said = wait_for_event(vm, "^(client-gone|session-(locked|begin)) ?")
    order = [line.split()[0] for line in said.splitlines()]
    return order[order.index("session-locked") - 1] == "client-gone"


@pytest.mark.proves("S001", "S035", "S076", "S109", "S150")
def test_sign_in_lock_and_unlock(gnome: Machine, realm: Realm, tmp_path: Path) -> None:
    enrol(gnome, realm, SPN, login="gdm", grant_seconds=SLOW)
    start(gnome)
    artefact(gnome, "gnome-1-greeter")
    realm.kinit("alice", "-f")
    with staying(gnome, realm):
        opened = session_of(gnome, "alice", Active="yes")
        assert (opened["Service"], opened["Type"], opened["Seat"]) == ("gdm-ovirtcred", "wayland", "seat0")
        wait_for_shell(gnome, "alice")
        assert "Default principal: alice@TEST.EXAMPLE" in tickets_of(gnome, "alice", "gnome-shell")
        (cache,) = caches(gnome)
        assert re.fullmatch(r"600 alice /tmp/krb5cc_4001_\w+", cache)
        artefact(gnome, "gnome-2-signed-in")
        bob = dial_as_bob(gnome, realm, tmp_path / "bob")
    # QEMU accepted that user just when alice left; locking may take longer than that client waits.
    assert bob.wait(TIME) in (Exit.DENIED, Exit.NO_GUEST)
    wait_for_event(gnome, "^session-locked")
    assert dial_as_bob(gnome, realm, tmp_path / "bob").wait(TIME) == Exit.DENIED
    assert locked_before_heard(gnome) and pam_failures(gnome) == 0
    session_of(gnome, "alice", LockedHint="yes")
    artefact(gnome, "gnome-3-locked")
    realm.kinit("alice", "-f")
    with staying(gnome, realm):
        session_of(gnome, "alice", LockedHint="no", Active="yes")
        assert caches(gnome) == [cache], "unlocking made no second one"
        artefact(gnome, "gnome-5-unlocked")
    session_of(gnome, "alice", LockedHint="yes")
    gnome.run("loginctl terminate-user alice", check=True)
    wait_for_event(gnome, "session-over user=alice")
    gnome.wait("! ls /tmp/krb5cc_*", 60)


@pytest.mark.long
def test_a_wrong_password_counts_once_and_the_right_one_opens(
    gnome: Machine, realm: Realm, certificates: Certificates
) -> None:
    by_password = enrol_with_passwords(gnome, realm, certificates, login="gdm", grant_seconds=SLOW)
    start(gnome)
    wrong = sign_in(gnome, realm, *by_password, secret="a-wrong-password")
    assert wrong.code == Exit.NOT_ACCEPTED and pam_failures(gnome) == 1
    gnome.run("sleep 30", timeout=200)  # the pause after a failure
    with staying(gnome, realm, *by_password, secret="alice-on-the-console"):
        session_of(gnome, "alice", Active="yes", Service="gdm-ovirtcred")
        assert not caches(gnome) and pam_failures(gnome) == 1


@pytest.mark.long
def test_a_wrong_password_unlocks_nothing_and_the_right_one_does(
    gnome: Machine, realm: Realm, certificates: Certificates
) -> None:
    """PAM's own refusal is the only one that counts."""
    by_password = enrol_with_passwords(gnome, realm, certificates, login="gdm", grant_seconds=SLOW)
    start(gnome)
    with staying(gnome, realm, *by_password, secret="alice-on-the-console"):
        session_of(gnome, "alice", Active="yes")
        wait_for_shell(gnome, "alice")
    session_of(gnome, "alice", LockedHint="yes")
    wrong = sign_in(gnome, realm, *by_password, secret="a-wrong-password")
    assert wrong.code == Exit.NOT_ACCEPTED and pam_failures(gnome) == 1
    assert session_of(gnome, "alice")["LockedHint"] == "yes"
    artefact(gnome, "gnome-4-refused")
    gnome.run("sleep 30", timeout=200)  # the pause after a failure, by the guest's own clock
    with staying(gnome, realm, *by_password, secret="alice-on-the-console"):
        session_of(gnome, "alice", LockedHint="no", Active="yes")
