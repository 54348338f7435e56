"""Runs the viewer of this checkout, with the client in it, on a screen in memory or on the user's screen."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .lifetime import AutoClose
from .programs import SEARCH_PATH, BedError, find_program, run_program

PYTHON = "/usr/bin/python3"  # Debian's, whose GTK it is
PORT = "spice.sso.0"
_SOURCES = [str(Path(__file__).resolve().parents[2])]
_SECONDS = 60.0

_RUN = f"import sys; sys.path[:0] = {_SOURCES!r}; from sso.viewer.main import main; sys.exit(main())"
_PICTURE = """
import sys, gi
gi.require_version("Gdk", "3.0")
from gi.repository import Gdk
root = Gdk.get_default_root_window()
Gdk.pixbuf_get_from_window(root, 0, 0, root.get_width(), root.get_height()).savev(sys.argv[1], "png", [], [])
"""


class Screen(AutoClose):
    """An X server in memory; a context manager."""

    def __init__(self, size: str = "1034x860") -> None:
        reader, writer = os.pipe()
        with os.fdopen(reader) as told:
            self._server = subprocess.Popen(
                [
                    *(find_program("setpriv"), "--pdeathsig", "KILL", find_program("Xvfb")),
                    *("-displayfd", str(writer), "-screen", "0", f"{size}x24"),
                    *("-nolisten", "tcp", "-noreset"),
                ],
                pass_fds=[writer],
                stderr=subprocess.DEVNULL,
            )
            os.close(writer)
            number = told.readline().strip()
        if not number:
            self.close()
            raise BedError("Xvfb does not start")
        self.display = f":{number}"

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait(_SECONDS)

    def picture(self, path: Path) -> Path:
        """Save the screen as PNG."""
        env = {"PATH": SEARCH_PATH, "DISPLAY": self.display}
        run_program([PYTHON, "-I", "-c", _PICTURE, str(path)], env)
        return path


class Viewer:
    """A running sso-viewer; a context manager that ends it. `lines` is its output.

    `times` are the times of the lines, by the monotonic clock.

    `env` is its whole environment but PATH.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self.times: list[float] = []
        self._said = threading.Condition()
        self._process = subprocess.Popen(
            [PYTHON, "-I", "-c", _RUN, "--verbose", *arguments],
            env={"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "NO_AT_BRIDGE": "1", **env},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The pid of the viewer."""
        return self._process.pid

    def expect(self, pattern: str, seconds: float = _SECONDS, *, count: int = 1) -> str:
        """Wait for a line that has a pattern, the `count`-th of them, and return it.

        Raises BedError with all that was said when it does not come, or the viewer ends before.
        """
        deadline = time.monotonic() + seconds
        with self._said:
            while True:
                found = [line for line in self.lines if re.search(pattern, line)]
                if len(found) >= count:
                    return found[count - 1]
                if self._over or not self._said.wait(deadline - time.monotonic()):
                    raise BedError(f"the viewer has not said '{pattern}':\n" + "\n".join(self.lines))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal, if it still runs, and return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(_SECONDS)
        self._hearing.join(_SECONDS)
        return code

    def wait(self, seconds: float = _SECONDS) -> int:
        """Wait until it ends by itself; return its exit code."""
        code = self._process.wait(seconds)
        self._hearing.join(_SECONDS)
        return code

    _over = False

    def _hear(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as said:
            for line in said:
                with self._said:
                    self.lines.append(line.rstrip("\n"))
                    self.times.append(time.monotonic())
                    self._said.notify_all()
        with self._said:
            self._over = True
            self._said.notify_all()


def plug_ins(folder: Path) -> Path:
    """Make a plug-in folder below `folder` with the client of this checkout."""
    plug_ins = folder / "plug-ins"
    plug_ins.mkdir(mode=0o755)
    add(plug_ins, "spice-client-sso", "from sso.client.start import main\n\nmain()\n")
    return plug_ins


def add(folder: Path, name: str, code: str) -> None:
    """Put a Python program into a plug-in folder."""
    program = folder / name
    program.write_text(f"#!{sys.executable} -I\n{code}")
    program.chmod(0o755)


def settings(folder: Path, plug_ins: Path, *parameters: str, more: str = "") -> Path:
    """Write a viewer.toml with the client on the SSO port and these parameters; append `more`."""
    words = ", ".join(f'"{word}"' for word in (*parameters, "--status-fd=3"))
    path = folder / "viewer.toml"
    path.write_text(
        f'folder = "{plug_ins}"\n\n[[plugin]]\nport = "{PORT}"\nrun = "spice-client-sso"\n'
        f'parameters = [{words}]\nstates = true\ntakes = ["spn", "pin"]\n{more}'
    )
    return path
