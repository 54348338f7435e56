"""A ticket or a password on the client opens a real greetd session: agent, sso-greetd, greetd, PAM, shell."""

import os
import pwd
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from beds import Certificates
from beds_greetd import CONFIG, GREETER, USER, MakeGreetd, make_guest_with_greetd
from beds_guest import (
    SPN,
    caches,
    count_failures,
    failures,
    has_ticket,
    shell,
    sign_in,
    until,
)

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.programs import find_program
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox
from sso.demo.terminal import spawn

__all__ = ["make_guest_with_greetd"]

pytestmark = pytest.mark.e2e
PASSWORD = ('mechanisms = ["TLS", "password"]',)
SESSION = "/etc/greetd/session"


def with_password(guest: Guest, realm: Realm, certificates: Certificates, password: str) -> int:
    options = (*certificates.options, "--password", "--user", "alice")
    return sign_in(guest, realm, *options, stdin_secret=password).code


def running_as(guest: Guest, program: str) -> list[int]:
    """The uids that a program inside runs as."""
    pids = [pid for pid, name in guest.sandbox.inhabitants().items() if name == program]
    states = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return [int(uid) for state in states for uid in re.findall(r"(?m)^Uid:\t(\d+)", state)]


def prompts(guest: Guest) -> int:
    return guest.screen.transcript.count("login: ")


def test_a_forwarded_ticket_opens_a_session(realm: Realm, make_greetd: MakeGreetd) -> None:
    realm.kinit("alice", "-f")
    guest = make_greetd()
    guest.screen.expect("login: ")
    assert running_as(guest, os.path.basename(GREETER)) == [pwd.getpwnam(USER).pw_uid]
    run = sign_in(guest, realm, "--spn", SPN)
    assert (run.code, run.lines) == (Exit.SIGNED_IN, [])
    with shell(guest) as command:
        assert command("id -un; id -Gn") == "alice\nalice"
        has_ticket(guest, command)
    guest.screen.send("exit")
    guest.screen.expect("login: ")
    assert not caches(guest), "the ticket is removed with the session"
    assert guest.log().count("login-opened") == 1 and "session-over" in guest.log()


