"""sso.guest.pam_files.install_pam: where the lines go, and what an installation leaves behind."""

import re
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pam_files import COMMON, LOGIN

from sso.errors import ConfigError
from sso.guest.pam_files.install_pam import BACKUP, main, pam_folder
from sso.guest.pam_files.pam_stack import CONTROL, MARK, add_lines, remove_lines

SOURCE = Path(__file__).resolve().parents[3] / "pam"


def codes(text: str) -> list[str]:
    """The lines that count, without marks and blanks."""
    found = (" ".join(line.partition("#")[0].split()) for line in text.splitlines())
    return [line for line in found if line]


def test_the_lines_of_debians_login() -> None:
    assert codes(add_lines(LOGIN)) == [
        "auth optional pam_sso.so early",
        "auth optional pam_faildelay.so delay=3000000",
        "auth requisite pam_nologin.so",
        f"session {CONTROL} pam_sso.so check",
        "session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close",
        "session required pam_loginuid.so",
        "auth optional pam_group.so",
        "auth [success=done default=ignore] pam_sso.so",
        "@include common-auth",
        "auth optional pam_group.so",
        "session required pam_limits.so",
        f"account {CONTROL} pam_sso.so check",
        "@include common-account",
        "@include common-session",
        f"session {CONTROL} pam_sso.so",
        "@include common-password",
    ]


@pytest.mark.parametrize("arguments", ["socket=/run/x agent_uid=4010", ["socket=/run/x", "agent_uid=4010"]])
def test_module_and_arguments_go_to_each_line(arguments: str | list[str]) -> None:
    ours = [line for line in codes(add_lines(LOGIN, "/opt/pam_sso.so", arguments)) if "pam_sso" in line]
    assert ours == [
        "auth optional /opt/pam_sso.so early socket=/run/x agent_uid=4010",
        f"session {CONTROL} /opt/pam_sso.so check socket=/run/x agent_uid=4010",
        "auth [success=done default=ignore] /opt/pam_sso.so socket=/run/x agent_uid=4010",
        f"account {CONTROL} /opt/pam_sso.so check socket=/run/x agent_uid=4010",
        f"session {CONTROL} /opt/pam_sso.so socket=/run/x agent_uid=4010",
    ]


def test_the_copy_of_pam_group_lets_nobody_in() -> None:
    text = "@include common-auth\nauth sufficient pam_group.so [a b]\n" + REST
    assert codes(add_lines(text))[1:3] == ["auth optional pam_group.so [a b]", DECIDE]


EARLY, DECIDE = "auth optional pam_sso.so early", "auth [success=done default=ignore] pam_sso.so"
ACCOUNT, SESSION = f"account {CONTROL} pam_sso.so check", f"session {CONTROL} pam_sso.so check"
OPENED = f"session {CONTROL} pam_sso.so"
REST = "account required a.so\nsession required s.so\n"
REST_AFTER = [ACCOUNT, "account required a.so", SESSION, "session required s.so", OPENED]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Red Hat's login: the stack is included by auth lines, the last session line begins with a dash.
        (
            "auth substack system-auth\nauth include postlogin\naccount include system-auth\n"
            "session include postlogin\n-session optional x.so\n",
            [
                EARLY,
                DECIDE,
                "auth substack system-auth",
                "auth include postlogin",
                ACCOUNT,
                "account include system-auth",
                SESSION,
                "session include postlogin",
                "-session optional x.so",
                OPENED,
            ],
        ),
        # Nothing may come between a jump and its target.
        (
            "auth [success=1 default=ignore] pam_succeed_if.so user = root\nauth required pam_unix.so\n"
            + REST,
            [
                EARLY,
                DECIDE,
                "auth [success=1 default=ignore] pam_succeed_if.so user = root",
                "auth required pam_unix.so",
                *REST_AFTER,
            ],
        ),
        # Checks without a secret come before the line that decides.
        (
            "auth required pam_succeed_if.so user != root quiet\n"
            "-auth sufficient pam_fprintd.so\n@include login\n",
            [
                EARLY,
                "auth required pam_succeed_if.so user != root quiet",
                DECIDE,
                "-auth sufficient pam_fprintd.so",
                ACCOUNT,
                SESSION,
                "@include login",
                OPENED,
            ],
        ),
        ("auth required pam_env.so\n" + REST, [EARLY, "auth required pam_env.so", DECIDE, *REST_AFTER]),
        (
            REST + "AUTH required /lib/security/pam_nologin.so\nauth required \\\n  pam_unix.so",
            [
                *REST_AFTER[:-1],
                EARLY,
                OPENED,
                "AUTH required /lib/security/pam_nologin.so",
                DECIDE,
                "auth required \\",
                "pam_unix.so",
            ],
        ),
    ],
)
def test_other_services(before: str, after: list[str]) -> None:
    assert codes(add_lines(before)) == after


