"""The greetd driver, and what it and sso-greetd make of each other, with a greetd that a test makes up.

The real greetd is in tests/flows/processes/test_greetd_login.py.
"""

import json
import os
import pwd
import socket
import struct
import subprocess
import sys
import threading

import pytest
from beds_agent import Clock, has, let_in, open_fds
from beds_greeter import PROMPT, SUCCESS, Bed, FakeGreetd, framed, make_bed, question

from sso.daemon import local
from sso.daemon.reactor import Reactor
from sso.errors import ConfigError
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.records import Go, Hello, SignIn, Taken
from sso.guest.screens.greetd import HELLO, GreetdDriver
from sso.guest.seat.logind import Seated

__all__ = ["make_bed"]

pytestmark = pytest.mark.e2e  # login screens are root's
NOBODY = pwd.getpwnam("nobody").pw_uid

# The driver


def test_a_waiting_greeter_gets_the_word_once(bed: Bed) -> None:
    desk = bed.desk()
    assert not desk.driver.ready("alice") and not desk.driver.trigger("alice", "")
    link = desk.greeter()
    assert desk.driver.ready("alice") and not desk.driver.ready("-froot")
    desk.sign_in("alice")
    assert not desk.driver.ready("alice") and not desk.driver.trigger("alice", "")
    assert records.receive(link, SignIn) == (SignIn("alice", ""), [])
    desk.driver.settled()
    desk.driver.cancel()
    assert records.send(link, Taken("alice")), "the login is good, and its session may start"
    desk.reactor.turn(0)
    assert not has(link)
    link.close()


def test_a_word_that_was_taken_back_cannot_be_obeyed(bed: Bed) -> None:
    desk = bed.desk()
    before = open_fds()
    link = desk.greeter()
    desk.sign_in("alice")
    desk.driver.cancel()
    desk.driver.cancel()
    assert records.receive(link, SignIn) == (SignIn("alice", ""), [])
    assert not records.send(link, Taken("alice")) and records.receive(link, SignIn) is None
    link.close()
    assert open_fds() == before


def test_of_two_greeters_the_last_is_told_and_the_first_waits_on(bed: Bed) -> None:
    desk = bed.desk()
    first, second = desk.greeter(), desk.greeter()
    desk.sign_in("alice")
    assert has(second) and not has(first)
    desk.driver.cancel()
    desk.sign_in("bob")
    assert records.receive(first, SignIn) == (SignIn("bob", ""), [])
    for link in (first, second):
        link.close()


def test_a_greeter_that_has_gone_is_passed_over(bed: Bed) -> None:
    desk = bed.desk()
    first, second = desk.greeter(), desk.greeter()
    second.close()
    desk.sign_in("alice")
    assert has(first)
    first.close()
    desk.turn(lambda: not desk.driver._greeters)
    assert not desk.driver.ready("alice") and not desk.driver.trigger("alice", "")


def test_half_open_and_garbled_greeters_are_dropped(bed: Bed) -> None:
    clock = Clock()
    desk = bed.desk(clock)
    before = open_fds()
    silent, garbled, other, talks = desk.connect(), desk.connect(), desk.connect(), desk.greeter()
    garbled.send(b"x" * 68)
    records.send(other, Hello("tty1"))
    records.send(talks, Taken("alice"))
    for link in (garbled, other, talks):
        desk.turn(lambda link=link: has(link))  # type: ignore[misc]
        assert records.receive(link, SignIn) is None
    assert not has(silent)
    clock.now += 2.1
    desk.turn(lambda: has(silent))
    for link in (silent, garbled, other, talks):
        link.close()
    assert open_fds() == before and not desk.driver.ready("alice")


CONNECT = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    link.connect(sys.argv[1])
except PermissionError:
    sys.exit(13)
