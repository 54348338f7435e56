"""The SDDM driver: the bytes of a login, the session that is asked for, and what it refuses."""

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_surroundings import FakeSeat

from sso.daemon import local
from sso.daemon.reactor import Reactor, boot_time
from sso.guest.config import GuestConfig
from sso.guest.screens import sddm
from sso.guest.screens.sddm import SDDMDriver
from sso.guest.seat.logind import Seated

ALICE = (
    b"\0\0\0\x01"  # GreeterMessages::Login
    b"\0\0\0\x0a\0a\0l\0i\0c\0e"
    b"\0\0\0\0"  # no password
    b"\0\0\0\x01"  # Session::X11Session
    b"\0\0\0\x12\0x\0.\0d\0e\0s\0k\0t\0o\0p"
)
SUCCEEDED, FAILED = struct.pack(">I", 2), struct.pack(">I", 3)
GREETER = Seated("c1", "sddm", 115, "x11", greeter=True)


class Daemon:
    """SDDM's end of the greeter's socket."""

    def __init__(self, path: Path, reply: bytes) -> None:
        self.path, self.heard = path, b""
        self.may_hang_up = threading.Event()
        self.changes: list[None] = []  # that the driver has told of
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, args=(reply,), daemon=True)
        self._thread.start()

    def _serve(self, reply: bytes) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError:
            return  # nobody has come
        with link:
            self.heard = link.recv(4096)
            link.sendall(reply)
            self.may_hang_up.wait(10)

    def close(self) -> None:
        self.may_hang_up.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    reactor = Reactor(boot_time)
    monkeypatch.setattr(sddm, "_version", lambda: b"0.19.0-5")
    monkeypatch.setattr(os, "geteuid", lambda: 4001)  # stay who we are
    monkeypatch.setattr(local, "peer", lambda link: type("P", (), {"uid": 0}))
    monkeypatch.setattr(sddm, "GREETER_SECONDS", 0.2)
    monkeypatch.setattr(sddm, "SETTINGS", (str(tmp_path / "sddm.conf"),))
    (tmp_path / "sddm.conf").write_text(f"[X11]\nSessionDir={tmp_path}\n")
    (tmp_path / "x.desktop").touch()
    made: list[Daemon] = []

    def make(reply: bytes) -> tuple[SDDMDriver, Daemon, Callable[[Callable[[], Any]], None]]:
        seat = FakeSeat(reactor)
        seat.put(active=GREETER)
        driver = SDDMDriver(GuestConfig(), reactor, seat, str(tmp_path / "sddm-:*"))
        made.append(Daemon(tmp_path / "sddm-:0-abc", reply))

        def wait(until: Callable[[], Any]) -> None:
            for _ in range(200):
                if until():
                    return
                reactor.turn(0.05)
            pytest.fail("it did not happen")

        changes = made[-1].changes
        driver.start(lambda: changes.append(None))
        wait(lambda: changes)
        return driver, made[-1], wait

    yield make
    for daemon in made:
        daemon.close()
    reactor.close()


@pytest.mark.proves("S078")
@pytest.mark.parametrize("reply", [SUCCEEDED, FAILED + SUCCEEDED, FAILED + FAILED, b"", b"garbage"])
def test_a_login_is_asked_for_without_a_password(bed: Callable[..., Any], reply: bytes) -> None:
    driver, daemon, wait = bed(reply)
    assert driver.ready("alice") and driver.trigger("alice", "")
    assert not driver.ready("alice"), "one at a time"
    daemon.may_hang_up.set()
    wait(lambda: driver.ready("alice"))
    assert daemon.heard == ALICE


@pytest.mark.parametrize("reply", [b"", FAILED])
def test_it_stays_connected_until_sddm_is_done(bed: Callable[..., Any], reply: bytes) -> None:
    """SDDM 0.19 writes to where it was; and a message of PAM, a failure to it, does not end a login."""
    driver, daemon, wait = bed(reply)
    driver.trigger("alice", "")
    wait(lambda: daemon.heard)
    driver.cancel()
    assert not driver.ready("bob")
    daemon.may_hang_up.set()
    wait(lambda: driver.ready("bob"))
    assert len(daemon.changes) == 2, "bob may have waited for that"


def test_after_a_failure_it_waits_for_so_long(
    bed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sddm, "QUIET_SECONDS", 0.1)
    driver, _, wait = bed(FAILED)
    driver.trigger("alice", "")
    wait(lambda: driver.ready("alice"))


@pytest.mark.parametrize(
    ("program", "reply", "ended"), [("", SUCCEEDED, True), ("", FAILED, False), ("x", SUCCEEDED, False)]
)
def test_the_greeter_is_ended_when_somebody_is_in(
    bed: Callable[..., Any], program: str, reply: bytes, ended: bool
) -> None:
    """It hears nothing of a success that it has not asked for, and would lie on the session."""
    driver, daemon, wait = bed(reply)
    argv = [f"/usr/bin/sddm-greeter{program}", "-c", "input()", "--socket", str(daemon.path)]
    with subprocess.Popen(argv, executable=sys.executable, stdin=subprocess.PIPE) as greeter:
        driver.trigger("alice", "")
        daemon.may_hang_up.set()
        wait(lambda: driver.ready("alice"))
        greeter.communicate(b"\n")
    assert greeter.returncode == (-15 if ended else 0)


