"""Devices: the master of a pty in place of the guest's virtio port; and the port in memory."""

import errno
import fcntl
import os
import time

import pytest
from fake_port import FakePort, PtyDevice, open_files

from sso.errors import PortClosed
from sso.ports import port as ports
from sso.ports.port import DEVICE_WRITE_MAX, DevicePort, open_port


def test_a_device_is_opened_for_nobody_else(device: PtyDevice) -> None:
    fd = device.port.fileno()
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_RDWR | os.O_NONBLOCK) == os.O_RDWR | os.O_NONBLOCK
    assert not os.get_inheritable(fd)


def test_nobody_there_then_somebody_then_nobody(device: PtyDevice) -> None:
    port = device.port
    assert port.read() == b""
    host = device.attach()
    assert port.read() is None
    os.write(host, b"hello")
    assert port.read() == b"hello"
    assert port.write(memoryview(b"answer")) == 6
    assert os.read(host, 100) == b"answer"
    os.close(host)
    assert port.read() == b""


def test_reopening_drops_what_the_last_client_left(device: PtyDevice) -> None:
    host = device.attach()
    os.write(host, b"stale")
    os.close(host)
    device.port.flush_input()
    host = device.attach()
    os.write(host, b"fresh")
    assert device.port.read() == b"fresh"
    os.close(host)


class Opening:
    """os.open that fails so many times with one error, and the sleeps between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int, times: int) -> None:
        self.left, self.slept = times, 0.0
        real = os.open

        def fails(path: str, flags: int) -> int:
            if self.left:
                self.left -= 1
                raise OSError(error, os.strerror(error))
            return real(path, flags)

        def sleep(seconds: float) -> None:
            self.slept += seconds

        monkeypatch.setattr(os, "open", fails)
        monkeypatch.setattr(time, "sleep", sleep)


def test_a_busy_device_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opening = Opening(monkeypatch, errno.EBUSY, 1)
    with pytest.raises(PortClosed, match="/dev/ptmx: another program has it open"):
        open_port("/dev/ptmx")
    assert opening.slept == 0


def test_reopening_waits_for_the_last_holder(device: PtyDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = Opening(monkeypatch, errno.EBUSY, 3)
    device.port.flush_input()
    assert opening.left == 0 and 0 < opening.slept < 0.5
    assert device.port.read() is None


@pytest.mark.parametrize(
    ("error", "reason"), [(errno.EBUSY, "another program"), (errno.ENXIO, "No such device")]
)
def test_reopening_gives_up(
    device: PtyDevice, monkeypatch: pytest.MonkeyPatch, error: int, reason: str
) -> None:
    opening = Opening(monkeypatch, error, 10**6)
    with pytest.raises(PortClosed, match=reason):
        device.port.flush_input()
    assert opening.slept < 1.0
    assert device.port.fileno() == -1, "no other file is taken for the port, nor closed with it"
    assert device.port.read() == b""
    with pytest.raises(PortClosed):
        device.port.write(b"x")


def test_one_write_is_at_most_what_the_kernel_takes(
    device: PtyDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = []

    def write(fd: int, data: memoryview) -> int:
        offered.append((type(data), len(data)))
        return len(data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        assert device.port.write(bytearray(100_000)) == DEVICE_WRITE_MAX
    assert offered == [(memoryview, DEVICE_WRITE_MAX)], "a view: no second copy of what may be a secret"


@pytest.mark.parametrize(
    ("error", "read", "written"),
    [(errno.EAGAIN, None, 0), (errno.ENODEV, b"", None), (errno.ENXIO, b"", None), (errno.EIO, b"", None)],
)
def test_errors_of_a_device(
    device: PtyDevice, monkeypatch: pytest.MonkeyPatch, error: int, read: bytes | None, written: int | None
) -> None:
    def fails(fd: int, what: object) -> bytes:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", fails)
        patched.setattr(os, "write", fails)
        assert device.port.read() == read
        if written is None:
            with pytest.raises(PortClosed, match="/dev/ptmx: "):
                device.port.write(b"x")
        else:
            assert device.port.write(b"x") == written


@pytest.mark.proves("S109")
def test_a_name_is_looked_up_among_the_virtio_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "DEVICES", "/dev/")
    port = open_port("virtio:ptmx", listen=True)
    assert isinstance(port, DevicePort) and port.name == "/dev/ptmx"
    port.close()


def test_a_hundred_reopenings_leak_nothing(device: PtyDevice) -> None:
    before = open_files()
    for _ in range(100):
        device.port.flush_input()
    assert open_files() == before


# The stand-in


def test_the_fake_answers_as_the_facts_say() -> None:
    port = FakePort()
    assert port.read() == b"" and port.write(b"x") == 0, "no client"
    port.attach()
    assert port.read() is None and port.write(bytes(100_000)) == 32768, "a client, no data"
    port.send(b"a" * 5000)
    assert port.read() == b"a" * 4096
    port.detach()
    port.attach()
    assert port.take() == b"", "what the host had not taken is lost"
    port.send(b"next")
    assert port.read() == b"a" * 904 + b"next", "glued in front"
    port.send(b"stale")
    port.flush_input()
    assert port.read() is None and port.reopened == 1
    port.unplug()
    assert port.read() == b""
    with pytest.raises(PortClosed):
        port.write(b"x")
    port.close()
