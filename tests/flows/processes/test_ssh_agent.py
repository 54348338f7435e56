"""The ssh-agent of a desktop, for the user at a console: the real ssh-agent and its clients at both ends."""

import select
import subprocess
import sys
from pathlib import Path

import pytest
from beds_agent import let_in
from beds_dbus import daemon, make_daemon
from beds_logind import LogindMock, logind
from beds_ssh_agent import (
    ALICE,
    BOB,
    ENV,
    NO_KEYS,
    PYTHON,
    SECONDS,
    Console,
    Stranger,
    console,
    frame,
    run,
    until,
)

from sso.ssh_agent import CLOSE, DATA, NONCE_SIZE, OPEN, REFUSED, echo, framed, hello, hello_of

__all__ = ["console", "daemon", "logind", "make_daemon"]
pytestmark = [pytest.mark.e2e, pytest.mark.slow]
NONCE = bytes(range(NONCE_SIZE))


@pytest.mark.proves("S059", "S061")
def test_keys_are_listed_and_sign_and_stay_where_they_are(console: Console) -> None:
    console.look()
    assert "alice's key" in console.ask("ssh-add", "-l").stdout
    message = console.folder / "message"
    message.write_text("signed in the guest")
    public = f"{console.key}.pub"
    made = console.ask("sh", "-c", f"ssh-keygen -Y sign -f {public} -n file < {message}")
    assert made.returncode == 0 and "BEGIN SSH SIGNATURE" in made.stdout
    assert console.ask("ssh-add", "-D").returncode != 0
    assert "alice's key" in console.ask("ssh-add", "-l").stdout


def test_only_the_user_in_front_is_served(console: Console, logind: LogindMock) -> None:
    console.look()
    for uid in (BOB, 0):
        assert console.ask("ssh-add", "-l", uid=uid).returncode != 0
    logind.session("c2", "bob", BOB, Type="tty")
    assert console.ask("ssh-add", "-l").returncode != 0
    assert "alice's key" in console.ask("ssh-add", "-l", uid=BOB).stdout


def test_a_locked_session_is_not_served_and_open_connections_are_cut_at_both_ends(
    console: Console, logind: LogindMock
) -> None:
    path = logind.session("c3", "alice", ALICE, Type="wayland")
    viewer = console.look()
    held = [console.hold(), console.hold()]
    logind.change(path, LockedHint=True)
    assert [one.communicate(timeout=SECONDS)[0] for one in held] == [b"cut\n"] * 2
    until(lambda: viewer.dials() == 0)
    assert console.ask("ssh-add", "-l").returncode != 0


