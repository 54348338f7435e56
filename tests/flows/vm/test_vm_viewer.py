"""The real viewer on the real console: SPICE shows the screen, and its port signs the user in."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from beds_viewer import SPN, Desktop, tapped, wait_until_left
from pair import leaks
from sso_mechs import ccache
from vm_console import (
    NOBODY,
    TIME,
    UNITS,
    artefact,
    caches,
    pam_failures,
    sessions,
    wait_for_event,
    wait_for_units,
)

from sso.demo.realm import Realm
from sso.demo.viewer import Viewer
from sso.demo.vm import Machine

pytestmark = pytest.mark.vm
NO_ECHO = "stty -F /dev/tty1 -a | grep -q -- ' -echo '"  # login asks for a password
STARTS = "systemctl show -p ExecMainStartTimestampMonotonic getty@tty1"


@pytest.mark.proves("S058", "S065", "S071", "S087", "S103", "S105", "S107", "S108")
def test_alice_is_signed_in_and_sees_it(
    guest: Machine, realm: Realm, desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    artefact(guest, "console-1-before")
    with tapped(guest.spice, tmp_path) as tap:
        with desktop_of_alice.view(f"spice+unix://{tap.path}", "--spn", SPN) as viewer:
            viewer.expect("state signed-in", TIME)
            (session,) = sessions(guest)
            assert (session["Name"], session["TTY"], session["Service"]) == ("alice", "tty1", "login")
            guest.wait("grep -q '\\$' /dev/vcs1", 60)  # alice's prompt
            guest.keys("klist\n")
            guest.wait("tr -s ' ' </dev/vcs1 | grep -q 'Default principal: alice@TEST.EXAMPLE'", 60)
            (cache,) = caches(guest)
            assert re.fullmatch(r"600 alice /tmp/krb5cc_4001_\w+", cache)
            tickets = [*ccache.read(guest.read(cache.split()[2])), *ccache.read(realm.ccache.read_bytes())]
            desktop_of_alice.picture("console-2-in-the-viewer")
            assert viewer.end(signal.SIGTERM) == 0
        # What may cross in the clear are tickets, and never the keys that belong to them.
        assert len(tickets) > 2 and b"SIGNATURE" in tap.heard
        assert not leaks(tap.heard, [ticket.key for ticket in tickets])
    wait_for_event(guest, "grace-over user=alice")
    guest.wait(NOBODY, 60)
    assert not caches(guest)
    wait_until_left(guest)
    artefact(guest, "console-3-after")
    # The user comes back, and the session is unlocked again.
    _signs_in(guest, desktop_of_alice, window=True)


def test_a_password_through_tls_and_nothing_in_the_clear(
    guest: Machine, desktop_of_alice: Desktop, by_password: list[str], tmp_path: Path
) -> None:
    password = "alice-on-the-console"
    asked = tmp_path / "askpass"
    asked.write_text(f"#!/bin/sh\necho {password}\n")
    asked.chmod(0o700)
    at = by_password.index("--spn")
    desktop_of_alice.configure("--no-config", *by_password[:at], *by_password[at + 2 :])
    artefact(guest, "console-6-before-a-password")
    with tapped(guest.spice, tmp_path) as tap:
        where = f"spice+unix://{tap.path}"
        with desktop_of_alice.view(where, "--spn", SPN, SSO_ASKPASS=str(asked)) as viewer:
            viewer.expect("state signed-in", TIME)
            assert [one["Name"] for one in sessions(guest)] == ["alice"]
            assert pam_failures(guest) == 0
            guest.wait("grep -q '\\$' /dev/vcs1", 60)
            desktop_of_alice.picture("console-7-by-password")
        assert tap.connections > 2 and b"SIGNATURE" in tap.heard
        assert not leaks(tap.heard, [password.encode()])


@pytest.mark.parametrize(
    ("points", "each"),
    [(5, False), *(pytest.param(20, each, marks=pytest.mark.long) for each in (False, True))],
)
def test_a_viewer_killed_anywhere_disturbs_no_other(
    guest: Machine, desktop_of_alice: Desktop, tmp_path: Path, points: int, each: bool
) -> None:
    """At so many points of the sign-in, from the port's opening; the next one signs in, after each or all.

    Not before: spice-server 0.15.1 takes QEMU with it when a client dies while a port's channel is linked.
    """
    with tapped(guest.spice, tmp_path) as tap:
        where = f"spice+unix://{tap.path}"
        with desktop_of_alice.view(where, "--spn", SPN, window=False) as viewer:
            viewer.expect("spice.sso.0: started")
            opened = len(tap.heard)
            viewer.expect("state signed-in", TIME)
            said = len(tap.heard) - opened
        for point in range(points):
            wait_until_left(guest)
            guest.wait(NOBODY, 60)
            tap.heard.clear()
            with desktop_of_alice.view(where, "--spn", SPN, window=False) as viewer:
                viewer.expect("spice.sso.0: started")
                tap.wait(opened + said * point // points)
                viewer.end(signal.SIGKILL)
            if each:
                wait_until_left(guest)
                _signs_in(guest, desktop_of_alice)
        wait_until_left(guest)
        _signs_in(guest, desktop_of_alice)


# What looks as if a client began, again and again, and asked for a login.
OF_AN_EARLIER_VIEWER = """\
import os
from sso.protocol.messages import Signature
said = b""
while len(said) < 200_000:
    words = Signature("client", os.urandom(16)).words()
    said += " ".join(words).encode() + b"\\nstartSASL GSSAPI\\n" + os.urandom(300)
