"""sso.demo.sandbox: real logins in a private view of the machine, which itself stays as it is."""

import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sso.demo import namespace as namespaces
from sso.demo.programs import BedError
from sso.demo.realm import Realm
from sso.demo.sandbox import PAM_MODULE, DemoAccount, Sandbox
from sso.demo.terminal import Terminal, spawn

pytestmark = pytest.mark.e2e

# What a login or a careless test bed could alter on the machine.
PRECIOUS = (
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/krb5.conf",
    "/etc/krb5.keytab",
    "/etc/nsswitch.conf",
    "/run/utmp",
    "/var/log/wtmp",
    "/var/log/btmp",
    "/var/log/lastlog",
    "/var/lib/console-sso",
)


def fingerprint() -> dict[str, str]:
    """Owner, mode, time and content of all precious files; a missing one is missing."""
    files = [file for top in map(Path, PRECIOUS) for file in (top, *sorted(top.rglob("*")))]
    seen = {}
    for file in files:
        if file.exists():
            found = file.stat()
            content = file.read_bytes() if file.is_file() else b""
            state = (
                found.st_uid,
                found.st_gid,
                found.st_mode,
                found.st_mtime_ns,
                hashlib.sha256(content).hexdigest(),
            )
            seen[str(file)] = repr(state)
    return seen


@pytest.fixture(scope="module", autouse=True)
def untouched_machine() -> Iterator[None]:
    """Every test of this file runs between two looks at the machine."""
    before = fingerprint()
    assert {"/etc/pam.d/login", "/etc/passwd", "/etc/shadow"} <= set(before)
    yield
    assert fingerprint() == before


def nobody_stays(sandbox: Sandbox) -> bool:
    """Whether all in the sandbox end by themselves soon: a shell may outlive its login by a moment."""
    for pid in sandbox.inhabitants():
        life = os.pidfd_open(pid)
        select.select([life], [], [], 3)
        os.close(life)
    return not sandbox.inhabitants()


def log_in(sandbox: Sandbox, name: str) -> Terminal:
    """A shell behind `login NAME`, with the password typed."""
    terminal = spawn(sandbox.command(["login", name]), sandbox.env)
    terminal.expect("Password: ")
    terminal.send(sandbox.password(name))
    terminal.expect("$ ")
    return terminal


@pytest.mark.parametrize(("name", "uid"), [("alice", 4001), ("bob", 4002), ("mallory", 4003)])
def test_login_with_a_typed_password_gives_a_shell(sandbox: Sandbox, name: str, uid: int) -> None:
    with log_in(sandbox, name) as shell:
        assert sorted(sandbox.inhabitants().values()) == ["login", "sh"]
        shell.send("id -un; id -u; pwd")
        shell.expect(f"{name}\r\n{uid}\r\n/home/{name}\r\n")
        shell.send("exit")
        shell.wait()
    assert sandbox.password(name) not in shell.transcript
    assert nobody_stays(sandbox)


def test_a_wrong_password_gives_none(sandbox: Sandbox) -> None:
    with spawn(sandbox.command(["login", "alice"]), sandbox.env) as terminal:
        terminal.expect("Password: ")
        terminal.send(sandbox.password("bob"))
        terminal.expect("Login incorrect")
    assert nobody_stays(sandbox)


def test_who_came_is_written_inside(sandbox: Sandbox) -> None:
    with log_in(sandbox, "alice") as shell:
        shell.send("who")
        shell.expect(re.compile(r"alice\s+pts/"))
    assert b"alice" in sandbox.path("/var/log/wtmp").read_bytes()


def test_hanging_up_ends_the_login_and_its_shell(sandbox: Sandbox) -> None:
    with log_in(sandbox, "alice"):
        pass
    assert nobody_stays(sandbox)


def test_a_user_inside_gets_a_ticket_from_the_realm(sandbox: Sandbox, realm: Realm) -> None:
    with log_in(sandbox, "alice") as shell:
        shell.send("kinit alice && klist")
        shell.expect("Password for alice@TEST.EXAMPLE: ")
        shell.send(realm.password("alice"))
        shell.expect("Ticket cache: FILE:/tmp/krb5cc_4001")
        shell.expect("krbtgt/TEST.EXAMPLE@TEST.EXAMPLE")
        shell.send("kvno -S host guest.test.example; exit")
        shell.expect(re.compile(r"host/guest\.test\.example@TEST\.EXAMPLE: kvno = \d"))
        shell.wait()
    assert sandbox.path("/tmp/krb5cc_4001").stat().st_uid == 4001
    assert sandbox.run(["klist", "-s"], user="alice").returncode == 0
    sandbox.path("/tmp/krb5cc_4001").unlink()
    assert nobody_stays(sandbox)


def test_a_daemon_has_ids_and_no_login(sandbox: Sandbox) -> None:
    assert sandbox.run(["id"], user="sso-agent").stdout == (
        "uid=4010(sso-agent) gid=4010(sso-agent) groups=4010(sso-agent)\n"
    )
    assert sandbox.path("/etc/shadow").read_text().count("\nsso-agent:*:") == 1


def test_an_account_is_added_or_gets_new_values(sandbox: Sandbox) -> None:
    for password in ("first", "second"):
        sandbox.add_accounts(DemoAccount("carol", 4021, password))
    assert sandbox.path("/etc/passwd").read_text().count("\ncarol:") == 1
    assert sandbox.run(
        ["sh", "-c", "cd; pwd; ls -ld ."], user="carol", env={"HOME": "/home/carol"}
    ).stdout.startswith("/home/carol\ndrwx------ 2 carol carol")
    assert "second" not in repr(DemoAccount("carol", 4021, "second"))


