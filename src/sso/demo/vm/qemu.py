"""One QEMU process: its command line, its life, and its two connections to us (QMP and the control port)."""

import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..programs import SEARCH_PATH, BedError, find_program, run_program
from .guest_control import PORT
from .qmp import QMP
from .recipe import Flavour

SSO_PORT = "spice.sso.0"
CLIPBOARD_PORT = "com.redhat.spice.0"
CONSOLES = ("socket", "spice", "vnc")

_KERNEL = "root=/dev/vda rw console=tty0 quiet loglevel=3 systemd.show_status=0 mitigations=off"
_RESTORE_SECONDS = 60.0
_SAVE_SECONDS = 180.0


@dataclass(frozen=True)
class Variant:
    """A flavour, the display manager it starts ("" for none) and what its SSO port is to the host.

    With the console "socket" the port is a unix socket; with "vnc" too, and a VNC server shows the screen;
    with "spice" it is a port channel of a SPICE server, whose unix socket also shows the screen, and which
    has the clipboard's port.
    """

    flavour: Flavour
    manager: str
    console: str

    @property
    def name(self) -> str:
        """A name for files and messages."""
        return "-".join(filter(None, (self.flavour.name, self.manager, self.console)))

    def devices(self, folder: Path) -> list[str]:
        """QEMU's arguments for all that a guest sees, which is the same before and after a snapshot."""
        kernel = _KERNEL + (f" systemd.wants={self.manager}.service" if self.manager else "")
        sso, shown = f"socket,id=sso,path={folder / 'sso.sock'},server=on,wait=off", []
        if self.console == "spice":
            sso = f"spiceport,id=sso,name={SSO_PORT}"
            shown = ["-spice", f"unix=on,addr={folder / 'spice.sock'},disable-ticketing=on"]
            shown += ["-chardev", "spicevmc,name=vdagent,id=clipboard"]
            shown += ["-device", f"virtserialport,chardev=clipboard,name={CLIPBOARD_PORT}"]
        elif self.console == "vnc":
            shown = ["-vnc", f"unix:{folder / 'vnc.sock'}"]
        return [
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(self.flavour.memory)),
            *("-machine", "pc,memory-backend=ram", "-device", self.flavour.display),
            *("-device", "virtio-rng-pci", "-device", "virtio-blk-pci,drive=disk"),
            *("-device", "virtio-serial-pci", *shown),
            *("-chardev", sso, "-device", f"virtserialport,chardev=sso,name={SSO_PORT}"),
            *("-device", f"virtserialport,chardev=control,name={PORT}"),
            *("-append", kernel),
        ]


def version() -> str:
    """QEMU's version, a part of every snapshot's key."""
    argv = [find_program("qemu-system-x86_64"), "--version"]
    return run_program(argv, {"PATH": SEARCH_PATH}).stdout.partition("\n")[0]


class Qemu:
    """A running QEMU: `arguments` and the two connections. It dies with the thread that started it."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        mortal = [find_program("setpriv"), "--pdeathsig", "KILL", find_program("qemu-system-x86_64")]
        self.control, control = socket.socketpair()
        qmp, its_qmp = socket.socketpair()
        self._log = folder / "qemu.log"
        with control, its_qmp, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *mortal,
                    *("-chardev", f"socket,id=control,fd={control.fileno()}"),
                    *("-chardev", f"socket,id=qmp,fd={its_qmp.fileno()}", "-mon", "chardev=qmp,mode=control"),
                    *arguments,
                ],
                env={"PATH": SEARCH_PATH, "TMPDIR": str(folder)},
                pass_fds=(control.fileno(), its_qmp.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.qmp = QMP(qmp)
        try:
            self.qmp.greet()
        except BaseException as error:
            self.close()
            raise self.failure(error) from None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def close(self) -> None:
        """End the process, by force: nothing of a test's guest is worth keeping. May be called twice."""
        self._process.kill()
        self._process.wait()
        self.control.close()
        self.qmp.close()

    def failure(self, error: BaseException) -> BedError:
        """What went wrong, with QEMU's own last words."""
        words = self._log.read_text(errors="replace").strip()
        return BedError(f"QEMU: {error}\n{words[-2000:]}".strip())

    def screenshot(self, path: Path) -> None:
        """Save the screen as PNG."""
        self.qmp.ask("screendump", {"filename": str(path.absolute()), "format": "png"})

    def save(self, path: Path) -> None:
        """Stop the guest for good and write its devices to a file; its memory already is in one."""
        self.qmp.ask("stop")
        self._memory_apart()
        self.qmp.ask("migrate", {"uri": f"exec:cat >{shlex.quote(str(path))}"})
        self._migrated(_SAVE_SECONDS)
        self.qmp.ask("quit")
        self._process.wait(_SAVE_SECONDS)

    def restore(self, path: Path) -> None:
        """Take the devices from a file, and run. QEMU was started with `-incoming defer`."""
        try:
            self._memory_apart()
            self.qmp.ask("migrate-incoming", {"uri": f"exec:cat {shlex.quote(str(path))}"})
            self._migrated(_RESTORE_SECONDS)
            self.qmp.ask("cont")
        except BedError as error:
            raise self.failure(error) from None

    def _memory_apart(self) -> None:
        apart = {"capability": "x-ignore-shared", "state": True}
        self.qmp.ask("migrate-set-capabilities", {"capabilities": [apart]})

    def _migrated(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (said := self.qmp.ask("query-migrate")).get("status") != "completed":
            if said.get("status") == "failed" or time.monotonic() > deadline:
                raise BedError(f"the snapshot fails: {said}")
            time.sleep(0.01)


def memory(path: Path, flavour: Flavour, *, shared: bool) -> list[str]:
    """The guest's memory in a file: written through when shared, else each writer has its own copy.

    A restored guest reads from the file only the pages that it touches, and two of them share these.
    """
    backend = f"memory-backend-file,id=ram,size={flavour.memory}M,mem-path={path}"
    return ["-object", f"{backend},share={'on' if shared else 'off'}"]


def overlay(disk: str, path: Path) -> None:
    """Make a qcow2 file over a raw disk, named from where `path` is."""
    program = find_program("qemu-img")
    argv = [program, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, str(path)]
    run_program(argv, {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"})
