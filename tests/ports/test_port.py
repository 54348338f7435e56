"""Ports: every form of address, flags that stay, hang-ups, short writes, and nothing left open."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_port import FakePort

from sso.errors import ConfigError, PortClosed
from sso.ports import port as ports
from sso.ports.port import (
    FLUSH_MAX,
    FilePort,
    ListenPort,
    Port,
    SocketPort,
    open_port,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "port.sock")


@pytest.fixture
def stdio(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets a test replace descriptors 0 and 1."""
    saved = os.dup(0), os.dup(1)
    yield
    for number, fd in enumerate(saved):
        os.dup2(fd, number)
        os.close(fd)


def fill(port: Port) -> int:
    """Write until it would block; return how many bytes that were."""
    written = 0
    while taken := port.write(bytes(65536)):
        written += taken
    return written


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        *("", "stdio:", "STDIO", "fd:", "fd:x", "fd:-1", "fd:²", "fd: 1", "fd:99999999999999999999"),
        *("unix:", "unix:a\0b", "unix:\0a", "tcp:", "tcp:22", "tcp:host", "tcp:host:", "tcp::22"),
        *(
            "tcp:host:x",
            "tcp:host:²",
            "tcp:host:65536",
            "tcp:host:-1",
            "tcp:::1:22",
            "tcp:[]:22",
            "tcp:[::1:22",
        ),
        *("virtio:", "virtio:../mem", "/dev/a\0b", "dev/ptmx", "serial:x", "fd:" + "1" * 5000),
    ],
)
@pytest.mark.parametrize("listen", [False, True])
def test_a_wrong_address_names_the_forms(address: str, listen: bool) -> None:
    with pytest.raises(ConfigError, match=r"stdio, fd:N, unix:PATH, tcp:HOST:PORT .*brackets.*virtio:NAME"):
        open_port(address, listen)


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_a_name_that_no_host_can_have(host: str) -> None:
    with pytest.raises(ConfigError):
        open_port(f"tcp:{host}:22")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("fd:1000000", "Bad file descriptor"),
        ("unix:/nowhere/port", "No such file"),
        ("unix:/" + "x" * 200, "too long"),
        ("tcp:127.0.0.1:1", "refused"),
        ("virtio:no.such.port", "/dev/virtio-ports/no.such.port: No such file"),
        ("/dev/no-such-device", "/dev/no-such-device: No such file"),
        ("/dev", "Is a directory"),
    ],
)
def test_what_cannot_be_opened_says_why(address: str, reason: str) -> None:
    with pytest.raises(PortClosed, match=reason):
        open_port(address)


def test_a_mistyped_path_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is no device"):
        open_port(str(tmp_path / "file"))


def test_a_socket_of_messages_is_refused() -> None:
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(ConfigError, match="no stream"):
        open_port(f"fd:{ours.fileno()}")


# Descriptors


def status_flags(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETFL)


def exercise(port: Port, hear: int, say: int) -> None:
    """The whole interface once, and no blocking anywhere; `hear` and `say` are the peer's ends."""
    assert port.read() is None
    os.write(say, b"question")
    assert port.read(5) == b"quest"
    assert port.read() == b"ion"
    for data in (b"an", bytearray(b"sw"), memoryview(b"er")):
        assert port.write(data) == 2
    assert os.read(hear, 100) == b"answer"
    assert 0 < fill(port) < 2**24
    os.write(say, b"left behind")
    port.flush_input()
    assert port.read() is None


@pytest.mark.parametrize("address", ["stdio", "fd"])
def test_one_socket_keeps_its_flags(stdio: None, address: str) -> None:
    theirs, ours = socket.socketpair()
    with theirs, ours:
        os.dup2(ours.fileno(), 0)
        os.dup2(ours.fileno(), 1)
        port = open_port("stdio" if address == "stdio" else f"fd:{ours.fileno()}")
        assert isinstance(port, SocketPort)
        assert port.fileno() == port.write_fileno() > 2
        exercise(port, theirs.fileno(), theirs.fileno())
        assert not status_flags(ours.fileno()) & os.O_NONBLOCK
        port.close()


@pytest.mark.parametrize("kind", ["pipes", "sockets", "socket and pipe"])
@pytest.mark.parametrize("blocking", [True, False])
def test_two_ends_get_their_flags_back(stdio: None, kind: str, blocking: bool) -> None:
    pairs = {"pipes": [os.pipe, os.pipe], "sockets": [_pair, _pair], "socket and pipe": [_pair, os.pipe]}[
        kind
    ]
    (reader, say), (hear, writer) = (make() for make in pairs)
    for fd in (reader, writer):
        os.set_blocking(fd, blocking)
    os.dup2(reader, 0)
    os.dup2(writer, 1)
    port = open_port("stdio")
    assert isinstance(port, FilePort)
    exercise(port, hear, say)
    port.close()
    port.close()
    assert [os.get_blocking(fd) for fd in (reader, writer)] == [blocking, blocking]
    assert port.read() == b"" and port.fileno() == -1
    for fd in (reader, say, hear, writer):
        os.close(fd)