def a_file(path: Path) -> None:
    path.touch()


def a_folder(path: Path) -> None:
    path.mkdir()


def a_link_to_another_socket(path: Path) -> socket.socket:
    path.symlink_to(path.parent / "elsewhere")
    return listening(path.parent / "elsewhere")


def a_loose_link(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


def nobody_listens(path: Path) -> None:
    listening(path).close()


def another_users(path: Path) -> socket.socket:
    listener = listening(path)
    os.chown(path, 4002, 4002)
    return listener


def the_greeters_own(path: Path) -> socket.socket:
    """Of the right owner; only who listens there gives it away."""
    return listening(path)


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for listener in made:
        listener.close()


@pytest.mark.parametrize(
    "plant",
    [
        *(a_file, a_folder, a_link_to_another_socket, a_loose_link, nobody_listens, the_greeters_own),
        pytest.param(another_users, marks=pytest.mark.e2e),  # root alone gives a socket away
    ],
)
def test_what_somebody_puts_beside_the_socket_does_not_hide_it(
    bed: Callable[..., Any],
    plant: Callable[[Path], socket.socket | None],
    listeners: list[socket.socket],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is newer than the real one, and there before it is looked for."""
    driver, daemon, wait = bed(FAILED + SUCCEEDED)
    decoy = tmp_path / "sddm-:9-evil"
    listeners.extend(filter(None, [plant(decoy)]))
    os.utime(decoy, ns=(2**62, 2**62), follow_symlinks=False)
    peer = lambda link: type("P", (), {"uid": 4003 if "evil" in link.getpeername() else 0})  # noqa: E731
    monkeypatch.setattr(local, "peer", peer)
    assert driver.trigger("alice", "")
    daemon.may_hang_up.set()
    wait(lambda: driver.ready("alice"))
    assert daemon.heard == ALICE
    for listener in listeners:
        listener.setblocking(False)
        with suppress(BlockingIOError):  # nobody has even come
            link, _ = listener.accept()
            with link:
                assert link.recv(1) == b"", "nothing was said to it"


@pytest.mark.parametrize("plant", [a_file, a_folder, a_link_to_another_socket, a_loose_link])
def test_what_is_no_socket_does_not_make_it_ready(
    bed: Callable[..., Any],
    plant: Callable[[Path], socket.socket | None],
    listeners: list[socket.socket],
    tmp_path: Path,
) -> None:
    driver, daemon, _ = bed(b"")
    assert driver.ready("alice")
    daemon.path.unlink()
    listeners.extend(filter(None, [plant(tmp_path / "sddm-:9-evil")]))
    assert not driver.ready("alice")


def test_another_version_is_refused_politely(
    bed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, events: list[str]
) -> None:
    driver, _, wait = bed(b"")
    for version in (b"0.21.0", b""):
        monkeypatch.setattr(sddm, "_version", lambda version=version: version)
        events.clear()
        driver.start(lambda: pytest.fail("not ready"))
        wait(lambda: any("only 0.19.x is known" in line for line in events))
        assert not driver.ready("alice")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("[Last]\nSession=X/b.desktop\nUser=alice\n", (sddm.X11, "b.desktop")),
        ("[Last]\nSession=W/b.desktop\n", (sddm.WAYLAND, "b.desktop")),
        ("[Last]\nSession=w.desktop\n", (sddm.WAYLAND, "w.desktop")),
        ("[Last]\nSession=X/gone.desktop\n", (sddm.X11, "a.desktop")),
        ("[Last]\nSession=../../etc/passwd\n", (sddm.X11, "a.desktop")),
        ("", (sddm.X11, "a.desktop")),
    ],
)
def test_the_last_session_if_it_is_still_there(tmp_path: Path, state: str, expected: tuple[int, str]) -> None:
    for name in ("X/a", "X/b", "W/b", "W/w"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.desktop").touch()
    (tmp_path / "state.conf").write_text(
        state.replace("=X", f"={tmp_path}/X").replace("=W", f"={tmp_path}/W")
    )
    folders = {sddm.X11: f"{tmp_path}/X", sddm.WAYLAND: f"{tmp_path}/W"}
    assert sddm._session(str(tmp_path / "state.conf"), folders) == expected


def test_without_a_session_sddm_would_not_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no session"):
        sddm._session(os.devnull, {sddm.X11: str(tmp_path)})


def test_where_the_sessions_are_sddm_is_told_by_its_settings(tmp_path: Path) -> None:
    (tmp_path / "1.conf").write_text("[X11]\nSessionDir=/one\n[Wayland]\n SessionDir = /wayland\n")
    (tmp_path / "2.conf").write_text("[Users]\nSessionDir=/no\n[X11]\n#SessionDir=/no\nSessionDir=/two\n")
    assert sddm._folders((f"{tmp_path}/*",)) == {sddm.X11: "/two", sddm.WAYLAND: "/wayland"}
    assert sddm._folders(()) == {
        sddm.X11: "/usr/share/xsessions",
        sddm.WAYLAND: "/usr/share/wayland-sessions",
    }
