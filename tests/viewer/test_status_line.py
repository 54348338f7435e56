"""What a person reads below the screen, for every way in which a sign-in may end."""

import pytest

from sso.client.exits import MEANING, Exit
from sso.plug.plug import PlugEvent
from sso.viewer.status_line import LINE_MAX, StatusLine

PORT = "spice.sso.0"


def lines(*states: str, end: PlugEvent | None = None) -> list[str]:
    """The lines that a person sees one after the other."""
    status = StatusLine()
    events = [PlugEvent(PORT, "started"), *(PlugEvent(PORT, "state", state) for state in states)]
    return [line for event in [*events, *filter(None, [end])] if (line := status.event(event)) is not None]


def test_a_login_that_works() -> None:
    states = (
        "signing-in alice@TEST.EXAMPLE",
        "signed-in",
        "staying until=1800000000",
        "renewed until=1800003600",
    )
    assert lines(*states, end=PlugEvent(PORT, "exited")) == [
        "signing in as alice@TEST.EXAMPLE ...",
        "signed in as alice@TEST.EXAMPLE",
        "signed in as alice@TEST.EXAMPLE",
    ]


@pytest.mark.proves("S072")
@pytest.mark.parametrize("code", [code for code in Exit if code is not Exit.SIGNED_IN])
def test_each_failure_is_one_line_and_says_what_to_do(code: Exit) -> None:
    failed = f"failed {int(code)} {MEANING[code]}"
    shown = lines("signing-in alice", failed, end=PlugEvent(PORT, "exited", code=int(code)))
    assert len(shown) == 2
    assert shown[1].endswith(("sign in by hand", "type your password", "answer there"))


def test_no_ticket_is_said_as_such() -> None:
    assert lines("failed 6 there is no Kerberos ticket") == ["no ticket: type your password"]


def test_a_plug_in_that_dies_without_a_word() -> None:
    (line,) = lines(end=PlugEvent(PORT, "exited", code=-11))
    assert line == f"the plug-in of {PORT} ended with -11: sign in by hand"


def test_one_that_was_told_to_end_says_nothing() -> None:
    assert lines(end=PlugEvent(PORT, "exited", code=-15, wanted=True)) == []


def test_one_that_is_not_there() -> None:
    (line,) = lines(end=PlugEvent(PORT, "failed", "/usr/lib/x: No such file or directory"))
    assert "No such file" in line and line.endswith("sign in by hand")


def test_a_ticket_that_is_not_renewed_and_words_of_others() -> None:
    assert lines("not-renewed 7 the KDC does not answer", "note 2 keys lent", "whatever else") == [
        "your ticket in the guest was not renewed: the KDC does not answer",
        "2 keys lent",
    ]


def test_a_line_is_a_line() -> None:
    (line,) = lines(f"note {'x' * 5000}")
    assert len(line) == LINE_MAX


def test_a_console_that_asks_is_where_to_answer() -> None:
    assert lines("signing-in alice", "console-asks", "signed-in") == [
        "signing in as alice ...",
        "the console asks something: answer there",
        "signed in as alice",
    ]


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("note \x1b[2Jgone", r"\x1b[2Jgone"),
        ("signing-in mallory\u202e\u2028x", r"signing in as mallory\u202ex ..."),
        ("failed 5 \ud800", r"not signed in: \ud800: sign in by hand"),
    ],
)
def test_what_is_not_printable_is_escaped(state: str, shown: str) -> None:
    (line,) = lines(state)
    assert line.isprintable()
    assert line.replace(" ", "") == shown.replace(" ", "")
