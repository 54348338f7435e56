"""A guest for one test: restored from a snapshot, or started where there is none yet."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..lifetime import AutoOpen
from ..programs import BedError
from . import image, keyboard
from .control import Control, Result
from .qemu import CONSOLES, Qemu, Variant
from .recipe import FLAVOURS
from .snapshot import restored, snapshot

_POLL_SECONDS = 0.1


class Machine(AutoOpen):
    """A private guest of a flavour ("small", "desktop") with our packages `debs`; a context manager.

    `manager` is the display manager that it starts, `console` what the SSO port is to the host: "socket",
    "spice" or "vnc". What the guest writes is gone at the end. Two machines know nothing of each other.
    While it is open, `folder` holds its sockets, and `state` is the snapshot that it came from.
    The first machine of its kind takes a minute or more: image and snapshot are made and kept.
    """

    def __init__(
        self, flavour: str = "small", *, debs: Sequence[Path] = (), manager: str = "", console: str = "socket"
    ) -> None:
        if flavour not in FLAVOURS or console not in CONSOLES:
            raise BedError(f"no such machine: {flavour} {console}; write {[*FLAVOURS]} and {CONSOLES}")
        known = FLAVOURS[flavour]
        if manager and manager not in known.managers:
            raise BedError(f"{flavour} has no {manager}; write one of {[*known.managers]}")
        self._variant = Variant(known, manager, console)
        self._debs = tuple(debs)
        self._open = ExitStack()

    def open(self) -> None:
        """Restore the guest, set its clock and stir its random numbers.

        Raises BedError without root, without a needed program, or with the words of what failed.
        """
        with ExitStack() as opening:
            guest = opening.enter_context(image.guest(self._variant.flavour, self._debs))
            self.state = opening.enter_context(snapshot(self._variant, guest))
            self.folder = Path(tempfile.mkdtemp(prefix="sso-vm-"))
            opening.callback(shutil.rmtree, self.folder)
            self._qemu = Qemu(self.folder, restored(self._variant, guest, self.state, self.folder))
            opening.callback(self._qemu.close)
            self._qemu.restore(self.state / "devices")
            self._control = Control(self._qemu.control)
            self._control.wake()
            self._open = opening.pop_all()

    def close(self) -> None:
        """End the guest and remove what it wrote; may be called twice."""
        self._open.close()

    # Where it is reached from outside

    @property
    def port(self) -> Path:
        """The unix socket of the SSO port (console "socket" or "vnc")."""
        return self.folder / "sso.sock"

    @property
    def spice(self) -> Path:
        """The unix socket of the SPICE server (console "spice"), without a password."""
        return self.folder / "spice.sock"

    @property
    def vnc(self) -> Path:
        """The unix socket of the VNC server (console "vnc"), without a password."""
        return self.folder / "vnc.sock"

    @property
    def viewers(self) -> int:
        """How many channels of SPICE clients there are (console "spice")."""
        return len(self._qemu.qmp.ask("query-spice").get("channels", ()))

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._qemu.pid

    # What root does inside

    def run(self, command: str, *, timeout: float = 60.0, check: bool = False) -> Result:
        """Run a shell command as root and return its exit code and output (its last 4 MiB).

        The code is 124 when it was killed after `timeout` s. With `check`, a failure raises BedError.
        """
        result = self._control.run(command, timeout)
        if check and result.code:
            raise BedError(f"in the guest: {command}: {result.code}: {result.output.strip()}")
        return result

    def wait(self, command: str, seconds: float = 60.0) -> str:
        """Run a command again and again until it succeeds, and return its output.

        Raises BedError with its last output after `seconds`, in which a command that hangs is killed.
        """
        deadline = time.monotonic() + seconds
        while True:
            result = self.run(command, timeout=max(1.0, deadline - time.monotonic()))
            if result.code == 0:
                return result.output
            if time.monotonic() > deadline:
                raise BedError(f"in the guest, not within {seconds:g} s: {command}\n{result.output.strip()}")
            time.sleep(_POLL_SECONDS)

    def write(self, path: str, data: bytes | str, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a whole file, and its folders where they are missing; text is UTF-8."""
        self._control.write(path, data.encode() if isinstance(data, str) else data, mode, owner)

    def read(self, path: str) -> bytes:
        """Read a file (its first 4 MiB)."""
        return self._control.read(path)

    def set_clock(self) -> None:
        """Set the clock to this machine's again, say after `stop` and `cont`."""
        self._control.wake()

    # What a person does at the screen

    def keys(self, text: str) -> None:
        """Type a text (US keyboard, ASCII); "\\n" is Enter."""
        for keys in keyboard.strokes(text):
            self._qemu.qmp.ask("send-key", {"keys": keys, "hold-time": 20})

    def screenshot(self, path: Path) -> Path:
        """Save the screen as PNG."""
        self._qemu.screenshot(path)
        return path

    # The hardware

    def stop(self) -> None:
        """Freeze the guest; its ports stay open."""
        self._qemu.qmp.ask("stop")

    def cont(self) -> None:
        """Let it go on."""
        self._qemu.qmp.ask("cont")
