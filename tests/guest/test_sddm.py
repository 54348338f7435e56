"""The SDDM driver: the octets of a login, the session that is asked for, and what it refuses."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_agent import FakeSeat

from sso.guest.config import GuestConfig
from sso.guest.drivers import sddm
from sso.guest.drivers.sddm import SDDMDriver
from sso.guest.logind import Seated
from sso.guest.reactor import Reactor, boot_time

ALICE = (
    b"\0\0\0\x01"  # GreeterMessages::Login
    b"\0\0\0\x0a\0a\0l\0i\0c\0e"
    b"\0\0\0\0"  # no password
    b"\0\0\0\x01"  # Session::X11Session
    b"\0\0\0\x12\0x\0.\0d\0e\0s\0k\0t\0o\0p"
)
GREETER = Seated("c1", "sddm", 115, "x11", greeter=True)


class Daemon:
    """SDDM's end of the greeter's socket."""

    def __init__(self, path: Path, reply: bytes) -> None:
        self.path, self.heard = path, b""
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

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    reactor = Reactor(boot_time)
    monkeypatch.setattr(sddm, "_version", lambda: b"0.19.0-5")
    monkeypatch.setattr(sddm.os, "geteuid", lambda: 4001)  # stay who we are
    monkeypatch.setattr(sddm.local, "peer", lambda link: type("P", (), {"uid": 0}))
    monkeypatch.setattr(sddm, "SESSIONS", str(tmp_path))
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

        ready: list[None] = []
        driver.start(lambda: ready.append(None))
        wait(lambda: ready)
        return driver, made[-1], wait

    yield make
    for daemon in made:
        daemon.close()
    reactor.close()


@pytest.mark.proves("S078")
@pytest.mark.parametrize("reply", [struct.pack(">I", 2), struct.pack(">I", 3), b"", b"garbage"])
def test_a_login_is_asked_for_without_a_password(bed: Callable[..., Any], reply: bytes) -> None:
    driver, daemon, wait = bed(reply)
    assert driver.ready("alice") and driver.trigger("alice", "")
    assert not driver.ready("alice"), "one at a time"
    wait(lambda: driver.ready("alice"))
    assert daemon.heard == ALICE


def test_another_version_is_refused_politely(
    bed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver, _, wait = bed(b"")
    for version in (b"0.21.0", b""):
        monkeypatch.setattr(sddm, "_version", lambda version=version: version)
        caplog.clear()
        caplog.set_level("INFO")
        driver.start(lambda: pytest.fail("not ready"))
        wait(lambda: "only 0.19.x is known" in caplog.text)
        assert not driver.ready("alice")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("[Last]\nSession=/usr/share/xsessions/b.desktop\nUser=alice\n", "b.desktop"),
        ("[Last]\nSession=/usr/share/xsessions/gone.desktop\n", "a.desktop"),
        ("[Last]\nSession=../../etc/passwd\n", "a.desktop"),
        ("", "a.desktop"),
    ],
)
def test_the_last_session_if_it_is_still_there(tmp_path: Path, state: str, expected: str) -> None:
    for name in ("a.desktop", "b.desktop"):
        (tmp_path / name).touch()
    (tmp_path / "state.conf").write_text(state)
    assert sddm._session(str(tmp_path / "state.conf"), str(tmp_path)) == expected
