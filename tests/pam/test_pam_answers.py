"""pam/: answers, agents, arguments and folders that are refused, as if the module were not there."""

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from beds_pam import (
    AUTH_ERR,
    BARE,
    CRED_ERR,
    PERM_DENIED,
    SESSION_ERR,
    SOCKET,
    TICKET,
    UNAVAILABLE,
    answer_of,
    caches,
    call,
    failures,
    listen,
    ticket,
)
from fake_pam_agent import ESTABLISHED, GET, HELD, IDENTITY, KERBEROS, NONE, OPENED, PASSWORD, Answer

from sso.demo.sandbox import PAM_MODULE, Sandbox

pytestmark = pytest.mark.e2e

AT_ONCE = (
    2.0  # seconds of waiting; more than a busy machine takes for an answer, less than the module's three
)

# What it is as if the module were not there


@pytest.mark.parametrize("kind", [PASSWORD, KERBEROS, IDENTITY])
def test_a_credential_for_another_user_is_no_failure(guest: Sandbox, kind: int) -> None:
    with listen(guest, answer_of(guest, kind)) as agent:
        answers = [guest.password("bob")]
        done = call(guest, "authenticate", "setcred:2", service="sso-counted", user="bob", answers=answers)
    assert (done.results, done.prompts, done.user) == ([0, 0], ["Password: "], "bob")
    assert failures(guest, "bob") == 0 and not caches(guest)
    assert agent.operations == [[GET]] and agent.stories[0][0].user == "bob"


def test_a_login_from_elsewhere_asks_nothing(guest: Sandbox) -> None:
    with listen(guest, ticket()) as agent:
        done = call(guest, "authenticate", items={"rhost": "desktop.test.example"})
    assert done.results == [UNAVAILABLE] and agent.stories == []


def test_without_an_agent_the_typed_password_counts(guest: Sandbox) -> None:
    done = call(guest, "authenticate", service="sso-counted", answers=[guest.password("alice")])
    assert (done.results, done.prompts) == ([0], ["Password: "])
    assert done.seconds < AT_ONCE


def test_a_silent_agent_delays_a_login_by_three_seconds_and_no_more(guest: Sandbox) -> None:
    with listen(guest, replace(ticket(), silent=True)) as agent:
        done = call(
            guest,
            "authenticate",
            service="sso-counted",
            user=None,
            answers=["alice", guest.password("alice")],
        )
    # The early line waited; the line that decides did not wait again.
    assert (done.results, agent.operations) == ([0], [[GET]])
    assert 2.9 < done.seconds < 3.9


def test_an_agent_that_accepts_nobody_ends_in_time(guest: Sandbox) -> None:
    path = str(guest.path(SOCKET))
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as first,
    ):
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        # The backlog is full, so connect() waits.
        done = call(guest, "authenticate")
    os.unlink(path)
    assert done.results == [UNAVAILABLE] and 2.9 < done.seconds < 3.9


@pytest.mark.parametrize("by", ["alice", "mallory"])
def test_other_users_reach_no_agent(guest: Sandbox, by: str) -> None:
    with listen(guest, ticket()) as agent:
        done = call(guest, "authenticate", by=by)
    assert done.results == [UNAVAILABLE] and agent.stories == []


@pytest.mark.parametrize("uid", [4003, 4010])
def test_a_squatted_socket_is_told_nothing(guest: Sandbox, uid: int) -> None:
    with listen(guest, ticket(), uid=uid) as agent:
        done = call(guest, "authenticate", "setcred:2", "look")
    assert done.results[0] == UNAVAILABLE and done.results[2] == {"name": "", "count": 0}
    assert agent.operations == [[]]


def test_an_agent_with_an_uid_of_its_own(guest: Sandbox) -> None:
    guest.write("/etc/pam.d/sso-owned", BARE.replace("@", "agent_uid=4010"))
    with listen(guest, ticket(), uid=4010):
        assert call(guest, "authenticate", service="sso-owned").results == [0]
    with listen(guest, ticket()):
        assert call(guest, "authenticate", service="sso-owned").results == [UNAVAILABLE]


