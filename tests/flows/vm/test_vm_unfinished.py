"""A login on the text console that PAM has not finished: taken back, it opens no session, with a real logind.

One machine serves all. A covering set of the table runs with `make test`, the rest with `make test-long`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest
import vm_hold as hold
from beds import Certificates
from beds_vm import Machines
from vm_console import GETTY, TIME, enrol_with_passwords, sessions, sign_in, start
from vm_hold import Bed

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine

pytestmark = pytest.mark.vm
TTY = "getty@tty1"
POINTS = {
    "ticket": ("decided", "account", "session"),
    "password": ("secret", "decided", "account", "session"),
}
MEANWHILE = {fault.__name__: fault for fault in (*hold.AGENT_FAULTS, hold.gone)}
# What no sandbox shows, for a few seconds each: logind's session, and the screen that comes back.
COVERING = {
    ("ticket", "session", "killed"),
    ("ticket", "account", "reset"),
    ("password", "secret", "gone"),
}
CELLS = [
    pytest.param(*cell, id="-".join(cell), marks=[] if cell in COVERING else pytest.mark.long)
    for kind, points in POINTS.items()
    for cell in product([kind], points, [*MEANWHILE, "reset"])
]


def next_signs_in(bed: Bed) -> None:
    """The next client is somebody else, and is signed in at once."""
    hold.event(bed.vm, "^screen-ready tty=tty1")
    assert sign_in(bed.vm, bed.realm, *bed.bob).code == Exit.SIGNED_IN
    assert [one["Name"] for one in sessions(bed.vm)] == ["bob"]


@pytest.fixture(scope="module")
def installed(
    debs: tuple[Path, ...], realm: Realm, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bed]:
    """A guest that all tests of this file use, one after the other."""
    with ExitStack() as ending:
        vm = Machines(debs, ending)()
        by_password = enrol_with_passwords(vm, realm, certificates, login="getty")
        start(vm, GETTY)
        hold.add_points(vm, "login")
        yield hold.bed(vm, realm, by_password, tmp_path_factory.mktemp("bob"))


@pytest.fixture
def bed(installed: Bed) -> Bed:
    """That guest with nobody signed in, its login screen on tty1, and an empty journal."""
    hold.cleaned(installed.vm, TTY)
    hold.event(installed.vm, "^screen-ready tty=tty1")
    return installed


def screen_is_back(vm: Machine) -> None:
    """Wait until the login has come to an end, one or the other."""
    hold.until(vm, f"{{ {hold.SHELL} || pgrep -x sso-getty; }}")


@pytest.fixture
def client(bed: Bed) -> Iterator[hold.Client]:
    """A viewer at the console, which leaves at the end."""
    with hold.Client(bed.vm) as client:
        yield client


@pytest.mark.parametrize(("kind", "point", "fault"), CELLS)
def test_what_is_taken_back_meanwhile_opens_no_session(
    bed: Bed, client: hold.Client, kind: str, point: str, fault: str
) -> None:
    vm = bed.vm
    hold.hold(vm, point)
    bed.begin(client, kind)
    hold.held(vm)
    client.end()  # what it hears later must not let it try again; the guest does not know
    if fault == "reset":
        other = client.begin(bed.realm, *bed.bob)
        hold.event(vm, "^login-revoked")
        hold.release(vm)
        code = other.wait(TIME)
        assert vm.run(hold.SHELL).code == 1, "alice's shell is open"
        assert code == Exit.SIGNED_IN
        assert [one["Name"] for one in sessions(vm)] == ["bob"]
    else:
        MEANWHILE[fault](vm, client)
        hold.release(vm)
        screen_is_back(vm)
        hold.nothing_of_alice(vm)
    print(f"{kind} {point} {fault}: logind's session went after {hold.session_seconds(vm)} s")
    hold.one_clear_line(vm)
    client.leave()
    if fault != "reset":
        vm.run(f"systemctl start {hold.AGENT}", timeout=TIME, check=True)
        next_signs_in(bed)


@pytest.mark.parametrize(
    "fault",
    [
        "full",
        pytest.param("missing", marks=pytest.mark.long),
        pytest.param("read-only", marks=pytest.mark.long),
    ],
)
def test_a_ticket_without_a_place_opens_no_session(bed: Bed, fault: str) -> None:
    vm, folder = bed.vm, hold.FOLDERS[fault]
    vm.run(folder.spoil, check=True)
    try:
        run = sign_in(vm, bed.realm, *bed.alice["ticket"])
        screen_is_back(vm)
        hold.nothing_of_alice(vm)
    finally:
        vm.run(folder.mend, check=True)
    assert run.code == Exit.DENIED
    print(f"folder {fault}: logind's session went after {hold.session_seconds(vm)} s")
    hold.one_clear_line(vm)
    next_signs_in(bed)


SCREEN = "cat /dev/vcs1"
FRESH = "Quite-new-words-4"


@pytest.fixture
def asking(bed: Bed) -> Iterator[Bed]:
    """That guest, where alice must change the password at the next login."""
    bed.vm.run("chage -d 0 alice", check=True)
    yield bed
    bed.vm.run("echo alice:alice-on-the-console | chpasswd", check=True)


def shows(vm: Machine, text: str) -> None:
    """Wait until the console shows a text."""
    hold.until(vm, f"{SCREEN} | grep -q '{text}'")


@pytest.mark.long  # the client waits for the grant's whole time
def test_a_person_answers_what_pam_asks_and_the_client_hears_so(asking: Bed, client: hold.Client) -> None:
    vm = asking.vm
    code = client.begin(asking.realm, *asking.alice["ticket"]).wait(TIME)
    shows(vm, "Current password")
    assert code == Exit.CONSOLE_ASKS
    for prompt, answer in (("Current", "alice-on-the-console"), ("New", FRESH), ("Retype new", FRESH)):
        shows(vm, f"{prompt} password")
        vm.keys(f"{answer}\n")
    hold.until(vm, hold.SHELL)
    hold.event(vm, "^login-opened")
    (cache,) = hold.caches(vm)
    assert " alice " in cache
    assert FRESH not in vm.run(SCREEN).output
    client.leave()


@pytest.mark.long
def test_a_hang_up_ends_what_pam_asks_and_shows_nothing_that_was_typed(
    asking: Bed, client: hold.Client
) -> None:
    vm = asking.vm
    client.begin(asking.realm, *asking.alice["ticket"])
    shows(vm, "Current password")
    vm.keys("half-a-secret")
    client.leave()
    hold.event(vm, "^login-revoked")
    hold.event(vm, "^screen-ready tty=tty1", count=2)
    shows(vm, "login:")
    vm.keys("\n")
    hold.until(vm, f"test $({SCREEN} | grep -o login: | wc -l) -ge 2")
    seen = vm.run(SCREEN).output
    assert "secret" not in seen and "Password" not in seen, seen
    assert vm.run("pgrep -x login").code == 1, "somebody else may answer"
    hold.nothing_of_alice(vm)
    next_signs_in(asking)
