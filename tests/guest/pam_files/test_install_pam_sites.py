"""pam_files.install_pam where sites have their own ways: bytes, other services, checks, links, failures."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from pam_files import COMMON, LOGIN, SCREENS

from sso.guest.pam_files.install_pam import BACKUP, main, pam_folder
from sso.guest.pam_files.pam_stack import MARK, add_lines

OTP = LOGIN.replace(
    "auth       optional   pam_group.so\n", "auth required pam_oath.so\nauth required pam_wheel.so\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The part of a system that matters here, with the module of a package."""
    root = tmp_path / "root"
    security = root / "usr/lib/x86_64-linux-gnu/security"
    security.mkdir(parents=True)
    for name in ("pam_unix.so", "pam_sso.so"):
        (security / name).write_bytes(b"\x7fELF")
    services = root / "etc/pam.d"
    services.mkdir(parents=True)
    for name, text in (SCREENS | COMMON).items():
        (services / name).write_text(text)
    return root


def run(root: Path, *options: str, service: str = "login") -> int:
    return main([f"--root={root}", f"--service={service}", *options])


def tree(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in root.rglob("*"):
        state = path.lstat()
        found[str(path)] = (
            state.st_mode,
            state.st_uid,
            state.st_gid,
            path.read_bytes() if path.is_file() else b"",
        )
    return found


@pytest.mark.parametrize(
    "content",
    [
        LOGIN.encode().removesuffix(b"\n"),
        # Ours is the last line then, and the one above it has no end.
        b"auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so",
        LOGIN.replace("\n", "\r\n").encode().replace(b"\r\n", b"\n", 12) + b"# CRLF\r\n",
        b"# \xe9\xe0 Latin-1 \xff\n" + LOGIN.encode(),
        "# a\u2028b\u0085c\x0cd \\\n".encode() + LOGIN.encode(),
        b"\n\n \t\n" + LOGIN.encode() + b"\n\n",
        LOGIN.encode() + b"auth optional pam_echo.so [item=user] \\\n  [a b]\n",
    ],
)
def test_the_bytes_come_back(root: Path, content: bytes) -> None:
    service = root / "etc/pam.d/login"
    service.write_bytes(content)
    assert run(root) == 0
    text = service.read_bytes()
    assert text.count(MARK.encode()) >= 5 and text != content
    assert run(root) == 0 and service.read_bytes() == text
    assert run(root, "--remove") == 0
    assert service.read_bytes() == content


def test_what_is_added_behind_ours_later_keeps_the_end_of_the_line_above(root: Path) -> None:
    service = root / "etc/pam.d/login"
    unended = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so"
    service.write_text(unended)
    assert run(root) == 0
    service.write_text(service.read_text() + "session optional pam_mail.so\n")
    assert run(root, "--remove") == 0
    assert service.read_text() == f"{unended}\nsession optional pam_mail.so\n"


@pytest.mark.parametrize("name", SCREENS)
def test_debians_login_screens_need_no_option(root: Path, name: str) -> None:
    assert run(root, service=name) == 0
    assert (root / "etc/pam.d" / name).read_text() == add_lines(SCREENS[name])


def test_owner_group_and_mode_stay(root: Path) -> None:
    service = root / "etc/pam.d/login"
    os.chown(service, 0, 42)
    service.chmod(0o640)
    for options in ([], ["--remove"]):
        assert run(root, *options) == 0
        for path in (service, service.with_name("login" + BACKUP)):
            state = path.stat()
            assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (0, 42, 0o640)


# Services


@pytest.mark.parametrize("name", ["cups", "vsftpd", "ppp", "samba", "dovecot", "systemd-user"])
def test_a_service_that_is_no_screen_needs_a_word(
    root: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (root / "etc/pam.d" / name).write_text(LOGIN)
    before = tree(root)
    assert run(root, service=name) == 1
    assert "--unlisted-service says that it is one" in capsys.readouterr().err and tree(root) == before
    assert run(root, "--unlisted-service", service=name) == 0
    assert run(root, "--remove", service=name) == 0
    assert (root / "etc/pam.d" / name).read_text() == LOGIN


@pytest.mark.parametrize("name", ["doas", "crond", "cron", "sshd", "sudo", "su-l", "common-auth", "other"])
def test_no_word_makes_these_a_screen(root: Path, name: str) -> None:
    (root / "etc/pam.d" / name).write_text(LOGIN)
    before = tree(root)
    assert run(root, "--unlisted-service", service=name) == 1 and tree(root) == before


@pytest.mark.parametrize("name", ["doas", "crond", "postlogin"])
def test_lines_that_an_older_version_put_there_can_be_taken_away(root: Path, name: str) -> None:
    service = root / "etc/pam.d" / name
    service.write_text(add_lines(LOGIN))
    assert run(root, "--remove", service=name) == 0
    assert service.read_text() == LOGIN


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to("login"), "xdm is a link to login: name the service that it points to"),
        (
            lambda path: path.symlink_to("/nix/store/0-etc/pam.d/xdm"),
            "is a link to /nix/store/0-etc/pam.d/xdm: its configuration makes it (NixOS",
        ),
        (
            lambda path: (path.parents[2] / "usr/lib/pam.d/xdm").write_text(LOGIN),
            "usr/lib/pam.d/xdm is the distribution's own: first run cp ",
        ),
        (lambda path: path.mkdir(), "no such PAM service"),
    ],
)
def test_files_that_are_not_an_administrators(
    root: Path, capsys: pytest.CaptureFixture[str], make: object, words: str
) -> None:
    (root / "usr/lib/pam.d").mkdir(parents=True)
    assert callable(make)
    make(root / "etc/pam.d/xdm")
    before = tree(root)
    assert run(root, service="xdm") == 1
    assert words in capsys.readouterr().err and tree(root) == before


