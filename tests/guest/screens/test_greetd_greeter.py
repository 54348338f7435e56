"""sso-greetd on a real terminal: a person at it, a greetd that is broken, another greeter before it."""

import json
import os
import pty
import pwd
import signal
import struct
import subprocess

import pytest
from beds_greeter import PROGRAM, PROMPT, SUCCESS, Bed, framed, make_bed, problem, question
from hypothesis import given
from hypothesis import strategies as st

from sso.daemon import local
from sso.errors import RemoteProtocolError
from sso.guest.screens.greetd_ipc import MESSAGE_MAX, Greetd, _quoted

__all__ = ["make_bed"]

pytestmark = pytest.mark.e2e  # the agent's end is root's

# A person at the greeter


def test_a_person_signs_in(bed: Bed) -> None:
    greetd = bed.greetd(
        question("info", "Welcome\x1b[2J"),
        question("visible", "Token code: "),
        question("secret", "Password: "),
        question("error", "Your password expires soon"),
        SUCCESS,
        SUCCESS,
    )
    screen = bed.screen("--session", "sway --debug", "--env", "XDG_SESSION_TYPE=wayland")
    screen.expect(PROMPT)
    screen.send("alice@TEST.EXAMPLE")
    screen.expect(r"Welcome\x1b[2J")
    screen.expect("Token code: ")
    screen.send("123456")
    screen.expect("123456")
    screen.expect("Password: ")
    screen.send('se"c\\ret\tü')
    screen.expect("expires soon")
    assert screen.wait() == 0
    assert greetd.requests == [
        {"type": "cancel_session"},
        {"type": "create_session", "username": "alice@TEST.EXAMPLE"},
        {"type": "post_auth_message_response", "response": None},
        {"type": "post_auth_message_response", "response": "123456"},
        {"type": "post_auth_message_response", "response": 'se"c\\ret\tü'},
        {"type": "post_auth_message_response", "response": None},
        {"type": "start_session", "cmd": ["sway --debug"], "env": ["XDG_SESSION_TYPE=wayland"]},
    ]
    assert "ret" not in screen.transcript


# PAM asks something in a login of the agent's


def test_what_pam_asks_in_the_agents_login_is_answered_at_the_screen(bed: Bed) -> None:
    greetd = bed.greetd(
        question("info", "Your password has to be changed"),
        question("secret", "New password: "),
        question("visible", "Code: "),
        SUCCESS,
        SUCCESS,
    )
    desk = bed.desk()
    screen = bed.screen()
    screen.expect(PROMPT)
    desk.sign_in("alice")
    screen.expect("has to be changed")
    screen.expect("New password: ")
    screen.send("canary-1")
    screen.expect("Code: ")
    screen.send("123456")
    assert screen.wait() == 0
    answers = [request.get("response") for request in greetd.requests if "response" in request]
    assert answers == [None, "canary-1", "123456"]
    assert greetd.words()[-1] == "start_session" and "canary" not in screen.transcript


@pytest.mark.parametrize("typed", [b"", b"canary-", b"canary-1\nbob\n"])
@pytest.mark.parametrize("end", ["cancel", "agent"])
def test_when_the_agent_hangs_up_its_question_is_nobodys(bed: Bed, typed: bytes, end: str) -> None:
    """greetd cancels at once, and what was typed for it is neither shown nor a name."""
    greetd = bed.greetd(question("secret", "New password: "))
    desk = bed.desk()
    screen = bed.screen()
    screen.expect(PROMPT)
    desk.sign_in("alice")
    screen.expect("New password: ")
    os.kill(screen.pid, signal.SIGSTOP)  # so that it finds both at once
    os.waitpid(screen.pid, os.WUNTRACED)
    os.write(screen._master, typed)
    desk.driver.cancel() if end == "cancel" else desk.driver.close()
    os.kill(screen.pid, signal.SIGCONT)
    screen.expect(PROMPT)
    assert greetd.words() == ["create_session", "cancel_session"]
    screen.send("carol")
    screen.expect("carol")
    assert "canary" not in screen.transcript and "bob" not in screen.transcript
    assert screen.wait() == 0
    assert [request.get("username") for request in greetd.requests][-2] == "carol"


