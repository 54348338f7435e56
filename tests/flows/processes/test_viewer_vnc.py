"""The viewer at VNC servers: QEMU's with a password, and hostile ones that ask for too much."""

import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from beds import Certificates
from beds_spice import VNC_TICKET, MakeServer
from beds_viewer import Desktop, press, seen_in

from sso.demo import viewer as demo_viewer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
VERSION = b"RFB 003.008\n"
ARD, VENCRYPT, NONE = 30, 19, 1
PLAIN, TLS_PLAIN, TLS_SASL = 256, 259, 264
USER, SECRET = "alice", "hunter2"


@pytest.fixture
def guarded(server: MakeServer, tmp_path: Path) -> str:
    """The socket of a VNC server that wants a password."""
    server(vnc=("-vnc", f"unix:{tmp_path}/vnc.sock,password-secret=short"))
    return f"{tmp_path}/vnc.sock"


def vnc_file(folder: Path, where: str, password: str) -> str:
    path = folder / "vnc.vv"
    path.write_text(f"[virt-viewer]\ntype=vnc\n{where}\nusername={USER}\npassword={password}\n")
    return str(path)


def test_a_console_with_a_password_opens(guarded: str, desktop_of_alice: Desktop, tmp_path: Path) -> None:
    with desktop_of_alice.view(vnc_file(tmp_path, f"unix-path={guarded}", VNC_TICKET)) as viewer:
        viewer.expect("connected to")
        assert viewer.end() == 0
    assert not any("fault" in line or VNC_TICKET in line for line in viewer.lines), viewer.lines


ANONYMOUS = ",tls-creds=anonymous"


@pytest.mark.parametrize("options", ["", ANONYMOUS, f"{ANONYMOUS},password-secret=short"])
def test_the_other_logins_of_qemu_open(
    server: MakeServer, desktop_of_alice: Desktop, tmp_path: Path, options: str
) -> None:
    """None, and VeNCrypt with anonymous TLS, without and with a password."""
    creds = ("-object", "tls-creds-anon,id=anonymous,endpoint=server")
    server(vnc=(*creds, "-vnc", f"unix:{tmp_path}/vnc.sock{options}"))
    with desktop_of_alice.view(vnc_file(tmp_path, f"unix-path={tmp_path}/vnc.sock", VNC_TICKET)) as viewer:
        viewer.expect("connected to")
        assert viewer.end() == 0


