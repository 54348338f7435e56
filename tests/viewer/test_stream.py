"""A stream of its own for consoles without ports: unix, TCP and TLS, on a real loop."""

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beds import Certificates, Identity

from sso.daemon.reactor import Reactor
from sso.errors import ConfigError
from sso.plug.plug import BACKLOG_MAX, PlugEvent, PlugInPoint, Start
from sso.viewer.stream import AGAIN_FIRST, CONNECT_TIME, STEADY_TIME, Stream

PORT = "spice.sso.0"


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


class Bed:
    """A stream to an address, with cat(1) as the plug-in."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.loop = Reactor(self.clock)
        self.said: list[PlugEvent] = []
        self.trouble: list[str] = []
        self.point = PlugInPoint([Start(PORT, ("/bin/cat",))], self.loop, self.said.append)
        self.stream: Stream | None = None

    def open(self, address: str, ca: str = "") -> Stream:
        plug = self.point.get(PORT)
        assert plug is not None
        self.stream = Stream(address, plug, self.loop, ca=ca, trouble=self.trouble.append)
        self.stream.open()
        return self.stream

    def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.loop.turn(0.02)


@pytest.fixture
def bed() -> Iterator[Bed]:
    bed = Bed()
    yield bed
    if bed.stream is not None:
        bed.stream.close()
    bed.point.kill()
    bed.loop.close()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "stream"))
        server.listen()
        yield server


def exchange(bed: Bed, peer: socket.socket, data: bytes) -> bytes:
    """Send what cat sends back, without waiting for either."""
    peer.setblocking(False)
    got, rest = bytearray(), memoryview(data)
    while len(got) < len(data):
        bed.loop.turn(0.01)
        try:
            rest = rest[peer.send(rest) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        try:
            got += peer.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
    return bytes(got)


@pytest.mark.proves("S070", "S136")
def test_a_unix_socket(bed: Bed, listening: socket.socket, tmp_path: Path) -> None:
    bed.open(f"unix:{tmp_path}/stream")
    bed.until(lambda: bool(bed.said))
    peer, _ = listening.accept()
    data = bytes(range(256)) * 4096
    with peer:
        assert exchange(bed, peer, data) == data
    assert bed.trouble == []


def test_it_comes_back_with_a_new_plug_in(bed: Bed, listening: socket.socket, tmp_path: Path) -> None:
    bed.open(f"unix:{tmp_path}/stream")
    bed.until(lambda: bool(bed.said))
    listening.accept()[0].close()
    bed.until(lambda: len(bed.said) == 2)
    assert bed.trouble == ["no stream for single sign-on: the stream was closed"]
    bed.clock.now += AGAIN_FIRST + 0.1
    bed.until(lambda: len(bed.said) == 3)
    assert [event.kind for event in bed.said] == ["started", "exited", "started"]
    assert bed.trouble[1:] == [""]


def test_tries_are_rarer_and_rarer_and_told_once(bed: Bed, tmp_path: Path) -> None:
    bed.open(f"unix:{tmp_path}/nobody")
    for pause in (1, 2, 4, 8, 16, 30, 30):
        bed.clock.now += pause - 0.01
        bed.loop.turn(0)
        bed.clock.now += 0.02
        bed.loop.turn(0)
    assert bed.trouble == ["no stream for single sign-on: No such file or directory"] and not bed.said


def test_left_is_left(bed: Bed, listening: socket.socket, tmp_path: Path) -> None:
    stream = bed.open(f"unix:{tmp_path}/stream")
    bed.until(lambda: bool(bed.said))
    stream.close()
    bed.until(lambda: len(bed.said) == 2)
    bed.clock.now += 1000
    bed.loop.turn(0)
    assert [event.kind for event in bed.said] == ["started", "exited"]
    peer, _ = listening.accept()
    with peer:
        assert peer.recv(1) == b""


def test_tcp(bed: Bed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bed.open(f"tcp:127.0.0.1:{server.getsockname()[1]}")
        bed.until(lambda: bool(bed.said))
        peer, _ = server.accept()
        with peer:
            assert exchange(bed, peer, b"x" * 100_000) == b"x" * 100_000


def tls_server(certificates: Certificates, shown: str = "guest") -> ssl.SSLContext:
    identity: Identity = getattr(certificates, shown)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def test_tls_checks_the_name(bed: Bed, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **kw: real("127.0.0.1", port, **kw))
        bed.open(f"tls:guest.test.example:{number}", ca=certificates.ca.read_text())
        bed.loop.turn(0.01)
        raw, _ = server.accept()
        raw.setblocking(False)
        with tls_server(certificates).wrap_socket(
            raw, server_side=True, do_handshake_on_connect=False
        ) as peer:
            while not bed.said:
                bed.loop.turn(0.01)
                try:
                    peer.do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
            assert exchange(bed, peer, b"y" * 200_000) == b"y" * 200_000


@pytest.mark.parametrize(
    ("name", "shown", "ca"),
    [
        ("other.test.example", "guest", True),
        ("guest.test.example", "guest", False),
        ("guest.test.example", "common_name", True),
    ],
)
def test_tls_refuses_another(
    bed: Bed, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, name: str, shown: str, ca: bool
) -> None:
    """Another name, the right one by a CA that nobody here has, or as a common name alone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **kw: real("127.0.0.1", port, **kw))
        bed.open(f"tls:{name}:{number}", ca=certificates.ca.read_text() if ca else "")
        bed.loop.turn(0.01)
        raw, _ = server.accept()
        raw.setblocking(False)
        with tls_server(certificates, shown).wrap_socket(
            raw, server_side=True, do_handshake_on_connect=False
        ) as peer:
            while not bed.trouble and not bed.said:
                bed.loop.turn(0.01)
                try:
                    peer.do_handshake()
                except OSError:
                    pass
    assert not bed.said
    assert "certificate" in bed.trouble[0] or "mismatch" in bed.trouble[0]


