"""pam/: Debian's own login with our lines, pamtester, and the built module itself."""

import re
import subprocess
from pathlib import Path

import pytest
from beds_pam import SOURCE, answer_of, caches, listen, ticket
from fake_pam_agent import (
    CLOSED,
    ESTABLISHED,
    GET,
    IDENTITY,
    KERBEROS,
    OPENED,
    PASSED,
    PASSWORD,
    TRIED,
    Answer,
)

from sso.demo.sandbox import PAM_MODULE, Sandbox
from sso.demo.terminal import Terminal, spawn

pytestmark = pytest.mark.e2e


def log_in(guest: Sandbox, *name: str) -> Terminal:
    return spawn(guest.command(["login", *name]), guest.env)


@pytest.mark.parametrize("name", [["alice"], []])
@pytest.mark.parametrize("kind", [PASSWORD, KERBEROS, IDENTITY])
@pytest.mark.proves("S100")
def test_login_opens_a_shell(guest: Sandbox, kind: int, name: list[str]) -> None:
    with listen(guest, answer_of(guest, kind)) as agent, log_in(guest, *name) as terminal:
        terminal.expect("$ ")
        terminal.send('echo "<$(id -un) $KRB5CCNAME $(ls -l /proc/$$/fd | grep -c -e socket -e memfd)>"')
        seen = terminal.expect(re.compile(r"<alice (\S*) 0>"))
        assert [str(path).rpartition("/root")[2] for path in caches(guest)] == (
            [seen[1].removeprefix("FILE:")] if kind == KERBEROS else []
        )
        terminal.send("exit")
        assert terminal.wait() == 0
    proof = [TRIED, PASSED] if kind == PASSWORD else []
    assert agent.operations == [[GET, *proof, ESTABLISHED, OPENED, CLOSED]]
    assert {heard.service for heard in agent.stories[0]} == {"login"}
    assert agent.stories[0][0].tty.startswith("pts/")
    assert not re.search("(?<!Last )login: |Password", terminal.transcript)
    assert not caches(guest)


def test_login_works_as_ever_when_nothing_waits(guest: Sandbox) -> None:
    with listen(guest, Answer()) as agent, log_in(guest) as terminal:
        terminal.expect("login: ")
        terminal.send("alice")
        terminal.expect("Password: ")
        terminal.send(guest.password("alice"))
        terminal.expect("$ ")
        terminal.send("exit")
        assert terminal.wait() == 0
    assert [[(heard.operation, heard.user) for heard in story] for story in agent.stories] == [
        [(GET, "")],
        [(GET, "alice")],
    ]


def test_nologin_holds_for_a_waiting_ticket_too(guest: Sandbox) -> None:
    guest.write("/etc/nologin", "closed for today\n")
    with listen(guest, ticket(), Answer()) as agent, log_in(guest) as terminal:
        terminal.expect("closed for today")
        terminal.expect("Login incorrect")
    guest.path("/etc/nologin").unlink()
    assert agent.operations[0] == [GET] and not caches(guest)


def test_the_groups_of_the_console_are_given_to_a_ticket_too(guest: Sandbox) -> None:
    guest.write("/etc/security/group.conf", "login;*;alice;Al0000-2400;games\n")
    with listen(guest, ticket()), log_in(guest) as terminal:
        terminal.expect("$ ")
        terminal.send("id -Gn")
        terminal.expect(re.compile(r"\bgames\b"))
        terminal.send("exit")
        assert terminal.wait() == 0


def test_pamtester(guest: Sandbox) -> None:
    with listen(guest, ticket()) as agent:
        steps = ["authenticate", "setcred(PAM_ESTABLISH_CRED)", "open_session", "close_session"]
        done = guest.run(["pamtester", "sso-bare", "alice", *steps])
    assert "successfully authenticated" in done.stdout
    assert agent.operations == [[GET, ESTABLISHED, OPENED, CLOSED]]


# The module itself


def test_every_call_fails_once(tmp_path: Path) -> None:
    subprocess.run(["make", "-s", "-C", SOURCE, "asan", f"BUILD={tmp_path}"], check=True)
    done = subprocess.run([tmp_path / "faults"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.split()[0]) > 5000


def test_valgrind_finds_nothing(guest: Sandbox) -> None:
    steps = ["authenticate", "setcred(PAM_ESTABLISH_CRED)", "open_session", "close_session"]
    argv = [
        "valgrind",
        "--quiet",
        "--error-exitcode=99",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
    ]
    with listen(guest, ticket()):
        done = guest.run([*argv, "pamtester", "sso-bare", "alice", *steps], check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_module_is_hardened_and_exports_the_five_functions(guest: Sandbox) -> None:
    module = str(guest.path(PAM_MODULE))
    names = subprocess.run(
        ["nm", "-D", "--defined-only", module], capture_output=True, text=True
    ).stdout.split()
    assert sorted(names[2::3]) == [
        "pam_sm_acct_mgmt",
        "pam_sm_authenticate",
        "pam_sm_close_session",
        "pam_sm_open_session",
        "pam_sm_setcred",
    ]
    facts = subprocess.run(["readelf", "-dlW", module], capture_output=True, text=True).stdout
    assert "BIND_NOW" in facts and "GNU_RELRO" in facts and "libpam.so.0" in facts
    assert not re.search(r"GNU_STACK.*RWE", facts)