# An agent of somebody else's at a path that was the person's once, such as one in /tmp.
FOREIGN = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen()
print("listens", flush=True)
link, _ = listener.accept()
sys.exit(len(link.recv(100)))
"""


def test_another_users_agent_is_asked_nothing(tmp_path: Path) -> None:
    let_in(tmp_path)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    path = str(tmp_path / "shared" / "agent")
    argv = [sys.executable, "-I", "-m", "sso.client.ssh_agent", "--socket", path]
    with subprocess.Popen(
        [PYTHON, "-c", FOREIGN, path], user=BOB, stdout=subprocess.PIPE, env=ENV
    ) as foreign:
        try:
            assert foreign.stdout is not None and foreign.stdout.readline() == b"listens\n"
            said = hello(NONCE) + frame(OPEN, 1) + frame(DATA, 1, b"\x0b")
            done = subprocess.run(argv, input=said, capture_output=True, timeout=SECONDS, env=ENV)
            assert done.stdout == echo(NONCE) + frame(CLOSE, 1) * 2 and b"another user" in done.stderr
            assert foreign.wait(SECONDS) == 0, "it got nothing"
        finally:
            foreign.kill()  # it listens for ever where nobody has come


def test_without_a_viewer_nobody_waits(console: Console) -> None:
    assert console.ask("ssh-add", "-l").returncode != 0
    viewer = console.look()
    viewer.close()
    until(lambda: console.ask("ssh-add", "-l").returncode != 0)
    console.look()


def test_a_key_with_confirmation_is_asked_for_on_the_desktop(console: Console) -> None:
    asked = console.folder / "askpass"
    asked.write_text(f'#!/bin/sh\necho "$1" >> {console.folder}/asked\nexit 1\n')
    asked.chmod(0o755)
    run("ssh-add", "-D", SSH_AUTH_SOCK=str(console.agent))
    console.add("-c")
    console.look()
    refused = console.ask("sh", "-c", f"echo x | ssh-keygen -Y sign -f {console.key}.pub -n file")
    assert refused.returncode != 0 and "alice's key" in (console.folder / "asked").read_text()


@pytest.mark.parametrize("stale", [b"", b"\xff" * 1000, frame(DATA, 1, NO_KEYS) * 3, echo(bytes(16))])
def test_bytes_of_an_earlier_viewer_are_dropped(console: Console, stale: bytes) -> None:
    stranger = Stranger(console)
    with stranger.link:
        stranger.greet(stale)
        # It is turned away, which ssh-add does not tell from no keys, until the echo has been read.
        asking = console.start("sh", "-c", "until ssh-add -l | grep 'no identities'; do :; done")
        assert stranger.asked() == (1, b"\x0b")
        stranger.link.sendall(frame(DATA, 1, NO_KEYS))
        assert b"no identities" in asking.communicate(timeout=SECONDS)[0]


@pytest.mark.parametrize("garbage", [b"\0\0\0\0", b"\xff\xff\xff\xff", frame(DATA, 1, NO_KEYS)])
def test_a_viewer_that_says_nonsense_is_dropped(console: Console, garbage: bytes) -> None:
    stranger = Stranger(console)
    with stranger.link:
        stranger.greet()
        stranger.link.sendall(garbage)
        assert hello_of(stranger.hear())  # from the beginning
    console.look()


def test_one_that_leaves_in_the_middle_does_not_disturb_the_next(console: Console) -> None:
    stranger = Stranger(console)
    with stranger.link:
        stranger.greet()
        ask = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); s.send(b'\\0\\0\\0\\1\\x0b')"
        number = 0
        while not number:  # the echo may not have been read yet
            run(PYTHON, "-I", "-c", ask, console.socket, uid=ALICE)
            if select.select([stranger.link], [], [], 0.1)[0]:
                number, _ = stranger.asked()
        queued = console.start("ssh-add", "-l")
        assert stranger.asked() == (number + 1, b"\x0b")
        key = b"\0\0\0\4late\0\0\0\4late"
        stranger.link.sendall(frame(DATA, number, bytes([12, 0, 0, 0, 1]) + key))  # for who has left
        stranger.link.sendall(frame(DATA, number + 1, NO_KEYS))
        assert b"no identities" in queued.communicate(timeout=SECONDS)[0]


def test_a_silent_viewer_is_greeted_a_few_times_and_costs_nothing_then(console: Console) -> None:
    stranger = Stranger(console)
    with stranger.link:
        nonces = {hello_of(stranger.hear()) for _ in range(5)}
        assert len(nonces) == 1
        stat = Path(f"/proc/{console.service.pid}/stat")
        before = stat.read_text().split()[13:15]
        assert not select.select([stranger.link], [], [], 1.5)[0]
        assert stat.read_text().split()[13:15] == before
        assert console.log == []


def test_a_viewer_of_an_older_version_is_named_and_nobody_waits_for_it(console: Console) -> None:
    """It refuses each hello, as every agent does with an extension that it does not know."""
    stranger = Stranger(console)
    with stranger.link:
        for _ in range(5):
            hello_of(stranger.hear())
            stranger.link.sendall(REFUSED)
        assert console.ask("ssh-add", "-l").returncode != 0
        until(lambda: console.log)
    (line,) = console.log
    assert "of another version" in line and "upgrade" in line
    console.look()


def test_a_guest_of_an_older_version_is_named() -> None:
    """Its hello has no number of a framing."""
    said = framed(b"\x1b\0\0\0\x11hello@console-sso" + bytes(16))
    argv = [sys.executable, "-I", "-m", "sso.client.ssh_agent", "--socket", "/nowhere"]
    done = subprocess.run(argv, input=said, capture_output=True, timeout=SECONDS, env=ENV)
    assert (done.returncode, done.stdout) == (1, REFUSED)
    assert done.stderr.count(b"\n") == 1 and b"upgrade" in done.stderr


def test_a_refused_caller_is_logged_with_the_uid(console: Console) -> None:
    console.look()
    assert console.ask("ssh-add", "-l", uid=BOB).returncode != 0
    refused = [line for line in console.log if f"refused uid {BOB}, pid " in line]
    assert len(refused) == 1
