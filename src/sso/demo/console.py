"""`sso demo --console`: opens a window on a real virtual machine, and alice is signed in there automatically.

The guest is Debian in QEMU, with our packages. The viewer is the real one, on your screen or, without a
display, on a screen in memory. The guest's image (for the next run) and the pictures are kept.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from . import viewer
from .realm import Realm
from .viewer import Screen, Viewer
from .vm import Machine
from .vm.enrol import GETTY, enrol, start, wait_for_event
from .vm.packages import built_packages, for_guests

SPN = "host/guest.test.example"
_SECONDS = 300.0


class ConsoleKind(NamedTuple):
    """The differences between the kinds of guest: machine, options, and commands that check its state."""

    flavour: str
    manager: str
    options: Mapping[str, Any]
    before: tuple[str, ...]  # commands of the administrator
    ready: str  # the agent's event
    opened: str  # true in the guest when the session can be seen
    left: str  # true when the session is locked or closed
    how_left: str
    command: str  # to type in the session, "" for nothing
    drawn: str  # true when the screen does not change any more


_SESSION = "loginctl show-session $(loginctl --no-legend list-sessions | awk '$3 == \"alice\" {print $1}')"
KINDS = {
    "text": ConsoleKind(
        "small",
        "",
        {"login": "getty", "disconnect": "log-off", "grace_seconds": 1},
        (GETTY,),
        "screen-ready tty=tty1",
        "grep -q '\\$ ' /dev/vcs1",
        'test -z "$(loginctl --no-legend)" && grep -q "login: " /dev/vcs1',
        "the session is closed",
        "clear; id -un; klist",
        "true",
    ),
    "gnome": ConsoleKind(
        "desktop",
        "gdm3",
        {"login": "gdm"},
        (),
        "screen-ready|agent-started",
        "journalctl -b -o cat _UID=$(id -u alice) | grep -q 'GNOME Shell started'",
        f"{_SESSION} | grep -qx LockedHint=yes",
        "the session is locked",
        "",
        "process=$(pgrep -u alice -x gnome-shell) && was=$(cut -d ' ' -f 14 /proc/$process/stat) && "
        "sleep 2 && "
        '[ $(($(cut -d " " -f 14 /proc/$process/stat) - was)) -lt 20 ]',
    ),
}


def run(
    realm: Realm, kind: str, pictures: Path, step: Callable[[str], None], line: Callable[[str], None]
) -> None:
    """Show one kind of guest. Raises BedError that says what went wrong."""
    wanted = KINDS[kind]
    pictures.mkdir(parents=True, exist_ok=True)
    with ExitStack() as ending:
        step("The guest: Debian in QEMU with our packages, no network. The first time it takes minutes.")
        packages = ending.enter_context(built_packages())
        vm = ending.enter_context(
            Machine(wanted.flavour, debs=for_guests(packages), manager=wanted.manager, console="spice")
        )
        realm.principal(SPN, options=["+ok_as_delegate"])
        enrol(vm, realm, SPN, **wanted.options)
        start(vm, *wanted.before)
        wait_for_event(vm, wanted.ready)
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sso-viewer-")))
        folder.chmod(0o755)
        screen = None if os.environ.get("DISPLAY") else ending.enter_context(Screen())
        where = "your screen" if screen is None else "a screen in memory, since there is no DISPLAY"
        _visits(_Visit(vm, realm, wanted, folder, screen, pictures), step, line, where)
    line(f"pictures: {pictures}")


class _Visit(NamedTuple):
    """All that a visit to the guest needs."""

    vm: Machine
    realm: Realm
    kind: ConsoleKind
    folder: Path
    screen: Screen | None
    pictures: Path

    def view(self) -> Viewer:
        """Open the viewer."""
        configured = self.folder / "viewer.toml"
        if not configured.exists():
            viewer.settings(self.folder, viewer.plug_ins(self.folder), "--no-config", "--stay")
        names = ("DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR")
        env = {name: os.environ[name] for name in names if name in os.environ}
        if self.screen is not None:
            env["DISPLAY"] = self.screen.display
        arguments = ["--settings", str(configured), "--spn", SPN, "--title", "alice's virtual machine"]
        return Viewer(
            [*arguments, f"spice+unix://{self.vm.spice}"],
            {**self.realm.env, "HOME": str(self.folder), **env},
        )

    def picture(self, name: str) -> None:
        """Save a picture of the window or, on the user's own screen, of the guest's screen only."""
        path = self.pictures / f"{name}.png"
        if self.screen is None:
            self.vm.screenshot(path)
        else:
            self.screen.picture(path)


def _visits(visit: _Visit, step: Callable[[str], None], line: Callable[[str], None], where: str) -> None:
    vm, kind = visit.vm, visit.kind
    vm.screenshot(visit.pictures / "1-login-screen.png")
    step(f"sso-viewer opens the guest's console on {where}; nobody types anything.")
    with visit.view() as window:
        _wait_for_session(visit, window, line)
        if kind.command:
            vm.keys(f"{kind.command}\n")
            vm.wait("tr -s ' ' </dev/vcs1 | grep -q 'Default principal: alice@'", _SECONDS)
            shown = vm.run("fold -w 80 /dev/vcs1 | sed 's/ *$//' | grep -v '^$'").output
            for text in shown.splitlines():
                line(f"| {text}")
        vm.wait(kind.drawn, _SECONDS)
        visit.picture("2-signed-in")
        step("alice closes the window.")
    vm.wait(kind.left, _SECONDS)
    line(kind.how_left)
    while vm.viewers:
        time.sleep(0.05)
    vm.wait(kind.drawn, _SECONDS)
    vm.screenshot(visit.pictures / "3-left.png")
    step("alice opens it again.")
    with visit.view() as window:
        _wait_for_session(visit, window, line)
        if not kind.command:
            vm.wait(f"{_SESSION} | grep -qx LockedHint=no", _SECONDS)
        vm.wait(kind.drawn, _SECONDS)
        visit.picture("4-back-again")


def _wait_for_session(visit: _Visit, window: Viewer, line: Callable[[str], None]) -> None:
    for state in ("state signing-in", "state signed-in"):
        line(window.expect(state, _SECONDS).partition("state ")[2])
    visit.vm.wait(visit.kind.opened, _SECONDS)
    for text in visit.vm.run("loginctl --no-legend list-sessions").output.splitlines():
        line(f"loginctl: {' '.join(text.split())}")
