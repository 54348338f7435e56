"""The real viewer on the real console: SPICE shows the screen, and its port signs her in."""

import base64
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from beds import Certificates
from beds_vm import ARTEFACTS, Machines
from viewer_bed import SPN, Desktop, tapped, type_into, wait_until_left
from vm_console import (
    GETTY,
    NOBODY,
    TIME,
    UNITS,
    artefact,
    caches,
    enrol_with_passwords,
    pam_failures,
    sessions,
    start,
    wait_for_event,
    wait_for_units,
)

from sso.demo.realm import Realm
from sso.demo.viewer import add
from sso.demo.vm import Machine

pytestmark = pytest.mark.vm
LOG_OFF = {"disconnect": "log-off", "grace_seconds": 1}
NO_ECHO = "stty -F /dev/tty1 -a | grep -q -- ' -echo '"  # login asks for a password


@pytest.fixture(scope="module")
def by_password(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The client's options for alice's password, once the guest is installed."""
    return []


@pytest.fixture(scope="module")
def installed(
    debs: tuple[Path, ...], realm: Realm, certificates: Certificates, by_password: list[str]
) -> Iterator[Machine]:
    """A guest with a SPICE console that all tests of this file use, one after the other."""
    with ExitStack() as ending:
        vm = Machines(debs, ending)(console="spice")
        by_password += enrol_with_passwords(vm, realm, certificates, login="getty", **LOG_OFF)
        start(vm, GETTY)
        wait_for_event(vm, "screen-ready tty=tty1")
        yield vm


@pytest.fixture
def guest(installed: Machine) -> Machine:
    """That guest with nobody signed in, its login screen on tty1, and an empty journal."""
    installed.set_clock()
    wait_until_left(installed)
    for user in ("alice", "bob"):
        installed.run(f"loginctl terminate-user {user}")
    installed.wait(NOBODY, 60)
    installed.run("journalctl --rotate --vacuum-time=1us", check=True)
    installed.run(f"systemctl restart {' '.join(UNITS)} getty@tty1", timeout=TIME, check=True)
    wait_for_units(installed)
    wait_for_event(installed, "screen-ready tty=tty1")
    return installed


@pytest.mark.proves("S058", "S065", "S071", "S087", "S103", "S105", "S107", "S108")
def test_she_is_signed_in_and_sees_it(guest: Machine, desktop_of_alice: Desktop) -> None:
    artefact(guest, "console-1-before")
    with desktop_of_alice.sign_in(guest) as viewer:
        viewer.expect("state signed-in", TIME)
        (session,) = sessions(guest)
        assert (session["Name"], session["TTY"], session["Service"]) == ("alice", "tty1", "login")
        guest.wait("grep -q '\\$' /dev/vcs1", 60)  # her prompt
        guest.keys("klist\n")
        guest.wait("tr -s ' ' </dev/vcs1 | grep -q 'Default principal: alice@TEST.EXAMPLE'", 60)
        (cache,) = caches(guest)
        assert re.fullmatch(r"600 alice /tmp/krb5cc_4001_\w+", cache)
        _picture(desktop_of_alice, "console-2-in-the-viewer")
        assert viewer.end(signal.SIGTERM) == 0
    wait_for_event(guest, "grace-over user=alice")
    guest.wait(NOBODY, 60)
    assert not caches(guest)
    wait_until_left(guest)
    artefact(guest, "console-3-after")
    # She comes back, and it is open again.
    with desktop_of_alice.sign_in(guest) as viewer:
        viewer.expect("state signed-in", TIME)
        assert [one["Name"] for one in sessions(guest)] == ["alice"]


def test_a_password_through_tls_and_nothing_in_the_clear(
    guest: Machine, desktop_of_alice: Desktop, by_password: list[str], tmp_path: Path
) -> None:
    password = "alice-on-the-console"
    asked = tmp_path / "askpass"
    asked.write_text(f"#!/bin/sh\necho {password}\n")
    asked.chmod(0o700)
    at = by_password.index("--spn")
    desktop_of_alice.configure("--no-config", *by_password[:at], *by_password[at + 2 :])
    with tapped(guest.spice, tmp_path) as tap:
        where = f"spice+unix://{tap.path}"
        with desktop_of_alice.view(where, "--spn", SPN, SSO_ASKPASS=str(asked)) as viewer:
            viewer.expect("state signed-in", TIME)
            assert [one["Name"] for one in sessions(guest)] == ["alice"]
            assert pam_failures(guest) == 0
        assert tap.connections > 2 and b"SIGNATURE" in tap.heard
        for canary in (password.encode(), base64.b64encode(password.encode()).rstrip(b"=")[:-1]):
            assert canary not in tap.heard


def test_a_viewer_killed_anywhere_disturbs_no_other(
    guest: Machine, desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    with tapped(guest.spice, tmp_path) as tap:
        where = f"spice+unix://{tap.path}"
        for point in range(20):
            tap.heard.clear()
            with desktop_of_alice.view(where, "--spn", SPN, window=False) as viewer:
                tap.wait(100 + 160 * point)
                viewer.end(signal.SIGKILL)
            wait_until_left(guest)
        with desktop_of_alice.view(where, "--spn", SPN, window=False) as viewer:
            viewer.expect("state signed-in", TIME)
            assert [one["Name"] for one in sessions(guest)] == ["alice"]
            assert len(caches(guest)) == 1


def test_octets_of_an_earlier_viewer_are_nobody_elses(guest: Machine, desktop_of_alice: Desktop) -> None:
    noise = "import os\nfor _ in range(4): os.write(1, os.urandom(50_000))\nos.read(0, 1)\n"
    _only(desktop_of_alice, noise)
    with desktop_of_alice.view(f"spice+unix://{guest.spice}", window=False) as viewer:
        viewer.expect("spice.sso.0: started")
        guest.stop()
        viewer.end(signal.SIGKILL)
    guest.cont()
    wait_until_left(guest)
    desktop_of_alice.configure("--no-config", "--stay")
    with desktop_of_alice.sign_in(guest, window=False) as viewer:
        viewer.expect("state signed-in", TIME)
        assert [one["Name"] for one in sessions(guest)] == ["alice"]


def test_a_second_client_takes_over(guest: Machine, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.sign_in(guest, window=False) as first:
        first.expect("state signed-in", TIME)
        with desktop_of_alice.sign_in(guest, window=False) as second:
            first.expect("the connection to the console is lost", TIME)
            assert first.wait() == 1
            second.expect("state signed-in", TIME)
            assert [one["Name"] for one in sessions(guest)] == ["alice"]


def test_the_agent_is_started_anew_while_she_looks(guest: Machine, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.sign_in(guest, window=False) as viewer:
        viewer.expect("state signed-in", TIME)
        guest.run(f"systemctl restart {' '.join(UNITS)}", timeout=TIME, check=True)
        wait_for_units(guest)
        # Her session was hers before the agent knew of it.
        viewer.expect("state (renewed|signed-in|not-renewed)|exited", TIME, count=2)
        assert [one["Name"] for one in sessions(guest)] == ["alice"]


def test_a_machine_that_slept(guest: Machine, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.sign_in(guest, window=False) as viewer:
        viewer.expect("state signed-in", TIME)
        guest.stop()
        guest.cont()
        guest.set_clock()
        guest.run("loginctl terminate-user alice")
        guest.wait(NOBODY, 60)
        viewer.end()
    wait_until_left(guest)
    with desktop_of_alice.sign_in(guest, window=False) as viewer:
        viewer.expect("state signed-in", TIME)


def test_a_silent_viewer_leaves_everything_as_it_is(guest: Machine, desktop_of_alice: Desktop) -> None:
    assert desktop_of_alice.screen is not None
    display, home = desktop_of_alice.screen.display, str(desktop_of_alice.folder)
    silent = subprocess.Popen(
        ["remote-viewer", f"spice+unix://{guest.spice}"],
        env={"PATH": os.environ["PATH"], "DISPLAY": display, "HOME": home},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_event(guest, "session-end session=")
        guest.keys("alice\n")
        guest.wait(NO_ECHO, 60)
        guest.keys("alice-on-the-console\n")
        guest.wait("loginctl --no-legend | grep alice", 60)
        guest.keys("exit\n")
        guest.wait(NOBODY, 60)
    finally:
        silent.terminate()
        silent.wait(30)
    wait_until_left(guest)
    with desktop_of_alice.sign_in(guest, window=False) as viewer:
        viewer.expect("state signed-in", TIME)


def test_without_a_ticket_the_console_works_as_ever(guest: Machine, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.sign_in(guest, KRB5CCNAME="FILE:/nowhere/at/all") as viewer:
        viewer.expect("state failed 6 ", TIME)
        viewer.expect("exited 6")
        _picture(desktop_of_alice, "console-4-no-ticket")
        assert desktop_of_alice.screen is not None
        type_into(desktop_of_alice, "alice\n")
        guest.wait(NO_ECHO, 60)
        type_into(desktop_of_alice, "alice-on-the-console\n")
        guest.wait("loginctl --no-legend | grep alice", 60)


def _picture(desktop: Desktop, name: str) -> None:
    assert desktop.screen is not None
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    desktop.screen.picture(ARTEFACTS / f"{name}.png")


@pytest.fixture
def bare(bare_machines: Machines) -> Callable[[str], Machine]:
    """Opens a guest without our packages, in which a Python program has the SSO port as `port`."""

    def open_one(code: str) -> Machine:
        vm = bare_machines(console="spice")
        vm.write("/run/program.py", PORT + code)
        vm.run("(setsid python3 -I /run/program.py >/run/said 2>&1 &)", check=True)
        return vm

    return open_one


PORT = """\
import os, select, time
def opened():
    return os.open("/dev/virtio-ports/spice.sso.0", os.O_RDWR | os.O_NONBLOCK)
port = opened()
def wait(mask):
    poll = select.epoll()
    poll.register(port, mask | select.EPOLLET)
    poll.poll(1)
    poll.close()
"""
MIRROR = """
pending = b""
while True:
    try:
        pending += os.read(port, 65536)
    except BlockingIOError:
        wait(select.EPOLLIN | select.EPOLLOUT)
    if not pending:
        continue
    try:
        pending = pending[os.write(port, pending):]
    except BlockingIOError:
        wait(select.EPOLLOUT)
"""
SENDER = """
import hashlib, os, socket, sys, threading
s = socket.socket(fileno=0)
data = os.urandom(16 * 1024 * 1024)
threading.Thread(target=s.sendall, args=(data,)).start()
got = hashlib.sha256()
left = len(data)
while left:
    part = s.recv(min(left, 65536))
    if not part:
        sys.exit(9)
    got.update(part)
    left -= len(part)
sys.exit(0 if got.digest() == hashlib.sha256(data).digest() else 8)
"""


def _only(desktop: Desktop, code: str) -> None:
    """Make a program the plug-in of the port."""
    add(desktop.plug_ins, "program", code)
    plugin = '[[plugin]]\nport = "spice.sso.0"\nrun = "program"\nparameters = []\n'
    (desktop.folder / "viewer.toml").write_text(f'folder = "{desktop.plug_ins}"\n{plugin}')


def _resident(pid: int) -> int:
    """RSS of a process, in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) // 1024


