"""A console over VNC: its screen in the viewer, and the sign-in by a stream of its own."""

import pytest
from beds_viewer import SPN, Desktop, type_into
from beds_vm import Machines
from vm_console import TIME, sessions, set_up, wait_for_event

from sso.demo.realm import Realm

pytestmark = pytest.mark.vm


@pytest.mark.proves("S070", "S136")
def test_alice_is_signed_in_beside_vnc(machines: Machines, realm: Realm, desktop_of_alice: Desktop) -> None:
    guest = set_up(machines(console="vnc"), realm, disconnect="log-off", grace_seconds=1)
    stream = ("--spn", SPN, "--stream", f"unix:{guest.port}")
    with desktop_of_alice.view(f"vnc+unix://{guest.vnc}", *stream) as viewer:
        viewer.expect("connected to")
        viewer.expect("state signed-in", TIME)
        (session,) = sessions(guest)
        assert (session["Name"], session["TTY"]) == ("alice", "tty1")
        guest.wait("grep -q '\\$ ' /dev/vcs1", 60)
        type_into(desktop_of_alice, "id\n")
        guest.wait("grep -q 'uid=4001' /dev/vcs1", 60)
        desktop_of_alice.picture("console-5-vnc")
        assert viewer.end() == 0
    wait_for_event(guest, "session-over user=alice")


@pytest.mark.long
def test_without_a_window_only_the_stream_is_held(
    machines: Machines, realm: Realm, desktop_of_alice: Desktop
) -> None:
    guest = set_up(machines(console="vnc"), realm, disconnect="log-off", grace_seconds=1)
    stream = ("--spn", SPN, "--stream", f"unix:{guest.port}")
    with desktop_of_alice.view(f"vnc+unix://{guest.vnc}", *stream, window=False) as viewer:
        viewer.expect("state signed-in", TIME)
