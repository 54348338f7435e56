"""GNOME Shell's own oVirt.js hears our signal: Debian's files under gjs, on a bus with our policy.

The whole of GDM is in the tests with the desktop's virtual machine.
"""

import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds_dbus import PATIENCE, STRANGER, Daemon, Desk, MakeDaemon, Somebody, make_daemon
from jeepney import DBusAddress

from sso.demo.programs import BedError, find_program, run_program
from sso.guest.agent.opening import new_token
from sso.guest.config import GuestConfig
from sso.guest.screens.gdm import NAME, GDMDriver
from sso.guest.seat.bus import DIAL_EVERY
from sso.guest.seat.logind import Seat

__all__ = ["make_daemon"]

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "build/gnome-shell/libgnome-shell.so"
POLICY = ROOT / "data/dbus-1/system.d/org.ovirt.vdsm.Credentials.conf"
EMITTER = DBusAddress("/org/ovirt/vdsm/Credentials", NAME, NAME)
PARTS = ("gdm/oVirt", "gdm/credentialManager", "misc/signals", "misc/signalTracker")
# What loginDialog.js and screenShield.js of the shell do with the hook: wait for the event, know the service.
SHELL = """
imports.searchPath.unshift(ARGV[0]);
const manager = imports.gdm.oVirt.getOVirtCredentialsManager();
manager.connect('user-authenticated', (_, token) => print(`${manager.service} ${token}`));
print('ready');
imports.gi.GLib.MainLoop.new(null, false).run();
"""


class Shell:
    """The shell's part of the hook in a process of its own."""

    def __init__(self, address: str, folder: Path) -> None:
        scripts = unpack(folder)
        argv = [find_program("gjs"), "-c", SHELL, str(scripts)]
        env = {"DBUS_SYSTEM_BUS_ADDRESS": address, "HOME": "/nonexistent", "PATH": os.environ["PATH"]}
        self._process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, user=STRANGER
        )
        assert self._process.stdout is not None
        self._out, self._said = self._process.stdout.fileno(), b""
        assert self.line() == "ready"

    def line(self) -> str:
        """The next line that it says."""
        while b"\n" not in self._said:
            assert select.select([self._out], [], [], PATIENCE)[0], "it said nothing"
            self._said += os.read(self._out, 4096)
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def unpack(folder: Path) -> Path:
    """The scripts as they lie in the shell's library."""
    if not LIBRARY.exists():
        raise BedError(f"{LIBRARY} is missing; scripts/setup test fetches it")
    for part in PARTS:
        argv = [find_program("gresource"), "extract", str(LIBRARY), f"/org/gnome/shell/{part}.js"]
        path = folder / "shell" / f"{part}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(run_program(argv, {}).stdout)
    return folder / "shell"


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    """A bus with the policy that is installed."""
    return make_daemon(f"<include>{POLICY}</include>")


@pytest.fixture
def desk(daemon: Daemon) -> Iterator[Desk]:
    """The agent's loop."""
    desk = Desk(daemon.address)
    yield desk
    desk.close()


@pytest.fixture
def driver(desk: Desk) -> GDMDriver:
    """A driver that waits for its bus."""
    driver = GDMDriver(GuestConfig(), desk.reactor, Seat(desk.reactor, desk.bus))
    driver.start(lambda: None)
    return driver


@pytest.fixture
def shell(daemon: Daemon, tmp_path: Path) -> Iterator[Shell]:
    """A shell that listens already; it runs as another user, as greeters do."""
    shell = Shell(daemon.address, tmp_path)
    yield shell
    shell.close()


def test_the_shell_gets_the_token_for_the_service(driver: GDMDriver, desk: Desk, shell: Shell) -> None:
    desk.up().turn(lambda: NAME in desk.bus.owned)
    token = new_token()
    assert driver.trigger("alice", token)
    assert shell.line() == f"{driver.service} {token}"


def test_each_token_is_an_event_of_its_own(driver: GDMDriver, desk: Desk, shell: Shell) -> None:
    """The second signal, after one that the shell has missed or lost."""
    desk.up().turn(lambda: NAME in desk.bus.owned)
    tokens = [new_token() for _ in range(3)]
    for token in tokens:
        driver.trigger("alice", token)
    assert [shell.line() for _ in tokens] == [f"gdm-ovirtcred {token}" for token in tokens]


def test_a_shell_that_comes_later_hears_the_next_one(
    driver: GDMDriver, desk: Desk, daemon: Daemon, tmp_path: Path
) -> None:
    desk.up().turn(lambda: NAME in desk.bus.owned)
    driver.trigger("alice", new_token())
    shell = Shell(daemon.address, tmp_path)
    token = new_token()
    driver.trigger("alice", token)
    assert shell.line() == f"gdm-ovirtcred {token}"
    shell.close()


def test_the_shell_hears_the_agent_that_comes_back(driver: GDMDriver, desk: Desk, shell: Shell) -> None:
    """Another connection has another unique name; the shell follows the name."""
    for _ in range(2):
        desk.bus.open()
        desk.turn(lambda: NAME in desk.bus.owned)
        token = new_token()
        driver.trigger("alice", token)
        assert shell.line() == f"gdm-ovirtcred {token}"
        desk.bus.close()


def test_the_shell_does_not_hear_a_forger(
    driver: GDMDriver, desk: Desk, daemon: Daemon, shell: Shell
) -> None:
    """Ignore other senders, with or without an agent; the first signal that counts is the agent's."""
    forger = Somebody(daemon.address, STRANGER)
    forger.signal(EMITTER, "UserAuthenticated", "", "s", "forged")
    desk.up().turn(lambda: NAME in desk.bus.owned)
    forger.signal(EMITTER, "UserAuthenticated", "", "s", "forged")
    forger.sync()
    token = new_token()
    driver.trigger("alice", token)
    assert shell.line() == f"gdm-ovirtcred {token}"
    forger.close()


def test_the_whole_bus_comes_later_than_the_agent(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    desk = Desk(f"unix:path={tmp_path}/bus")
    driver = GDMDriver(GuestConfig(), desk.reactor, Seat(desk.reactor, desk.bus))
    driver.start(lambda: None)
    desk.bus.open()
    assert not driver.trigger("alice", new_token())
    daemon = make_daemon(f"<include>{POLICY}</include>")
    shell = Shell(daemon.address, tmp_path)
    desk.later(DIAL_EVERY)
    desk.turn(lambda: NAME in desk.bus.owned)
    token = new_token()
    assert driver.trigger("alice", token)
    assert shell.line() == f"gdm-ovirtcred {token}"
    shell.close()
    desk.close()
