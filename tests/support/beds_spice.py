"""Real SPICE and VNC servers: QEMU's, of a machine that does not run."""

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from sso.demo.programs import find_program

TICKET = "one-time-ticket"
VNC_TICKET = "one-time"  # VNC looks at eight characters


class Server:
    """QEMU with a SPICE server on loopback, also a VNC server where asked for, and nothing in the machine."""

    def __init__(
        self, folder: Path, options: str, environment: dict[str, str], vnc: Sequence[str] = ()
    ) -> None:
        self.log = folder / "qemu.log"
        self.path = folder / "spice.sock"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(find_program("setpriv"), "--pdeathsig", "KILL", find_program("qemu-system-x86_64")),
                    *("-accel", "tcg", "-nodefaults", "-display", "none", "-device", "VGA", "-m", "64", "-S"),
                    *(
                        "-object",
                        f"secret,id=ticket,data={TICKET}",
                        "-object",
                        f"secret,id=short,data={VNC_TICKET}",
                    ),
                    *vnc,
                    *("-spice", options.format(path=self.path)),
                    *("-device", "virtio-serial-pci", "-chardev", "spiceport,id=sso,name=spice.sso.0"),
                    *("-device", "virtserialport,chardev=sso,name=spice.sso.0"),
                    *("-monitor", "stdio"),
                ],
                env={"PATH": os.environ["PATH"], **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.channels()  # an answer means that it has started

    def channels(self) -> list[tuple[str, bool]]:
        """Type and encryption of every channel that is open now."""
        blocks = self._ask("info spice").split("Channel:")[1:]
        return [
            (found[1] if (found := re.search(r"channel name: (\w+)", block)) else "", "[tls]" in block)
            for block in blocks
        ]

    def vnc_clients(self) -> int:
        """How many are connected to the VNC server."""
        return self._ask("info vnc").count("Client:")

    def _ask(self, command: str) -> str:
        """Return the monitor's answer to a command."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{command}\ninfo name\n".encode())
        self.process.stdin.flush()
        said = b""
        while b"info name" not in said or not said.rstrip().endswith(b"(qemu)"):
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, self.log.read_text()
            said += more
        return said.decode()

    def close(self) -> None:
        """End the machine."""
        self.process.kill()
        self.process.communicate()


MakeServer = Callable[..., Server]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MakeServer]:
    """Opens a server; {path} in its options is its unix socket."""
    with ExitStack() as ending:

        def make(
            options: str = "unix=on,addr={path},disable-ticketing=on",
            vnc: Sequence[str] = (),
            **environment: str,
        ) -> Server:
            made = Server(tmp_path, options, environment, vnc)
            ending.callback(made.close)
            return made

        yield make


def free_ports(count: int) -> list[int]:
    """TCP ports of loopback that nobody uses now."""
    with ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