def test_the_session_is_the_users_own_shell(bed: Bed) -> None:
    greetd = bed.greetd(SUCCESS, SUCCESS)
    screen = bed.screen()
    screen.expect(PROMPT)
    screen.send("root")
    assert screen.wait() == 0
    assert greetd.requests[-1] == {
        "type": "start_session",
        "cmd": [pwd.getpwnam("root").pw_shell, "-l"],
        "env": [],
    }


def test_a_user_whom_only_pam_knows_gets_a_shell_too(bed: Bed) -> None:
    greetd = bed.greetd(SUCCESS, SUCCESS)
    screen = bed.screen()
    screen.expect(PROMPT)
    screen.send("no-such-user")
    assert screen.wait() == 0
    assert greetd.requests[-1]["cmd"] == ["/bin/sh", "-l"]


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (problem("auth_error", "pam_authenticate: AUTH_ERR"), "Login incorrect"),
        (problem("error", "a session is already scheduled"), "a session is already scheduled"),
    ],
)
def test_a_refusal_is_shown_and_the_prompt_is_back(bed: Bed, reply: dict[str, str], shown: str) -> None:
    greetd = bed.greetd(question("secret", "Password: "), reply)
    screen = bed.screen()
    screen.expect(PROMPT)
    screen.send("alice")
    screen.expect("Password: ")
    screen.send("wrong")
    screen.expect(shown)
    screen.expect(PROMPT)
    assert greetd.words() == ["create_session", "post_auth_message_response", "cancel_session"]


def test_a_session_that_cannot_start_is_cancelled(bed: Bed) -> None:
    greetd = bed.greetd(SUCCESS, problem("error", "no such command"))
    screen = bed.screen()
    screen.expect(PROMPT)
    screen.send("alice")
    screen.expect("no such command")
    screen.expect(PROMPT)
    assert greetd.words() == ["create_session", "start_session", "cancel_session"]


@pytest.mark.parametrize("typed", [b"half\x03", b"\x04", b"x" * 512 + b"\n", b"caf\xe9\n"])
def test_what_is_no_answer_is_not_sent(bed: Bed, typed: bytes) -> None:
    """Given up, at the end, longer than PAM takes, no UTF-8."""
    greetd = bed.greetd(question("secret", "Password: "))
    screen = bed.screen()
    screen.expect(PROMPT)
    screen.send("alice")
    screen.expect("Password: ")
    os.write(screen._master, typed)
    screen.expect("Login incorrect")
    screen.expect(PROMPT)
    assert greetd.words() == ["create_session", "cancel_session"]


@pytest.mark.parametrize("typed", [b"\n", b"   \n", b"\x04", b"ali\x03", b"\x1b[A\n"])
def test_what_is_no_name_prompts_again(bed: Bed, typed: bytes) -> None:
    greetd = bed.greetd(SUCCESS, SUCCESS)
    screen = bed.screen()
    screen.expect(PROMPT)
    os.write(screen._master, typed)
    screen.expect(PROMPT)
    screen.send("alice")
    assert screen.wait() == 0
    assert greetd.requests[1]["username"] == "alice"


def test_the_end_of_the_terminal_is_the_end(bed: Bed) -> None:
    master, slave = pty.openpty()
    argv = [*PROGRAM, "--socket", bed.agent]
    with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=bed.env) as process:
        os.close(slave)
        assert b"login: " in os.read(master, 100)
        os.close(master)
        assert process.stderr is not None and process.stderr.read().startswith(b"sso-greetd: the terminal ")
        assert process.wait(10) == 1


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_an_answer_is_the_same_in_json(text: str) -> None:
    assert json.loads(bytes(_quoted(memoryview(bytearray(text.encode()))))) == text


