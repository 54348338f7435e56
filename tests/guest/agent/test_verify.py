"""PAM without a login screen: Debian's own modules in a sandbox, one attempt, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_pam import failures

from sso.demo.sandbox import DemoAccount, Sandbox

pytestmark = pytest.mark.e2e

PROBE = Path(__file__).with_name("verify_probe.py")
SOURCE = Path(__file__).resolve().parents[3] / "src"
EXPIRED = DemoAccount("expired", 4101, "expired-on-the-console")
BLANK = DemoAccount("blank", 4102, "blank-on-the-console")

# Failures are counted, and nothing waits after one.
COUNTED = """\
auth requisite pam_faillock.so preauth nodelay deny=100
auth [success=1 default=ignore] pam_unix.so nodelay nullok
auth [default=die] pam_faillock.so authfail nodelay deny=100
auth required pam_permit.so
account requisite pam_nologin.so
account required pam_unix.so
"""


@pytest.fixture(scope="module")
def guest() -> Iterator[Sandbox]:
    """A sandbox of our own: accounts change here."""
    with Sandbox() as sandbox:
        sandbox.add_accounts(EXPIRED, BLANK)
        sandbox.run(["chage", "-E", "2020-01-01", EXPIRED.name])
        sandbox.run(["passwd", "-d", BLANK.name])
        sandbox.path("/run/faillock").mkdir()
        sandbox.write("/etc/pam.d/sso-check", COUNTED)
        yield sandbox


def probe(guest: Sandbox, what: str, user: str = "alice", secret: bytes = b"", **more: Any) -> Any:
    """What a checker inside says, with more about its process."""
    script = {"what": what, "user": user, "service": "sso-check", "secret": secret.hex()} | more
    argv = [sys.executable, "-I", "-S", str(PROBE), str(SOURCE), json.dumps(script)]
    done = subprocess.run(
        guest.command(argv), env=guest.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


def stack(guest: Sandbox, name: str, *lines: str) -> str:
    guest.write(f"/etc/pam.d/{name}", "\n".join(lines) + "\n")
    return name


def right(guest: Sandbox) -> bytes:
    return guest.password("alice").encode()


# The four answers


def test_the_right_password(guest: Sandbox) -> None:
    before = failures(guest, "alice")
    assert probe(guest, "password", secret=right(guest))["said"] == ["good"]
    assert failures(guest, "alice") == before


def test_a_wrong_password_is_one_failure(guest: Sandbox) -> None:
    before = failures(guest, "alice")
    assert probe(guest, "password", secret=b"wrong")["said"] == ["wrong"]
    assert failures(guest, "alice") == before + 1


def test_an_account_that_may_be_used(guest: Sandbox) -> None:
    before = failures(guest, "alice")
    assert probe(guest, "account")["said"] == ["good"]
    assert failures(guest, "alice") == before


@pytest.mark.parametrize("what", ["account", "password"])
def test_an_expired_account(guest: Sandbox, what: str) -> None:
    secret = EXPIRED.password.encode()
    assert probe(guest, what, EXPIRED.name, secret)["said"] == ["refused"]


@pytest.mark.parametrize("what", ["account", "password"])
def test_nologin(guest: Sandbox, what: str) -> None:
    guest.write("/etc/nologin", "closed for today\n")
    try:
        assert probe(guest, what, secret=right(guest))["said"] == ["refused"]
    finally:
        guest.path("/etc/nologin").unlink()


def test_somebody_who_does_not_exist(guest: Sandbox) -> None:
    assert probe(guest, "account", "nobody-of-that-name")["said"] == ["refused"]
    assert probe(guest, "password", "nobody-of-that-name", b"x")["said"] == ["wrong"]


def test_a_service_that_is_not_there_is_the_service_other(guest: Sandbox) -> None:
    other = guest.path("/etc/pam.d/other").read_text()
    try:
        stack(guest, "other", "auth required pam_deny.so", "account required pam_deny.so")
        assert probe(guest, "account", service="sso-none")["said"] == ["refused"]
        guest.path("/etc/pam.d/other").unlink()
        said = probe(guest, "account", service="sso-none")["said"]
        assert said in (["broken"], ["refused"])
    finally:
        guest.write("/etc/pam.d/other", other)


def test_a_module_that_is_not_there_lets_nobody_in(guest: Sandbox) -> None:
    service = stack(guest, "sso-gone", "auth required pam_of_nobody.so", "account required pam_of_nobody.so")
    assert probe(guest, "account", service=service)["said"] in (["refused"], ["broken"])
    said = probe(guest, "password", service=service, secret=right(guest))["said"]
    assert said in (["refused"], ["broken"])


def test_without_libpam_it_is_broken(guest: Sandbox) -> None:
    assert probe(guest, "account", libpam="libpam-of-nobody.so")["said"] == ["broken"]


# What goes on meanwhile


def hanging(guest: Sandbox) -> str:
    """A service whose modules wait for ever."""
    return stack(
        guest,
        "sso-hang",
        *(f"{part} required pam_exec.so quiet /bin/sleep 600" for part in ("auth", "account")),
    )


@pytest.mark.parametrize("what", ["account", "password"])
def test_a_module_that_hangs_ends_at_the_deadline(guest: Sandbox, what: str) -> None:
    told = probe(guest, what, secret=b"x", service=hanging(guest), seconds=0.3)
    assert told["said"] == ["broken"] and told["reaped"]


def test_a_worker_that_is_killed_is_broken(guest: Sandbox) -> None:
    told = probe(guest, "account", service=hanging(guest), kill=signal.SIGKILL)
    assert told["said"] == ["broken"] and told["reaped"]


def test_one_that_is_taken_back_says_nothing(guest: Sandbox) -> None:
    told = probe(guest, "account", service=hanging(guest), cancel=True)
    assert told["said"] == [] and told["reaped"]


@pytest.mark.parametrize("what", ["account", "password"])
def test_no_descriptor_is_left_and_none_is_handed_on(guest: Sandbox, what: str) -> None:
    told = probe(guest, what, secret=right(guest), times=5)
    assert told["said"] == ["good"] * 5
    assert told["files_after"] == told["files_before"]


def test_programs_of_the_stack_get_no_descriptor_of_the_agent(guest: Sandbox) -> None:
    guest.write("/tmp/look", "#!/bin/sh\nls -l /proc/$$/fd >/tmp/descriptors\n", 0o755)
    service = stack(guest, "sso-look", "account required pam_exec.so quiet /tmp/look")
    assert probe(guest, "account", service=service)["said"] == ["good"]
    shown = guest.path("/tmp/descriptors").read_text()
    assert "memfd" not in shown and "anon_inode" not in shown and "socket:" not in shown


# The conversation


@pytest.fixture(scope="module")
def asker(guest: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PAM module that asks as its arguments say, and writes what it got."""
    folder = tmp_path_factory.mktemp("asker")
    source = PROBE.with_name("pam_ask.c")
    built = folder / "pam_ask.so"
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"]
    subprocess.run(["gcc", *flags, built, source, "-lpam"], check=True)
    inside = guest.path("/etc/pam_ask.so")
    inside.write_bytes(built.read_bytes())
    return "/etc/pam_ask.so"