print("in", flush=True)
sys.exit(len(link.recv(100)))
"""


def test_only_the_greeters_user_may_connect(bed: Bed, events: list[str]) -> None:
    let_in(bed.folder)
    clock = Clock()
    desk = bed.desk(clock)
    found = os.stat(bed.agent)
    assert (found.st_uid, found.st_mode & 0o777) == (NOBODY, 0o600)
    argv = [sys.executable, "-I", "-c", CONNECT, bed.agent]
    assert subprocess.run([*argv, str(NOBODY - 1)]).returncode == 13
    os.chmod(bed.agent, 0o666)  # as the service manager makes it
    for _ in range(2):
        with subprocess.Popen([*argv, str(NOBODY - 1)], stdout=subprocess.PIPE) as stranger:
            desk.turn(lambda stranger=stranger: stranger.poll() is not None)  # type: ignore[misc]
            assert stranger.returncode == 0, "hung up on at once"
    assert [line.split()[0] for line in events].count("screen-refused") == 1
    with subprocess.Popen([*argv, str(NOBODY)], stdout=subprocess.PIPE) as greeter:
        desk.turn(lambda: desk.driver._greeters)
        greeter.kill()


def test_the_service_managers_socket_is_left_as_it_is(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as held:
        held.bind(bed.agent)
        held.listen()
        held.setblocking(False)
        os.chmod(bed.agent, 0o666)
        monkeypatch.setattr(local, "_inherited", lambda: {bed.agent: held})
        desk = bed.desk()
        desk.greeter().close()
        assert os.stat(bed.agent).st_uid == 0
        desk.driver.close()
        assert os.path.exists(bed.agent)


def test_no_more_greeters_than_a_number(bed: Bed) -> None:
    desk = bed.desk()
    links = [desk.greeter() for _ in range(local.BACKLOG)]
    late = desk.connect()
    desk.turn(lambda: has(late))
    assert desk.driver.ready("alice")
    for link in [*links, late]:
        link.close()


def test_what_it_is_and_what_it_leaves_to_others(bed: Bed) -> None:
    driver = bed.desk().driver
    assert (driver.service, driver.place, driver.token, driver.unlocks, driver.retry) == (
        *("greetd", ""),
        *(False, False, 0.0),
    )
    session = Seated("2", "alice", 4001, "wayland", locked=True)
    assert not driver.lock(session) and driver.is_locked(session)
    driver.close()
    driver.close()
    assert not os.path.exists(bed.agent)


def test_without_the_greeters_user_it_says_what_to_do(bed: Bed) -> None:
    config = GuestConfig(greeter_socket=bed.agent, greeter_user="no-such-user")
    with pytest.raises(ConfigError, match="greeter_user: there is no user no-such-user: install greetd"):
        GreetdDriver(config, Reactor()).start(lambda: None)


def test_a_socket_that_cannot_be_given_away_is_told(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(ConfigError, match="cannot be given to nobody: Operation not permitted; start "):
        bed.desk()
    assert not os.path.exists(bed.agent)


# The agent and the greeter


def test_the_agents_word_signs_in(bed: Bed) -> None:
    greetd = bed.greetd(question("info", "Last login: today"), SUCCESS, SUCCESS)
    screen, desk = bed.screen(), bed.desk()
    screen.expect(PROMPT)
    os.write(screen._master, b"half a na")
    desk.sign_in("alice")
    desk.turn(lambda: not desk.driver._greeters)
    assert screen.wait() == 0
    assert greetd.words() == ["create_session", "post_auth_message_response", "start_session"]
    assert greetd.requests[1] == {"type": "create_session", "username": "alice"}


@pytest.mark.parametrize("style", ["secret", "visible"])
def test_a_question_that_the_user_does_not_answer_brings_the_prompt_back(bed: Bed, style: str) -> None:
    greetd = bed.greetd(question(style, "Password: "))
    screen, desk = bed.screen(), bed.desk()
    desk.sign_in("alice")
    screen.expect("Password: ")
    os.write(screen._master, b"\x03")
    desk.turn(lambda: len(desk.changes) == 2)
    screen.expect("Login incorrect")
    assert greetd.words() == ["create_session", "cancel_session"]
    assert not desk.driver.ready("alice") and not desk.driver.trigger("alice", ""), "not the same word again"
    desk.driver.cancel()
    assert desk.driver.ready("alice"), "it waits for another"


def test_a_login_that_was_cancelled_starts_no_session(bed: Bed) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(FakeGreetd):
        def _serve(self) -> None:
            link, _ = self._listener.accept()
            for _ in range(2):
                (length,) = struct.unpack("=I", link.recv(4, socket.MSG_WAITALL))
                self.requests.append(json.loads(link.recv(length, socket.MSG_WAITALL)))
                if len(self.requests) == 2:
                    begun.set()
                    go_on.wait(10)
                link.sendall(framed(json.dumps(SUCCESS).encode()))
            (length,) = struct.unpack("=I", link.recv(4, socket.MSG_WAITALL))
            self.requests.append(json.loads(link.recv(length, socket.MSG_WAITALL)))
            link.sendall(framed(json.dumps(SUCCESS).encode()))
            link.close()
            super()._serve()

    bed.greetds.append(Slow(bed.folder / "greetd.sock"))
    screen, desk = bed.screen(), bed.desk()
    desk.sign_in("alice")
    assert begun.wait(10)
    desk.driver.cancel()
    go_on.set()
    desk.turn(lambda: desk.driver.ready("alice"))
    screen.expect(PROMPT)
    screen.expect(PROMPT)
    assert bed.greetds[0].words() == ["create_session", "cancel_session"]


def test_it_finds_an_agent_that_comes_back(bed: Bed) -> None:
    screen, first = bed.screen(), bed.desk()
    screen.expect(PROMPT)
    first.turn(lambda: first.driver.ready("alice"))
    first.driver.close()
    second = bed.desk()
    second.turn(lambda: second.driver.ready("alice"))


def test_garbage_from_the_agent_is_hung_up_on(bed: Bed) -> None:
    greetd = bed.greetd(SUCCESS, SUCCESS)
    listener = local.listen(bed.agent)
    listener.setblocking(True)
    screen = bed.screen()
    words = [
        b"x" * 140,
        b"",
        Go("alice").pack(),
        SignIn("alice", "").pack() + b"y",
        SignIn("-froot", "").pack(),
    ]
    for word in words:
        link, _ = listener.accept()
        assert records.receive(link, Hello) == (Hello(HELLO), [])
        if word:
            link.send(word)
            assert records.receive(link, Hello) is None
        link.close()
    listener.close()
    assert greetd.requests == []
    screen.send("alice")
    assert screen.wait() == 0
