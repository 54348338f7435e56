"""A whole guest inside a sandbox: a login screen on a terminal, and sso-guest-agent with a port."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from .lifetime import AutoClose
from .programs import BedError
from .sandbox import Sandbox
from .terminal import Terminal, spawn

PORT = "/run/console-sso/port.sock"
KEYTAB = "/etc/console-sso/acceptor.keytab"
CONFIG = "/etc/console-sso/guest.toml"
ACCEPTOR_UID = 4011
PYTHON = (sys.executable, "-I", "-m")
_START_SECONDS = 15.0
_END_SECONDS = 5.0
ACCEPTS = 0x10000  # __SO_ACCEPTCON, linux/net.h


class Guest(AutoClose):
    """Starts and ends the guest's programs together; `settings` are more lines for guest.toml.

    `screen` is the login screen on a pty (sso-getty, or the given program); `port` is the path of the port's
    socket. `python` is an interpreter that finds the programs, with its options.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        spn: str,
        keytab: Path,
        settings: Sequence[str] = (),
        screen: Sequence[str] = (),
        python: Sequence[str] = PYTHON,
    ) -> None:
        self.sandbox = sandbox
        self.screen: Terminal
        self._spn, self._keytab, self._settings, self._screen = spn, keytab, tuple(settings), screen
        self._python = tuple(python)
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115  # open as long as the guest
        self._agent: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # A login screen that is started anew when it ends, as init does it.
        argv = self.sandbox.command([*self._python, "sso.demo.respawn", *self._screen])
        self.screen = spawn(argv, self.sandbox.env)
        try:
            self._furnish()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    @property
    def port(self) -> Path:
        return self.sandbox.path(PORT)

    @property
    def pid(self) -> int:
        """The pid of the agent, the parent of the two other processes."""
        if self._agent is None:
            raise BedError("the guest agent does not run")
        return self._agent.pid

    @property
    def tty(self) -> str:
        """The name of the login screen's terminal, without /dev/."""
        return os.readlink(f"/proc/{self.screen.pid}/fd/0").removeprefix("/dev/")

    def log(self) -> str:
        """Return what the three processes have logged so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def start(self) -> None:
        """Start the agent and wait until its port listens; raises BedError with its log if it does not."""
        self.port.unlink(missing_ok=True)
        argv = self.sandbox.command([*self._python, "sso.guest.main", "--foreground"])
        self._agent = subprocess.Popen(
            argv, env=self.sandbox.env, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        limit = time.monotonic() + _START_SECONDS
        while not self._listens():
            try:
                self._agent.wait(0.02)
            except subprocess.TimeoutExpired:
                if time.monotonic() < limit:
                    continue
            raise BedError(f"the guest agent did not start: {self.log()}")

    def _listens(self) -> bool:
        """Whether one of the processes listens at the port; its file appears a moment before."""
        assert self._agent is not None
        ours = set[str]()
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(OSError):  # a process may end meanwhile
            for pid in (str(self.pid), *children.read_text().split()):
                ours |= {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        # number, references, protocol, flags, type, state, inode, path (proc(5), /proc/net/unix)
        sockets = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
        return any(
            fields[-1] == PORT and int(fields[3], 16) & ACCEPTS and f"socket:[{fields[6]}]" in ours
            for fields in sockets
        )

    def stop(self) -> None:
        """End the agent and its processes in order, as a service manager would."""
        agent, self._agent = self._agent, None
        if agent is None:
            return
        agent.terminate()
        try:
            agent.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()

    def close(self) -> None:
        self.stop()
        os.kill(self.screen.pid, signal.SIGTERM)  # hanging up would only bring a new login screen
        self.screen.close()
        self._log.close()

    def _furnish(self) -> None:
        self.sandbox.path("/etc/console-sso").mkdir(exist_ok=True)
        inside = self.sandbox.path(KEYTAB)
        inside.write_bytes(self._keytab.read_bytes())
        inside.chmod(0o600)
        os.chown(inside, ACCEPTOR_UID, ACCEPTOR_UID)
        lines = [
            f'port = "unix:{PORT}"',
            f'spn = "{self._spn}"',
            f'keytab = "{KEYTAB}"',
            f'tty = "{self.tty}"',
        ]
        if not any(line.startswith("login = ") for line in self._settings):
            lines.append('login = "getty"')
        self.sandbox.write(CONFIG, "\n".join([*lines, *self._settings]) + "\n")
