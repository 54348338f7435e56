"""A login of GDM that is taken back while PAM is at work opens no desktop, and the greeter is there again."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import vm_hold as hold
from beds import Certificates
from beds_vm import Machines
from vm_console import artefact, enrol_with_passwords, session_of, sign_in, start, staying
from vm_hold import Bed

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine

pytestmark = [pytest.mark.desktop, pytest.mark.long]
DESKTOP = "pgrep -u alice -x gnome-shell"


@pytest.fixture(scope="module")
def installed(
    debs: tuple[Path, ...], realm: Realm, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bed]:
    """A guest with GDM's greeter that all tests of this file use, one after the other."""
    with ExitStack() as ending:
        vm = Machines(debs, ending)("desktop", manager="gdm3")
        by_password = enrol_with_passwords(vm, realm, certificates, login="gdm")
        start(vm)
        hold.add_points(vm, "gdm-ovirtcred")
        yield hold.bed(vm, realm, by_password, tmp_path_factory.mktemp("bob"))


@pytest.fixture
def bed(installed: Bed) -> Bed:
    """That guest with nobody signed in, the greeter in front, and an empty journal."""
    hold.cleaned(installed.vm)
    greeter_is_back(installed.vm)
    # GNOME Shell may have used the last login's token once more, while the agent was down.
    hold.empty_journal(installed.vm)
    return installed


def greeter_is_back(vm: Machine) -> None:
    """Wait until the login has come to an end, and the greeter is in front or alice's desktop is there."""
    front = "$(loginctl show-seat seat0 -P ActiveSession)"
    greeter = f"loginctl show-session -P Class {front} | grep -qx greeter"
    at_work = "pgrep -f '[g]dm-session-worker .*pam/gdm-ovirtcred'"
    hold.until(vm, f"{{ {DESKTOP} || {{ ! {at_work} && {greeter}; }}; }}")


def nothing_of_alice(vm: Machine) -> None:
    """Assert that alice has no desktop, no session and no cache."""
    greeter_is_back(vm)
    assert vm.run(DESKTOP).code == 1, "alice's desktop is open"
    hold.nothing_of_alice(vm)


def next_signs_in(bed: Bed) -> None:
    """The next client is somebody else, who gets a desktop."""
    with staying(bed.vm, bed.realm, *bed.bob):
        session_of(bed.vm, "bob", Active="yes")


@pytest.mark.parametrize(
    ("kind", "point", "fault"),
    [
        ("ticket", "session", hold.killed),
        ("ticket", "account", hold.gone),
        ("password", "decided", hold.killed),
    ],
)
def test_what_is_taken_back_meanwhile_opens_no_desktop(
    bed: Bed, kind: str, point: str, fault: hold.Fault
) -> None:
    vm = bed.vm
    hold.hold(vm, point)
    with hold.Client(vm) as client:
        bed.begin(client, kind)
        hold.held(vm)
        client.end()
        fault(vm, client)
        hold.release(vm)
        nothing_of_alice(vm)
        artefact(vm, f"gnome-taken-back-{kind}-{point}")
    print(f"{kind} {point} {fault.__name__}: logind's session went after {hold.session_seconds(vm)} s")
    hold.one_clear_line(vm)
    next_signs_in(bed)


def test_a_ticket_without_a_place_opens_no_desktop(bed: Bed) -> None:
    vm, folder = bed.vm, hold.FOLDERS["read-only"]
    vm.run(folder.spoil, check=True)
    try:
        run = sign_in(vm, bed.realm, *bed.alice["ticket"])
        nothing_of_alice(vm)
    finally:
        vm.run(folder.mend, check=True)
    assert run.code == Exit.DENIED
    hold.one_clear_line(vm)
    next_signs_in(bed)