while said:
    said = said[os.write(1, said):]
os.read(0, 1)
"""


@pytest.mark.parametrize("glued", [False, True])
def test_bytes_of_an_earlier_viewer_are_nobody_elses(
    guest: Machine, desktop_of_alice: Desktop, tmp_path: Path, glued: bool
) -> None:
    """200 kB of them wait in the port, before or (`glued`) until the next viewer's come behind them."""
    desktop_of_alice.only(OF_AN_EARLIER_VIEWER)
    guest.stop()
    with (
        tapped(guest.spice, tmp_path) as tap,
        desktop_of_alice.view(f"spice+unix://{tap.path}", window=False) as viewer,
    ):
        tap.wait(200_000)
        viewer.end(signal.SIGKILL)
    wait_until_left(guest)
    desktop_of_alice.configure("--no-config", "--stay")
    if not glued:
        guest.cont()
    with desktop_of_alice.sign_in(guest, window=False) as viewer:
        viewer.expect("spice.sso.0: started")
        guest.cont()
        viewer.expect("state signed-in", TIME)
        assert [one["Name"] for one in sessions(guest)] == ["alice"]
        wait_for_event(guest, "login-asked")
        assert guest.run("journalctl -b -o cat | grep -c login-asked").output == "1\n"


def test_a_second_client_takes_over(guest: Machine, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.sign_in(guest, window=False) as first:
        first.expect("state signed-in", TIME)
        with desktop_of_alice.sign_in(guest, window=False) as second:
            first.expect("the connection to the console is lost", TIME)
            assert first.wait() == 1
            second.expect("state signed-in", TIME)
            assert [one["Name"] for one in sessions(guest)] == ["alice"]


def test_the_agent_is_started_anew_while_alice_looks(guest: Machine, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.sign_in(guest, window=False) as viewer:
        viewer.expect("state signed-in", TIME)
        before = sessions(guest)
        guest.run(f"systemctl restart {' '.join(UNITS)}", timeout=TIME, check=True)
        wait_for_units(guest)
        # The port may have been closed for long enough that the client is started anew.
        viewer.expect("state (renewed|signed-in)", TIME, count=2)
        assert not [line for line in viewer.lines if "failed" in line or "not-renewed" in line]
        # The session existed before the agent knew of it.
        assert [one["Id"] for one in sessions(guest)] == [one["Id"] for one in before]


def test_a_machine_that_slept(guest: Machine, desktop_of_alice: Desktop, tmp_path: Path) -> None:
    """Its clock is behind when it resumes: that is reported, and once it is right the user is signed in."""
    guest.run("date -s '-1 hour'", check=True)
    with _frozen(guest, desktop_of_alice, tmp_path) as viewer:
        viewer.expect("state failed 9 ", TIME)
        assert viewer.expect("shows: .*clock").endswith(": sign in by hand")
        viewer.expect("exited 9")
        assert not sessions(guest)
    wait_until_left(guest)
    guest.set_clock()
    _signs_in(guest, desktop_of_alice)


def test_a_viewer_that_leaves_while_the_machine_sleeps(guest: Machine, desktop_of_alice: Desktop) -> None:
    """QEMU 7.2 never tells the guest of that: the next one's first bytes do."""
    with desktop_of_alice.sign_in(guest, window=False) as viewer:
        viewer.expect("state signed-in", TIME)
        guest.stop()
        viewer.end(signal.SIGKILL)
    wait_until_left(guest)
    guest.cont()
    _signs_in(guest, desktop_of_alice)
    wait_for_event(guest, "grace-over user=alice")
    guest.wait(NOBODY, 60)


def test_a_silent_viewer_leaves_everything_as_it_is(guest: Machine, desktop_of_alice: Desktop) -> None:
    screen_since = guest.run(STARTS).output
    with _remote_viewer(guest, desktop_of_alice):
        wait_for_event(guest, "session-end session=")
        began, used = _used(guest)
        guest.wait(f"test $(cut -d . -f 1 /proc/uptime) -ge {began + 5}")
        assert _used(guest)[1] - used < 0.25  # seconds of processor time in these five
        assert guest.run(STARTS).output == screen_since
        guest.keys("alice\n")
        guest.wait(NO_ECHO, 60)
        guest.keys("alice-on-the-console\n")
        guest.wait("loginctl --no-legend | grep alice", 60)
        guest.keys("exit\n")
        guest.wait(NOBODY, 60)
    wait_until_left(guest)
    _signs_in(guest, desktop_of_alice)


def _signs_in(guest: Machine, desktop: Desktop, *, window: bool = False) -> None:
    with desktop.sign_in(guest, window=window) as viewer:
        viewer.expect("state signed-in", TIME)
        assert [one["Name"] for one in sessions(guest)] == ["alice"]


@contextmanager
def _frozen(guest: Machine, desktop: Desktop, folder: Path) -> Iterator[Viewer]:
    """A viewer whose client has begun to speak to a machine that stood still, and goes on now."""
    guest.stop()
    with (
        tapped(guest.spice, folder) as tap,
        desktop.view(f"spice+unix://{tap.path}", "--spn", SPN, window=False) as viewer,
    ):
        tap.wait_for(b"SIGNATURE")
        guest.cont()
        yield viewer


@contextmanager
def _remote_viewer(guest: Machine, desktop: Desktop) -> Iterator[None]:
    assert desktop.screen is not None
    silent = subprocess.Popen(
        ["remote-viewer", f"spice+unix://{guest.spice}"],
        env={
            "PATH": os.environ["PATH"],
            "DISPLAY": desktop.screen.display,
            "HOME": str(desktop.folder),
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        silent.terminate()
        silent.wait(30)


def _used(guest: Machine) -> tuple[int, float]:
    """The guest's uptime, and the processor time of our three services, in seconds."""
    show = f"systemctl show -P CPUUsageNSec {' '.join(UNITS)}"
    said = guest.run(f"cut -d . -f 1 /proc/uptime; {show}", check=True).output.split()
    return int(said[0]), sum(map(int, said[1:])) / 1e9
