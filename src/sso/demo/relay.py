"""Relays the port between client and guest, and prints what it copies, without secrets."""

import selectors
import socket
from collections.abc import Callable

_READ = 65536
_WIDTH = 100


class WireReader:
    """Reads both directions of one session and turns the bytes into lines for the user.

    Outside layers it shows the lines unchanged (they hold no secret), and SASL frames by their length. Inside
    a layer it shows only the number of bytes, since all else is encrypted.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._buffers = {"client": bytearray(), "guest": bytearray()}
        self._mode = "lines"
        self._asked = ""

    def hear(self, sender: str, data: bytes) -> None:
        buffer = self._buffers[sender]
        buffer += data
        while buffer and self._take(sender, buffer):
            pass

    def _take(self, sender: str, buffer: bytearray) -> bool:
        if self._mode == "sealed":
            self._show(sender, f"[sealed: {len(buffer)} bytes]")
            buffer.clear()
            return False
        if self._mode == "frames" and buffer[0] in (0, 0xFF):
            return self._take_frame(sender, buffer)
        line, end, _ = bytes(buffer).partition(b"\n")
        if not end:
            return False
        del buffer[: len(line) + 1]
        if line:
            self._line(sender, line.decode("ascii", "replace"))
        return True

    def _take_frame(self, sender: str, buffer: bytearray) -> bool:
        size = int.from_bytes(buffer[:4], "big")
        if len(buffer) < 4 + size:
            return False
        del buffer[: 4 + size]
        self._show(sender, f"[SASL token: {size} bytes]")
        return True

    def _line(self, sender: str, line: str) -> None:
        self._show(sender, line)
        if sender == "client":
            self._asked = line.partition(" ")[0]
        elif line == "ok" and self._mode == "frames":
            self._mode = "sealed"
        elif line == "ok" and self._asked in ("startSASL", "startTLS"):
            self._mode = "frames" if self._asked == "startSASL" else "sealed"

    def _show(self, sender: str, text: str) -> None:
        arrow = "client -> guest " if sender == "client" else "client <- guest "
        self._say(arrow + (text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."))


def relay(client: socket.socket, guest: socket.socket, hear: Callable[[str, bytes], None]) -> None:
    """Copy both ways until one end hangs up, then close both; `hear` gets the sender's name and the bytes."""
    ways = (client, "client", guest), (guest, "guest", client)
    with selectors.DefaultSelector() as selector, client, guest:
        for way in ways:
            selector.register(way[0], selectors.EVENT_READ, way)
        while True:
            for key, _ in selector.select():
                end, sender, other = key.data
                try:
                    data = end.recv(_READ)
                    other.sendall(data)
                except OSError:
                    return
                if not data:
                    return
                hear(sender, data)