def _pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def test_a_terminal_by_its_descriptor() -> None:
    master, slave = os.openpty()
    port = open_port(f"fd:{master}")
    assert port.read() is None and port.fileno() == port.write_fileno()
    os.close(slave)
    assert port.read() == b"", "EIO of a pty is a hang-up"
    port.close()
    assert os.get_blocking(master)
    os.close(master)


@pytest.mark.parametrize("make", [_pair, os.pipe])
def test_a_peer_that_is_gone(make: type) -> None:
    far, near = make()
    port = open_port(f"fd:{near}")
    os.close(far)
    with pytest.raises(PortClosed, match=f"fd:{near}: Broken pipe"):
        port.write(b"lost")
    if make is _pair:
        assert port.read() == port.read() == b""
    port.close()
    os.close(near)


def test_what_was_said_before_a_reset_is_read() -> None:
    ours, theirs = socket.socketpair()
    port = open_port(f"fd:{ours.fileno()}")
    port.write(b"never read")
    theirs.send(b"reason")
    theirs.close()
    assert [port.read(), port.read()] == [b"reason", b""]
    port.close()
    ours.close()


# Sockets


@pytest.mark.parametrize("family", ["unix", "tcp", "tcp6", "name"])
def test_connect_and_listen(family: str, path: str) -> None:
    host = {"unix": "", "tcp": "127.0.0.1", "tcp6": "[::1]", "name": "localhost"}[family]
    guest = open_port(f"tcp:{host}:0" if host else f"unix:{path}", listen=True)
    assert isinstance(guest, ListenPort)
    address = f"unix:{path}"
    if host:
        with socket.socket(fileno=os.dup(guest.fileno())) as listener:
            address = f"tcp:{host}:{listener.getsockname()[1]}"
    assert guest.read() is None and guest.write(b"to nobody") == 0
    client = open_port(address)
    assert guest.read() is None and guest.connected
    exercise(client, guest.fileno(), guest.fileno())
    guest.flush_input()
    assert guest.connected, "to flush is not to hang up"
    if host:
        for end in (client, guest):
            with socket.socket(fileno=os.dup(end.fileno())) as stream:
                assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    client.close()
    guest.close()


def test_only_the_owner_may_connect_and_the_name_goes_away(path: str) -> None:
    before = os.umask(0)
    try:
        port = open_port(f"unix:{path}", listen=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    pid = os.fork()
    if pid == 0:
        port.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.path.exists(path), "a child's copy is not the owner"
    port.close()
    assert not os.path.exists(path)


def test_a_stale_socket_is_replaced_and_a_file_is_not(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    open_port(f"unix:{path}", listen=True).close()
    Path(path).touch()
    with pytest.raises(PortClosed, match="already in use"):
        open_port(f"unix:{path}", listen=True)
    assert os.path.exists(path)


def test_one_client_at_a_time(path: str) -> None:
    guest = open_port(f"unix:{path}", listen=True)
    first, second = (open_port(f"unix:{path}") for _ in range(2))
    first.write(b"first")
    second.write(b"second")
    assert guest.read() == b"first"
    assert guest.read() is None
    first.write(b"unread")
    first.close()
    assert guest.read(3) == b"unr"
    assert guest.read() == b"ead"
    assert guest.read() == b"", "the hang-up"
    guest.flush_input()
    assert not guest.connected
    assert guest.read() == b"second", "nothing of the first is left"
    second.close()
    guest.close()


def test_a_client_that_hung_up_is_let_go_however_much_it_left(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(ports, "FLUSH_MAX", ports.READ_MAX)  # below what a socket holds
    guest = open_port(f"unix:{path}", listen=True)
    client = open_port(f"unix:{path}")
    assert fill(client) > 2 * ports.READ_MAX and guest.read(1)
    client.close()
    guest.flush_input()
    assert not guest.connected
    guest.close()


def test_a_flood_does_not_hold_a_flush() -> None:
    class Flood(FakePort):
        read_octets = 0

        def read(self, size: int = 0) -> bytes:
            self.read_octets += size
            return bytes(size)

    port = Flood()
    Port.flush_input(port)  # size left to its default: what the class under test asks for
    assert port.read_octets <= FLUSH_MAX
    port.close()


@pytest.mark.slow
def test_a_full_backlog_is_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(ports, "CONNECT_TIME", 1)
    guest = open_port(f"unix:{path}", listen=True)
    waiting = [open_port(f"unix:{path}") for _ in range(2)]
    with pytest.raises(PortClosed, match=f"unix:{path}"):
        open_port(f"unix:{path}")
    for port in (*waiting, guest):
        port.close()


# Many times


@pytest.mark.parametrize("form", ["fd", "unix"])
def test_ten_thousand_times_leak_nothing(form: str, path: str) -> None:
    # The fixture counts what is left open.
    ours, theirs = socket.socketpair()
    guest = open_port(f"unix:{path}", listen=True)
    with ours, theirs:
        for _ in range(10_000 if form == "fd" else 2_000):
            client = open_port(f"fd:{ours.fileno()}" if form == "fd" else f"unix:{path}")
            if form == "unix":
                assert guest.read() is None
            client.close()
            guest.flush_input()
    guest.close()


def test_pipes_leak_nothing_either() -> None:
    reader, writer = os.pipe()
    for _ in range(2_000):
        open_port(f"fd:{reader}").close()
    os.close(reader)
    os.close(writer)
