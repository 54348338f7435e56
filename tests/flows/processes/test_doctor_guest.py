"""sso doctor guest beside a guest that runs: nothing is wrong with it; what is broken for real is named."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from beds_guest import SPN, MakeGuest, caches, sign_in

from sso.client.exits import Exit
from sso.demo.guest import CONFIG, KEYTAB, PYTHON, Guest
from sso.demo.realm import Realm
from sso.demo.sandbox import PAM_MODULE

pytestmark = pytest.mark.e2e
STATE = "/var/lib/console-sso/acceptor"
ACCEPTOR, SSO_AGENT, ALICE = 4011, 4010, 4001
SECONDS = 30.0


def doctor(guest: Guest, *arguments: str, user: str = "") -> tuple[int, list[dict[str, str]]]:
    """What `sso doctor guest --json` says inside the guest, and its exit code."""
    done = guest.sandbox.run(
        [*PYTHON, "sso.cli", "doctor", "guest", "--json", *arguments], user=user, check=False
    )
    assert done.stderr == ""
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    assert not [each for each in findings if "the check itself failed" in each["found"]]
    return done.returncode, findings


def wrong(findings: list[dict[str, str]]) -> list[str]:
    return [
        f"{each['step']}: {each['found']}. {each['mend']}" for each in findings if each["state"] == "wrong"
    ]


@pytest.fixture
def guest(make_guest: MakeGuest) -> Guest:
    """A guest whose processes are all up: the acceptor has made its key, and the channel greets a peer."""
    guest = make_guest()
    key = guest.sandbox.path(STATE) / "digest.key"
    wait_for(guest, lambda: key.exists() and key.stat().st_uid == ACCEPTOR and key.stat().st_size > 0)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(SECONDS)
        # Its name is there a moment before anybody listens.
        wait_for(guest, lambda: peer.connect_ex(str(guest.port)) == 0)
        assert b"SIGNATURE" in peer.recv(4096)
    return guest


def wait_for(guest: Guest, true: Callable[[], bool]) -> None:
    """Look again and again while the guest's agent lives."""
    assert guest._agent is not None
    limit = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < limit, guest.log()
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the agent has ended with {guest._agent.wait(0.02)}: {guest.log()}")


def files(guest: Guest) -> dict[str, tuple[int, int, int]]:
    """What can be seen of a change, for each file that the doctor looks at."""
    folders = ("/etc/console-sso", "/run/console-sso", "/etc/pam.d", STATE)
    paths = [path for folder in folders for path in guest.sandbox.path(folder).glob("*")]
    return {
        str(path): (each.st_mode, each.st_uid, each.st_ctime_ns) for path in paths for each in [path.lstat()]
    }


def test_a_guest_that_runs_has_nothing_wrong_and_is_left_as_it_was(guest: Guest, realm: Realm) -> None:
    before = files(guest)
    code, findings = doctor(guest)
    assert (code, wrong(findings)) == (0, [])
    states = {each["step"]: each["state"] for each in findings}
    steps = [
        *("configuration", "users", "mechanisms", "port", "keytab", "replay cache", "sockets"),
        *("PAM service", "PAM module", "who may sign in"),
    ]
    assert {step: states[step] for step in steps} == dict.fromkeys(steps, "ok")
    assert files(guest) == before
    realm.kinit("alice", "-f")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    assert len(caches(guest)) == 1 and doctor(guest)[0] == 0


def test_for_people_it_is_one_line_a_step(guest: Guest) -> None:
    done = guest.sandbox.run([*PYTHON, "sso.cli", "doctor"])
    first, *lines, last = done.stdout.splitlines()
    assert (first, last) == ("sso doctor: the guest on this machine", "sso doctor: nothing is wrong")
    assert all(re.match(r"(ok|warning|not checked) +[\w -]+: ", line) for line in lines)
    guest.sandbox.path(KEYTAB).unlink()
    done = guest.sandbox.run([*PYTHON, "sso.cli", "doctor", "guest"], check=False)
    assert done.returncode == 1 and done.stdout.endswith("\nsso doctor: 1 wrong\n")
    assert f"\nwrong        keytab: there is no {KEYTAB}. Run: install " in done.stdout


def test_without_root_it_says_what_it_did_not_see(guest: Guest) -> None:
    code, findings = doctor(guest, user="alice")
    assert code == 0
    unseen = {each["step"] for each in findings if each["state"] == "not checked"}
    assert {"keytab", "replay cache"} <= unseen


# Each is done to a guest that runs, and taken back.


def _stop(guest: Guest) -> None:
    guest.stop()


def _edit(inside: str, old: str, new: str) -> Callable[[Guest], None]:
    def edit(guest: Guest) -> None:
        text = guest.sandbox.path(inside).read_text()
        assert old in text
        guest.sandbox.write(inside, text.replace(old, new))

    return edit