def octets(at: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda packet: packet[:at] + new + packet[at + len(new) :]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(), id="nothing waits"),
        pytest.param(Answer(KERBEROS, "alice", bytes(128 * 1024 + 1)), id="a cache too long"),
        pytest.param(Answer(PASSWORD, "alice", b"x" * 512), id="a password too long"),
        pytest.param(Answer(PASSWORD, "alice", b"x\0y"), id="a password with a NUL"),
        pytest.param(Answer(KERBEROS, "alice", b"", files=1), id="an empty cache"),
        pytest.param(Answer(KERBEROS, "alice", TICKET, length=len(TICKET) + 1), id="a short secret"),
        pytest.param(Answer(KERBEROS, "alice", TICKET, length=0xFFFFFFFF), id="a boundless length"),
        pytest.param(Answer(KERBEROS, "alice", TICKET, files=0), id="no descriptor"),
        pytest.param(Answer(KERBEROS, "alice", TICKET, files=2), id="two descriptors"),
        pytest.param(Answer(KERBEROS, "alice", TICKET, files=20), id="more descriptors than fit"),
        pytest.param(Answer(IDENTITY, "alice", files=1), id="a descriptor with an identity"),
        pytest.param(Answer(NONE, "", TICKET, files=1), id="a descriptor with nothing"),
        pytest.param(Answer(4, "alice"), id="an unknown kind"),
        pytest.param(replace(ticket(), spoil=octets(0, b"SSOP")), id="the wrong magic"),
        pytest.param(replace(ticket(), spoil=octets(4, b"\1")), id="an older version"),
        pytest.param(replace(ticket(), spoil=octets(4, b"\4")), id="a newer version"),
        pytest.param(replace(ticket(), spoil=octets(6, b"\0\1")), id="bytes that must be zero"),
        pytest.param(replace(ticket(), spoil=octets(319, b"\1")), id="a tail that must be zero"),
        pytest.param(replace(ticket(), spoil=lambda packet: packet[:-1]), id="a short record"),
        pytest.param(replace(ticket(), spoil=lambda packet: packet + b"\0"), id="a long record"),
        pytest.param(replace(ticket(), spoil=lambda packet: packet * 100), id="a very long record"),
        pytest.param(replace(ticket(), hang_up_after=0), id="closed at once"),
        pytest.param(replace(ticket(), hang_up_after=GET), id="closed after the request"),
    ],
)
def test_a_bad_answer_is_no_answer(guest: Sandbox, answer: Answer) -> None:
    with listen(guest, answer) as agent:
        done = call(guest, "authenticate", "look")
    assert done.results == [UNAVAILABLE, {"name": "", "count": 0}]
    assert done.seconds < AT_ONCE
    assert agent.operations in ([[GET]], [[]])


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"-froot",
        b"a/b",
        b"a:b",
        b"a\nb",
        b"a\x7f",
        b"a" * 64,
        b"alice\0x",
        b"bob",
        b"Alice",
        b"alice ",
    ],
)
def test_a_bad_name_is_no_name(guest: Sandbox, name: bytes) -> None:
    spoil = octets(12, name.ljust(64, b"\0"))
    with listen(guest, replace(ticket(), spoil=spoil)):
        done = call(guest, "authenticate")
    assert done.results == [UNAVAILABLE]


def test_the_longest_name_and_the_longest_secrets_pass(guest: Sandbox) -> None:
    with listen(guest, Answer(KERBEROS, "x" * 63, bytes(128 * 1024)), Answer(PASSWORD, "alice", b"x" * 511)):
        done = call(guest, "authenticate", user=None)
        assert (done.results, done.user) == ([0], "x" * 63)
        assert call(guest, "authenticate").results == [PERM_DENIED]


@pytest.mark.parametrize(
    ("steps", "results", "last"),
    [
        # What the agent has not said yes to does not happen.
        (["authenticate", "setcred:2"], [UNAVAILABLE], GET),
        (["authenticate", "setcred:2", "open_session"], [UNAVAILABLE], HELD),
        (
            ["authenticate", "setcred:2", "acct_mgmt", "open_session"],
            [0, CRED_ERR, PERM_DENIED, SESSION_ERR],
            ESTABLISHED,
        ),
        (["authenticate", "setcred:2", "open_session", "setcred:0x8"], [0, 0, SESSION_ERR, CRED_ERR], OPENED),
        (["authenticate", "open_session", "setcred:2"], [0, SESSION_ERR, CRED_ERR], OPENED),
    ],
)
def test_an_agent_that_goes(guest: Sandbox, steps: list[str], results: list[int], last: int) -> None:
    spoil = replace(ticket(), hang_up_after=last)
    with listen(guest, spoil) as agent:
        done = call(guest, *steps)
    assert done.results[: len(results)] == results
    assert agent.stories[0][-1].operation == last
    assert not caches(guest)


@pytest.mark.parametrize("kind", [KERBEROS, IDENTITY])
def test_an_answer_taken_back_opens_nothing(guest: Sandbox, kind: int) -> None:
    with listen(guest, answer_of(guest, kind)) as agent:
        steps = ("authenticate", "pause", "setcred:2", "look", "open_session")
        done = call(guest, *steps, at_pause=agent.hang_up)
    assert done.results[2:4] == [CRED_ERR, {"name": "", "count": 0}]
    assert agent.operations == [[GET]]


