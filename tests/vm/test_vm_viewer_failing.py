"""A sign-in that fails leaves a console as ever, and one clear line."""

import pytest
from viewer_bed import Desktop, type_into
from vm_console import TIME

from sso.demo.vm import Machine

pytestmark = pytest.mark.vm
NO_ECHO = "stty -F /dev/tty1 -a | grep -q -- ' -echo '"  # login asks for a password


def test_without_a_ticket_she_signs_in_by_hand(guest: Machine, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.sign_in(guest, KRB5CCNAME="FILE:/nowhere/at/all") as viewer:
        viewer.expect("state failed 6 ", TIME)
        viewer.expect("shows: no ticket: type your password$")
        desktop_of_alice.picture("console-4-no-ticket")
        type_into(desktop_of_alice, "alice\n")
        guest.wait(NO_ECHO, 60)
        type_into(desktop_of_alice, "alice-on-the-console\n")
        guest.wait("loginctl --no-legend | grep alice", 60)