def _chown(inside: str, uid: int) -> Callable[[Guest], None]:
    return lambda guest: os.chown(guest.sandbox.path(inside), uid, uid)


def _chmod(inside: str, mode: int) -> Callable[[Guest], None]:
    return lambda guest: guest.sandbox.path(inside).chmod(mode)


def _rc4(guest: Guest) -> None:
    """A keytab with an old key only, by MIT's own tool."""
    guest.sandbox.path(KEYTAB).unlink()
    entry = f"addent -password -p {SPN}@TEST.EXAMPLE -k 7 -e arcfour-hmac"
    guest.sandbox.run(["/usr/bin/ktutil"], stdin=f"{entry}\nan-old-password\nwkt {KEYTAB}\nquit\n")
    os.chown(guest.sandbox.path(KEYTAB), ACCEPTOR, ACCEPTOR)


BREAKS: dict[str, tuple[Callable[[Guest], None], str]] = {
    "the agent does not run": (
        _stop,
        # No systemd runs in the sandbox, so nothing of systemctl is advised.
        r"^sockets: no agent listens at /run/console-sso/pam.sock.* Start console-sso-agent anew",
    ),
    "a word in guest.toml": (
        _edit(CONFIG, "spn =", "spm ="),
        r"^configuration: .*spm: there is no such option.*guest.toml",
    ),
    "a realm that is not ours": (
        _edit("/etc/krb5.conf", "default_realm = TEST.EXAMPLE", "default_realm = OTHER.EXAMPLE"),
        rf'^keytab: .*holds {SPN}@TEST.EXAMPLE, and the realm here is OTHER.EXAMPLE. Write spn = "',
    ),
    "a key of another service": (
        _edit(CONFIG, f'"{SPN}"', '"host/x.test.example"'),
        r"^keytab: .*no key of host/x\.",
    ),
    "an old key": (_rc4, r"^keytab: .*only \S*(rc4|arcfour)-hmac for \S+ \(kvno 7\).*AES key"),
    "a keytab that others read": (_chmod(KEYTAB, 0o640), rf"^keytab: .*mode 640.*chmod 600 {KEYTAB}"),
    "a keytab of the channel's user": (
        _chown(KEYTAB, SSO_AGENT),
        rf"^keytab: .*sso-agent.*chown sso-acceptor {KEYTAB}",
    ),
    "a replay cache of root": (
        _chown(STATE, 0),
        rf"^replay cache: {STATE} belongs to root.*chown sso-acceptor",
    ),
    "a socket for all": (
        _chmod("/run/console-sso/pam.sock", 0o666),
        r"^sockets: /run/console-sso/pam.sock: it belongs to root, mode 666",
    ),
    "a folder of alice": (_chown("/run/console-sso", ALICE), r"^sockets: /run/console-sso belongs to alice"),
    "a module that is none": (
        lambda guest: guest.sandbox.write(PAM_MODULE, "hello"),
        rf"^PAM module: {PAM_MODULE} cannot be loaded: .*apt install --reinstall libpam-sso",
    ),
    "lines in common-auth": (
        lambda guest: guest.sandbox.write("/etc/pam.d/common-auth", "auth sufficient pam_sso.so\n"),
        r"^PAM elsewhere: /etc/pam.d/common-auth has lines of pam_sso.so.*sed -i /pam_sso/d",
    ),
    "no line that decides": (
        _edit("/etc/pam.d/login", "[success=done default=ignore]", "optional"),
        r"^PAM service: our lines in /etc/pam.d/login are not .*sso install-pam --service login",
    ),
    "a group that is not there": (
        _edit(CONFIG, "spn =", 'allowed_groups = ["nonsuch"]\nspn ='),
        r"^who may sign in: there is no group nonsuch.*groupadd nonsuch",
    ),
    "a user that is not there": (
        _edit("/etc/passwd", "sso-acceptor:", "sso-nobody:"),
        r"^users: there is no user sso-acceptor. Run: systemd-sysusers console-sso.conf",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_named_with_its_cure(guest: Guest, name: str) -> None:
    breaks, line = BREAKS[name]
    breaks(guest)
    code, findings = doctor(guest)
    assert code == 1
    assert any(re.search(line, each) for each in wrong(findings)), wrong(findings)
    key = guest.sandbox.path(KEYTAB)
    assert not key.exists() or key.read_bytes()[-16:].hex() not in json.dumps(findings)


def test_wrong_usage(guest: Guest) -> None:
    for arguments in (["guest", "--nonsuch"], ["nonsuch"], ["guest", "--config"]):
        done = guest.sandbox.run([*PYTHON, "sso.cli", "doctor", *arguments], check=False)
        assert done.returncode == 2 and "usage: sso doctor" in done.stderr
