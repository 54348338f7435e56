"""A sign-in that fails, in each way of the client's table: one clear line, and a console as ever."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from beds import Certificates
from beds_viewer import SPN, Desktop, press, type_into, wait_until_left
from vm_console import TIME, UNITS, wait_for_units

from sso.client.exits import MEANING, Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine

pytestmark = pytest.mark.vm
NO_ECHO = "stty -F /dev/tty1 -a | grep -q -- ' -echo '"  # login asks for a password


class Scene(NamedTuple):
    """All that a way to fail may need."""

    guest: Machine
    realm: Realm
    desktop: Desktop
    certificates: Certificates
    folder: Path


class Try(NamedTuple):
    """How the viewer is started: the client's own parameters, the guest that is named, the environment."""

    parameters: tuple[str, ...] = ()
    spn: str = SPN
    ccache: Path | None = None


@contextmanager
def wrong_option(scene: Scene) -> Iterator[Try]:
    yield Try(("--nonsense",))


@contextmanager
def nobody_answers(scene: Scene) -> Iterator[Try]:
    hold = "import os, time; os.open('/dev/virtio-ports/spice.sso.0', os.O_RDWR); time.sleep(600)"
    scene.guest.run(f"systemctl stop {' '.join(UNITS)}", timeout=TIME, check=True)
    scene.guest.run(f'systemd-run -q --unit=holder python3 -c "{hold}"', check=True)
    yield Try()
    scene.guest.run(f"systemctl stop holder; systemctl start {' '.join(UNITS)}", timeout=TIME, check=True)
    wait_for_units(scene.guest)


@contextmanager
def another_certificate(scene: Scene) -> Iterator[Try]:
    yield Try(("--tls-name", "other.test.example", "--tls-ca", str(scene.certificates.ca)))


@contextmanager
def no_ticket(scene: Scene) -> Iterator[Try]:
    yield Try(ccache=scene.folder / "none")


@contextmanager
def unknown_service(scene: Scene) -> Iterator[Try]:
    yield Try(spn="host/nowhere.test.example")


@contextmanager
def wrong_clock(scene: Scene) -> Iterator[Try]:
    scene.guest.run("date -s '-1 hour'", check=True)
    yield Try()
    scene.guest.set_clock()


@contextmanager
def nobody_in_the_guest(scene: Scene) -> Iterator[Try]:
    yield Try(ccache=scene.realm.kinit("mallory", "-f", ccache=scene.folder / "mallory"))


@contextmanager
def not_forwardable(scene: Scene) -> Iterator[Try]:
    yield Try(("--offer-tgt",), ccache=scene.realm.kinit("alice", "-F", ccache=scene.folder / "stays"))


@contextmanager
def no_login_screen(scene: Scene) -> Iterator[Try]:
    scene.guest.run("systemctl stop getty@tty1", timeout=TIME, check=True)
    yield Try()
    scene.guest.run("systemctl start getty@tty1", timeout=TIME, check=True)


@contextmanager
def forbidden(scene: Scene) -> Iterator[Try]:
    yield Try(("--allowed-spn", "HTTP/*"))


WAYS: dict[Exit, Callable[[Scene], AbstractContextManager[Try]]] = {
    Exit.USAGE: wrong_option,
    Exit.NO_GUEST: nobody_answers,
    Exit.IDENTITY: another_certificate,
    Exit.NO_TICKET: no_ticket,
    Exit.KDC: unknown_service,
    Exit.CLOCK: wrong_clock,
    Exit.DENIED: nobody_in_the_guest,
    Exit.TICKET_WANTED: not_forwardable,
    Exit.NO_LOGIN_SCREEN: no_login_screen,
    Exit.NOT_ALLOWED: forbidden,
}


@contextmanager
def by_word_alone(scene: Scene, exit: Exit) -> Iterator[Try]:
    """A client that only says so; tests/flows/test_exits_all.py has how the real one comes to it."""
    said = f"failed {int(exit)} {MEANING[exit]}\n"
    scene.desktop.only(f"import os, sys\nos.write(3, {said!r}.encode())\nsys.exit({int(exit)})\n")
    yield Try()


# What only a program that stands for the client says takes another road in one case alone.
EXITS = [
    pytest.param(exit, id=exit.name, marks=[] if exit in (*WAYS, Exit.CONSOLE_ASKS) else pytest.mark.long)
    for exit in Exit
    if exit is not Exit.SIGNED_IN
]


@pytest.mark.parametrize("exit", EXITS)
def test_it_is_one_line_and_the_console_works(
    installed: Machine,
    realm: Realm,
    desktop_of_alice: Desktop,
    certificates: Certificates,
    tmp_path: Path,
    exit: Exit,
) -> None:
    wait_until_left(installed)
    scene = Scene(installed, realm, desktop_of_alice, certificates, tmp_path)
    way = WAYS[exit](scene) if exit in WAYS else by_word_alone(scene, exit)
    with way as tried:
        if exit in WAYS:
            desktop_of_alice.configure("--no-config", "--stay", *tried.parameters)
        cache = tried.ccache or realm.ccache
        with desktop_of_alice.view(
            f"spice+unix://{installed.spice}", "--spn", tried.spn, KRB5CCNAME=f"FILE:{cache}"
        ) as viewer:
            viewer.expect(f"exited {int(exit)}$", TIME)
            viewer.expect("shows: .*(sign in by hand|type your password|answer there)$")
            shown = [line for line in viewer.lines if "shows: " in line and "signing in as" not in line]
            assert len(shown) == 1
            if exit is not Exit.NO_LOGIN_SCREEN:
                _works(scene, f"user{int(exit)}")


def _works(scene: Scene, name: str) -> None:
    """What is typed in the viewer stands on the guest's login screen; then it is taken back."""
    screen = "tr -d ' \\n' </dev/vcs1 | grep -q"
    typed = f"{screen} 'login:{name}$'"
    scene.guest.wait(f"{screen} 'login:$'", 60)
    type_into(scene.desktop, name)
    scene.guest.wait(typed, 60)
    press(scene.desktop, "ctrl+u")
    scene.guest.wait(f"{screen} 'login:$'", 60)


def test_without_a_ticket_alice_signs_in_by_hand(guest: Machine, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.sign_in(guest, KRB5CCNAME="FILE:/nowhere/at/all") as viewer:
        viewer.expect("state failed 6 ", TIME)
        viewer.expect("shows: no ticket: type your password$")
        desktop_of_alice.picture("console-4-no-ticket")
        type_into(desktop_of_alice, "alice\n")
        guest.wait(NO_ECHO, 60)
        type_into(desktop_of_alice, "alice-on-the-console\n")
        guest.wait("loginctl --no-legend | grep alice", 60)
