"""The viewer at a real SPICE server, QEMU's, of a machine that stands still: files, TLS, passwords."""

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from beds import Certificates
from beds_spice import TICKET, MakeServer, Server, free_ports
from beds_viewer import Desktop, press, seen_in
from signed_files import NOW, SPN, entered, look, opened, site

from sso.console import connection_file
from sso.console.entry import ShownAt
from sso.console.signed import Asked
from sso.demo.programs import find_program
from sso.demo.viewer import Screen

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_what_is_not_there_is_said(desktop_of_alice: Desktop, tmp_path: Path) -> None:
    with desktop_of_alice.view(f"spice+unix://{tmp_path}/nobody", window=False) as viewer:
        assert viewer.wait() == 1
        assert viewer.lines[-1] == "sso-viewer: nobody answers at the console's address"


def test_a_server_that_ends_is_said(server: MakeServer, desktop_of_alice: Desktop) -> None:
    machine = server()
    with desktop_of_alice.view(f"spice+unix://{machine.path}", window=False) as viewer:
        viewer.expect("connected to")
        machine.close()
        assert viewer.wait() == 1
        assert "the connection to the console is lost" in viewer.lines[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("window", [True, False])
def test_told_to_end_it_ends_well(
    server: MakeServer, desktop_of_alice: Desktop, number: signal.Signals, window: bool
) -> None:
    with desktop_of_alice.view(f"spice+unix://{server().path}", window=window) as viewer:
        viewer.expect("connected to")
        assert viewer.end(number) == 0
        assert viewer.lines[-1].startswith("sso-viewer: left"), viewer.lines


def test_without_a_display_it_says_so(server: MakeServer, desktop_of_alice: Desktop) -> None:
    where = f"spice+unix://{server().path}"
    with desktop_of_alice.view(where, DISPLAY=":4711") as viewer:
        assert viewer.wait() == 1
        assert "--no-window" in viewer.lines[-1]


@pytest.mark.proves("S137")
def test_a_file_with_a_ticket_is_used_once(
    server: MakeServer, desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    machine = server("unix=on,addr={path},password-secret=ticket")
    file = tmp_path / "console.vv"
    text = f"[virt-viewer]\ntype=spice\nunix-path={machine.path}\ntitle=My machine\ndelete-this-file=1\n"
    file.write_text(f"{text}password={TICKET}\n[x-sso]\nspn=host/vm.example.org\n")
    with desktop_of_alice.view(str(file), window=False) as viewer:
        viewer.expect("connected to My machine")
        assert not file.exists()
        assert viewer.end() == 0
    file.write_text(f"{text}password=wrong\n")
    with desktop_of_alice.view(str(file), window=False) as viewer:
        assert viewer.wait() == 1
        assert viewer.lines[-1].endswith("the console's password is wrong or too old")
    assert not any(TICKET in line for line in viewer.lines)


def test_a_password_is_asked_for_in_the_window(server: MakeServer, desktop_of_alice: Desktop) -> None:
    machine = server("unix=on,addr={path},password-secret=ticket")
    with desktop_of_alice.view(f"spice+unix://{machine.path}") as viewer:
        viewer.expect("password is wrong")
        seen_in(desktop_of_alice, "Console password")
        for key in TICKET:
            press(desktop_of_alice, {"-": "minus"}.get(key, key))
        press(desktop_of_alice, "Return")
        viewer.expect("connected to")


@pytest.fixture
def certified(certificates: Certificates, tmp_path: Path) -> dict[str, object]:
    """A folder as QEMU wants it, and what a file says of it."""
    folder = tmp_path / "pki"
    folder.mkdir()
    for name, source in (
        ("ca-cert.pem", certificates.ca),
        ("server-cert.pem", certificates.guest.certificate),
        ("server-key.pem", certificates.guest.key),
    ):
        (folder / name).write_bytes(source.read_bytes())
    ca = certificates.ca.read_text().replace("\n", "\\n")
    return {"folder": folder, "ca": ca}


@pytest.mark.parametrize("both", [True, False])
def test_every_channel_uses_tls_where_there_is_tls(
    server: MakeServer, desktop_of_alice: Desktop, certified: dict[str, object], tmp_path: Path, both: bool
) -> None:
    """The stock library carries the port in the clear where the server lists the channels for TLS."""
    plain, secure = free_ports(2)
    ports = f"port={plain},tls-port={secure}" if both else f"tls-port={secure}"
    options = f"{ports},addr=127.0.0.1,disable-ticketing=on,x509-dir={certified['folder']}"
    machine = server(f"{options},tls-channel=main,tls-channel=display" if both else options)
    file = tmp_path / "console.vv"
    named = f"port={plain}\n" if both else ""
    file.write_text(
        f"[virt-viewer]\ntype=spice\nhost=127.0.0.1\n{named}tls-port={secure}\n"
        f"ca={certified['ca']}\nhost-subject=CN=guest.test.example\n"
    )
    with desktop_of_alice.view(str(file)) as viewer:
        viewer.expect("connected to")
        while len(machine.channels()) < 5:
            pass
        found = machine.channels()
        assert {encrypted for _, encrypted in found} == {True}
        assert "port" in {kind for kind, _ in found}


def test_a_file_may_leave_the_ports_out(
    server: MakeServer, desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    machine = server()
    file = tmp_path / "console.vv"
    file.write_text(f"[virt-viewer]\ntype=spice\nunix-path={machine.path}\ndisable-channels=port\n")
    with desktop_of_alice.view(str(file)) as viewer:
        viewer.expect("connected to")
        while {"display", "inputs"} - (found := {kind for kind, _ in machine.channels()}):
            pass
        assert "port" not in found


@pytest.mark.parametrize("wrong", ["subject", "ca"])
def test_another_certificate_is_refused(
    server: MakeServer,
    desktop_of_alice: Desktop,
    certified: dict[str, object],
    tmp_path: Path,
    wrong: str,
) -> None:
    (secure,) = free_ports(1)
    server(f"tls-port={secure},addr=127.0.0.1,disable-ticketing=on,x509-dir={certified['folder']}")
    subject = "CN=other.test.example" if wrong == "subject" else "CN=guest.test.example"
    ca = f"ca={certified['ca']}\n" if wrong == "subject" else ""
    file = tmp_path / "console.vv"
    file.write_text(
        f"[virt-viewer]\ntype=spice\nhost=127.0.0.1\ntls-port={secure}\nhost-subject={subject}\n{ca}"
    )
    with desktop_of_alice.view(str(file), window=False) as viewer:
        assert viewer.wait() == 1
        assert viewer.lines[-1].endswith("the console's certificate is not the one that was asked for")


def test_it_is_left_and_looked_at_again_by_hand_alone(server: MakeServer, desktop_of_alice: Desktop) -> None:
    where = f"spice+unix://{server().path}"
    with desktop_of_alice.view(where) as viewer:
        viewer.expect("connected to")
        with desktop_of_alice.view(where, window=False) as second:
            second.expect("connected to")
            viewer.expect("the connection to the console is lost")
            assert second.end() == 0
        press(desktop_of_alice, "space")  # "Connect again" has the focus
        viewer.expect("connected to", count=2)


def test_a_plug_in_that_cannot_run_leaves_the_console(server: MakeServer, desktop_of_alice: Desktop) -> None:
    (desktop_of_alice.plug_ins / "spice-client-sso").chmod(0o775)
    with desktop_of_alice.view(f"spice+unix://{server().path}", window=False) as viewer:
        viewer.expect("no plug-in for spice.sso.0: .*others may change it")
        viewer.expect("connected to")


# Under two signatures (docs/connection-file.md)

LOOPBACK = "127.0.0.1"


@pytest.fixture
def signed_file(server: MakeServer, tmp_path: Path) -> tuple[Path, Server]:
    """A file of a console that wants a ticket, under both signatures; and the console's machine."""
    (port,) = free_ports(1)
    machine = server(f"port={port},addr={LOOPBACK},password-secret=ticket")
    text = f"[virt-viewer]\ntype=spice\nhost={LOOPBACK}\nport={port}\npassword={TICKET}\n[x-sso]\nspn={SPN}\n"
    octets = opened(entered(text.encode(), consoles=(ShownAt(relay=LOOPBACK),)))
    trusting = site()._replace(consoles=(LOOPBACK,))
    found = look(octets, Asked(LOOPBACK, spn=SPN), trusting, now=NOW)
    assert found.entry is not None and found.opening is not None, found.notes
    path = tmp_path / "console.vv"
    path.write_bytes(octets)
    return path, machine


def test_stock_remote_viewer_opens_a_signed_file(
    signed_file: tuple[Path, Server], screen: Screen, tmp_path: Path
) -> None:
    path, machine = signed_file
    env = {"PATH": os.environ["PATH"], "DISPLAY": screen.display, "HOME": str(tmp_path), "NO_AT_BRIDGE": "1"}
    with (tmp_path / "said").open("wb") as said:
        viewer = subprocess.Popen(
            [find_program("remote-viewer"), str(path)], env=env, stdout=said, stderr=said
        )
    try:
        while {"main", "display", "inputs"} - {kind for kind, _ in machine.channels()}:
            assert viewer.poll() is None, (tmp_path / "said").read_text()
    finally:
        viewer.kill()
        viewer.wait()
    assert "signature" not in (tmp_path / "said").read_text()


def test_our_viewer_opens_a_signed_file_and_reads_the_same_console(
    signed_file: tuple[Path, Server], desktop_of_alice: Desktop
) -> None:
    path, _ = signed_file
    with desktop_of_alice.view(str(path), window=False) as viewer:
        viewer.expect(f"connected to {LOOPBACK}")
    signed = connection_file.read(str(path))
    path.write_bytes(path.read_bytes().partition(b"[x-sso-entry]")[0])
    plain = connection_file.read(str(path))
    assert signed._replace(password=None) == plain._replace(password=None)
    assert signed.password is not None and plain.password is not None
    assert signed.password.secret == plain.password.secret == bytearray(TICKET.encode())


def _weak(folder: Path) -> Path:
    """A certificate of 127.0.0.1 with its key, which is too short for anybody's default (SECLEVEL)."""
    path = folder / "weak.pem"
    new = ["req", "-x509", "-newkey", "rsa:1024", "-noenc", "-days", "9", "-subj", "/CN=weak"]
    name = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run([find_program("openssl"), *new, *name, *files], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.mark.parametrize("ciphers", ["aNULL:@SECLEVEL=0", "DEFAULT:@SECLEVEL=0", "DEFAULT;@SECLEVEL=0"])
def test_a_files_ciphers_do_not_do_away_with_the_certificate(
    desktop_of_alice: Desktop, tmp_path: Path, ciphers: str
) -> None:
    """A server without any key, or with a weak one, and a file that asks for that."""
    (port,) = free_ports(1)
    server = [find_program("openssl"), "s_server", "-quiet", "-tls1_2", "-cipher", ciphers]
    weak = _weak(tmp_path)
    server += ["-nocert"] if "aNULL" in ciphers else ["-cert", str(weak)]
    ca = Path(f"{weak}.crt").read_text().replace("\n", "\\n")
    file = tmp_path / "console.vv"
    file.write_text(
        f"[virt-viewer]\ntype=spice\nhost=127.0.0.1\ntls-port={port}\ntls-ciphers={ciphers}\nca={ca}\n"
    )
    with subprocess.Popen(
        [*server, "-accept", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as openssl:
        try:
            while True:  # until it listens
                with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
            with desktop_of_alice.view(str(file), window=False) as viewer:
                assert viewer.wait() == 1
        finally:
            openssl.kill()
        assert openssl.stdout is not None and openssl.stdout.read() == b"", "no byte of SPICE came through"


def test_an_https_proxy_that_nobody_knows_gets_nothing(
    desktop_of_alice: Desktop, certificates: Certificates, tmp_path: Path
) -> None:
    """That a console behind such a proxy counts as proved rests on this."""
    (port,) = free_ports(1)
    guest = certificates.guest
    server = [find_program("openssl"), "s_server", "-quiet", "-cert", str(guest.certificate)]
    file = tmp_path / "console.vv"
    proxy = f"https://localhost:{port}"
    file.write_text(f"[virt-viewer]\ntype=spice\nhost=console.example.org\nport=5900\nproxy={proxy}\n")
    with subprocess.Popen(
        [*server, "-key", str(guest.key), "-accept", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as openssl:
        try:
            while True:  # until it listens
                with suppress(ConnectionRefusedError), socket.create_connection(("localhost", port)):
                    break
            with desktop_of_alice.view(str(file), window=False) as viewer:
                assert viewer.wait() == 1
        finally:
            openssl.kill()
        assert openssl.stdout is not None and openssl.stdout.read() == b"", "no CONNECT came through"


def test_without_a_subject_the_certificate_has_to_bear_the_hosts_name(
    server: MakeServer, desktop_of_alice: Desktop, certified: dict[str, object], tmp_path: Path
) -> None:
    (secure,) = free_ports(1)
    server(f"tls-port={secure},addr=127.0.0.1,disable-ticketing=on,x509-dir={certified['folder']}")
    where = f"spice://127.0.0.1?tls-port={secure}"
    ca = Path(str(certified["folder"])) / "ca-cert.pem"
    with desktop_of_alice.view(where, "--ca", str(ca), window=False) as viewer:
        assert viewer.wait() == 1
        assert viewer.lines[-1].endswith("the console's certificate is not the one that was asked for")