def test_a_path_never_leaves_the_sandbox(sandbox: Sandbox) -> None:
    root = f"/proc/{sandbox.pid}/root"
    assert str(sandbox.path("/var/run/utmp")) == f"{root}/run/utmp"
    assert str(sandbox.path("/../etc/./pam.d//login")) == f"{root}/etc/pam.d/login"
    sandbox.run(["sh", "-c", "ln -s /var/run/../tmp /run/a; ln -s a/new /run/b; ln -s loop /run/loop"])
    assert str(sandbox.path("/run/b")) == f"{root}/tmp/new"
    with pytest.raises(BedError, match="too many links"):
        sandbox.path("/run/loop")


def test_folders_are_private_and_the_kept_ones_are_the_machines(tmp_path: Path) -> None:
    (tmp_path / "seen").write_text("from outside")
    with Sandbox(accounts=(), keep=[tmp_path]) as inner:
        assert inner.run(["cat", str(tmp_path / "seen")]).stdout == "from outside"
        inner.run(
            [
                "sh",
                "-c",
                f"echo back > {tmp_path}/back; for d in etc run tmp var/tmp var/log var/lib home;"
                " do touch /$d/sso-inner || exit; done",
            ]
        )
        assert (tmp_path / "back").read_text() == "back\n"
        source = str(Path(namespaces.__file__).parents[2])
        inner.run([sys.executable, "-c", "import sso.demo.sandbox"], env={"PYTHONPATH": source})
    assert not [veil for veil in namespaces.VEILS if Path(veil, "sso-inner").exists()]
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_no_user_or_group_comes_from_a_service_of_the_machine(sandbox: Sandbox) -> None:
    lines = sandbox.path("/etc/nsswitch.conf").read_text().splitlines()
    assert [line for line in lines if line.startswith(("passwd", "shadow", "group"))] == [
        "passwd: files",
        "group: files",
        "shadow: files",
    ]


def test_the_pam_module_is_brought_in_with_its_lines(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_lines(text: str, module: str, arguments: list[str]) -> str:
        return f"auth optional {module} {' '.join(arguments)}\n{text}"

    monkeypatch.setitem(sys.modules, "sso.guest.pam_files.pam_stack", SimpleNamespace(add_lines=add_lines))
    module = Path(shutil.copy("/bin/true", tmp_path / "pam_sso.so"))
    sandbox.use_pam_module(module, "chsh", ["agent_uid=4010"])
    assert (
        sandbox.path("/etc/pam.d/chsh")
        .read_text()
        .startswith(f"auth optional {PAM_MODULE} agent_uid=4010\n#")
    )
    assert sandbox.run(["cmp", "/bin/true", PAM_MODULE]).returncode == 0


def test_the_end_kills_all_inside_even_what_ignores_signals() -> None:
    with Sandbox(accounts=()) as sandbox:
        command = sandbox.command(["sh", "-c", "trap '' TERM HUP; sleep 1000 & echo armed; wait"])
        inside = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
        assert inside.stdout is not None and inside.stdout.readline() == b"armed\n"
        namespace = os.readlink(f"/proc/{sandbox.pid}/ns/mnt")
    assert inside.wait(3) == -signal.SIGKILL
    inside.stdout.close()
    assert not namespaces.inhabitants(namespace)
    sandbox.close()
    with pytest.raises(BedError, match="not open"):
        _ = sandbox.pid


def test_a_program_that_enters_during_the_end_does_not_stay() -> None:
    with Sandbox(accounts=()) as sandbox:
        namespace = os.readlink(f"/proc/{sandbox.pid}/ns/mnt")
        entering = [
            subprocess.Popen(sandbox.command(["sleep", "1000"]), stderr=subprocess.PIPE) for _ in range(10)
        ]
    # Killed inside, or too late to come in: never left behind.
    for late in entering:
        with late:
            assert late.wait(3) in (-signal.SIGKILL, 1)
    assert not namespaces.inhabitants(namespace)


def test_all_inside_ends_with_a_killed_test_run() -> None:
    script = (
        "import subprocess; from sso.demo.sandbox import Sandbox; sandbox = Sandbox(accounts=());"
        "sandbox.open();"
        "inside = subprocess.Popen(sandbox.command(['sleep', '1000']), stdin=0);"
        "print(inside.pid, sandbox.pid, flush=True); input()"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdout is not None
        lives = [os.pidfd_open(int(pid)) for pid in runner.stdout.readline().split()]
        runner.send_signal(signal.SIGKILL)
        for life in lives:
            assert select.select([life], [], [], 5)[0]
            os.close(life)


def test_without_root_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BedError, match="a sandbox needs root"):
        Sandbox().open()


def test_without_the_right_to_make_namespaces_the_reason_is_told() -> None:
    script = "from sso.demo.sandbox import Sandbox; Sandbox().open()"
    weak = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-c", script]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(weak, env=env, capture_output=True, text=True)
    assert "BedError: no private mount namespace" in done.stderr
    assert "CAP_SYS_ADMIN" in done.stderr and "Operation not permitted" in done.stderr


def test_it_refuses_to_work_outside_a_namespace_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert namespaces.main(os.readlink("/proc/self/ns/mnt"), []) == 1
    assert "not in a mount namespace of its own" in capsys.readouterr().err
