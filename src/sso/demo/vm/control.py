"""The host's end of the control port: commands, files and the clock of a guest."""

import base64
import json
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from ..programs import BedError

_SLACK = 60.0  # seconds beyond a command's own limit: a busy machine emulates slowly
_ANSWER_MAX = 8 * 1024 * 1024


@dataclass(frozen=True)
class Result:
    """How a command ended in the guest: its exit code (124: took too long), stdout and stderr mixed."""

    code: int
    output: str


class Control:
    """A connection to guest_control.py, one request at a time. Every call raises BedError when it fails."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._waiting = b""

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def run(self, command: str, seconds: float) -> Result:
        """Run a shell command as root."""
        said = self._ask({"run": command, "seconds": seconds}, seconds + _SLACK)
        return Result(said["code"], base64.b64decode(said["output"]).decode(errors="replace"))

    def write(self, path: str, data: bytes, mode: int, owner: str) -> None:
        """Replace a file; `owner` is a user or user:group."""
        octets = base64.b64encode(data).decode()
        self._ask({"path": path, "data": octets, "mode": mode, "owner": owner}, _SLACK)

    def read(self, path: str) -> bytes:
        """Read a file of at most 4 MiB."""
        return base64.b64decode(self._ask({"read": path}, _SLACK)["data"])

    def wake(self, seconds: float = _SLACK) -> None:
        """Set the clock to this machine's and bring fresh entropy."""
        entropy = base64.b64encode(os.urandom(64)).decode()
        self._ask({"now": time.time(), "entropy": entropy}, seconds)

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            said: dict[str, Any] = json.loads(self._line(time.monotonic() + seconds))
        except TimeoutError:
            self.close()  # its late answer would be taken for that of the next request
            raise BedError(f"the guest's control port does not answer within {seconds:g} s") from None
        except OSError as error:
            raise BedError(f"the guest's control port is gone: {error.strerror}") from None
        if "error" in said:
            raise BedError(f"in the guest: {said['error']}")
        return said

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._waiting:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = self._socket.recv(65536)
            if not chunk or len(self._waiting) > _ANSWER_MAX:
                raise ConnectionResetError(0, "QEMU has ended" if not chunk else "it says too much")
            self._waiting += chunk
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line