@pytest.mark.parametrize("type", ["account", "session"])
def test_a_service_by_which_a_login_cannot_be_taken_back_gets_no_lines(type: str) -> None:
    text = "auth required pam_unix.so\n" + "".join(line for line in REST.splitlines(True) if type not in line)
    with pytest.raises(ConfigError, match=f"no {type} line"):
        add_lines(text)


def test_a_lock_screen_needs_none_of_them() -> None:
    socket = "socket=/run/console-sso/verdict.sock"
    assert codes(add_lines("auth required pam_unix.so\naccount required a.so\n", arguments=socket)) == [
        f"{EARLY} {socket}",
        f"{DECIDE} {socket}",
        "auth required pam_unix.so",
        f"{ACCOUNT} {socket}",
        "account required a.so",
    ]


def test_lines_that_come_from_another_service_are_changed_there() -> None:
    with pytest.raises(ConfigError, match="use --service login"):
        add_lines("@include login\n")  # Debian's greetd


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "account required pam_unix.so\n", "@include common-session\n"]
)
def test_a_service_by_which_nobody_logs_in(text: str) -> None:
    with pytest.raises(ConfigError, match="no auth line"):
        add_lines(text)


@pytest.mark.parametrize("word", ["", "a b", "a\nauth sufficient pam_permit.so", "a#b", "[a", "a]", "a\\"])
def test_words_that_would_be_more_than_one_argument(word: str) -> None:
    with pytest.raises(ConfigError, match="must not hold"):
        add_lines(LOGIN, "pam_sso.so", [word])
    with pytest.raises(ConfigError, match="must not hold"):
        add_lines(LOGIN, word)


LINES = st.sampled_from(
    LOGIN.splitlines()
    + ["", "auth required \\", "-auth [a=1] x.so", "#x\\", "session optional y", "auth\x0cx y"]
)


@given(st.lists(LINES, max_size=12).map("\n".join))
def test_doing_it_twice_is_doing_it_once_and_it_can_be_undone(text: str) -> None:
    try:
        once = add_lines(text)
    except ConfigError:
        return
    assert add_lines(once) == once
    assert add_lines(once, "/x.so", ["y"]) == add_lines(text, "/x.so", ["y"])
    assert remove_lines(once) == text


OLD = """\
# Console SSO (sso install-pam --remove takes these lines away) # console-sso
auth optional /x/pam_sso.so early socket=/run/x # console-sso
auth requisite pam_nologin.so
auth [success=done default=ignore] /x/pam_sso.so socket=/run/x # console-sso
@include common-auth
@include common-account
@include common-session
session optional /x/pam_sso.so socket=/run/x # console-sso
"""