def test_sixteen_mebibytes_each_way_arrive(bare: Callable[[str], Machine], desktop_of_alice: Desktop) -> None:
    _only(desktop_of_alice, SENDER)
    vm = bare(MIRROR)
    with desktop_of_alice.view(f"spice+unix://{vm.spice}", window=False) as viewer:
        assert viewer.expect("exited", TIME).endswith("exited 0")


def test_a_stalled_guest_costs_no_memory(bare: Callable[[str], Machine], desktop_of_alice: Desktop) -> None:
    flood = "import os\nfor _ in range(1600): os.write(1, bytes(65536))\n"
    _only(desktop_of_alice, "import os\nos.read(0, 1)\n" + flood)
    vm = bare("os.write(port, b'x')\ntime.sleep(3600)\n")
    with desktop_of_alice.view(f"spice+unix://{vm.spice}", window=False) as viewer:
        viewer.expect("started")
        before = _resident(viewer.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            viewer.wait(15)
        assert _resident(viewer.pid) - before <= 16
        assert not any("exited" in line for line in viewer.lines)


def test_ten_thousand_opens_leave_no_descriptor_and_no_process(
    bare: Callable[[str], Machine], desktop_of_alice: Desktop
) -> None:
    _only(desktop_of_alice, "import os\nwhile os.read(0, 65536): pass\n")
    vm = bare(
        "wait(select.EPOLLOUT)\nfor _ in range(10_000):\n    os.close(port)\n    port = opened()\n"
        "print('done', flush=True)\ntime.sleep(3600)\n"
    )
    with desktop_of_alice.view(f"spice+unix://{vm.spice}", window=False) as viewer:
        viewer.expect("started")
        vm.wait("grep -q done /run/said", TIME)
        descriptors = len(os.listdir(f"/proc/{viewer.pid}/fd"))
        children = Path(f"/proc/{viewer.pid}/task/{viewer.pid}/children").read_text().split()
        assert descriptors < 40 and len(children) <= 1
        assert sum("started" in line for line in viewer.lines) <= 3
