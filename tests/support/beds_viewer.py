"""Alice's desktop for tests of the viewer: screen, viewer with its plug-ins, a tap on the SPICE socket."""

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from beds_vm import ARTEFACTS

from sso.demo import viewer
from sso.demo.realm import Realm
from sso.demo.relay import relay
from sso.demo.viewer import Screen, Viewer
from sso.demo.vm import Machine

SPN = "host/deleg.test.example"


class Desktop:
    """A folder with plug-ins and settings, and a realm's ticket cache; it opens viewers."""

    def __init__(self, folder: Path, realm: Realm, screen: Screen | None = None) -> None:
        self.folder, self.screen = folder, screen
        self._env = {**realm.env, "HOME": str(folder)}
        self.plug_ins = viewer.plug_ins(folder)
        self.configure("--no-config", "--stay")

    def configure(self, *parameters: str, more: str = "") -> None:
        """Give the client these parameters from now on, and viewer.toml these further lines."""
        self._settings = viewer.settings(self.folder, self.plug_ins, *parameters, more=more)

    def only(self, code: str) -> None:
        """Make a Python program the plug-in of the port, until `configure`."""
        viewer.add(self.plug_ins, "program", code)
        plugin = f'[[plugin]]\nport = "{viewer.PORT}"\nrun = "program"\nparameters = []\ntakes = []\n'
        plugin += f'consoles = ["{tempfile.gettempdir()}/*"]\n'
        self._settings.write_text(f'folder = "{self.plug_ins}"\n{plugin}')

    def view(self, where: str, *options: str, window: bool = True, **env: str) -> Viewer:
        """Start a viewer at an address or with a file; the caller ends it."""
        arguments = ["--settings", str(self._settings), *options]
        if window:
            assert self.screen is not None
            env.setdefault("DISPLAY", self.screen.display)
        else:
            arguments.append("--no-window")
        return Viewer([*arguments, where], {**self._env, **env})

    def picture(self, name: str) -> None:
        """Keep what is on the screen in build/vm-artefacts/."""
        assert self.screen is not None
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.screen.picture(ARTEFACTS / f"{name}.png")

    def sign_in(self, vm: Machine, *options: str, window: bool = True, **env: str) -> Viewer:
        """Start a viewer at a machine's SPICE socket, naming the guest; the caller ends it."""
        return self.view(f"spice+unix://{vm.spice}", "--spn", SPN, *options, window=window, **env)


@pytest.fixture(scope="session")
def screen() -> Iterator[Screen]:
    """An X server in memory."""
    with Screen() as screen:
        yield screen


@pytest.fixture
def desktop_of_alice(tmp_path: Path, realm: Realm, screen: Screen) -> Desktop:
    """Alice at the desktop, with a ticket that may be forwarded."""
    tmp_path.chmod(0o755)
    realm.kinit("alice", "-f")
    return Desktop(tmp_path, realm, screen)


def wait_until_left(vm: Machine) -> None:
    """Wait until the SPICE server knows that nobody looks.

    A client that comes while a dead one is cleared away takes part in a race that QEMU may not survive.
    """
    deadline = time.monotonic() + 60
    while vm.viewers:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def type_into(desktop: Desktop, text: str) -> None:
    """Type into the window that is there: lower-case letters, digits, "-" and "\\n"."""
    for character in text:
        press(desktop, {"\n": "Return", "-": "minus"}.get(character, character))


def press(desktop: Desktop, key: str) -> None:
    """Press a key, or keys at once, in xdotool's words."""
    _xdotool(desktop, "key", "--delay", "40", key)


def seen_in(desktop: Desktop, title: str) -> None:
    """Wait for a window with this title, and give it the keys: there is no window manager."""
    _xdotool(desktop, "search", "--sync", "--onlyvisible", "--name", title, "windowfocus", "--sync")


def _xdotool(desktop: Desktop, *arguments: str) -> None:
    subprocess.run(["xdotool", *arguments], env=_shown(desktop), check=True, timeout=30)


def _shown(desktop: Desktop) -> dict[str, str]:
    assert desktop.screen is not None
    return {"PATH": os.environ["PATH"], "DISPLAY": desktop.screen.display, "NO_AT_BRIDGE": "1"}


# Owns the desktop's clipboard, or reads it.
_COPY = """
import sys, gi
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk
board = Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD)
board.set_text(sys.argv[1], -1)
print("copied", flush=True)
Gtk.main()
"""
_PASTE = """
import gi
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk
board = Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD)
print(board.wait_for_text() or "")
"""


def pasted(desktop: Desktop) -> str:
    """The text of the desktop's clipboard, as soon as there is one."""
    argv, deadline = [viewer.PYTHON, "-I", "-c", _PASTE], time.monotonic() + 60
    while True:
        done = subprocess.run(
            argv, env=_shown(desktop), check=True, timeout=60, capture_output=True, text=True
        )
        if text := done.stdout.strip():
            return text
        assert time.monotonic() < deadline


@contextmanager
def copied(desktop: Desktop, text: str) -> Iterator[None]:
    """A program of the desktop whose text is in the clipboard."""
    argv = [viewer.PYTHON, "-I", "-c", _COPY, text]
    with subprocess.Popen(argv, env=_shown(desktop), stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "copied\n"
            yield
        finally:
            program.kill()


class Tap:
    """Stands before a unix socket and keeps all that crosses, both ways, of all connections."""

    def __init__(self, target: Path, path: Path) -> None:
        self.path, self._target = path, target
        self.heard = bytearray()
        self.connections = 0
        self._lock = threading.Condition()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(16)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def wait(self, octets: int, seconds: float = 60.0) -> None:
        """Wait until that many bytes have crossed."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.heard) >= octets, seconds), len(self.heard)

    def wait_for(self, octets: bytes, seconds: float = 60.0) -> None:
        """Wait until they have crossed."""
        with self._lock:
            assert self._lock.wait_for(lambda: octets in self.heard, seconds)

    def close(self) -> None:
        """Hang up everything."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._target))
            self.connections += 1
            self._open += (client, server)
            self._threads.append(threading.Thread(target=self._relay, args=(client, server), daemon=True))
            self._threads[-1].start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        relay(client, server, self._hear)

    def _hear(self, _: str, data: bytes) -> None:
        with self._lock:
            self.heard += data
            self._lock.notify_all()


@contextmanager
def tapped(target: Path, folder: Path) -> Iterator[Tap]:
    """A Tap before a socket, at folder/tap.sock."""
    tap = Tap(target, folder / "tap.sock")
    try:
        yield tap
    finally:
        tap.close()
