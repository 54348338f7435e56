"""sso.guest.pam_files.pam_stack reads a service's file as libpam does: the same files, both asked."""

import pytest
from beds_pam import call

from sso.demo.sandbox import Sandbox
from sso.errors import ConfigError
from sso.guest.pam_files.pam_stack import lines

pytestmark = pytest.mark.e2e


def echo(text: bytes) -> bytes:
    return b"account optional pam_echo.so " + text


END = b"\naccount required pam_permit.so\n"


@pytest.mark.parametrize(
    "text",
    [
        echo(b"a"),
        b"# a comment \\\n" + echo(b"a"),
        echo(b"a # a comment \\\n") + echo(b"b"),
        b"account optional \\\npam_echo.so a",
        b"account [success=ok \\\n default=ignore] pam_echo.so a",
        b"account [ default=ignore ]pam_echo.so a",
        b"account optional pam_echo.so [a=b] c\n" + echo(b"d"),
        b"account optional pam_echo.so [a\\]b c] d",
        b"account optional pam_echo.so [a#b]\n" + echo(b"c"),
        echo(b"a\\\\\n") + echo(b"b"),
        b"ACCOUNT OPTIONAL pam_echo.so a\n-Account optional pam_echo.so b",
        b"- account optional pam_echo.so a\n" + echo(b"b"),
        b"  @Include included\n" + echo(b"a"),
        b"accounts optional pam_echo.so a\n" + echo(b"b"),
        # What is a line's end or a blank for Python, and a letter for libpam.
        echo(b"a\x0c") + echo(b"b"),
        echo(b"a\x0b") + echo(b"b"),
        echo(b"a\x1c") + echo(b"b"),
        echo(b"a\r") + echo(b"b"),
        echo(b"a\xc2\x85") + echo(b"b"),
        echo(b"a\xe2\x80\xa8") + echo(b"b"),
        b"account\x0coptional pam_echo.so a\n" + echo(b"b"),
        b"\x0b" + echo(b"a") + b"\n" + echo(b"b"),
        b"\xef\xbb\xbf" + echo(b"a") + b"\n" + echo(b"b"),
    ],
)
def test_the_same_lines_are_seen(guest: Sandbox, text: bytes) -> None:
    guest.path("/etc/pam.d/sso-read").write_bytes(text + END)
    guest.path("/etc/pam.d/included").write_bytes(echo(b"included\n"))
    shown = call(guest, "acct_mgmt", service="sso-read").prompts
    found = []
    for line in lines((text + END).decode("latin-1")):
        if line.included:
            found.append("included")
        elif line.may_be("account") and line.module == "pam_echo":
            found.append(" ".join(word.strip("[]").replace("\\]", "]") for word in line.words[3:]))
    assert found == [text.encode().decode("latin-1") for text in shown] and shown


@pytest.mark.parametrize(
    "text",
    [
        b"account optional \\ \npam_echo.so a",
        b"account optional \\\n\npam_echo.so a",
        b"account optional \\\n# a comment\npam_echo.so a",
        echo(b"a\0b"),
        END + echo(b"a\\"),
        END + echo(b"a\\\n"),
    ],
)
def test_what_versions_of_libpam_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError):
        list(lines(text.decode("latin-1")))