def test_a_wrong_password_is_said_and_another_one_asked_for(
    guarded: str, desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    with desktop_of_alice.view(vnc_file(tmp_path, f"unix-path={guarded}", "wrong")) as viewer:
        viewer.expect("the console's password is wrong or too old")
        seen_in(desktop_of_alice, "Console password")
        for key in VNC_TICKET:
            press(desktop_of_alice, {"-": "minus"}.get(key, key))
        press(desktop_of_alice, "Return")
        viewer.expect("connected to")


def test_without_a_password_one_is_asked_for(guarded: str, desktop_of_alice: Desktop) -> None:
    with desktop_of_alice.view(f"vnc+unix://{guarded}") as viewer:
        viewer.expect("the console asks for a password")
        seen_in(desktop_of_alice, "Console password")
        for key in VNC_TICKET:
            press(desktop_of_alice, {"-": "minus"}.get(key, key))
        press(desktop_of_alice, "Return")
        viewer.expect("connected to")


# Servers that offer what they like


class Stranger:
    """A VNC server that offers some kinds of login, and keeps all that a viewer says after its version."""

    def __init__(
        self, offer: bytes, *answers: tuple[int, bytes], context: ssl.SSLContext | None = None
    ) -> None:
        self.heard = bytearray()
        self._context = context  # TLS begins behind the answers
        self.over = threading.Event()
        self._offer, self._answers = offer, answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.where = f"host=127.0.0.1\nport={self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        with self._listening.accept()[0] as viewer:
            viewer.sendall(VERSION)
            assert viewer.recv(len(VERSION), socket.MSG_WAITALL) == VERSION
            viewer.sendall(self._offer)
            for size, answer in self._answers:
                self.heard += viewer.recv(size, socket.MSG_WAITALL)
                viewer.sendall(answer)
            if self._context is not None:
                self._inside(viewer, self._context)
            else:
                self._listen(viewer)
        self.over.set()

    def _inside(self, viewer: socket.socket, context: ssl.SSLContext) -> None:
        self.heard.clear()
        with suppress(OSError), context.wrap_socket(viewer, server_side=True) as inside:
            self._listen(inside)

    def _listen(self, viewer: socket.socket) -> None:
        while data := viewer.recv(4096):
            self.heard += data


@pytest.fixture
def stranger() -> Iterator[Callable[..., Stranger]]:
    made: list[Stranger] = []

    def make(*given: object, **more: object) -> Stranger:
        made.append(Stranger(*given, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def offer(*types: int) -> bytes:
    return bytes((len(types), *types))


def subtypes(*kinds: int) -> bytes:
    """VeNCrypt 0.2: its version, then (when that was chosen) an acknowledgement and the sub-types."""
    return struct.pack(f">BB{len(kinds)}I", 0, len(kinds), *kinds)


def test_ard_gets_nothing(
    stranger: Callable[..., Stranger], desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    """It would be the user's name and the ticket, under a group of 128 bits that the server has chosen."""
    # Generator, key length, prime and public key, in case that it is chosen all the same.
    greedy = stranger(offer(ARD), (1, struct.pack(">HH16s16s", 2, 16, b"\xff" * 15 + b"\x61", b"\x02" * 16)))
    with desktop_of_alice.view(vnc_file(tmp_path, greedy.where, SECRET)) as viewer:
        viewer.expect(r"the console offers no login that is answered here, only ARD \(30\)")
        assert greedy.over.wait(60)
    assert bytes(greedy.heard) == b""


def test_the_kind_that_tells_nothing_is_taken_beside_ard(
    stranger: Callable[..., Stranger], desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    other = stranger(offer(ARD, NONE, 20, 113), (1, b""))
    with desktop_of_alice.view(vnc_file(tmp_path, other.where, SECRET)):
        while not other.heard:
            pass
    assert other.heard[0] == NONE


def test_inside_vencrypt_no_password_goes_to_a_server_that_nobody_knows(
    stranger: Callable[..., Stranger], desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    greedy = stranger(offer(ARD, VENCRYPT), (1, b"\x00\x02"), (2, subtypes(PLAIN, TLS_PLAIN, TLS_SASL)))
    with desktop_of_alice.view(vnc_file(tmp_path, greedy.where, SECRET)) as viewer:
        viewer.expect(
            r"no login that is answered here, only Plain \(256\), TLSPlain \(259\), TLSSASL \(264\)"
        )
        assert greedy.over.wait(60)
    assert bytes(greedy.heard) == bytes((VENCRYPT, 0, 2))


@pytest.mark.parametrize("subtype", [260, 261, 262])
def test_a_certificate_that_nobody_here_knows_gets_nothing(
    stranger: Callable[..., Stranger],
    desktop_of_alice: Desktop,
    tmp_path: Path,
    certificates: Certificates,
    subtype: int,
) -> None:
    """That a name and a password may be told inside of X.509 rests on this."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.guest.certificate, certificates.guest.key)
    greedy = stranger(
        offer(VENCRYPT), (1, b"\x00\x02"), (2, subtypes(subtype)), (4, b"\x01"), context=context
    )
    with desktop_of_alice.view(vnc_file(tmp_path, greedy.where, SECRET)) as viewer:
        assert greedy.over.wait(60)
        assert bytes(greedy.heard) == b""
        viewer.expect("the console cannot be shown|the connection to the console is lost")


# A fault of our own

BROKEN = """
from sso.viewer import {module}

def fault(*_):
    raise LookupError("{secret}")

{module}.{name} = fault
"""


@pytest.mark.parametrize(
    ("module", "name"), [("vnc", "VncConsole._credential"), ("vnc", "VncConsole._choose_type")]
)
def test_a_fault_in_a_callback_ends_the_console_with_a_line(
    guarded: str,
    desktop_of_alice: Desktop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
) -> None:
    broken = BROKEN.format(module=module, name=name, secret=SECRET)
    monkeypatch.setattr(
        demo_viewer,
        "_RUN",
        demo_viewer._RUN.replace("from sso.viewer.main", f"exec({broken!r}); from sso.viewer.main"),
    )
    with desktop_of_alice.view(vnc_file(tmp_path, f"unix-path={guarded}", VNC_TICKET)) as viewer:
        viewer.expect("an error in the viewer itself has ended the console, please report it: LookupError at")
        assert viewer.end(signal.SIGTERM) == 0
    assert not any(SECRET in line or "Traceback" in line for line in viewer.lines), viewer.lines


def test_a_fault_over_spice_without_a_window_ends_the_viewer(
    server: MakeServer, desktop_of_alice: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = BROKEN.format(module="spice", name="SpiceConsole._main_event", secret=SECRET)
    monkeypatch.setattr(
        demo_viewer,
        "_RUN",
        demo_viewer._RUN.replace("from sso.viewer.main", f"exec({broken!r}); from sso.viewer.main"),
    )
    with desktop_of_alice.view(f"spice+unix://{server().path}", window=False) as viewer:
        assert viewer.wait() == 1
    assert "an error in the viewer itself" in viewer.lines[-1] and SECRET not in viewer.lines[-1]