def test_an_answer_taken_back_between_the_two_lines_lets_nobody_in(guest: Sandbox) -> None:
    # pam_echo stands between them, and the caller pauses when it is to show a text.
    text = f"auth optional pam_echo.so pause\nauth required {PAM_MODULE}\nauth required pam_deny.so\n"
    guest.write("/etc/pam.d/sso-between", text.replace("auth", f"auth optional {PAM_MODULE} early\nauth", 1))
    with listen(guest, ticket()) as agent:
        kept = call(guest, "authenticate", service="sso-between", user=None)
        lost = call(guest, "authenticate", service="sso-between", user=None, at_pause=agent.hang_up)
    assert (kept.user, lost.user) == ("alice", "alice")
    assert agent.operations == [[GET], [GET]]
    assert (kept.results, lost.results) == ([AUTH_ERR], [UNAVAILABLE])


@pytest.mark.parametrize(
    "arguments",
    ["sockets=/x", "agent_uid=", "agent_uid=-1", "agent_uid=1x", "agent_uid=99999999999", "debug"],
)
def test_an_argument_that_is_not_understood(guest: Sandbox, arguments: str) -> None:
    guest.write("/etc/pam.d/sso-wrong", BARE.replace("@", arguments))
    with listen(guest, ticket()) as agent:
        assert call(guest, "authenticate", service="sso-wrong").results == [UNAVAILABLE]
    assert agent.stories == []


@pytest.mark.parametrize("path", ["pam.sock", "@console-sso", "/" + "x" * 200, ""])
def test_a_socket_that_is_no_path(guest: Sandbox, path: str) -> None:
    guest.write("/etc/pam.d/sso-wrong", BARE.replace("@", f"socket={path}"))
    assert call(guest, "authenticate", service="sso-wrong").results == [UNAVAILABLE]


# The greeter's token


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["00ff" * 16], "00ff" * 16),
        (["AB12"], "AB12"),
        (["f" * 71], "f" * 71),
        (["f" * 72], None),
        (["not hex"], None),
        ([""], None),
        ([], None),
    ],
)
def test_the_token_of_the_greeter(guest: Sandbox, typed: list[str], told: str | None) -> None:
    with listen(guest, ticket()) as agent:
        done = call(guest, "authenticate", service="sso-token", user=None, answers=typed)
    assert done.prompts == ["Token: "]
    assert [story[0].token for story in agent.stories] == ([told] if told else [])
    assert (done.results, done.user) == (([0], "alice") if told else ([UNAVAILABLE], ""))


# The folder of the cache


def a_link(folder: Path) -> None:
    folder.symlink_to("/tmp")


def of_mallory(folder: Path) -> None:
    folder.mkdir(mode=0o777)
    os.chown(folder, 4003, 4003)


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def closed(folder: Path) -> None:
    folder.mkdir(mode=0o700)


def a_file(folder: Path) -> None:
    folder.touch()


def missing(folder: Path) -> None:
    assert not folder.exists()


@pytest.mark.parametrize("make", [a_link, of_mallory, open_to_all, closed, a_file, missing])
def test_a_folder_that_is_not_safe_gets_no_ticket(guest: Sandbox, make: Callable[[Path], None]) -> None:
    guest.write("/etc/pam.d/sso-folder", BARE.replace("@", f"ccache_dir=/var/tmp/{make.__name__}"))
    make(guest.path("/var/tmp") / make.__name__)
    with listen(guest, ticket()) as agent:
        done = call(guest, "authenticate", "setcred:2", "look", service="sso-folder")
    assert done.results == [0, CRED_ERR, {"name": "", "count": 0}]
    assert agent.operations == [[GET]]
    assert not list(guest.path("/var/tmp").rglob("*krb5cc*"))


@pytest.mark.parametrize("folder", ["/var/tmp/", "var/tmp", "/" + "x" * 230, ""])
def test_a_folder_that_is_no_path(guest: Sandbox, folder: str) -> None:
    guest.write("/etc/pam.d/sso-folder", BARE.replace("@", f"ccache_dir={folder}"))
    with listen(guest, ticket()):
        assert call(guest, "authenticate", "setcred:2", service="sso-folder").results == [0, CRED_ERR]


def test_a_folder_of_the_user(guest: Sandbox) -> None:
    guest.write("/etc/pam.d/sso-folder", BARE.replace("@", "ccache_dir=/home/alice"))
    with listen(guest, ticket()):
        steps = ("authenticate", "setcred:2", "look", "open_session", "close_session")
        done = call(guest, *steps, service="sso-folder")
    assert (
        done.results[2]["name"].startswith("FILE:/home/alice/krb5cc_4001_") and done.results[2]["uid"] == 4001
    )
    assert not list(guest.path("/home/alice").glob("krb5cc*"))


def test_a_user_whom_the_guest_does_not_know_gets_no_ticket(guest: Sandbox) -> None:
    with listen(guest, ticket("carol")):
        assert call(guest, "authenticate", "setcred:2", user=None).results == [0, CRED_ERR]
    assert not caches(guest)
