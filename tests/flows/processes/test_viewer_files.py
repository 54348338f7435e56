"""Connection files as the world writes them: what remote-viewer opens, our viewer opens, at real servers."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from beds import Certificates
from beds_spice import TICKET, VNC_TICKET, Server, free_ports
from beds_viewer import Desktop
from connection_files import SHAPES, Shape

from sso.demo.programs import find_program
from sso.demo.relay import relay
from sso.demo.viewer import Screen

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOST, SECONDS = "127.0.0.1", 60.0


class Proxy:
    """An HTTP proxy that leads to one port, whatever host is asked for: a site's relay knows its tickets."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server((HOST, 0))
        self.address = f"http://{HOST}:{self._listening.getsockname()[1]}"
        self.asked: set[str] = set()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        """End, when the viewers have ended."""
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)

    def _serve(self) -> None:
        with self._listening, suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._threads.append(threading.Thread(target=self._tunnel, args=(client,)))
                self._threads[-1].start()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        with client:
            while not head.endswith(b"\r\n\r\n"):
                if not (octet := client.recv(1)):
                    return
                head += octet
            self.asked.add(head.split()[1].decode())
            client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            relay(client, socket.create_connection((HOST, self._to)), lambda sender, data: None)


class Site:
    """One machine with SPICE (plain, TLS, at a socket) and VNC, and what its connection files say of it."""

    def __init__(self, folder: Path, certificates: Certificates, ending: ExitStack) -> None:
        pki = folder / "pki"
        pki.mkdir()
        for name, source in (
            ("ca-cert.pem", certificates.ca),
            ("server-cert.pem", certificates.guest.certificate),
            ("server-key.pem", certificates.guest.key),
        ):
            (pki / name).write_bytes(source.read_bytes())
        port, tls, vnc = free_ports(3)
        options = f"port={port},tls-port={tls},addr={HOST},password-secret=ticket,x509-dir={pki}"
        self.tcp = self._serve(folder / "tcp", options, ending, f"{HOST}:{vnc - 5900},password-secret=short")
        self.unix = self._serve(folder / "unix", "unix=on,addr={path},disable-ticketing=on", ending)
        self.proxy = Proxy(tls)
        ending.callback(self.proxy.close)
        self._values = {
            "host": HOST,
            "port": port,
            "tls": tls,
            "vnc": vnc,
            "proxy": self.proxy.address,
            "ticket": TICKET,
            "vnc_ticket": VNC_TICKET,
            "socket": self.unix.path,
            "ca": certificates.ca.read_text().replace("\n", "\\n"),
            "subject": "CN=guest.test.example",
        }

    def _serve(self, folder: Path, options: str, ending: ExitStack, vnc: str = "") -> Server:
        folder.mkdir()
        server = Server(folder, options, {}, ("-vnc", vnc) if vnc else ())
        ending.callback(server.close)
        return server

    def file(self, folder: Path, shape: Shape) -> Path:
        """A connection file of that shape for this machine."""
        path = folder / "console.vv"
        path.write_bytes(shape.filled(**self._values))
        return path

    def is_seen(self, shape: Shape) -> bool:
        """Whether somebody looks at the console that files of this shape lead to."""
        if shape.kind == "vnc":
            return self.tcp.vnc_clients() > 0
        channels = (self.unix if "{socket}" in shape.text else self.tcp).channels()
        return {"main", "display", "inputs"} <= {kind for kind, _ in channels}

    def wait_until_left(self, shape: Shape) -> None:
        """Wait until nobody looks: who comes while a dead client is cleared away meets a race of QEMU's."""
        server = self.unix if "{socket}" in shape.text else self.tcp
        deadline = time.monotonic() + SECONDS
        while server.channels() or server.vnc_clients():
            assert time.monotonic() < deadline


@pytest.fixture(scope="module")
def site(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as ending:
        yield Site(tmp_path_factory.mktemp("site"), certificates, ending)


@contextmanager
def remote_viewer(path: Path, screen: Screen, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The viewer of others with a file."""
    env = {"PATH": os.environ["PATH"], "DISPLAY": screen.display, "HOME": str(folder), "NO_AT_BRIDGE": "1"}
    with (folder / "said").open("wb") as said:
        viewer = subprocess.Popen(
            [find_program("remote-viewer"), str(path)], env=env, stdout=said, stderr=said
        )
    try:
        yield viewer
    finally:
        viewer.kill()
        viewer.wait()


@pytest.mark.proves("S137")
@pytest.mark.parametrize("name", SHAPES)
def test_what_remote_viewer_opens_we_open(
    site: Site, desktop_of_alice: Desktop, tmp_path: Path, name: str
) -> None:
    shape, screen = SHAPES[name], desktop_of_alice.screen
    assert screen is not None
    path = site.file(tmp_path, shape)
    with remote_viewer(path, screen, tmp_path) as viewer:
        deadline = time.monotonic() + SECONDS
        while not site.is_seen(shape):
            assert viewer.poll() is None and time.monotonic() < deadline, (tmp_path / "said").read_text()
    site.wait_until_left(shape)
    path = site.file(tmp_path, shape)
    with desktop_of_alice.view(str(path), window=shape.kind == "vnc") as ours:
        ours.expect("connected to")
        assert site.is_seen(shape) or shape.kind == "spice"
        if "{proxy}" in shape.text:
            assert all(host.startswith("pvespiceproxy:") for host in site.proxy.asked) and site.proxy.asked
        assert path.exists() == ("delete-this-file=1" not in shape.text)
        assert ours.end() == 0
    site.wait_until_left(shape)


def test_a_file_that_is_refused_is_still_there(desktop_of_alice: Desktop, tmp_path: Path) -> None:
    """By its own values, and by the configuration of this desktop."""
    path = tmp_path / "console.vv"
    text = "[virt-viewer]\ntype=spice\nhost=127.0.0.1\nport=1\ndelete-this-file=1\n"
    for more, says in (
        ("secure-channels=null\n", "secure-channels: 'null' says nothing"),
        ("[x-sso]\nport=spice.other.0\n", "about the port spice.other.0, which has no plug-in"),
    ):
        path.write_text(text + more)
        with desktop_of_alice.view(str(path), window=False) as viewer:
            assert viewer.wait() == 2
            assert says in viewer.lines[-1] and path.exists()
    path.write_text(text)
    with desktop_of_alice.view(str(path), DISPLAY=":4711") as viewer:
        assert viewer.wait() == 1 and "--no-window" in viewer.lines[-1] and path.exists()