def test_one_that_never_answers(bed: Bed, certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bed.open(f"tls:127.0.0.1:{server.getsockname()[1]}", ca=certificates.ca.read_text())
        bed.loop.turn(0.01)
        bed.clock.now += CONNECT_TIME + 0.1
        bed.until(lambda: bool(bed.trouble))
    assert bed.trouble == ["no stream for single sign-on: no answer"]


# A name with several addresses


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives every name these addresses, with a real resolver's answer for each."""
    real = socket.getaddrinfo

    def has(*addresses: str) -> None:
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, port, **kw: [found for one in addresses for found in real(one, port, **kw)],
        )

    return has


def test_every_address_of_a_name_is_tried(bed: Bed, name: Callable[..., None]) -> None:
    """The first ones refuse, or cannot be reached by any route: only the last one is there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        name("127.0.0.2", "255.255.255.255", "127.0.0.3", "127.0.0.1")
        bed.open(f"tcp:console.test.example:{server.getsockname()[1]}")
        bed.until(lambda: bool(bed.said or bed.trouble))
        assert bed.said
        peer, _ = server.accept()
        with peer:
            assert exchange(bed, peer, b"x" * 1000) == b"x" * 1000
    assert [line for line in bed.trouble if line] == []


def test_an_address_that_never_answers_gives_way(
    bed: Bed, name: Callable[..., None], certificates: Certificates
) -> None:
    with socket.create_server(("127.0.0.2", 0)) as silent:
        number = silent.getsockname()[1]
        with socket.create_server(("127.0.0.1", number)) as server:
            name("127.0.0.2", "127.0.0.1")
            bed.open(f"tls:guest.test.example:{number}", ca=certificates.ca.read_text())
            held = silent.accept()[0]
            bed.loop.turn(0.01)
            bed.clock.now += CONNECT_TIME + 0.1
            with held:
                assert serve_tls(bed, server, certificates, "guest")
    assert [line for line in bed.trouble if line] == []


def serve_tls(bed: Bed, server: socket.socket, certificates: Certificates, shown: str) -> bool:
    """Answer one connection with a certificate; whether a plug-in was started on it."""
    server.setblocking(False)
    while True:
        bed.loop.turn(0.01)
        assert not any(bed.trouble), bed.trouble
        try:
            raw, _ = server.accept()
            break
        except BlockingIOError:
            pass
    raw.setblocking(False)
    context = tls_server(certificates, shown)
    with context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as peer:
        while not bed.said and not any(bed.trouble):
            bed.loop.turn(0.01)
            try:
                peer.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError:
                return False
    return bool(bed.said)


@pytest.mark.parametrize("shown", ["guest", "common_name", "other_name"])
def test_the_rule_for_a_certificate_is_the_same_at_every_address(
    bed: Bed, name: Callable[..., None], certificates: Certificates, shown: str
) -> None:
    """Where the first one shows another name, the second has to show the right one, in its SAN."""
    with socket.create_server(("127.0.0.2", 0)) as first:
        number = first.getsockname()[1]
        with socket.create_server(("127.0.0.1", number)) as second:
            name("127.0.0.2", "127.0.0.1")
            bed.open(f"tls:guest.test.example:{number}", ca=certificates.ca.read_text())
            assert not serve_tls(bed, first, certificates, "common_name")
            assert serve_tls(bed, second, certificates, shown) == (shown == "guest")
    bed.until(lambda: bool(bed.said or bed.trouble))
    assert bool(bed.said) == (shown == "guest")


# Who hangs up at once


def test_a_server_that_accepts_and_closes_is_asked_rarer_and_rarer(
    bed: Bed, listening: socket.socket, tmp_path: Path
) -> None:
    listening.setblocking(False)
    bed.open(f"unix:{tmp_path}/stream")
    for round, pause in enumerate((1, 2, 4, 8, 16, 30, 30)):
        listening.accept()[0].close()
        bed.until(lambda seen=2 * (round + 1): len(bed.said) >= seen)  # type: ignore[misc]
        bed.clock.now += pause - 0.01
        bed.loop.turn(0)
        with pytest.raises(BlockingIOError):
            listening.accept()
        bed.clock.now += 0.02
        bed.loop.turn(0)


def test_a_connection_that_lasts_is_asked_for_again_at_once(
    bed: Bed, listening: socket.socket, tmp_path: Path
) -> None:
    bed.open(f"unix:{tmp_path}/stream")
    for pause in (1, 2, 4):
        listening.accept()[0].close()
        bed.until(lambda: bool(bed.said) and bed.said[-1].kind == "exited")
        bed.clock.now += pause + 0.01
        bed.until(lambda: bed.said[-1].kind == "started")
    peer, _ = listening.accept()
    bed.clock.now += STEADY_TIME + 0.01
    bed.loop.turn(0)
    peer.close()
    bed.until(lambda: bed.said[-1].kind == "exited")
    bed.clock.now += AGAIN_FIRST + 0.01
    bed.until(lambda: bed.said[-1].kind == "started")


def test_a_name_that_no_host_can_have_is_said(bed: Bed) -> None:
    bed.open(f"tls:{'a' * 64}.example.org:6000")
    assert bed.trouble == ["no stream for single sign-on: no host can have this name"]


def test_a_plug_in_that_takes_nothing_holds_the_stream(
    bed: Bed, listening: socket.socket, tmp_path: Path
) -> None:
    bed.point = PlugInPoint([Start(PORT, ("/bin/sleep", "1000"))], bed.loop, bed.said.append)
    bed.open(f"unix:{tmp_path}/stream")
    bed.until(lambda: bool(bed.said))
    peer, _ = listening.accept()
    peer.setblocking(False)
    taken = 0
    with peer:
        for _ in range(200):
            bed.loop.turn(0.001)
            try:
                taken += peer.send(bytes(65536))
            except BlockingIOError:
                pass
    assert BACKLOG_MAX < taken < BACKLOG_MAX + 2 * 1024 * 1024


@pytest.mark.parametrize(
    "address", ["", "unix:", "tcp:host", "tcp:host:0", "tcp::1", "tls:h:99999", "ftp:h:1", "tcp:h:x"]
)
def test_what_is_no_address_is_said(bed: Bed, address: str) -> None:
    with pytest.raises(ConfigError, match="unix:PATH"):
        bed.open(address)
