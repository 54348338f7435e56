"""sso doctor guest lets libpam itself say where our lines are, and names the checks that a sign-on skips."""

import re
from pathlib import Path

import pytest
from beds_doctor import LOGIN, Machine, machine, make_machine, of_state

from sso.doctor import FindingState
from sso.guest.checks import libpam
from sso.guest.checks.libpam import SAYS_YES, TrialError
from sso.guest.pam_files.install_pam import pam_folder
from sso.guest.pam_files.pam_stack import add_lines

__all__ = ["machine", "make_machine"]  # fixtures
BY_HAND = add_lines(LOGIN).replace(" # console-sso", "")
OURS = "libpam itself runs our lines in their places"


def service(machine: Machine) -> list[str]:
    return [
        f"{finding.state}: {finding.found}. {finding.mend}"
        for step, finding in machine.examine()
        if step == "PAM service"
    ]


@pytest.mark.parametrize("login", ["getty", "greetd", "lightdm", "sddm", "gdm"])
def test_libpam_agrees_for_every_login_screen(machine: Machine, login: str) -> None:
    machine.settings('spn = "host/guest.test.example"', login=login)
    found = service(machine)
    assert any(OURS in line for line in found) and not any(line.startswith("wrong") for line in found), found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # All is in its place for who reads the lines; libpam does not come to the last one.
        (
            "session required pam_env.so\n",
            "session sufficient pam_env.so\n",
            "pam_env is the last module of session, so nobody hears that one opens",
        ),
        # Our line says yes, and the stack goes on.
        (
            "auth [success=done default=ignore] pam_sso.so\n",
            "auth [success=ok default=ignore] pam_sso.so\n",
            "pam_unix is asked behind our line that decides",
        ),
        (
            "auth optional pam_sso.so early\nauth requisite pam_nologin.so\n",
            "auth requisite pam_nologin.so\nauth optional pam_sso.so early\n",
            "pam_nologin is the first module of auth, not ours",
        ),
    ],
)
def test_libpam_has_the_last_word(machine: Machine, old: str, new: str, said: str) -> None:
    text = BY_HAND.replace(
        "@include common-session\n", "session required pam_env.so\n@include common-session\n"
    )
    machine.write("/etc/pam.d/login", text)
    assert OURS in service(machine)[-1]
    assert old in text
    machine.write("/etc/pam.d/login", text.replace(old, new))
    (line,) = [line for line in service(machine) if line.startswith("wrong")]
    assert said in line and "sso install-pam --service login" in line


def test_lines_that_change_a_login_by_hand_are_wrong(machine: Machine) -> None:
    """What a later editor makes of it: a jump that now passes by another line than before."""
    text = add_lines(
        LOGIN.replace("@include common-auth\n", "auth required pam_unix.so\nauth required pam_env.so\n")
    )
    decides = "auth [success=done default=ignore] pam_sso.so # console-sso\n"
    machine.write("/etc/pam.d/login", text)
    assert OURS in service(machine)[-1]
    machine.write(
        "/etc/pam.d/more",
        "auth [success=2 default=ignore] pam_env.so\n" + decides + "auth required pam_deny.so\n",
    )
    machine.write("/etc/pam.d/login", text.replace(decides, "@include more\n" + decides))
    found = service(machine)
    assert any(line.startswith("wrong") for line in found), found


def test_a_check_that_a_sign_on_skips_is_wrong_until_somebody_means_it(machine: Machine) -> None:
    otp = LOGIN.replace("@include common-auth\n", "@include common-auth\nauth required pam_oath.so\n")
    machine.write("/etc/pam.d/login", add_lines(otp))
    machine.copy("pam/pam_sso.so", "/lib/x/security/pam_oath.so")
    (line,) = of_state(machine.examine(), FindingState.WRONG)
    assert "a sign-on skips what may refuse a login by hand: login: auth required pam_oath.so" in line
    assert "sso install-pam --service login --skip-checks pam_oath" in line
    machine.write("/etc/pam.d/login", add_lines(otp, skips=["pam_oath"]))
    found = service(machine)
    assert "a sign-on skips pam_oath, as you have said" in found[0] and OURS in found[1]


def test_our_lines_in_a_service_that_is_no_screen_are_worth_a_warning(machine: Machine) -> None:
    machine.write("/etc/pam.d/cups", add_lines(LOGIN))
    (line,) = of_state(machine.examine(), FindingState.WARNING)
    assert "/etc/pam.d/cups has lines of pam_sso.so" in line and "--service cups --remove" in line


@pytest.mark.parametrize(
    "comment",
    [
        b"# a\rauth sufficient pam_permit.so\n",
        b"# a\xe2\x80\xa8auth sufficient pam_permit.so\n",
        b"# a\xc2\x85auth sufficient pam_permit.so\x0cauth sufficient pam_permit.so\n",
        b"# \xe9 \\\n",
    ],
)
def test_what_is_no_line_for_libpam_is_none_for_the_doctor(machine: Machine, comment: bytes) -> None:
    text = add_lines((comment + LOGIN.encode()).decode("latin-1"))
    machine.write("/etc/pam.d/login", text.encode("latin-1"))
    assert not of_state(machine.examine(), FindingState.WRONG) and OURS in service(machine)[-1]


def test_nothing_of_the_machine_runs_and_nothing_is_changed(tmp_path: Path) -> None:
    """A module that has nobody in its place ends the trial before anything is asked."""
    modules = pam_folder(Path("/"))
    strange = tmp_path / "pam_strange.so"
    strange.write_bytes((modules / "pam_permit.so").read_bytes())
    strange.chmod(0o755)
    files = {"x": f"auth required {strange}\n".encode(), "other": b"auth required pam_deny.so\n"}
    before = sorted(path.name for path in modules.iterdir())
    with pytest.raises(TrialError, match=re.escape(f"libpam loads {strange}, in whose place nothing stands")):
        libpam.run("x", files, modules, {"pam_unix.so": SAYS_YES})
    ran = libpam.run("x", files, modules, {strange.name: SAYS_YES})
    assert ran["auth"] == (0, (("pam_strange", ""),))
    assert sorted(path.name for path in modules.iterdir()) == before
    assert not (Path("/etc/pam.d") / "x").exists()


def test_what_libpam_refuses_whole_is_said() -> None:
    files = {"x": b"auth required pam_unix.so \\\n"}
    with pytest.raises(TrialError, match="libpam refuses the whole service x"):
        libpam.run("x", files, pam_folder(Path("/")), {"pam_unix.so": SAYS_YES})
