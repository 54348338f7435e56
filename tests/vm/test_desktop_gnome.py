"""The GNOME film: GDM opens alice's desktop with her ticket, locks when she leaves, unlocks for her."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from beds import Certificates
from vm_console import (
    SPN,
    artefact,
    caches,
    enrol_with_passwords,
    pam_failures,
    session_of,
    sign_in,
    start,
    staying,
    tickets_of,
    wait_for_event,
)

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine

pytestmark = pytest.mark.desktop


@pytest.fixture
def gnome(desktop: Callable[[str], Machine]) -> Machine:
    """A guest with GDM's greeter on its screen."""
    return desktop("gdm3")


@pytest.mark.proves("S001", "S035", "S076", "S109", "S150")
def test_sign_in_lock_and_unlock(
    gnome: Machine, realm: Realm, certificates: Certificates, tmp_path: Path
) -> None:
    by_password = enrol_with_passwords(gnome, realm, certificates, login="gdm")
    start(gnome)
    artefact(gnome, "gnome-1-greeter")
    realm.kinit("alice", "-f")
    with staying(gnome, realm):
        opened = session_of(gnome, "alice", Active="yes")
        assert (opened["Service"], opened["Type"], opened["Seat"]) == ("gdm-ovirtcred", "wayland", "seat0")
        wait_for_event(gnome, "Reached target gnome-session.target")
        assert "Default principal: alice@TEST.EXAMPLE" in tickets_of(gnome, "alice", "gnome-shell")
        (cache,) = caches(gnome)
        assert re.fullmatch(r"600 alice /tmp/krb5cc_4001_\w+", cache)
        artefact(gnome, "gnome-2-signed-in")
    # She has left the console.
    wait_for_event(gnome, "session-locked user=alice")
    session_of(gnome, "alice", LockedHint="yes")
    artefact(gnome, "gnome-3-locked")

    # Somebody else, and then a wrong password: both are refused, and only PAM's own refusal counts.
    realm.kinit("bob", "-f", ccache=tmp_path / "bob")
    other = sign_in(gnome, realm, "--spn", SPN, "--ccache", f"FILE:{tmp_path / 'bob'}")
    assert other.code == Exit.DENIED and pam_failures(gnome) == 0
    wrong = sign_in(gnome, realm, *by_password, secret="not-her-password")
    assert wrong.code == Exit.NOT_ACCEPTED and pam_failures(gnome) == 1
    assert session_of(gnome, "alice")["LockedHint"] == "yes"
    artefact(gnome, "gnome-4-refused")

    # A failure is followed by a pause of 30 s; the guest's own clock is what counts.
    gnome.run("sleep 30", timeout=200)
    realm.kinit("alice", "-f")
    with staying(gnome, realm):
        session_of(gnome, "alice", LockedHint="no", Active="yes")
        assert caches(gnome) == [cache], "unlocking made no second one"
        artefact(gnome, "gnome-5-unlocked")
    session_of(gnome, "alice", LockedHint="yes")
    gnome.run("loginctl terminate-user alice", check=True)
    wait_for_event(gnome, "session-over user=alice")
    gnome.wait("! ls /tmp/krb5cc_*", 60)


def test_a_password_opens_the_desktop(gnome: Machine, realm: Realm, certificates: Certificates) -> None:
    by_password = enrol_with_passwords(gnome, realm, certificates, login="gdm")
    start(gnome)
    with staying(gnome, realm, *by_password, secret="alice-on-the-console"):
        session_of(gnome, "alice", Active="yes", Service="gdm-ovirtcred")
        assert not caches(gnome) and pam_failures(gnome) == 0
