"""sso.doctor: how findings are shown, what is examined, and that a failing check does not stop the others."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sso import doctor
from sso.doctor import Account, Answer, Finding, System, examine, not_checked, ok, warning, wrong


def one(finding: Finding) -> doctor.Check:
    return lambda: [finding]


def forbidden() -> Iterator[Finding]:
    yield ok("as far as it went")
    raise PermissionError(13, "Permission denied", "/etc/shadow")


def broken() -> list[Finding]:
    raise ZeroDivisionError("with something secret")


def test_a_check_that_fails_ends_nothing_and_tells_no_more_than_its_kind() -> None:
    lines = list(examine([("a", forbidden), ("b", broken), ("c", one(ok("fine")))]))
    assert lines == [
        ("a", ok("as far as it went")),
        ("a", not_checked("only root may look at /etc/shadow")),
        ("b", not_checked("the check itself failed, please report it (ZeroDivisionError)")),
        ("c", ok("fine")),
    ]


@pytest.mark.parametrize(
    ("finding", "line"),
    [
        (ok("all well"), "ok           keytab: all well"),
        (warning("odd"), "warning      keytab: odd"),
        (warning("odd", "Look at it"), "warning      keytab: odd. Look at it"),
        (wrong("bad", "Run: mend it"), "wrong        keytab: bad. Run: mend it"),
        (wrong("that was all.", "Run: more"), "wrong        keytab: that was all. Run: more"),
        (not_checked("no root"), "not checked  keytab: no root"),
        (wrong("two\nlines \x1b[31m", "no\ttab"), r"wrong        keytab: two lines \x1b[31m. no tab"),
        (ok("x" * 500), f"ok           keytab: {'x' * 400}..."),
    ],
)
def test_a_finding_is_one_line_that_steers_no_terminal(finding: Finding, line: str) -> None:
    assert doctor.text(("keytab", finding)) == line


def machine(root: Path, *files: str) -> System:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return System(root)


CLIENT, GUEST = "etc/console-sso/client.toml", "etc/console-sso/guest.toml"


@pytest.mark.parametrize(
    ("files", "uid", "roles"),
    [
        ((), 0, ["client"]),
        ((CLIENT,), 0, ["client"]),
        (("usr/bin/spice-client-sso",), 4001, ["client"]),
        ((GUEST,), 4001, ["guest"]),
        (("lib/systemd/system/console-sso-agent.service",), 0, ["guest"]),
        ((CLIENT, GUEST), 0, ["guest", "client"]),
        ((CLIENT, GUEST), 4001, ["client", "guest"]),
    ],
)
def test_without_a_word_it_is_what_is_here(
    tmp_path: Path, files: tuple[str, ...], uid: int, roles: list[str]
) -> None:
    assert doctor.here(machine(tmp_path, *files), uid) == roles


class Some:
    """Checks that return the given findings."""

    def __init__(self, *findings: Finding) -> None:
        self.findings, self.rest = findings, ["not asked"]

    def add_options(self, parser: object) -> None:
        pass

    def steps(self, system: System, options: object, rest: list[str]) -> list[doctor.Step]:
        self.rest = rest
        return [("step", lambda: self.findings)]


def install(monkeypatch: pytest.MonkeyPatch, role: str, *findings: Finding) -> Some:
    checks = Some(*findings)
    monkeypatch.setitem(sys.modules, f"sso.{role}.checks", checks)
    monkeypatch.setattr(doctor, "_MORE", {})
    return checks


@pytest.mark.parametrize(
    ("findings", "code", "last"),
    [
        ((ok("a"), warning("b", "c"), not_checked("d")), 0, "sso doctor: nothing is wrong"),
        ((ok("a"), wrong("b", "c"), wrong("d", "e")), 1, "sso doctor: 2 wrong"),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    findings: tuple[Finding, ...],
    code: int,
    last: str,
) -> None:
    install(monkeypatch, "guest", *findings)
    assert doctor.main(["guest"]) == code
    said = capsys.readouterr().out.splitlines()
    assert (said[0], said[-1]) == ("sso doctor: the guest on this machine", last)
    assert len(said) == len(findings) + 2


@pytest.mark.parametrize("words", [["client", "--json"], ["--json", "client"]])
def test_for_programs_it_is_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    install(monkeypatch, "client", ok("a"), wrong("b", "Run: c"))
    assert doctor.main(words) == 1
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "role": "client",
        "wrong": 1,
        "findings": [
            {"step": "step", "state": "ok", "found": "a", "mend": ""},
            {"step": "step", "state": "wrong", "found": "b", "mend": "Run: c"},
        ],
    }


def test_where_both_are_it_names_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install(monkeypatch, "guest", ok("a"))
    install(monkeypatch, "client", ok("b"))
    role, other = doctor.here(both := machine(tmp_path, CLIENT, GUEST))
    assert doctor.main([], both) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"sso doctor: the {role} on this machine; `sso doctor {other}` looks at the {other}"


def test_the_clients_own_options_go_to_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = install(monkeypatch, "client")
    assert doctor.main(["client", "--spn", "host/x.example", "--json", "--config", "FILE"]) == 0
    assert checks.rest == ["--spn", "host/x.example", "--config", "FILE"]


@pytest.mark.parametrize("words", [["guest", "--spn", "x"], ["nonsuch"], ["guest", "client"], ["--nonsuch"]])
def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        doctor.main(words, machine(tmp_path, "etc/console-sso/guest.toml"))
    assert "usage: sso doctor [guest | client]" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["guest", "--help"], ["client", "-h"]])
def test_help(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        doctor.main(words)
    said = capsys.readouterr().out
    assert ("--ask-kdc" in said) == ("guest" not in words) and ("--config" in said) == ("client" not in words)
    assert "exit codes: 0 nothing is wrong" in said


# The machine under test


def test_a_program_is_asked_with_an_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_X", "secret")
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nonsuch")
    answer = doctor.ask(["env"])
    assert answer is not None and answer.code == 0
    assert {line.partition("=")[0] for line in answer.output.splitlines()} <= {
        *("PATH", "LC_ALL", "KRB5CCNAME", "KRB5_CONFIG"),
    }


def test_a_program_that_fails_is_not_there_or_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.ask(["sh", "-c", "echo said; echo more >&2; exit 3"]) == Answer(3, "said\nmore")
    assert doctor.ask(["/nonsuch/program"]) is None
    monkeypatch.setattr(doctor, "RUN_SECONDS", 0.01)
    assert doctor.ask(["sleep", "60"]) is None


def test_users_and_groups_of_another_root(tmp_path: Path) -> None:
    system = machine(tmp_path, "etc/passwd", "etc/group", "etc/hostname")
    (tmp_path / "etc/passwd").write_text("root:x:0:0:::\nalice:x:4001:4001:::\nodd line\n")
    (tmp_path / "etc/group").write_text("console:x:7:\n")
    assert system.user("alice") == Account(4001, 4001) and system.user("bob") is None
    assert (system.user_name(4001), system.user_name(5)) == ("alice", "uid 5")
    assert system.has_group("console") and not system.has_group("nonsuch")
    assert System().user("root") == Account(0, 0) and System().user("no-such-user") is None
    assert System().user_name(0) == "root" and System().has_group("root")
    assert not System().has_group("no-such-group") and System().user_name(4294967293) == "uid 4294967293"


def test_what_is_not_there_reads_as_nothing(tmp_path: Path) -> None:
    system = machine(tmp_path, "etc/file")
    assert [system.read(path) for path in ("/etc/file", "/etc/file/x", "/etc", "/nonsuch")] == [""] * 4
    assert not system.has_systemd
