"""A login of GDM that is taken back while PAM is at work opens no session, and the greeter is there again."""

from collections.abc import Callable
from pathlib import Path

import pytest
import vm_hold as hold
from beds import Certificates
from vm_console import (
    SPN,
    artefact,
    enrol_with_passwords,
    session_of,
    sign_in,
    start,
    staying,
)

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine

pytestmark = pytest.mark.desktop
DESKTOP = "pgrep -u alice -x gnome-shell"
CELLS = [
    ("ticket", "session", hold.killed),
    ("ticket", "account", hold.gone),
    ("password", "decided", hold.killed),
]


@pytest.fixture
def gnome(desktop: Callable[[str], Machine]) -> Machine:
    """A guest with GDM's greeter on its screen."""
    return desktop("gdm3")


def greeter_is_back(vm: Machine) -> None:
    """Wait until the login has come to an end, and the greeter is in front or alice's session is there."""
    front = "$(loginctl show-seat seat0 -P ActiveSession)"
    greeter = f"loginctl show-session -P Class {front} | grep -qx greeter"
    at_work = "pgrep -f '[g]dm-session-worker .*pam/gdm-ovirtcred'"
    hold.until(vm, f"{{ {DESKTOP} || {{ ! {at_work} && {greeter}; }}; }}")


def test_what_is_taken_back_meanwhile_opens_no_desktop(
    gnome: Machine, realm: Realm, certificates: Certificates, tmp_path: Path
) -> None:
    vm, bob = gnome, tmp_path / "bob"
    options = {
        "password": enrol_with_passwords(vm, realm, certificates, login="gdm"),
        "ticket": ("--spn", SPN),
    }
    start(vm)
    hold.add_points(vm, "gdm-ovirtcred")
    hold.cleaned(vm)
    realm.kinit("alice", "-f")
    realm.kinit("bob", "-f", ccache=bob)

    def next_signs_in() -> None:
        with staying(vm, realm, "--spn", SPN, "--ccache", f"FILE:{bob}"):
            session_of(vm, "bob", Active="yes")

    def nothing_of_alice() -> None:
        greeter_is_back(vm)
        assert vm.run(DESKTOP).code == 1, "her desktop is open"
        hold.nothing_of_alice(vm)

    for kind, point, fault in CELLS:
        secret = "alice-on-the-console" if kind == "password" else ""
        hold.hold(vm, point)
        with hold.Client(vm) as client:
            client.begin(realm, *options[kind], secret=secret)
            hold.held(vm)
            client.end()
            fault(vm, client)
            hold.release(vm)
            nothing_of_alice()
            artefact(vm, f"gnome-taken-back-{kind}-{point}")
        print(f"{kind} {point} {fault.__name__}: logind's session went after {hold.session_seconds(vm)} s")
        hold.one_clear_line(vm)
        next_signs_in()
        hold.cleaned(vm)

    folder = hold.FOLDERS["read-only"]
    vm.run(folder.spoil, check=True)
    run = sign_in(vm, realm, *options["ticket"])
    nothing_of_alice()
    vm.run(folder.mend, check=True)
    assert run.code == Exit.DENIED
    hold.one_clear_line(vm)
    next_signs_in()