def test_the_session_of_the_option_is_started(realm: Realm, make_greetd: MakeGreetd) -> None:
    realm.kinit("alice", "-f")

    def furnish(sandbox: Sandbox) -> None:
        script = '#!/bin/sh\n(id -un; echo "$DESKTOP"; klist) >$HOME/facts\necho "begun"\nread line\n'
        sandbox.write(SESSION, script, 0o755)

    guest = make_greetd("--session", SESSION, "--env", "DESKTOP=x y", before=furnish)
    guest.screen.expect("login: ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    guest.screen.expect("begun")
    facts = guest.sandbox.path("/home/alice/facts").read_text()
    assert facts.startswith("alice\nx y\n") and "krbtgt/TEST.EXAMPLE" in facts
    guest.screen.send("")
    guest.screen.expect("login: ")


def test_a_password_through_tls_opens_a_session(
    realm: Realm, make_greetd: MakeGreetd, certificates: Certificates
) -> None:
    guest = make_greetd(settings=PASSWORD)
    guest.screen.expect("login: ")
    right = guest.sandbox.password("alice")
    assert with_password(guest, realm, certificates, right) == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un") == "alice"


def test_a_wrong_password_is_one_failure_and_the_greeter_works_on(
    realm: Realm, make_greetd: MakeGreetd, certificates: Certificates
) -> None:
    guest = make_greetd(settings=PASSWORD, before=count_failures)
    guest.screen.expect("login: ")
    assert with_password(guest, realm, certificates, "a-wrong-one") == Exit.NOT_ACCEPTED
    guest.screen.expect("Login incorrect")
    guest.screen.expect("login: ")
    again = with_password(guest, realm, certificates, "a-wrong-one")
    assert again in (Exit.TRY_LATER, Exit.NOT_ACCEPTED)
    assert failures(guest.sandbox, "alice") == 1
    guest.screen.send("alice")
    guest.screen.expect("Password: ")
    guest.screen.send(guest.sandbox.password("alice"))
    with shell(guest) as command:
        assert command("id -un") == "alice"


def test_a_machine_that_is_closed_stays_closed(realm: Realm, make_greetd: MakeGreetd) -> None:
    """What Debian's stack checks before it asks for a password holds for everybody."""
    realm.kinit("alice", "-f")
    guest = make_greetd(
        settings=("grant_seconds = 1",),
        before=lambda sandbox: sandbox.write("/etc/nologin", "closed today\n"),
    )
    guest.screen.expect("login: ")
    until(lambda: "screen-ready" in guest.log())
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.NO_LOGIN_SCREEN
    guest.screen.expect("closed today")
    guest.screen.expect("login: ")
    assert not caches(guest) and "login-given" not in guest.log()


@pytest.mark.parametrize("agent", [True, False])
def test_typing_works_as_ever(make_greetd: MakeGreetd, agent: bool) -> None:
    guest = make_greetd()
    guest.screen.expect("login: ")
    if not agent:
        guest.stop()
    for password, shown in (("wrong", "Login incorrect"), (guest.sandbox.password("bob"), "$ ")):
        guest.screen.send("bob")
        guest.screen.expect("Password: ")
        guest.screen.send(password)
        if shown != "$ ":
            guest.screen.expect(shown)
            guest.screen.expect("login: ")
    with shell(guest) as command:
        assert command("id -un") == "bob" and guest.sandbox.password("bob") not in guest.screen.transcript
    guest.screen.send("exit")
    guest.screen.expect("login: ")


def test_the_greeter_finds_an_agent_that_was_restarted(realm: Realm, make_greetd: MakeGreetd) -> None:
    realm.kinit("alice", "-f")
    guest = make_greetd()
    guest.screen.expect("login: ")
    until(lambda: "screen-ready" in guest.log())
    guest.stop()
    guest.start()
    until(lambda: guest.log().count("screen-ready") == 2)
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un") == "alice"
    assert prompts(guest) == 1, "the screen did not even blink"


def test_of_two_greetds_one_opens_the_session(realm: Realm, make_greetd: MakeGreetd) -> None:
    realm.kinit("alice", "-f")
    guest = make_greetd()
    guest.screen.expect("login: ")
    until(lambda: "screen-ready" in guest.log())
    argv = guest.sandbox.command([find_program("greetd"), "-c", CONFIG])
    with spawn(argv, guest.sandbox.env) as second:
        second.expect("login: ")
        until(lambda: guest.log().count("screen-ready") == 2)
        assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
        second.expect("$ ")
        second.send("id -un; exit")
        second.expect("alice\r\n")
        second.expect("login: ")
        assert prompts(guest) == 1 and not caches(guest)
        guest.screen.send("bob")
        guest.screen.expect("Password: ")


# Another greeter for people

# On a terminal of its own, since it asks for secrets on /dev/tty, and ours is nobody's controlling one.
OWN_TERMINAL = ("/usr/bin/env", "SHELL=/bin/sh", "/usr/bin/script", "--quiet", "--return", "--command")
AGREETY = ("--chain", *OWN_TERMINAL, "/usr/sbin/agreety --cmd /bin/sh", "/dev/null")


def test_a_person_uses_the_other_greeter(make_greetd: MakeGreetd) -> None:
    guest = make_greetd(*AGREETY)
    guest.screen.expect("login: ")
    guest.screen.send("bob")
    guest.screen.expect("Password: ")
    guest.screen.send(guest.sandbox.password("bob"))
    with shell(guest) as command:
        assert command("id -un") == "bob"


@pytest.mark.parametrize("half", [False, True])
def test_the_agent_takes_over_from_the_other_greeter(
    realm: Realm, make_greetd: MakeGreetd, half: bool
) -> None:
    """Also from a greeter that is in the middle of another user's login."""
    realm.kinit("alice", "-f")
    guest = make_greetd(*AGREETY)
    guest.screen.expect("login: ")
    if half:
        guest.screen.send("bob")
        guest.screen.expect("Password: ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un; klist -s && echo ticket") == "alice\nticket"
    guest.screen.send("exit")
    guest.screen.expect("login: ")
    assert not caches(guest)


# The client leaves meanwhile


@pytest.mark.parametrize("type", ["auth", "account"])
def test_nobody_is_signed_in_when_the_client_has_left(
    realm: Realm, make_greetd: MakeGreetd, type: str
) -> None:
    """A gate in PAM's stack holds the login before the credential is asked for, or before it is used."""
    realm.kinit("alice", "-f")

    def furnish(sandbox: Sandbox) -> None:
        os.mkfifo(sandbox.path("/etc/greetd/gate"))
        sandbox.write("/etc/greetd/hold", "#!/bin/sh\nread line </etc/greetd/gate\n", 0o755)
        lines = sandbox.path("/etc/pam.d/greetd").read_text()
        gate = f"{type} required pam_exec.so quiet /etc/greetd/hold\n"
        sandbox.write("/etc/pam.d/greetd", gate + lines)

    guest = make_greetd(before=furnish)
    guest.screen.expect("login: ")
    with socket.socket(socket.AF_UNIX) as port:
        port.connect(str(guest.port))
        argv = [sys.executable, "-I", "-m", "sso.client.main", "--no-config", "--spn", SPN]
        env = {"PATH": os.environ["PATH"], **realm.env}
        client = subprocess.Popen(
            argv, stdin=port.fileno(), stdout=port.fileno(), stderr=subprocess.DEVNULL, env=env
        )
    until(lambda: ("login-asked" if type == "auth" else "login-given") in guest.log())
    gate = os.open(guest.sandbox.path("/etc/greetd/gate"), os.O_WRONLY)  # it is there, and waits
    client.kill()
    client.wait()
    until(lambda: "login-revoked" in guest.log())
    os.write(gate, b"\n")
    os.close(gate)
    guest.screen.expect("login: ")
    assert not caches(guest) and "login-opened" not in guest.log() and "$ " not in guest.screen.transcript
