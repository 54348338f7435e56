"""The real libpam judges PAM files of every kind: what we read in them, where our lines are, what they skip.

Hypothesis writes the files, and libpam runs them with a module of ours in each one's place
(sso.guest.checks.libpam). A file may be refused; one that is taken has to be read as libpam does.
"""

from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from sso.errors import ConfigError
from sso.guest.checks.libpam import SAYS_NO, SAYS_NOTHING, SAYS_YES, Ran, run
from sso.guest.pam_files.install_pam import pam_folder
from sso.guest.pam_files.pam_chain import IGNORE, PROOFS, YES, chain, hides_ours, skipped_checks
from sso.guest.pam_files.pam_stack import add_lines, lines, remove_lines

pytestmark = pytest.mark.e2e

MODULES = pam_folder(Path("/"))
OTHER = {"other": b"auth required pam_deny.so\naccount required pam_deny.so\nsession required pam_deny.so\n"}
# Each file is a few processes; a smaller one that fails as well is not worth the minutes that it takes.
FILES = settings(deadline=None, max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def read(name: str) -> str:
    raise ConfigError(f"there is no {name}")


# What is read

BLANK = st.sampled_from(
    [" "] * 6 + ["\t", "  ", " \\\n", "\\\n ", " \\ \n", "\x0c", "\r", "\x0b", "\x85", "\xa0"]
)
TYPE = st.sampled_from(
    ["account"] * 6 + ["ACCOUNT", "-account", "[account]", "accounts", "- account", "session"]
)
CONTROL = st.sampled_from(
    ["optional"] * 3 + ["OPTIONAL", "[optional]", "[default=ignore]", "[ success = ok default=ignore ]"]
    + ["[success=ok\\\n default=ignore]", "[success=ok default=oops]", "[]", "[default=ignore"]
)  # fmt: skip
MODULE = st.sampled_from(["pam_echo.so"] * 4 + ["pam_env.so", "[pam_echo.so]", "pam_echo.so#"])
ARGUMENT = st.sampled_from(
    ["a", "b", "[item=user]", "[c d]", "[e\\]f]", "g[h", "i]", "\\", "\xe9", "[", "[]", "#j"]
)
END = st.sampled_from(
    ["\n"] * 6 + [" \n", "\r\n", "\\\n", " \\\n", "\\ \n", "# x \\\n", "\n\n", "\x85\n", "\xe2\x80\xa8\n"]
)
LONG = st.integers(990, 1100).map(lambda size: "#" + "x" * size + "account optional pam_echo.so hidden\n")
A_LINE = st.builds(
    lambda type, control, module, blanks, arguments, end: (
        f"{type}{blanks[0]}{control}{blanks[1]}{module}{''.join(blanks[2] + each for each in arguments)}{end}"
    ),
    TYPE, CONTROL, MODULE, st.tuples(BLANK, BLANK, BLANK), st.lists(ARGUMENT, max_size=3), END,
)  # fmt: skip
COMMENT = st.sampled_from(
    ["# x\n", "# x \\\n", "\n", " \t\n", "#\x0c account optional pam_echo.so n\n", "\\\n"]
)
TEXT = st.lists(st.one_of(A_LINE, A_LINE, A_LINE, COMMENT, LONG), min_size=1, max_size=5).map("".join)


@FILES
@given(TEXT)
@example("# " + "x" * 1021 + "account optional pam_echo.so hidden\n")
@example("account optional pam_echo.so " + "x " * 600 + "\n")
@example("# a comment \\\naccount optional pam_echo.so a\n")
def test_what_is_taken_is_read_as_libpam_reads_it(text: str) -> None:
    text += "\naccount optional pam_echo.so end\n"
    try:
        found = [
            (step.line.module, " ".join(step.line.words[3:]))
            for step in chain(list(lines(text)), "account", "x", read)
        ]
    except ConfigError:
        return
    substitutes = {"pam_echo.so": SAYS_YES, "pam_env.so": SAYS_YES}
    ran = run("x", {"x": text.encode("latin-1"), **OTHER}, MODULES, substitutes)["account"]
    # A name that is none of theirs (an umlaut, a carriage return) is a module that is not there.
    assert list(ran.calls) == [each for each in found if each[0] in ("pam_echo", "pam_env")]


# What our lines do

NAMES = ("a", "b", "c", "unix", "sss", "deny", "permit", "nologin", "env", "group", "succeed_if")
CONTROLS = (
    *(
        "required",
        "required",
        "required",
        "requisite",
        "optional",
        "sufficient",
        "[success=1 default=ignore]",
    ),
    *("[default=1]", "[success=2 default=die]", "[default=die]", "[success=done default=bad]"),
    *("[success=1 default=bad]", "[success=reset default=ignore]", "[success=ok ignore=die default=bad]"),
)
STEP = st.builds(
    lambda control, name: f"{control} pam_{name}.so", st.sampled_from(CONTROLS), st.sampled_from(NAMES)
)
SHARED = st.lists(STEP, min_size=1, max_size=3)
AUTH = st.lists(
    st.one_of(STEP, STEP, STEP, st.sampled_from(["include shared", "substack shared"])), max_size=5
)
SERVICE = st.tuples(AUTH, SHARED, SHARED, SHARED, st.sampled_from(["", "@include shared\n"]))
OUTCOMES = st.lists(
    st.sampled_from([SAYS_YES, SAYS_NOTHING, SAYS_NO]), min_size=len(NAMES), max_size=len(NAMES)
)


def outcome(drawn: list[str]) -> dict[str, str]:
    """Who stands for which module: what proves the user says yes, and what refuses nobody does not refuse."""
    substitutes = dict(zip((f"pam_{name}" for name in NAMES), drawn, strict=True))
    substitutes |= dict.fromkeys(YES | PROOFS, SAYS_YES) | dict.fromkeys(IGNORE, SAYS_NOTHING)
    substitutes["pam_deny"] = SAYS_NO
    return {f"{name}.so": substitute for name, substitute in substitutes.items()}


def trial(text: str, shared: str, substitutes: dict[str, str], ours: str) -> dict[str, Ran]:
    files = {"x": text.encode(), "shared": shared.encode(), **OTHER}
    return run("x", files, MODULES, {**substitutes, "pam_sso.so": ours})


@FILES
@given(SERVICE, OUTCOMES)
def test_our_lines_change_no_login_by_hand_and_let_nobody_in_whom_that_refuses(
    service: tuple[list[str], list[str], list[str], list[str], str], drawn: list[str]
) -> None:
    auth, account, session, other, included = service
    shared = "".join(f"auth {step}\n" for step in other)
    text = "".join(
        [*(f"auth {step}\n" for step in auth), *(f"account {step}\n" for step in account), included]
        + [f"session {step}\n" for step in session]
    )

    def read(name: str) -> str:
        return {"shared": shared}[name]

    try:
        added = add_lines(text)
        skipped = skipped_checks(added, "x", read)
        if hides_ours(added, "x", read):
            return
    except ConfigError:
        return
    substitutes = outcome(drawn)
    without = trial(remove_lines(added), shared, substitutes, SAYS_NOTHING)
    with_us = trial(added, shared, substitutes, SAYS_NOTHING)
    for type in ("auth", "account", "session"):
        assert with_us[type].code == without[type].code
        assert others(with_us[type]) == others(without[type])
    signed_on = trial(added, shared, substitutes, SAYS_YES)
    assert signed_on["account"].calls[0] == ("pam_sso", "check")
    assert signed_on["session"].calls[0] == ("pam_sso", "check")
    if signed_on["session"].code == 0:
        assert signed_on["session"].calls[-1] == ("pam_sso", "")
    decided = signed_on["auth"].calls[-1] == ("pam_sso", "")
    if not skipped and decided and signed_on["auth"].code == 0:
        assert without["auth"].code == 0


def others(ran: Ran) -> list[str]:
    """What is not ours; pam_group is repeated before our line, since "done" would leave it out."""
    return [call.module for call in ran.calls if call.module not in ("pam_sso", "pam_group")]
