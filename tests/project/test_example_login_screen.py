"""examples/login-screen: built as a stranger would, installed beside ours, and a user is logged in by it."""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_agent import Clock
from beds_guest import MODULE, SPN, sign_in

from sso.daemon.reactor import Reactor
from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox
from sso.guest.config import GuestConfig
from sso.guest.screens.driver import LoginDriver

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "login-screen"
BUILD = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir")
PROMPT = "socket login: "

pytestmark = pytest.mark.e2e  # only root's screens count


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with two wheels, ours and the example's; other libraries are this one's."""
    folder = tmp_path_factory.mktemp("login-screen")
    for source in (ROOT, FOLDER):
        run(sys.executable, *BUILD, str(folder), str(source), SSO_EXTENSION="no")  # not what is tested here
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    python = str(folder / "venv" / "bin" / "python")
    wheels = sorted(str(path) for path in folder.glob("*.whl"))
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", *wheels)
    libraries, ours = (run(one, "-I", "-c", SITE).strip() for one in (sys.executable, python))
    # A .pth file in a folder that a .pth file names is not read: this tree's source is not among them.
    Path(ours, "libraries.pth").write_text(f"{libraries}\n")
    return folder / "venv"


SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


@pytest.mark.e2e
@pytest.mark.packaging
def test_a_user_is_logged_in_by_a_strangers_screen(
    realm: Realm, keytabs: dict[str, Path], installed: Path
) -> None:
    realm.kinit("alice", "-f")
    python, program = (str(installed / "bin" / name) for name in ("python", "socket-login"))
    with Sandbox(keep=[installed]) as sandbox:
        sandbox.use_realm(realm)
        sandbox.use_pam_module(MODULE)
        found = sandbox.run([python, "-I", "-c", "import sso; print(sso.__file__)"]).stdout
        assert found.startswith(str(installed)), "the agent is the installed one"
        settings = ('login = "socket"',)
        with Guest(
            sandbox,
            spn=SPN,
            keytab=keytabs["deleg"],
            settings=settings,
            screen=(program,),
            python=(python, "-I", "-m"),
        ) as guest:
            guest.screen.expect(PROMPT)
            signed_in = sign_in(guest, realm, "--spn", SPN)
            assert (signed_in.code, signed_in.lines) == (0, []), guest.log()
            guest.screen.expect("$ ")
            guest.screen.send("id -un; klist -s && echo tick''et")
            guest.screen.expect("alice\r\nticket\r\n")
            guest.screen.send("exit")
            guest.screen.expect(PROMPT)
            # A name that somebody types is logged in as ever.
            guest.screen.send("bob")
            guest.screen.expect("assword")
            guest.screen.send(sandbox.password("bob"))
            guest.screen.expect("$ ")
            guest.screen.send("id -un")
            guest.screen.expect("bob\r\n")


def run(*argv: str, **env: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, env=os.environ | env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# The driver alone, with screens that are processes of their own

# Says its terminal, hears a name, prints it, and does what standard input says; then it waits to be ended.
SCREEN = """
import socket, sys
path, tty = sys.argv[1:]
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect(path)
link.send(tty.encode())
print(link.recv(255).decode(), flush=True)
if sys.stdin.readline() == "obey\\n":
    try:
        link.send(b"taken")
        print("taken", flush=True)
    except BrokenPipeError:
        print("too late", flush=True)
link.close()
sys.stdin.read()
"""


class Bed:
    """The driver on a reactor, for the terminal tty7."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "screen.sock")
        self.reactor = Reactor(Clock())
        self.changes = 0
        module: Any = importlib.import_module("sso_login_socket")
        self.driver: LoginDriver = module.SocketDriver(
            GuestConfig(tty="tty7"), self.reactor, None, path=self.path
        )
        self.driver.start(self._changed)
        self.screens: list[subprocess.Popen[str]] = []

    def _changed(self) -> None:
        self.changes += 1

    def show(self, tty: str = "tty7") -> subprocess.Popen[str]:
        """A screen on that terminal; it has said so when this returns."""
        argv = [sys.executable, "-I", "-S", "-c", SCREEN, self.path, tty]
        screen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.screens.append(screen)
        for _ in range(2):  # it connects; it says its terminal
            self.reactor.turn(60)
        return screen

    def tell(self, screen: subprocess.Popen[str], word: str) -> None:
        assert screen.stdin is not None
        screen.stdin.write(word + "\n")
        screen.stdin.flush()

    def heard(self, screen: subprocess.Popen[str]) -> str:
        assert screen.stdout is not None
        return screen.stdout.readline().strip()

    def close(self) -> None:
        self.driver.close()
        self.reactor.close()
        for screen in self.screens:
            screen.kill()
            screen.communicate()


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.syspath_prepend(str(FOLDER))
    bed = Bed(tmp_path)
    yield bed
    bed.close()


def test_a_screen_that_obeys_becomes_the_login_that_a_cancel_ends(bed: Bed) -> None:
    assert not bed.driver.ready("alice")
    screen = bed.show()
    assert bed.changes == 1 and bed.driver.ready("alice") and not bed.driver.ready("-f")
    assert bed.driver.trigger("alice", "") and not bed.driver.ready("bob")
    assert bed.heard(screen) == "alice"
    bed.tell(screen, "obey")
    assert bed.heard(screen) == "taken"
    bed.driver.cancel()  # TAKEN lies there, and nobody has read it yet
    assert screen.wait(60) == -signal.SIGKILL


def test_a_word_that_is_taken_back_in_time_is_not_obeyed(bed: Bed) -> None:
    screen = bed.show()
    assert bed.driver.trigger("alice", "") and bed.heard(screen) == "alice"
    bed.driver.cancel()
    bed.tell(screen, "obey")
    assert bed.heard(screen) == "too late" and screen.poll() is None, "it goes on as it was"


def test_the_login_of_a_person_is_not_ended(bed: Bed) -> None:
    """A name was typed while the agent said its own: the screen hangs up, and says no TAKEN."""
    screen = bed.show()
    assert bed.driver.trigger("alice", "") and bed.heard(screen) == "alice"
    bed.tell(screen, "a name is typed")
    bed.reactor.turn(60)
    bed.driver.cancel()
    bed.driver.failed()
    assert screen.poll() is None and not bed.driver.ready("alice")


def test_what_settled_is_nobody_s_to_end(bed: Bed) -> None:
    screen = bed.show()
    assert bed.driver.trigger("alice", "") and bed.heard(screen) == "alice"
    bed.tell(screen, "obey")
    bed.reactor.turn(60)
    bed.driver.settled()
    bed.driver.cancel()
    assert screen.poll() is None
    assert bed.show() and bed.driver.ready("alice"), "the next screen is served"


def test_a_screen_on_another_terminal_is_not_ours(bed: Bed) -> None:
    bed.show("tty8")
    assert not bed.driver.ready("alice") and bed.changes == 0
