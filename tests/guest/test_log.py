"""The journal's entries over a real datagram socket, and the same lines on standard error."""

import ast
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sso.daemon import journal
from sso.guest import log

SECONDS = 10
HOSTILE = "\x1b[2J\r\n\u202eevil\u2028\u2029\x9b\ud800\ue000\u200b\N{TAG LATIN SMALL LETTER A}"
GUEST = Path(log.__file__).parent


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.settimeout(SECONDS)
        found.bind(str(tmp_path / "journal"))
        yield found


@pytest.fixture
def reads_stderr(journald: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The same, and our standard error is said to end there."""
    opened: list[journal.Journal] = []
    found_by_environment = journal.open_journal

    def open_journal() -> journal.Journal | None:
        found = os.fstat(2)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        entries = found_by_environment(journald.getsockname())
        opened.extend(filter(None, [entries]))
        return entries

    monkeypatch.setattr(log, "open_journal", open_journal)
    yield journald
    for entries in opened:
        entries.close()


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program of its own that has just started."""
    monkeypatch.setattr(log, "_say", None)


def entry(datagram: bytes) -> dict[str, str]:
    """The fields of an entry, read as systemd's description of the protocol says."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, end, rest = rest[8 : 8 + length], rest[8 + length : 9 + length], rest[9 + length :]
            assert end == b"\n"
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", key)
        found[key.decode()] = value.decode()
        datagram = rest
    return found


def test_an_event_is_an_entry_with_fields(reads_stderr: socket.socket) -> None:
    log.open_as("sso-agent")
    log.note("login-opened", session=7, user="alice", code=0)
    assert entry(reads_stderr.recv(65536)) == {
        "MESSAGE": "login-opened session=7 user=alice code=0",
        "SYSLOG_IDENTIFIER": "sso-agent",
        "PRIORITY": "6",
        "MESSAGE_ID": "9968b3de67a2557d82718250c4f908e1",
        "CONSOLE_SSO_SESSION": "7",
        "CONSOLE_SSO_USER": "alice",
        "CONSOLE_SSO_CODE": "0",
    }


@pytest.mark.parametrize(
    ("id", "priority"), [("login-opened", "6"), ("login-other-signed-in", "5"), ("login-failed", "4")]
)
def test_refusals_are_notices_and_failures_warnings(
    id: str, priority: str, reads_stderr: socket.socket
) -> None:
    log.open_as("sso-agent")
    log.note(id)
    assert entry(reads_stderr.recv(65536))["PRIORITY"] == priority


def test_a_value_can_make_no_field_of_its_own(reads_stderr: socket.socket) -> None:
    log.open_as("sso-agent")
    forged = "x\nMESSAGE_ID=00\n_UID=0\n\x1b[31m\udcff"
    log.note("pam-refused", reason=forged, pid="9" * 5000)
    found = entry(reads_stderr.recv(65536))
    assert found["CONSOLE_SSO_REASON"] == r"x\nMESSAGE_ID=00\n_UID=0\n\x1b[31m\udcff"
    assert found["MESSAGE_ID"] == journal.message_id("sso.pam.refused")
    assert found["MESSAGE"].isprintable() and "_UID" not in found
    assert len(found["CONSOLE_SSO_PID"]) == len(found["MESSAGE"]) == journal.VALUE_MAX


def test_a_journald_that_is_gone_leaves_standard_error(
    reads_stderr: socket.socket, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log.open_as("sso-agent")
    os.unlink(tmp_path / "journal")
    log.note("agent-started", login="getty")
    assert capfd.readouterr().err == "sso-agent: agent-started login=getty\n"


def test_nobody_waits_for_a_busy_journald(reads_stderr: socket.socket) -> None:
    log.open_as("sso-agent")
    for number in range(10_000):  # far beyond a datagram queue
        log.note("login-asked", session=number)
    assert entry(reads_stderr.recv(65536))["CONSOLE_SSO_SESSION"] == "0"


@pytest.mark.parametrize("stream", ["", "1:1", "text"])
def test_without_journald_the_lines_go_to_standard_error(
    stream: str,
    journald: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    assert journal.open_journal(journald.getsockname()) is None
    log.open_as("sso-agent")
    log.open_as("sso-agent")  # no second line of each
    log.note("login-opened", user="alice liddell")
    assert capsys.readouterr().err == "sso-agent: login-opened user='alice liddell'\n"


def test_an_unknown_event_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        log.note("no-such-event")


def test_ids_are_stable_and_each_its_own() -> None:
    ids = [journal.message_id(name) for words in log.PROGRAMS.values() for name in words.values()]
    assert len(set(ids)) == len(ids) and all(re.fullmatch("[0-9a-f]{32}", id) for id in ids)
    assert journal.message_id("sso.agent.started") == "787c1a69ef1d5671bdc85b99ab693131"
    assert set(log.PRIORITIES) <= {word for words in log.PROGRAMS.values() for word in words}


# Which program's words a folder of the guest may say; the others are the agent's.
SPEAKERS = {"channel": "sso-channel", "acceptor": "sso-acceptor", "ssh_agent": "sso-ssh-agent", "checks": ""}
SHARED = {"mechanisms.py": ("sso-channel", "sso-acceptor")}  # a module in the folder of all of them


def spoken(program: str) -> tuple[set[str], set[str], set[str]]:
    """What the code of a program logs: its plain words, the other expressions, and all of its constants."""
    words, made, constants = set[str](), set[str](), set[str]()
    for path in GUEST.rglob("*.py"):
        first = path.relative_to(GUEST).parts[0]
        speakers = SHARED.get(first) or (SPEAKERS.get(first, "sso-agent"),)
        if path.name == "log.py" or program not in speakers:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                constants.add(node.value)
            if isinstance(node, ast.Call) and node.args and called(node) in ("note", "_note", "Refusals"):
                said = node.args[0]
                (words if isinstance(said, ast.Constant) else made).add(ast.unparse(said).strip("'"))
    return words, made, constants


def called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


@pytest.mark.parametrize("program", log.PROGRAMS)
def test_the_words_of_a_program_are_those_that_its_code_says(program: str) -> None:
    words, _, constants = spoken(program)
    listed = set(log.PROGRAMS[program])
    assert words <= listed
    assert listed - constants <= {"session-failed", *(f"session-{cause}" for cause in log.ENDS)}, "dead words"


def test_a_word_of_an_unprivileged_process_is_not_made_of_somebodys_text() -> None:
    assert spoken("sso-channel")[1] <= {"ending(event.cause)", "ending(error.cause)", "id"}
    assert not spoken("sso-acceptor")[1]


# The unprivileged processes


def test_their_lines_are_entries_too(reads_stderr: socket.socket) -> None:
    log.open_as("sso-channel")
    log.note("session-end", session=12, status=0)
    log.note("child-stopped", "its pulse stopped")
    first, second = (entry(reads_stderr.recv(65536)) for _ in range(2))
    assert first == {
        "MESSAGE": "session-end session=12 status=0",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "sso-channel",
        "MESSAGE_ID": journal.message_id("sso.channel.session-end"),
        "CONSOLE_SSO_SESSION": "12",
        "CONSOLE_SSO_STATUS": "0",
    }
    assert second["PRIORITY"] == "4" and "CONSOLE_SSO_SESSION" not in second
    assert second["MESSAGE"] == "child-stopped detail='its pulse stopped'"


def test_what_a_peer_said_is_one_value_and_finds_no_field(reads_stderr: socket.socket) -> None:
    """A field has one source, the caller: a text that looks like one is a text."""
    log.open_as("sso-channel")
    log.note("not-authenticated", "x session=99 user=root" + HOSTILE, mechanism="GSSAPI session=98")
    found = entry(reads_stderr.recv(65536))
    assert set(found) == {
        *("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE_ID"),
        *("CONSOLE_SSO_MECHANISM", "CONSOLE_SSO_DETAIL"),
    }
    assert found["CONSOLE_SSO_DETAIL"].startswith("x session=99 user=root")
    assert found["MESSAGE"].startswith("not-authenticated mechanism='GSSAPI session=98' detail='x session=99")
    assert all(value.isprintable() for value in found.values())


def test_nothing_that_steers_a_terminal_reaches_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    log.open_as("sso-channel")
    log.note("not-authenticated", HOSTILE, mechanism=HOSTILE)
    log.open_as("sso-agent")
    log.note("pam-refused", reason=HOSTILE)
    first, second = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert first.isprintable() and second.isprintable()
    assert r"\x1b[2J" in first and r"\u202e" in second


@pytest.mark.parametrize("cause", [*log.ENDS, "wrong-key", "a cause of somebody's mechanism\x1b"])
def test_every_end_of_a_session_has_a_word(cause: str, reads_stderr: socket.socket) -> None:
    log.open_as("sso-channel")
    log.note(log.ending(cause), "why", cause=cause)
    found = entry(reads_stderr.recv(65536))
    word = f"session-{cause}" if cause in log.ENDS else "session-failed"
    assert found["MESSAGE_ID"] == journal.message_id(f"sso.channel.{word}")


def test_a_word_that_is_none_is_a_mistake(reads_stderr: socket.socket) -> None:
    log.open_as("sso-channel")
    for word in ("session-whatever", "login-opened"):  # of nobody, and of another program
        with pytest.raises(KeyError):
            log.note(word)


def test_another_programs_word_is_a_mistake_on_standard_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    log.open_as("sso-channel")
    with pytest.raises(KeyError):
        log.note("login-opened")


def test_their_lines_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    log.open_as("sso-acceptor")
    log.note("mechanism-failed", "")
    assert capsys.readouterr().err == "sso-acceptor: mechanism-failed\n"
