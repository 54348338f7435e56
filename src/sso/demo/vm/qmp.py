"""QEMU's control socket (QMP): commands and their answers."""

import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from ..programs import BedError

_SECONDS = 60.0


class QMP:
    """A QMP connection; every call raises BedError with QEMU's own words when it fails."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._waiting = b""

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def greet(self) -> None:
        """Take QEMU's greeting, which comes before everything else."""
        self._message(time.monotonic() + _SECONDS)
        self.ask("qmp_capabilities")

    def ask(
        self, command: str, arguments: Mapping[str, object] | None = None, *, seconds: float = _SECONDS
    ) -> Any:
        """Send a command and return its answer; events on the way are dropped."""
        request = {"execute": command, "arguments": arguments or {}}
        deadline = time.monotonic() + seconds
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while True:
                message = self._message(deadline)
                if "error" in message:
                    raise BedError(f"QEMU: {command}: {message['error']['desc']}")
                if "return" in message:
                    return message["return"]
        except TimeoutError:
            raise BedError(f"QEMU: {command}: no answer within {seconds:g} s") from None
        except OSError as error:
            raise BedError(f"QEMU: {command}: {error.strerror or 'QEMU has ended'}") from None

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._waiting:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionResetError
            self._waiting += chunk
        line, _, self._waiting = self._waiting.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
