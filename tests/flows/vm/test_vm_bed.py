"""The bed with a real small guest: restored whole, apart from its neighbours, gone without a trace."""

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest
from beds_vm import Machines

from sso.demo.programs import BedError
from sso.demo.realm import Realm
from sso.demo.vm import Machine
from sso.demo.vm.enrol import enrol

pytestmark = pytest.mark.vm


@pytest.fixture
def guest(bare_machines: Machines) -> Machine:
    return bare_machines()


def test_a_restored_guest_is_whole(guest: Machine) -> None:
    assert guest.run("systemctl is-system-running").output == "running\n"
    assert guest.run("systemctl is-active multi-user.target getty@tty1.service").code == 0
    assert "spice.sso.0" in guest.run("ls /dev/virtio-ports", check=True).output
    assert guest.run("id -u alice; id -u bob").output == "4001\n4002\n"


def test_its_clock_is_right_and_set_again_on_demand(guest: Machine) -> None:
    def clock() -> float:
        return float(guest.run("date +%s.%N").output)

    before = time.time()
    assert before - 1 <= clock() <= time.time() + 1
    guest.run("date -s 2001-01-01", check=True)
    guest.set_clock()
    before = time.time()
    assert before - 1 <= clock() <= time.time() + 1


def test_commands_end_in_code_and_output(guest: Machine) -> None:
    assert guest.run("echo to stdout; echo to stderr >&2; exit 7").output == "to stdout\nto stderr\n"
    assert guest.run("exit 7").code == 7
    assert guest.run("printf '\\377'").output == "\ufffd"
    assert len(guest.run("head -c 9000000 /dev/zero", timeout=120).output) == 4 * 1024 * 1024
    assert guest.run("sleep 600 & echo $!").code == 0
    with pytest.raises(BedError, match="no such thing"):
        guest.run("echo no such thing; false", check=True)


def test_a_command_that_hangs_is_killed_with_its_children(guest: Machine) -> None:
    assert guest.run("sleep 4321 | sleep 4321", timeout=1).code == 124
    assert guest.run("pgrep -f 'sleep 432[1]'").code == 1


def test_a_condition_is_waited_for(guest: Machine) -> None:
    # Renamed into its place: the shell makes an empty file before it writes.
    guest.run("(sleep 1; echo there >/run/soon; mv /run/soon /run/later) &")
    assert guest.wait("cat /run/later") == "there\n"
    with pytest.raises(BedError, match="No such file"):
        guest.wait("cat /run/never", seconds=0.1)


def test_files_arrive_as_they_are(guest: Machine) -> None:
    octets = os.urandom(300_000)
    guest.write("/var/lib/new/folder/file", octets, 0o640, "alice:bob")
    assert guest.read("/var/lib/new/folder/file") == octets
    assert guest.run("stat -c '%a %U %G' /var/lib/new/folder/file").output == "640 alice bob\n"
    with pytest.raises(BedError, match="FileNotFoundError"):
        guest.read("/nowhere")
    with pytest.raises(BedError, match="LookupError"):
        guest.write("/var/lib/file", b"", owner="nobody-of-this-name")


def test_a_person_types_and_looks_at_the_screen(guest: Machine, tmp_path: Path) -> None:
    guest.wait("grep login: /dev/vcs1")
    guest.keys("alice\n")
    guest.wait("grep Password: /dev/vcs1")
    guest.keys("alice-on-the-console\n")
    assert "alice" in guest.wait("loginctl list-sessions --no-legend | grep tty1")
    assert guest.screenshot(tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")


def test_two_guests_know_nothing_of_each_other(bare_machines: Machines) -> None:
    one, other = bare_machines(), bare_machines()
    assert one.run("cat /proc/sys/kernel/random/uuid") != other.run("cat /proc/sys/kernel/random/uuid")
    one.write("/var/lib/mine", b"one")
    other.write("/var/lib/mine", b"other")
    one.run("sync && echo 3 >/proc/sys/vm/drop_caches", check=True)
    assert one.read("/var/lib/mine") == b"one"
    one.close()
    assert other.read("/var/lib/mine") == b"other"


def test_a_frozen_guest_goes_on(guest: Machine) -> None:
    guest.stop()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(guest.port))
        client.sendall(b"while it was frozen")
    guest.cont()
    assert guest.run("echo alive").output == "alive\n"


def test_nothing_is_left_and_the_snapshot_is_untouched(bare_machines: Machines) -> None:
    guest = bare_machines()
    files = [file for file in guest.state.iterdir() if file.is_file()]

    def prints() -> list[str]:
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    before, process = prints(), Path(f"/proc/{guest.pid}")
    assert process.exists()
    guest.run("head -c 20000000 /dev/urandom >/var/lib/much && sync", check=True)
    guest.close()
    assert not process.exists()
    assert not guest.folder.exists()
    assert prints() == before
    guest.close()


def test_a_guest_that_is_gone_says_so(guest: Machine) -> None:
    guest.close()
    with pytest.raises(BedError, match="control port is gone"):
        guest.run("true")


def test_a_spice_console_shows_the_port_to_the_guest(bare_machines: Machines) -> None:
    guest = bare_machines(console="spice")
    assert "spice.sso.0" in guest.run("ls /dev/virtio-ports", check=True).output
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(guest.spice))
        # SpiceLinkMess: magic, version 2.2, size; then no session, the main channel, no capabilities.
        header = b"REDQ" + b"".join(word.to_bytes(4, "little") for word in (2, 2, 18))
        client.sendall(header + b"\0\0\0\0\1\0" + b"".join(n.to_bytes(4, "little") for n in (0, 0, 18)))
        assert client.recv(4) == b"REDQ"


def test_greetd_can_be_on_its_screen(bare_machines: Machines) -> None:
    guest = bare_machines(manager="greetd")
    assert guest.run("systemctl is-active greetd.service").output == "active\n"


def test_enrolled_it_is_the_service_and_reaches_no_kdc(guest: Machine, kdc: Realm) -> None:
    enrol(guest, kdc, "host/guest.test.example", login="getty", allowed_groups=["users"])
    toml = 'spn = "host/guest.test.example"\nlogin = "getty"\nallowed_groups = ["users"]\n'
    assert guest.read("/etc/console-sso/guest.toml").decode() == toml
    keys = guest.run("klist -k /etc/console-sso/acceptor.keytab; stat -c %a /etc/console-sso/acceptor.keytab")
    assert "host/guest.test.example@TEST.EXAMPLE" in keys.output and keys.output.endswith("\n600\n")
    asked = guest.run("echo wrong | kinit alice")
    assert asked.code != 0 and "Cannot find KDC" in asked.output


def test_a_machine_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(BedError, match="small"):
        Machine("large")
    with pytest.raises(BedError, match="greetd"):
        Machine("small", manager="gdm3")
    with pytest.raises(BedError, match="spice"):
        Machine("small", console="serial")
