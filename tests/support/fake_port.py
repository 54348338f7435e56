"""Ports for tests that need no VM: a virtio port in memory, and a character device with real hang-ups.

FakePort answers as Linux's virtio_console does (facts: hung up and readable without a client; what the last
client left is read in front of what the next one sends; 4096 bytes a read; 32 KiB a write at most; reopening
drops the input; what the host has not taken when it leaves is lost).
"""

import fcntl
import os
import struct
import tty
from termios import TCSANOW

from sso.errors import PortClosed
from sso.ports.port import DEVICE_WRITE_MAX, READ_MAX, DevicePort, Port

CHUNK = 4096  # what one buffer of the host brings
FULL = 2**64 - 2  # an eventfd with this count is not writable
UNLOCK, NUMBER = 0x40045431, 0x80045430  # TIOCSPTLCK, TIOCGPTN: not in termios


def open_files() -> set[str]:
    """The descriptors of this process, to see what a test leaves open."""
    return set(os.listdir("/proc/self/fd"))


class FakePort(Port):
    """A virtio port: `Port` towards the guest; attach, detach, send, take and unplug are the host's.

    `room` is how many bytes the host's side holds before a write would block, `chunk` how many one read
    brings and `step` how many one write takes; the next `refusals` writes take nothing although the port
    calls itself writable. Its descriptors are pollable.
    """

    name = "fake"

    def __init__(self, *, room: int = 64 * 1024, chunk: int = CHUNK, step: int = DEVICE_WRITE_MAX) -> None:
        self.room, self.chunk, self.step = room, chunk, step
        self.refusals = self.reopened = self.writes = 0
        self.attached = self.unplugged = False
        self._in, self._out = bytearray(), bytearray()
        self._readable, self._writable = (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in "rw")
        self._show()

    # The guest's end

    def fileno(self) -> int:
        return self._readable

    def write_fileno(self) -> int:
        return self._writable

    def read(self, size: int = READ_MAX) -> bytes | None:
        data = bytes(self._in[: min(size, self.chunk)])
        del self._in[: len(data)]
        self._show()
        return data or (None if self.attached else b"")

    def write(self, data: bytes | bytearray | memoryview) -> int:
        self.writes += 1
        if self.unplugged:
            raise PortClosed(f"{self.name}: No such device")
        if self.refusals:
            self.refusals -= 1
            return 0
        taken = min(len(data), self.step, self.room - len(self._out)) if self.attached else 0
        self._out += memoryview(data)[:taken]
        self._show()
        return taken

    def flush_input(self) -> None:
        if self.unplugged:
            raise PortClosed(f"{self.name}: No such device or address")
        self.reopened += 1
        self._in.clear()
        self._show()

    def close(self) -> None:
        os.close(self._readable)
        os.close(self._writable)

    # The host's end

    def attach(self) -> None:
        self.attached = True
        self._show()

    def detach(self) -> None:
        self.attached = False
        self._out.clear()
        self._show()

    def unplug(self) -> None:
        self.unplugged = True
        self._in.clear()
        self.detach()

    def send(self, data: bytes) -> None:
        self._in += data
        self._show()

    def take(self, size: int = READ_MAX) -> bytes:
        """Return what the guest has written."""
        data = bytes(self._out[:size])
        del self._out[: len(data)]
        self._show()
        return data

    def _show(self) -> None:
        """Make the descriptors poll as the port would."""
        blocked = not self.attached or len(self._out) >= self.room
        for fd, count in (
            (self._readable, int(bool(self._in) or not self.attached)),
            (self._writable, FULL if blocked else 0),
        ):
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                pass
            if count:
                os.eventfd_write(fd, count)


class PtyDevice:
    """A character device whose hang-ups are real: DevicePort holds the master of a pty, `attach` is the host.

    Opened and left once, so that nobody is there at first. Unlike a virtio port it makes no edge when
    somebody comes, only when something is sent.
    """

    def __init__(self) -> None:
        self.port = DevicePort("/dev/ptmx")
        os.close(self.attach())

    def attach(self) -> int:
        """Return a raw, non-blocking descriptor of the host's client; closing it is the hang-up."""
        fcntl.ioctl(self.port.fileno(), UNLOCK, struct.pack("i", 0))
        (number,) = struct.unpack("i", fcntl.ioctl(self.port.fileno(), NUMBER, struct.pack("i", 0)))
        fd = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        tty.setraw(fd, TCSANOW)
        return fd
