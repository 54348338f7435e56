"""The GNOME desktop in the viewer: it opens by itself, locks when the user leaves, unlocks on return."""

import pytest
from beds_viewer import SPN, Desktop
from beds_vm import Machines
from vm_console import artefact, enrol, session_of, start, tickets_of, wait_for_event, wait_for_shell

from sso.demo.realm import Realm

pytestmark = [pytest.mark.desktop, pytest.mark.long]


def test_the_desktop_opens_by_itself(machines: Machines, realm: Realm, desktop_of_alice: Desktop) -> None:
    gnome = machines("desktop", manager="gdm3", console="spice")
    enrol(gnome, realm, SPN, login="gdm")
    start(gnome)
    artefact(gnome, "viewer-gnome-1-greeter")
    with desktop_of_alice.sign_in(gnome) as viewer:
        viewer.expect("state signed-in", 300)
        opened = session_of(gnome, "alice", Active="yes")
        assert (opened["Service"], opened["Type"], opened["Seat"]) == ("gdm-ovirtcred", "wayland", "seat0")
        wait_for_shell(gnome, "alice")
        assert "Default principal: alice@TEST.EXAMPLE" in tickets_of(gnome, "alice", "gnome-shell")
        desktop_of_alice.picture("viewer-gnome-2-signed-in")
        assert viewer.end() == 0
    wait_for_event(gnome, "session-locked user=alice")
    session_of(gnome, "alice", LockedHint="yes")
    with desktop_of_alice.sign_in(gnome) as viewer:
        viewer.expect("state signed-in", 300)
        session_of(gnome, "alice", LockedHint="no", Active="yes")
        desktop_of_alice.picture("viewer-gnome-3-back-again")
