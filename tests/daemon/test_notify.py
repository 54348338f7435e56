"""sd_notify, the watchdog's interval and inherited sockets, with real sockets and systemd's own starter."""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sso.daemon import notify

SECONDS = 10


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No service manager but the test's, and nothing kept of it."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS"):
        monkeypatch.delenv(name, raising=False)
    notify._manager.cache_clear()
    notify.watchdog.cache_clear()
    yield
    if notify._manager.cache_info().currsize and (link := notify._manager()) is not None:
        link.close()
    notify._manager.cache_clear()
    notify.watchdog.cache_clear()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.settimeout(SECONDS)
        found.bind(str(tmp_path / "notify"))
        yield found


def test_ready_alive_and_stopping_are_said(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    notify.ready("waits for the port")
    notify.alive()
    notify.status("serves\na client")
    notify.stopping()
    said = [manager.recv(4096) for _ in range(4)]
    assert said == [
        b"READY=1\nSTATUS=waits for the port",
        b"WATCHDOG=1",
        b"STATUS=serves a client",
        b"STOPPING=1",
    ]
    assert "NOTIFY_SOCKET" not in os.environ


def test_an_abstract_address(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"console-sso-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify.alive()
        assert manager.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:1234", "/nowhere/notify"])
def test_without_a_service_manager_nothing_happens(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.ready()
    notify.alive()


def test_nobody_waits_for_a_busy_manager(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    for _ in range(10_000):  # far beyond a datagram queue
        notify.alive()
    assert manager.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("20000000", "", 10.0),
        ("20000000", "own", 10.0),
        ("20000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("-5", "", None),
        ("many", "", None),
        ("9" * 40, "", None),
    ],
)
def test_the_interval_is_half_of_what_is_waited(
    usec: str, pid: str, interval: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert notify.watchdog() == interval
    assert notify.watchdog() == interval  # although the variables are gone
    assert "WATCHDOG_USEC" not in os.environ


# Inherited sockets


def test_systemds_starter_hands_over_sockets(tmp_path: Path) -> None:
    paths = [str(tmp_path / "one.sock"), str(tmp_path / "two.sock")]
    program = (
        "import os, sys; sys.path[:0] = sys.argv[1:]\n"
        "from sso.daemon import notify\n"
        "found = notify.inherited()\n"
        "left = [name for name in os.environ if name.startswith('LISTEN_')]\n"
        "flags = {(os.get_inheritable(one.fileno()), one.gettimeout()) for one in found.values()}\n"
        "link, _ = found[min(found)].accept()\n"
        "link.send(repr((sorted(found), left, flags, notify.inherited())).encode())\n"
    )
    starter = subprocess.Popen(
        [
            *("systemd-socket-activate", "--seqpacket", *(f"--listen={path}" for path in paths)),
            *(sys.executable, "-c", program, *(path for path in sys.path if path)),
        ],
        stderr=subprocess.PIPE,
    )
    assert starter.stderr is not None
    try:
        lines = 0
        while lines < len(paths):
            lines += b"Listening on" in starter.stderr.readline()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            caller.settimeout(SECONDS)
            caller.connect(paths[0])
            answer = caller.recv(4096).decode()
        assert answer == repr((paths, [], {(False, 0.0)}, {}))
        starter.stderr.read()
        assert starter.wait(SECONDS) == 0
    finally:
        starter.kill()
        starter.wait()
        starter.stderr.close()


def test_sockets_of_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "2")
    assert notify.inherited() == {}
    assert "LISTEN_FDS" not in os.environ


def test_only_listening_unix_sockets_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "x.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    plain, internet = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), socket.socket()
    internet.bind(("127.0.0.1", 0))
    internet.listen()
    reader, writer = os.pipe()
    first = 800
    given = [plain.fileno(), reader, listener.fileno(), internet.fileno()]
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, first) for fd in given]
    try:
        assert copies == list(range(first, first + len(given)))
        monkeypatch.setattr(notify, "FIRST_FD", first)
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "5")  # one more than there is
        found = notify.inherited()
        assert list(found) == [path] and found[path].fileno() == copies[2]
        assert not any(os.get_inheritable(fd) for fd in copies)
        found[path].detach()
    finally:
        for fd in (*copies, reader, writer):
            os.close(fd)
        for one in (listener, plain, internet):
            one.close()