# Checks


def test_checks_that_would_be_skipped_are_named_and_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = root / "etc/pam.d/login"
    service.write_text(OTP)
    before = tree(root)
    for options in ([], ["--skip-checks", "pam_wheel"]):
        assert run(root, *options) == 1
        said = capsys.readouterr().err
        assert "login: auth required pam_oath.so" in said and "--skip-checks pam_oath pam_wheel" in said
        assert ("login: auth required pam_wheel.so" in said) == (not options)
        assert tree(root) == before
    assert run(root, "--skip-checks", "pam_wheel", "pam_oath") == 0
    text = service.read_text()
    assert text == add_lines(OTP, skips=["pam_oath", "pam_wheel"]) != add_lines(OTP)
    # It is known from now on, to us and to whoever reads the file; a check that is new is not.
    assert run(root) == 0 and service.read_text() == text and "skips: pam_oath pam_wheel" in text
    service.write_text(text.replace("pam_wheel.so", "pam_time.so"))
    assert run(root) == 1
    assert "auth required pam_time.so" in capsys.readouterr().err
    assert run(root, "--remove") == 0
    assert service.read_text() == OTP.replace("wheel", "time")


def test_a_service_that_takes_its_lines_from_another(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Debian's greetd and its i3lock; login's own lines of ours are no check that would be skipped."""
    assert run(root) == 0
    (root / "etc/pam.d/greetd").write_text("@include login\n")
    (root / "etc/pam.d/i3lock").write_text("auth include login\n")
    assert run(root, service="greetd") == 1
    assert "use --service login" in capsys.readouterr().err
    verdict = "--socket=/run/console-sso/verdict.sock"
    assert run(root, verdict, service="i3lock") == 1
    said = capsys.readouterr().err
    assert "login: auth requisite pam_nologin.so" in said and "pam_sso" not in said
    assert run(root, verdict, "--skip-checks", "pam_nologin", service="i3lock") == 0


def test_a_session_line_that_hides_ours_is_named_and_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = root / "etc/pam.d/common-session"
    shared.write_text(shared.read_text() + "session sufficient pam_mkhomedir.so\n")
    before = tree(root)
    assert run(root) == 1
    assert "common-session: session sufficient pam_mkhomedir.so ends the session" in capsys.readouterr().err
    assert tree(root) == before


def test_an_upgrade_takes_no_lines_away_for_checks_and_names_them(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = root / "etc/pam.d/login"
    service.write_text(add_lines(OTP).replace("[success=ignore ignore=ignore", "[ignore=ignore"))
    for _ in range(2):
        assert main([f"--root={root}", "--upgrade"]) == 0
        assert service.read_text() == add_lines(OTP)
        said = capsys.readouterr().err
        assert "sign-on skips a check: login: auth required pam_oath.so" in said
        assert (
            "if that is meant, run sso install-pam --service login --skip-checks pam_oath pam_wheel" in said
        )
        assert "if not, run sso install-pam --service login --remove" in said
    assert run(root, "--skip-checks", "pam_oath", "pam_wheel") == 0
    text = service.read_text()
    capsys.readouterr()
    assert main([f"--root={root}", "--upgrade"]) == 0
    assert service.read_text() == text and capsys.readouterr().err == ""


def test_what_a_lock_screen_is_told_to_run_keeps_its_socket(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "etc/pam.d/i3lock"
    path.write_text(
        add_lines("auth include login\n", arguments=["socket=/run/x/verdict.sock", "agent_uid=7"])
    )
    assert main([f"--root={root}", "--upgrade"]) == 0
    (told,) = re.findall("if that is meant, run sso install-pam (.*)", capsys.readouterr().err)
    assert main([f"--root={root}", *told.split()]) == 0
    assert path.read_text() == add_lines(
        "auth include login\n",
        arguments=["socket=/run/x/verdict.sock", "agent_uid=7"],
        skips=["pam_nologin"],
    )


def test_a_dry_upgrade_shows_what_it_would_do(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = add_lines(LOGIN).replace("[success=ignore ignore=ignore", "[ignore=ignore")
    (root / "etc/pam.d/login").write_text(old)
    before = tree(root)
    assert main([f"--root={root}", "--upgrade", "--dry-run"]) == 0 and tree(root) == before
    assert "\n+session [success=ignore ignore=ignore" in capsys.readouterr().out
    for option in (["--remove"], ["--skip-checks", "pam_wheel"]):
        with pytest.raises(SystemExit):
            main([f"--root={root}", "--upgrade", *option])


# What cannot be done leaves nothing behind


@pytest.mark.e2e
def test_an_upgrade_is_not_stopped_by_one_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = add_lines(LOGIN).replace("[success=ignore ignore=ignore", "[ignore=ignore")
    services = root / "etc/pam.d"
    for name in ("login", "sddm"):
        (services / name).write_text(old)
    subprocess.run(["mount", "--bind", services / "login", services / "login"], check=True)
    try:
        assert main([f"--root={root}", "--upgrade"]) == 1
    finally:
        subprocess.run(["umount", services / "login"], check=True)
    assert (services / "login").read_text() == old and (services / "sddm").read_text() == add_lines(LOGIN)
    assert f"{services / 'login'}: Device or resource busy" in capsys.readouterr().err


@pytest.mark.e2e
@pytest.mark.parametrize("options", [[], ["--remove"]])
def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(
    root: Path, tmp_path: Path, options: list[str]
) -> None:
    """A mount over the file is what the kernel refuses to replace here; not every file system has +i."""
    if options:
        assert run(root) == 0
    built = tmp_path / "built.so"
    built.write_bytes(b"\x7fELF, another one")
    (pam_folder(root) / "pam_sso.so").unlink(missing_ok=not options)
    service = root / "etc/pam.d/login"
    before = tree(root)
    subprocess.run(["mount", "--bind", service, service], check=True)
    try:
        assert run(root, f"--module={built}", *options) == 1
    finally:
        subprocess.run(["umount", service], check=True)
    assert tree(root) == before


@pytest.mark.e2e
def test_the_package_goes_whatever_the_files_are(root: Path) -> None:
    """A name with a blank, and a file that cannot be replaced: lines without the module do nothing."""
    services = root / "etc/pam.d"
    for name in ("login", "sddm", "a copy of login"):
        (services / name).write_text(add_lines(LOGIN))
    script = Path(__file__).resolve().parents[3] / "debian/libpam-sso.prerm"
    remove = (
        f"mount --bind '{services}' /etc/pam.d && mount --bind /etc/pam.d/sddm /etc/pam.d/sddm"
        f" && sh '{script}' remove"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", remove], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "/etc/pam.d/sddm keeps its lines" in done.stderr
    assert (services / "sddm").read_text() == add_lines(LOGIN)
    assert (services / "login").read_text() == (services / "a copy of login").read_text() == LOGIN