def asked(guest: Sandbox, asker: str, *words: str, secret: bytes = b"pass-word") -> tuple[str, list[str]]:
    """What the checker says, and what the module got for each of its questions."""
    service = stack(
        guest, "sso-ask", f"auth required {asker} {' '.join(words)}", "account required pam_permit.so"
    )
    told = probe(guest, "password", secret=secret, service=service)
    return told["said"][0], guest.path("/tmp/asked").read_text().splitlines()


def test_the_first_question_without_echo_gets_the_password(guest: Sandbox, asker: str) -> None:
    assert asked(guest, asker, "off") == ("good", ["0 pass-word"])


def test_what_is_only_shown_is_no_question(guest: Sandbox, asker: str) -> None:
    assert asked(guest, asker, "info", "error", "off") == ("good", ["0 -", "0 -", "0 pass-word"])


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["off", "off"], ["0 pass-word", "19 -"]),
        (["off", "on"], ["0 pass-word", "19 -"]),
        (["on"], ["19 -"]),
        (["on", "off"], ["19 -", "0 pass-word"]),
        (["radio"], ["19 -"]),
        (["off+off"], ["19 -"]),
        (["off+on"], ["19 -"]),
        (["many"], ["19 -"]),
    ],
)
def test_any_other_question_ends_the_attempt(
    guest: Sandbox, asker: str, words: list[str], got: list[str]
) -> None:
    said, answers = asked(guest, asker, *words)
    assert answers == got
    assert said in ("wrong", "refused")


