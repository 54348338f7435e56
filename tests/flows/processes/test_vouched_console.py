"""A file leads to a console, and a real guest is behind it: who is signed in there, who is asked before."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beds_guest import MakeGuest, Wire, nothing_happened, shell
from beds_spice import MakeServer
from beds_viewer import Desktop, press, seen_in

from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.demo.viewer import Viewer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SPN = "host/deleg.test.example"
TITLE = "Sign in at this console"
NO_QUESTION = "no single sign-on: nobody vouches that this console shows that guest"


class Relay:
    """Whoever comes to its TCP port, or to the socket at a path, speaks with the real guest."""

    def __init__(self, guest: Guest, path: Path | None = None) -> None:
        self._guest, self._wire = guest, Wire()
        if path is None:
            self._listening = socket.create_server(("127.0.0.1", 0))
            self.address = f"tcp:127.0.0.1:{self._listening.getsockname()[1]}"
        else:
            self._listening = socket.socket(socket.AF_UNIX)
            self._listening.bind(str(path))
            self._listening.listen()
            self.address = f"unix:{path}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def heard(self) -> bytes:
        """All that came from viewers."""
        return bytes(self._wire.seen["guest"])

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with client, socket.socket(socket.AF_UNIX) as behind:
                    behind.connect(str(self._guest.port))
                    self._wire.relay(client, behind)


@pytest.fixture
def guest(make_guest: MakeGuest, desktop_of_alice: Desktop) -> Guest:
    """The real guest, whose service the KDC has marked ok-as-delegate."""
    guest = make_guest()
    guest.screen.expect("login: ")
    return guest


@pytest.fixture
def relay(guest: Guest) -> Iterator[Relay]:
    """mallory's machine: mallory sees the guest's screen."""
    relay = Relay(guest)
    yield relay
    relay.close()


@pytest.fixture
def own(guest: Guest, tmp_path: Path) -> Iterator[str]:
    """The guest's stream at a socket of the user's own."""
    relay = Relay(guest, tmp_path / "s")
    yield relay.address
    relay.close()


WriteFile = Callable[..., str]


@pytest.fixture
def file(server: MakeServer, tmp_path: Path) -> WriteFile:
    """Writes a connection file for a console that stands still, with a stream beside it."""
    machine = server()

    def write(stream: str, *more: str, console: str = f"unix-path={machine.path}") -> str:
        path = tmp_path / "console.vv"
        ours = "\n".join((f"stream={stream}", *more))
        path.write_text(
            f"[virt-viewer]\ntype=spice\n{console}\ntitle=host/bank.example.org\n[x-sso]\n{ours}\n"
        )
        return str(path)

    return write


@pytest.mark.parametrize("window", [True, False])
def test_a_file_of_mallorys_signs_alice_in_nowhere(
    file: WriteFile, guest: Guest, relay: Relay, desktop_of_alice: Desktop, window: bool
) -> None:
    """The file names mallory's console and a real guest that may get alice's TGT; default configuration."""
    named = file(relay.address, f"spn={SPN}")
    with desktop_of_alice.view(named, window=window) as viewer:
        viewer.expect("connected to")
        said = viewer.expect("no single sign-on")
        assert "nothing that counts proves which console this is: sign in by hand" in said
        assert viewer.end() == 0
        assert not [line for line in viewer.lines if "spice.sso.0: started" in line or "signed-in" in line]
    assert relay.heard == b"" and nothing_happened(guest)


@pytest.mark.parametrize("more", [[], [f"pin=sha256:{'ab' * 32}"]])
def test_a_file_without_a_service_is_no_better(
    file: WriteFile, guest: Guest, own: str, desktop_of_alice: Desktop, more: list[str]
) -> None:
    desktop_of_alice.configure("--no-config", "--trust-any-spn", "--send-ticket")
    with desktop_of_alice.view(file(own, *more), window=False) as viewer:
        assert "nothing names this guest's service" in viewer.expect("no single sign-on")
    assert nothing_happened(guest)


def test_a_service_among_the_parameters_vouches_for_nothing(
    file: WriteFile, guest: Guest, own: str, desktop_of_alice: Desktop
) -> None:
    desktop_of_alice.configure("--no-config", "--spn", SPN)
    with desktop_of_alice.view(file(own), window=False) as viewer:
        assert NO_QUESTION in viewer.expect("no single sign-on")
    assert nothing_happened(guest)


@pytest.mark.parametrize("typed", [(), ("--spn", SPN)])
def test_without_a_window_the_answer_is_no(
    file: WriteFile, guest: Guest, own: str, desktop_of_alice: Desktop, typed: tuple[str, ...]
) -> None:
    """With a file, a typed --spn vouches for the service only."""
    named = file(own, f"spn={SPN}")
    with desktop_of_alice.view(named, *typed, window=False) as viewer:
        assert f"{NO_QUESTION}, and there is no window to ask in" in viewer.expect("no single sign-on")
    assert nothing_happened(guest)


def test_a_local_table_that_names_both_asks_nobody(
    file: WriteFile, guest: Guest, own: str, desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    table = f'[[console]]\nplaces = ["{tmp_path}/*"]\nservices = ["{SPN}"]\n'
    desktop_of_alice.configure("--no-config", "--stay", more=table)
    with desktop_of_alice.view(file(own, f"spn={SPN}"), window=False) as viewer:
        viewer.expect("state signed-in")
        with shell(guest) as command:
            assert command("id -un") == "alice"
    # The guest's service need not be in the file, where the table has exactly one.
    with desktop_of_alice.view(file(own), window=False) as viewer:
        viewer.expect("state signed-in")


def test_an_address_typed_together_with_a_service_asks_nobody(
    server: MakeServer, guest: Guest, relay: Relay, desktop_of_alice: Desktop
) -> None:
    where = f"spice+unix://{server().path}"
    with desktop_of_alice.view(where, "--spn", SPN, "--stream", relay.address, window=False) as viewer:
        viewer.expect("state signed-in")


def test_alice_is_asked_and_no_is_the_default(
    file: WriteFile, guest: Guest, own: str, desktop_of_alice: Desktop
) -> None:
    with desktop_of_alice.view(file(own, f"spn={SPN}")) as viewer:
        seen_in(desktop_of_alice, TITLE)
        desktop_of_alice.picture("question-1")
        press(desktop_of_alice, "Return")
        viewer.expect("no single sign-on: you said no: sign in by hand")
        assert viewer.end() == 0
    with desktop_of_alice.view(file(own, f"spn={SPN}")) as viewer:
        seen_in(desktop_of_alice, TITLE)  # a no is not remembered
        press(desktop_of_alice, "Escape")
        viewer.expect("no single sign-on: you said no")
    assert nothing_happened(guest)


def test_a_yes_of_alice_is_remembered(
    file: WriteFile, guest: Guest, own: str, desktop_of_alice: Desktop, realm: Realm, tmp_path: Path
) -> None:
    named = file(own, f"spn={SPN}")
    with desktop_of_alice.view(named) as viewer:
        seen_in(desktop_of_alice, TITLE)
        _say_yes(desktop_of_alice, viewer)
        viewer.expect("state signed-in")
        with shell(guest) as command:
            assert command("id -un") == "alice"
    (line,) = (tmp_path / ".local/state/console-sso/agreed").read_text().splitlines()
    assert SPN in line and "alice@TEST.EXAMPLE" in line and "bank" not in line
    with desktop_of_alice.view(named, window=False) as viewer:
        viewer.expect("state signed-in")
    # Of bob nothing was said.
    bobs = realm.kinit("bob", "-f", ccache=tmp_path / "bob")
    with desktop_of_alice.view(named, window=False, KRB5CCNAME=f"FILE:{bobs}") as viewer:
        assert NO_QUESTION in viewer.expect("no single sign-on")


def _say_yes(desktop: Desktop, viewer: Viewer) -> None:
    """Yes has a key of its own, which does nothing before it is awake."""
    while not any("spice.sso.0: started" in line for line in viewer.lines):
        press(desktop, "alt+y")
