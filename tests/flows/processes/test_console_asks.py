"""PAM asks the user something in a login of the client's: a real login, a password that is due."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from beds_guest import (
    SPN,
    MakeGuest,
    caches,
    processes,
    shell,
    sign_in,
    until,
)

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm

pytestmark = pytest.mark.e2e

DUE = "grant_seconds = 5"
OLD = "urrent password: "


class Client:
    """spice-client-sso --stay at the guest's port; `states` is what it has told a viewer."""

    def __init__(self, guest: Guest, realm: Realm, report: Path) -> None:
        self._report = report.open("wb")
        self._path = report
        with socket.socket(socket.AF_UNIX) as port:
            port.connect(str(guest.port))
            argv = [sys.executable, "-I", "-m", "sso.client.main", "--no-config", "--spn", SPN]
            argv += ["--stay", "--status-fd", str(self._report.fileno())]
            self._program = subprocess.Popen(
                argv,
                stdin=port.fileno(),
                stdout=port.fileno(),
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], **realm.env},
                pass_fds=(self._report.fileno(),),
            )

    def states(self) -> list[str]:
        return self._path.read_text().splitlines()

    def leave(self) -> None:
        self._program.kill()
        self._program.wait()
        self._report.close()


@contextmanager
def asking(make_guest: MakeGuest, realm: Realm, folder: Path) -> Iterator[tuple[Guest, Client]]:
    """A guest whose console asks alice for the old password, and alice's client, which knows it."""
    realm.kinit("alice", "-f")
    guest = make_guest(DUE)
    guest.sandbox.run(["chage", "-d", "0", "alice"])
    guest.screen.expect("login: ")
    client = Client(guest, realm, folder / "states")
    try:
        guest.screen.expect(OLD)
        until(lambda: "console-asks" in client.states())
        yield guest, client
    finally:
        client.leave()


def test_the_login_goes_on_at_the_console_and_the_client_hears_of_its_end(
    make_guest: MakeGuest, realm: Realm, tmp_path: Path
) -> None:
    with asking(make_guest, realm, tmp_path) as (guest, client):
        assert client.states() == ["signing-in alice@TEST.EXAMPLE", "console-asks"]
        until(lambda: guest.log().count("login-asks") == 2)  # it waits on, and asks again
        guest.screen.send(guest.sandbox.password("alice"))
        for _ in range(2):
            guest.screen.expect("ew password: ")
            guest.screen.send("brand-new-PASS-7")
        with shell(guest) as command:
            assert command("id -un; klist -s && echo ticket") == "alice\nticket"
        until(lambda: "signed-in" in client.states())
        assert guest.log().count("login-opened") == 1 and guest.log().count("login-given") == 1
        assert "session-over" not in guest.log() and len(caches(guest)) == 1
        # The session is tracked: no other user gets in, and a renewed ticket would go to it.
        realm.kinit("bob", "-f")
        guest.screen.send("exit")
        guest.screen.expect("login: ")
        until(lambda: "session-over user=alice" in guest.log())
        assert not caches(guest)


@pytest.mark.parametrize("typed", [b"", b"canary-", b"canary-1\ncanary-2\n"])
def test_when_the_client_hangs_up_the_question_is_nobodys(
    make_guest: MakeGuest, realm: Realm, tmp_path: Path, typed: bytes
) -> None:
    with asking(make_guest, realm, tmp_path) as (guest, client):
        before = guest.screen.transcript
        os.write(guest.screen._master, typed)
        client.leave()
        guest.screen.expect("login: ")
        until(lambda: "login-revoked" in guest.log())
        guest.screen.send("bob")
        guest.screen.expect("assword: ")
        guest.screen.send(guest.sandbox.password("bob"))
        with shell(guest) as command:
            assert command("id -un") == "bob"
        shown = guest.screen.transcript[len(before) :]
        assert "canary" not in shown and "login-opened" not in guest.log() and not caches(guest)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_when_the_agent_ends_no_answer_opens_a_shell_and_the_prompt_is_back(
    make_guest: MakeGuest, realm: Realm, tmp_path: Path, how: signal.Signals
) -> None:
    with asking(make_guest, realm, tmp_path) as (guest, _client):
        os.kill(guest.pid, how)
        if how is signal.SIGKILL:  # nobody ends login then; whoever answers gets no further
            until(lambda: not processes(guest)["channel"])
            guest.screen.send(guest.sandbox.password("alice"))
            for _ in range(2):
                guest.screen.expect("ew password: ")
                guest.screen.send("brand-new-PASS-7")
        guest.screen.expect("login: ")
        assert "$ " not in guest.screen.transcript and not caches(guest)
        guest.screen.send("bob")
        guest.screen.expect("assword: ")


def test_a_client_that_does_not_stay_is_told_and_leaves(make_guest: MakeGuest, realm: Realm) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest(DUE)
    guest.sandbox.run(["chage", "-d", "0", "alice"])
    guest.screen.expect("login: ")
    run = sign_in(guest, realm, "--spn", SPN)
    assert run.code == Exit.CONSOLE_ASKS
    assert re.search("answer there", run.lines[0])
    guest.screen.expect("login: ")
    assert not caches(guest)


def test_an_account_that_is_closed_is_refused_without_a_pause(make_guest: MakeGuest, realm: Realm) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest()
    guest.sandbox.run(["chage", "-E", "1", "alice"])
    for _ in range(4):
        guest.screen.expect("login: ")
        until(lambda: guest.log().count("screen-ready") > guest.log().count("login-given"))
        assert sign_in(guest, realm, "--spn", SPN).code == Exit.DENIED
    assert "login-failed" not in guest.log() and not caches(guest)
    guest.sandbox.run(["chage", "-E", "-1", "alice"])
    guest.screen.expect("login: ")
    until(lambda: guest.log().count("screen-ready") > guest.log().count("login-given"))
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