def test_no_question_at_all_gets_no_password(guest: Sandbox, asker: str) -> None:
    assert asked(guest, asker, "none") == ("refused", ["0 -"])


def test_a_stack_that_asks_for_nothing_has_proved_nothing(guest: Sandbox) -> None:
    service = stack(guest, "sso-permit", "auth required pam_permit.so", "account required pam_permit.so")
    assert probe(guest, "password", secret=right(guest), service=service)["said"] == ["refused"]


def test_root_is_not_asked_for_less(guest: Sandbox) -> None:
    """The worker is root, which pam_rootok lets pass."""
    lines = "auth sufficient pam_rootok.so", "auth required pam_unix.so", "account required pam_permit.so"
    service = stack(guest, "sso-rootok", *lines)
    assert probe(guest, "password", secret=b"wrong", service=service)["said"] == ["refused"]


@pytest.mark.parametrize(
    "lines",
    [
        ["auth [success=1 default=ignore] pam_unix.so nodelay", "auth requisite pam_deny.so"],
        ["auth required pam_unix.so nodelay", "auth optional pam_of_nobody.so"],
        ["auth [default=die] pam_unix.so nodelay"],
    ],
)
def test_every_stack_s_failure_is_a_wrong_password(guest: Sandbox, lines: list[str]) -> None:
    """What is not called wrong has no pause after it (sso.guest.agent.attempts)."""
    service = stack(
        guest, "sso-fails", *lines, "auth optional pam_permit.so", "account required pam_permit.so"
    )
    assert probe(guest, "password", secret=b"wrong", service=service)["said"] == ["wrong"]


def test_an_account_that_is_locked_is_not_tried(guest: Sandbox) -> None:
    lines = COUNTED.replace("deny=100", "deny=1").replace("/sso-check", "")
    service = stack(guest, "sso-locked", lines)
    guest.run(["faillock", "--user", "bob", "--reset"])
    assert probe(guest, "password", "bob", b"wrong", service=service)["said"] == ["wrong"]
    secret = guest.password("bob").encode()
    assert probe(guest, "password", "bob", secret, service=service)["said"] == ["refused"]
    guest.run(["faillock", "--user", "bob", "--reset"])
    assert probe(guest, "password", "bob", secret, service=service)["said"] == ["good"]


# The password


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (b"", "wrong"),
        (b"x" * 511, "wrong"),
        ("pässwörd".encode(), "wrong"),
        (b"\xff\xfe", "wrong"),
        (b"a\nb", "wrong"),
    ],
)
def test_odd_passwords(guest: Sandbox, secret: bytes, said: str) -> None:
    assert probe(guest, "password", secret=secret)["said"] == [said]


@pytest.mark.parametrize("end", [b"\0", b"\0tail", b"x" * 512])
def test_what_pam_cannot_take_whole_is_no_attempt(guest: Sandbox, end: bytes) -> None:
    before = failures(guest, "alice")
    assert probe(guest, "password", secret=right(guest) + end)["said"] == ["broken"]
    assert failures(guest, "alice") == before


def test_the_longest_password_is_taken(guest: Sandbox, asker: str) -> None:
    secret = b"0123456789" * 51 + b"x"
    assert asked(guest, asker, "off", secret=secret) == ("good", [f"0 {secret.decode()}"])


def test_an_account_without_a_password_is_not_opened_by_none(guest: Sandbox) -> None:
    assert probe(guest, "password", BLANK.name, b"")["said"] != ["good"]


def test_the_parent_never_has_the_password(guest: Sandbox) -> None:
    told = probe(guest, "password", secret=right(guest), scan=True)
    assert told["said"] == ["good"] and told["found_in_memory"] == 0
    assert told["found_of_the_script"] > 0, "so the search finds what is there"
    assert guest.password("alice") not in told["stderr"]


def test_the_file_stays_the_callers(guest: Sandbox) -> None:
    assert probe(guest, "password", secret=right(guest), offset=3)["said"] == ["good"]
    assert probe(guest, "password", secret=right(guest), times=2)["said"] == ["good", "good"]


def test_memory_is_never_both_writable_and_executable(guest: Sandbox) -> None:
    """MemoryDenyWriteExecute= of the agent's unit (PR_SET_MDWE of Linux 6.3, prctl(2))."""
    kernel = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    told = probe(guest, "password", secret=right(guest), mdwe=True)
    assert told["said"] == ["good"]
    assert told["mdwe"] == (0 if kernel >= (6, 3) else -1)
