"""A virtual machine as installed, text console: a ticket from the host opens tty1, and nobody else's does."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from beds_vm import Machines
from vm_console import (
    ASK,
    NOBODY,
    UNITS,
    caches,
    sessions,
    set_up,
    sign_in,
    wait_for_event,
    wait_for_units,
)

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine

pytestmark = pytest.mark.vm
NO_ECHO = "stty -F /dev/tty1 -a | grep -q -- ' -echo '"  # login asks for a password


@pytest.fixture(scope="module")
def installed(debs: tuple[Path, ...], realm: Realm) -> Iterator[Machine]:
    """A guest that all tests of this file use, one after the other."""
    with ExitStack() as ending:
        yield set_up(Machines(debs, ending)(), realm)


@pytest.fixture
def guest(installed: Machine, realm: Realm) -> Machine:
    """That guest with nobody signed in, its login screen on tty1, and an empty journal."""
    realm.kinit("alice", "-f")
    installed.set_clock()
    for user in ("alice", "bob"):
        installed.run(f"loginctl terminate-user {user}")
    installed.wait(NOBODY, 60)
    installed.run("systemctl start console-sso-agent", check=True)
    wait_for_units(installed)
    installed.run("journalctl --rotate --vacuum-time=1us && systemctl restart getty@tty1", check=True)
    wait_for_event(installed, "screen-ready tty=tty1")
    return installed


@pytest.mark.proves("S001", "S074", "S082", "S100")
def test_a_ticket_opens_tty1_and_goes_with_the_session(guest: Machine, realm: Realm) -> None:
    run = sign_in(guest, realm)
    assert (run.code, run.lines) == (Exit.SIGNED_IN, [])
    (session,) = sessions(guest)
    assert (session["Name"], session["TTY"], session["Service"]) == ("alice", "tty1", "login")
    (cache,) = caches(guest)
    assert re.fullmatch(r"600 alice /tmp/krb5cc_4001_\w+", cache)
    guest.keys("klist > /tmp/seen; id -un >> /tmp/seen; exit\n")
    seen = guest.wait("grep alice$ /tmp/seen && cat /tmp/seen", 60)
    assert "Default principal: alice@TEST.EXAMPLE" in seen and cache.split()[2] in seen
    wait_for_event(guest, "session-over user=alice")
    assert not caches(guest)


def test_the_port_is_the_channels_alone(guest: Machine) -> None:
    port = "/dev/virtio-ports/spice.sso.0"
    assert guest.run(f"stat -L -c '%a %U' {port}").output.split() == ["600", "sso-agent"]
    assert "Permission denied" in guest.run(f"setpriv --reuid 4001 --clear-groups cat {port}").output
    assert "busy" in guest.run(f"cat {port}").output
    for unit in UNITS:
        assert guest.run(f"systemctl show -P NRestarts {unit}").output.strip() == "0"


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("echo 4001 > /proc/self/loginuid; {}", "login-uid"),
        ("systemd-run --quiet --wait --pipe --slice=user-4001.slice {}", "cgroup"),
    ],
)
def test_a_program_of_somebodys_own_session_is_sent_away(guest: Machine, way: str, reason: str) -> None:
    """As root, too: what su and sudo start belongs to alice's login."""
    guest.run(way.format(ASK), timeout=60)
    wait_for_event(guest, f"pam-refused uid=0 pid=[0-9]+ reason={reason}")


def test_log_off_after_the_grace(guest: Machine, realm: Realm) -> None:
    settings = "/etc/console-sso/guest.toml"
    guest.run(f"cp {settings} /tmp/ && echo 'disconnect = \"log-off\"\ngrace_seconds = 1' >> {settings}")
    guest.run("systemctl restart console-sso-agent", check=True)
    wait_for_event(guest, "links-joined", count=2)  # with the two of before, who then start anew
    guest.run(f"cp /tmp/guest.toml {settings}")
    wait_for_event(guest, "screen-ready", count=2)
    assert sign_in(guest, realm).code == Exit.SIGNED_IN
    wait_for_event(guest, "grace-over user=alice")
    wait_for_event(guest, "session-over user=alice")
    guest.wait(NOBODY, 60)
    guest.run("systemctl restart console-sso-agent", check=True)
    wait_for_event(guest, "links-joined", count=4)
    assert not caches(guest)


def test_a_typed_login_works_without_a_client_and_without_an_agent(guest: Machine) -> None:
    guest.keys("alice\n")
    wait_for_event(guest, "screen-ended")
    guest.wait(NO_ECHO, 60)
    guest.keys("alice-on-the-console\n")
    guest.wait("loginctl --no-legend | grep alice", 60)
    guest.keys("exit\n")
    wait_for_event(guest, "screen-ready", count=2)
    guest.run("systemctl stop console-sso-agent.service", check=True)
    guest.keys("bob\n")
    guest.wait(NO_ECHO, 60)
    guest.keys("bob-on-the-console\n")
    guest.wait("loginctl --no-legend | grep bob", 60)


@pytest.mark.parametrize("victim", UNITS)
def test_a_killed_process_comes_back_and_the_next_login_is_one(
    guest: Machine, realm: Realm, victim: str
) -> None:
    guest.run(f"systemctl kill -s KILL --kill-who=main {victim}", check=True)
    wait_for_event(guest, f"{victim}.service: Scheduled restart job")
    wait_for_event(guest, "links-joined")
    wait_for_units(guest)
    wait_for_event(guest, "screen-ready", count=2 if victim == UNITS[0] else 1)
    assert sign_in(guest, realm).code == Exit.SIGNED_IN
    assert len(sessions(guest)) == 1 and len(caches(guest)) == 1
    opened = "journalctl -b -o cat | grep -c 'session opened for user alice.* by LOGIN'"
    assert guest.run(opened).output == "1\n"


@pytest.mark.long
def test_two_guests_at_once(machines: Machines, realm: Realm) -> None:
    first = set_up(machines(), realm)
    set_up(second := machines(), realm, "host/other.test.example")
    realm.kinit("alice", "-f")
    assert sign_in(first, realm).code == Exit.SIGNED_IN
    assert sessions(first) and not sessions(second)
