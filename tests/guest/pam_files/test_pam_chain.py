"""pam_files.pam_chain names the checks that a sign-on would skip; the stacks of distributions have none."""

import pytest
from pam_files import COMMON, FEDORA, JOINED, LOGIN, SCREENS

from sso.errors import ConfigError
from sso.guest.pam_files.pam_chain import accepts, chain, hides_ours, skipped_checks
from sso.guest.pam_files.pam_stack import add_lines, lines

REST = "account required pam_unix.so\nsession required pam_unix.so\n"
UNIX = "auth required pam_unix.so\n"


def skipped(text: str, files: dict[str, str] = COMMON) -> list[str]:
    """The modules of the checks that are skipped; the same with our lines in the file and without."""
    found = [str(step) for step in skipped_checks(text, "login", files.__getitem__)]
    assert found == [str(step) for step in skipped_checks(add_lines(text), "login", files.__getitem__)]
    return [step.partition("pam_")[2].partition(".so")[0] for step in found]


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("name", SCREENS)
def test_debians_login_screens_skip_nothing(name: str, joined: bool) -> None:
    files = COMMON | ({"common-auth": JOINED} if joined else {})
    assert skipped(SCREENS[name], files) == []
    assert hides_ours(SCREENS[name], name, files.__getitem__) is None


def test_fedoras_login_skips_nothing() -> None:
    assert skipped(FEDORA["login"], FEDORA) == []
    assert hides_ours(FEDORA["login"], "login", FEDORA.__getitem__) is None


ONLY = "auth sufficient pam_unix.so\nauth required pam_deny.so\n"


@pytest.mark.parametrize(
    "check",
    [
        "auth required pam_wheel.so group=staff",
        "auth requisite pam_localuser.so",
        "auth required pam_usertype.so isregular",
        "auth required pam_tally2.so deny=5 onerr=fail",
        "auth [success=done ignore=ignore default=bad] pam_selinux_permit.so",  # Fedora's gdm-password
    ],
)
def test_a_check_before_the_password_holds_for_a_sign_on_too(check: str) -> None:
    text = f"{check}\n{UNIX}{REST}"
    assert skipped(text) == []
    order = [line.module for line in lines(add_lines(text)) if line.may_be("auth")]
    assert order == [
        "pam_sso",
        check.partition("pam_")[1] + check.partition("pam_")[2].partition(".")[0],
        "pam_sso",
        "pam_unix",
    ]


CHECK = "[success=ok default=die]"


@pytest.mark.parametrize(
    ("auth", "names"),
    [
        # Behind the line that asks for the password, whatever the check is called.
        (UNIX + "auth required pam_wheel.so group=staff\n", ["wheel"]),
        (UNIX + "auth requisite pam_usertype.so isregular\n", ["usertype"]),
        (UNIX + "auth required pam_localuser.so\n", ["localuser"]),
        (UNIX + "auth required pam_listfile.so item=user sense=allow file=/etc/x onerr=fail\n", ["listfile"]),
        (UNIX + "auth required pam_exec.so /bin/check\n", ["exec"]),
        (UNIX + "auth required pam_access.so\nauth required pam_time.so\n", ["access", "time"]),
        (UNIX + "auth required pam_google_authenticator.so\n", ["google_authenticator"]),
        (UNIX + f"-auth {CHECK} pam_oath.so\n", ["oath"]),
        (UNIX + "auth required pam_of_nobodys_knowledge.so\n", ["of_nobodys_knowledge"]),
        ("@include common-auth\nauth required pam_faillock.so preauth\n", ["faillock"]),
        # A jump makes what stands before the password a part of it.
        (
            "auth [success=ok default=1] pam_succeed_if.so uid > 1\nauth required pam_wheel.so\n" + UNIX,
            ["succeed_if", "wheel"],
        ),
        # Who is sent past the only proof is refused.
        *(
            (f"auth [success=ok default=1] pam_{name}.so x\n" + ONLY, [name])
            for name in ("listfile", "wheel", "localuser", "succeed_if")
        ),
        (
            "auth [success=ok default=2] pam_oath.so\nauth [success=2 default=ignore] pam_unix.so\n"
            "auth [success=1 default=ignore] pam_sss.so\n"
            "auth requisite pam_deny.so\nauth required pam_permit.so\n",
            ["oath"],
        ),
        # And who is sent past each proof by the same words, one after the other.
        (
            2 * "auth [success=ok default=1] pam_succeed_if.so user ingroup a\nauth sufficient pam_sss.so\n"
            + "auth required pam_deny.so\n",
            ["succeed_if", "succeed_if"],
        ),
        # A line that refuses nobody itself, and lets run into one that does.
        ("auth requisite pam_unix.so\nauth sufficient pam_oath.so\nauth required pam_deny.so\n", ["oath"]),
        (
            UNIX + "auth [success=1 default=ignore] pam_succeed_if.so user ingroup staff\n"
            "auth requisite pam_deny.so\n",
            ["succeed_if"],
        ),
        (
            UNIX + "auth [success=2 default=ignore] pam_succeed_if.so user ingroup a\n"
            "auth [success=1 default=ignore] pam_localuser.so\nauth requisite pam_deny.so\n",
            ["succeed_if", "localuser"],
        ),
        # A yes that refuses.
        (UNIX + "auth [success=die default=ignore] pam_succeed_if.so user ingroup banned\n", ["succeed_if"]),
        # Only users whom the second proof knows come by here.
        (
            "auth sufficient pam_unix.so\nauth requisite pam_time.so\nauth sufficient pam_sss.so\n"
            "auth required pam_deny.so\n",
            ["time"],
        ),
        # What asks in another way, and what only helps, refuses nobody.
        ("auth sufficient pam_fprintd.so\n" + UNIX, []),
        ("auth [success=1 default=ignore] pam_u2f.so\n" + UNIX + "auth required pam_permit.so\n", []),
        (UNIX + "auth optional pam_exec.so /bin/x\n", []),
        (UNIX + "auth optional pam_ecryptfs.so unwrap\nauth optional pam_mount.so\n", []),
        ("auth [success=1 default=ignore] pam_unix.so\nauth [default=die] pam_faillock.so authfail\n", []),
        # Before it, a check holds for everybody.
        ("auth required pam_listfile.so item=user sense=allow file=/etc/x onerr=fail\n" + UNIX, []),
    ],
)
def test_checks_that_a_sign_on_would_skip(auth: str, names: list[str]) -> None:
    if "authfail" in auth:
        auth += "auth required pam_permit.so\n"
    assert skipped(auth + REST) == names