def test_an_answer_is_wiped(bed: Bed) -> None:
    greetd = bed.greetd(SUCCESS)
    secret = bytearray(b"correct horse")
    with Greetd(str(greetd.path)) as link:
        assert link.answer(memoryview(secret)) == ("success", "", "")
    assert greetd.requests == [{"type": "post_auth_message_response", "response": "correct horse"}]
    assert secret == bytes(13)


# A greetd that is broken

BROKEN = {
    "zero": struct.pack("=I", 0),
    "huge": struct.pack("=I", 2**32 - 1),
    "over the cap": struct.pack("=I", MESSAGE_MAX + 1),
    "cut": struct.pack("=I", 100) + b"{",
    "cut length": b"\x01",
    "nothing": b"",
    "no JSON": framed(b"hello"),
    "no UTF-8": framed(b'{"type":"\xff"}'),
    "deep": framed(b"[" * MESSAGE_MAX),
    "a list": framed(b"[]"),
    "a number": framed(b"5"),
    "no type": framed(b"{}"),
    "type is a list": framed(b'{"type":[]}'),
    "unknown type": framed(b'{"type":"hologram"}'),
    "no text": framed(b'{"type":"error","error_type":"error"}'),
    "text is a number": framed(b'{"type":"error","error_type":"error","description":5}'),
    "text is a list": framed(b'{"type":"error","error_type":"error","description":[]}'),
    "unknown style": framed(b'{"type":"auth_message","auth_message_type":"smell","auth_message":""}'),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_a_broken_reply_is_one_clear_error(bed: Bed, reply: bytes) -> None:
    greetd = bed.greetd(reply)
    with Greetd(str(greetd.path)) as link, pytest.raises(RemoteProtocolError, match=r"^greetd "):
        link.ask("create_session", username="alice")


def test_it_ends_with_one_line_when_greetd_is_broken(bed: Bed) -> None:
    bed.greetd(b"")
    screen = bed.screen()
    screen.expect(PROMPT)
    screen.send("alice")
    screen.expect("sso-greetd: greetd has hung up")
    assert screen.wait() == 1 and "Traceback" not in screen.transcript


def test_it_does_not_answer_for_ever(bed: Bed) -> None:
    greetd = bed.greetd(*[question("info", "again")] * 200)
    screen = bed.screen()
    screen.expect(PROMPT)
    screen.send("alice")
    screen.expect("sso-greetd: greetd has more to ask")
    assert screen.wait() == 1 and len(greetd.requests) < 110


@pytest.mark.parametrize(
    ("options", "env", "code", "said"),
    [
        ((), {"GREETD_SOCK": ""}, 2, "GREETD_SOCK is not set"),
        ((), {}, 2, "standard input has to be a terminal"),
        (("--chain",), {}, 2, "--chain: name the greeter"),
        (("--env", "=x"), {}, 2, "write NAME=VALUE"),
        (("--chain", "/no/such/greeter"), {}, 1, "/no/such/greeter cannot be started: No such file"),
    ],
)
def test_wrong_use_is_told(
    bed: Bed, options: tuple[str, ...], env: dict[str, str], code: int, said: str
) -> None:
    argv = [*PROGRAM, *options]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**bed.env, **env}
    )
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr


def test_a_greetd_of_another_user_is_told_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    greetd = bed.greetd()
    monkeypatch.setattr(local, "peer", lambda link: local.Peer(1, 4711, 4711))
    with pytest.raises(RemoteProtocolError, match="is not who listens"):
        Greetd(str(greetd.path))
    assert greetd.requests == []


def test_a_greetd_that_is_not_there_is_told(bed: Bed) -> None:
    screen = bed.screen()
    screen.expect(PROMPT)
    screen.send("alice")
    screen.expect("sso-greetd: greetd cannot be reached at ")
    assert screen.wait() == 1
