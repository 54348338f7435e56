"""What the tests of the PAM module share: services, honest answers, a login program inside a sandbox."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_pam_agent import IDENTITY, KERBEROS, PASSWORD, Agent, Answer

from sso.demo.sandbox import PAM_MODULE, Sandbox
from sso.guest import pam_types
from sso.guest.pam_files.pam_stack import CONTROL, add_lines

SOURCE = Path(__file__).resolve().parents[2] / "pam"
CALLER = "/etc/console-sso/caller.py"  # pam_caller.py, where every user of a sandbox may read it
SOCKET = "/run/console-sso/pam.sock"
TICKET = b"\x05\x04 a credential cache " + bytes(range(256)) * 40
SUCCESS, UNAVAILABLE = 0, 9
AUTH_ERR, PERM_DENIED, CRED_ERR, SESSION_ERR = 7, 6, 17, 14

# The raw code of the module; a PAM_IGNORE alone is PAM_PERM_DENIED.
BARE = f"""\
auth required {PAM_MODULE} @
account {CONTROL} {PAM_MODULE} check @
account required pam_permit.so
session {CONTROL} {PAM_MODULE} check @
session required pam_permit.so
session {CONTROL} {PAM_MODULE} @
"""
# Failures are counted, and nothing waits after one.
COUNTED = """\
auth requisite pam_faillock.so preauth deny=100
auth [success=1 default=ignore] pam_unix.so nodelay
auth [default=die] pam_faillock.so authfail deny=100
auth required pam_permit.so
account required pam_unix.so
session required pam_permit.so
"""


@dataclass(frozen=True)
class Result:
    """The result of a scripted login program."""

    results: list[Any]
    prompts: list[str]
    user: str
    seconds: float = field(compare=False)


def install_caller(guest: Sandbox) -> None:
    """Put the login program by script into a sandbox, with the module of ours that it needs."""
    caller = guest.path(CALLER)
    types = caller.parent / "sso" / "guest" / "pam_types.py"  # no __init__.py: namespace packages
    types.parent.mkdir(parents=True)
    shutil.copyfile(Path(__file__).with_name("pam_caller.py"), caller)
    shutil.copyfile(pam_types.__file__, types)


def build_module(folder: Path) -> Path:
    """Build the PAM module from its source, below a folder of the test."""
    subprocess.run(["make", "-s", "-C", SOURCE, f"BUILD={folder}"], check=True)
    return folder / "pam_sso.so"


def call(
    guest: Sandbox,
    *steps: str,
    service: str = "sso-bare",
    user: str | None = "alice",
    by: str = "",
    at_pause: Callable[[], None] = lambda: None,
    **more: Any,
) -> Result:
    """Run a login program inside, as root unless `by` names a user; the step `pause` calls `at_pause`."""
    ends = () if steps[-1].startswith("end") else ("end",)
    script = {"service": service, "user": user, "steps": [*steps, *ends], **more}
    argv = [sys.executable, "-I", "-S", CALLER, json.dumps(script)]
    command = guest.command(argv, user=by)
    with subprocess.Popen(
        command, env=guest.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdin is not None and caller.stdout is not None
        while (line := caller.stdout.readline()) == "pause\n":
            at_pause()
            caller.stdin.write("go on\n")
            caller.stdin.flush()
        told = json.loads(line)
    assert caller.returncode == 0
    return Result(told["results"][:-1], told["prompts"], told["user"], told["seconds"])


def listen(guest: Sandbox, *answers: Answer, uid: int = 0) -> Agent:
    return Agent(guest.path(SOCKET), *answers, uid=uid)


def caches(guest: Sandbox) -> list[Path]:
    return sorted(guest.path("/tmp").glob("*krb5cc*"))


def ticket(user: str = "alice") -> Answer:
    return Answer(KERBEROS, user, TICKET)


def password(guest: Sandbox, user: str = "alice") -> Answer:
    return Answer(PASSWORD, user, guest.password(user).encode())


def answer_of(guest: Sandbox, kind: int) -> Answer:
    """An honest answer for alice."""
    return {PASSWORD: password(guest), KERBEROS: ticket(), IDENTITY: Answer(IDENTITY, "alice")}[kind]


def failures(guest: Sandbox, user: str) -> int:
    """What pam_faillock has counted behind pam_unix."""
    guest.path("/run/faillock").mkdir(exist_ok=True)
    return len(re.findall(r" V$", guest.run(["faillock", "--user", user]).stdout, re.MULTILINE))


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with the module built from the source, and Debian's own login with our lines."""
    with Sandbox() as sandbox:
        sandbox.use_pam_module(build_module(tmp_path_factory.mktemp("pam")))
        sandbox.write("/etc/pam.d/sso-bare", BARE.replace("@", ""))
        sandbox.write("/etc/pam.d/sso-token", BARE.replace("@", "token", 1).replace("@", ""))
        sandbox.write("/etc/pam.d/sso-counted", add_lines(COUNTED, PAM_MODULE))
        install_caller(sandbox)
        yield sandbox