def test_an_upgrade_rewrites_the_lines_of_an_older_version(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    services = root / "etc/pam.d"
    (services / "login").write_text(OLD)
    (services / "greetd").write_bytes(OLD.encode() + b"# \xe9\n")
    (services / ("login" + BACKUP)).write_text(OLD)
    (services / "xdm").write_text(OLD.replace("@include common-session\n", ""))
    before = everything(root)
    assert main([f"--root={root}", "--upgrade"]) == 0
    new = add_lines(remove_lines(OLD), "/x/pam_sso.so", ["socket=/run/x"])
    assert "optional /x/pam_sso.so socket" not in new and new.count(CONTROL) == 3
    assert (services / "login").read_text() == new
    assert stat.S_IMODE((services / "login").stat().st_mode) == 0o640
    assert (services / "lightdm").is_symlink()
    assert (services / "greetd").read_bytes() == new.encode() + b"# \xe9\n"
    assert "pam_sso" not in (services / "xdm").read_text(), "no login that cannot be taken back"
    assert "xdm: our lines are taken away: the service has no session line" in capsys.readouterr().err
    after = everything(root)
    changed = sorted(Path(name).name for name in after if after[name] != before[name])
    assert changed == ["greetd", "lightdm", "login", "xdm"] and after.keys() == before.keys()
    assert main([f"--root={root}", "--upgrade"]) == 0 and everything(root) == after


# An installation


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The part of a system that matters here."""
    security = tmp_path / "usr/lib/x86_64-linux-gnu/security"
    security.mkdir(parents=True)
    (security / "pam_unix.so").touch()
    (tmp_path / "lib").symlink_to("usr/lib")
    services = tmp_path / "etc/pam.d"
    services.mkdir(parents=True)
    for name in ("login", "sudo", "greetd"):
        (services / name).write_text(LOGIN)
        (services / name).chmod(0o640)
    for name, text in COMMON.items():
        (services / name).write_text(text)
    (services / "lightdm").symlink_to("login")
    (services / "sddm").write_text("auth required pam_unix.so \\ \n" + REST)
    (services / "xdm").write_text("auth required pam_unix.so\naccount required a.so\n")
    return tmp_path


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Something that looks like a built module."""
    path = tmp_path / "built.so"
    path.write_bytes(b"\x7fELF and so on")
    path.chmod(0o700)
    return path


def everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_install_twice_and_remove(root: Path, module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service, options = root / "etc/pam.d/login", [f"--root={root}", "--service=login"]
    assert main([*options, f"--module={module}", "--socket=/run/x", "--agent-uid=7"]) == 0
    installed = pam_folder(root) / "pam_sso.so"
    assert installed.read_bytes() == module.read_bytes()
    assert stat.S_IMODE(installed.stat().st_mode) == 0o644
    assert service.read_text() == add_lines(LOGIN, "pam_sso.so", ["socket=/run/x", "agent_uid=7"])
    assert stat.S_IMODE(service.stat().st_mode) == 0o640
    assert service.with_name("login" + BACKUP).read_text() == LOGIN
    assert "changed" in capsys.readouterr().out

    assert main([*options, f"--module={module}"]) == 0
    assert service.read_text() == add_lines(LOGIN)
    assert service.with_name("login" + BACKUP).read_text() == LOGIN
    capsys.readouterr()
    assert main([*options, f"--module={module}"]) == 0
    assert "nothing to change" in capsys.readouterr().out

    assert main([*options, "--remove"]) == 0
    assert service.read_text() == LOGIN
    assert main([*options, "--remove"]) == 0
    left = {path.name for path in (root / "etc/pam.d").iterdir()}
    assert left == {*COMMON, "login", "sudo", "greetd", "lightdm", "sddm", "xdm", "login" + BACKUP}
    assert [path.name for path in pam_folder(root).iterdir() if path.name.startswith(".")] == []


def test_the_lines_reach_only_the_named_service(root: Path, module: Path) -> None:
    assert main([f"--root={root}", "--service=greetd", f"--module={module}"]) == 0
    marked = [path.name for path in (root / "etc/pam.d").iterdir() if MARK in path.read_text()]
    assert marked == ["greetd"]


@pytest.mark.parametrize("remove", [[], ["--remove"]])
def test_a_dry_run_shows_the_difference_and_does_nothing(
    root: Path, module: Path, capsys: pytest.CaptureFixture[str], remove: list[str]
) -> None:
    if remove:
        assert main([f"--root={root}", "--service=login", f"--module={module}"]) == 0
    before = everything(root)
    assert main([f"--root={root}", "--service=login", f"--module={module}", "--dry-run", *remove]) == 0
    assert everything(root) == before
    sign = "-" if remove else "+"
    assert f"\n{sign}session {CONTROL} pam_sso.so {MARK}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--service=common-auth"], "no login screen"),
        (["--service=common-session"], "no login screen"),
        (["--service=sudo"], "no login screen"),
        (["--service=sudo-i"], "no login screen"),
        (["--service=su"], "no login screen"),
        (["--service=su-l"], "no login screen"),
        (["--service=sshd"], "no login screen"),
        (["--service=system-auth"], "no login screen"),
        (["--service=password-auth"], "no login screen"),
        (["--service=../login"], "plain name"),
        (["--service="], "plain name"),
        (["--service=kde"], "no such PAM service"),
        (["--service=lightdm"], "lightdm is a link to login: name the service that it points to"),
        (["--service=sddm"], "not always in the same way"),
        (["--service=xdm"], "no session line"),
        (["--service=login", "--socket=run/x"], "must be absolute"),
        (["--service=login", "--socket=/run/x y"], "must not hold blanks"),
        (["--service=login", "--module=/etc/hostname"], "not a built module"),
        (["--service=login", "--module=/nowhere.so"], "not a built module"),
        (["--service=login", "--source=/nowhere"], "does not hold the module's source"),
    ],
)
def test_what_is_refused_changes_nothing(
    root: Path, module: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    before = everything(root)
    with_module = (
        [] if any("--module" in word or "--source" in word for word in options) else [f"--module={module}"]
    )
    assert main([f"--root={root}", *options, *with_module]) == 1
    told = capsys.readouterr()
    assert re.fullmatch(rf"sso install-pam: [^\n]*{words}[^\n]*\n", told.err)
    assert told.out == "" and everything(root) == before


def test_a_system_without_pam(tmp_path: Path, module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "etc/pam.d").mkdir(parents=True)
    (tmp_path / "etc/pam.d/login").write_text(LOGIN)
    assert main([f"--root={tmp_path}", "--service=login", f"--module={module}"]) == 1
    assert "no PAM below" in capsys.readouterr().err


@pytest.mark.parametrize(
    "folder", ["usr/lib64/security", "lib64/security", "lib/security", "usr/lib/aarch64-linux-gnu/security"]
)
def test_the_folder_of_the_modules(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "pam_unix.so").touch()
    if "usr/lib/a" in folder:
        (tmp_path / "lib").symlink_to("usr/lib")
        folder = folder.removeprefix("usr/")
    assert pam_folder(tmp_path) == tmp_path / folder


def test_the_module_is_compiled_from_the_source(root: Path) -> None:
    before, installed = everything(SOURCE), pam_folder(root) / "pam_sso.so"
    assert main([f"--root={root}", "--service=login"]) == 0
    names = subprocess.run(
        ["nm", "-D", "--defined-only", installed], capture_output=True, text=True, check=True
    )
    assert "pam_sm_authenticate" in names.stdout
    assert everything(SOURCE) == before


def test_a_source_that_does_not_compile(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "pam_sso.c").write_text("not C")
    (source / "Makefile").write_text("all:\n\techo broken >&2; false\n")
    assert main([f"--root={root}", "--service=login", f"--source={source}"]) == 1
    assert "cannot be built" in capsys.readouterr().err
    assert (root / "etc/pam.d/login").read_text() == LOGIN


def test_make_install(tmp_path: Path) -> None:
    command = ["make", "-s", "-C", str(SOURCE), "install", f"BUILD={tmp_path}", f"DESTDIR={tmp_path}/root"]
    subprocess.run(command, check=True)
    installed = next((tmp_path / "root").rglob("pam_sso.so"))
    assert installed.parent.name == "security" and stat.S_IMODE(installed.stat().st_mode) == 0o644