@pytest.mark.parametrize("how", ["@include more\n", "auth include more\n", "auth substack more\n"])
def test_included_files_are_read_too(how: str) -> None:
    files = COMMON | {"more": "auth required pam_wheel.so\n"}
    text = UNIX + how + REST
    assert [str(step) for step in skipped_checks(text, "login", files.__getitem__)] == [
        "more: auth required pam_wheel.so"
    ]


def test_too_many_to_try_are_all_named() -> None:
    many = "".join(f"auth {CHECK} pam_{letter}.so\n" for letter in "abcdefghijklmn")
    assert skipped(UNIX + many + REST) == list("abcdefghijklmn")


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ("auth required pam_deny.so\n", "nobody logs in by hand"),
        ("auth required pam_env.so\n", "nobody logs in by hand"),
        ("auth include self\n", "within itself"),
        ("auth required pam_unix.so\nauth requirred pam_wheel.so\n", "does not understand this control"),
        ("auth [success=0] pam_unix.so\n", "does not understand this control"),
        ("auth [successs=1] pam_unix.so\n", "does not understand this control"),
        ("auth pam_unix.so\n", "does not understand this line"),
        ("auth required pam_unix.so\nlogin auth required pam_unix.so\n", "does not understand this line"),
    ],
)
def test_by_what_nobody_logs_in_is_refused(auth: str, words: str) -> None:
    text = auth + REST
    with pytest.raises(ConfigError, match=words):
        skipped_checks(text, "self", {"self": text}.__getitem__)


@pytest.mark.parametrize(
    ("session", "hiding"),
    [
        ("session sufficient pam_x.so\nsession required pam_unix.so\n", "x"),
        ("session required pam_unix.so\nsession [success=done default=ignore] pam_x.so\n", "x"),
        ("session required pam_unix.so\nsession [success=1 default=ignore] pam_x.so\n", "x"),
        ("session include more\nsession required pam_unix.so\n", "y"),
        ("session substack more\nsession required pam_unix.so\n", ""),
        ("session [success=1 default=ignore] pam_x.so\nsession required pam_unix.so\n", ""),
        ("session [success=1 default=ignore] pam_x.so\nsession substack more\n", ""),
        ("session requisite pam_x.so\n", ""),
    ],
)
def test_a_session_line_that_would_hide_ours_is_named(session: str, hiding: str) -> None:
    files = {"more": "session sufficient pam_y.so\nsession required pam_z.so\n"}
    text = UNIX + "account required pam_unix.so\n" + session
    found = hides_ours(text, "login", files.__getitem__)
    assert (found.line.module if found else "") == (f"pam_{hiding}" if hiding else "")


def test_a_stack_without_a_yes_lets_nobody_in() -> None:
    steps = list(chain(list(lines(LOGIN)), "auth", "login", COMMON.__getitem__))
    assert [step.line.module for step in steps][2:] == [
        *("pam_unix", "pam_deny", "pam_permit", "pam_cap", "pam_group"),
    ]
    assert not accepts(steps, ["ignore"] * len(steps))
    assert accepts(steps, ["ignore", "ok", "1", "die", "ok", "ignore", "ignore"])
    assert not accepts(steps, ["ignore", "ok", "9", "ok", "ok", "ok", "ok"])
