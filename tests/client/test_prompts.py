"""Where a password comes from, on a real terminal and without one; it is never shown."""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sso.client.exits import Exit
from sso.client.prompts import Prompts
from sso.demo.terminal import spawn
from sso.errors import ConfigError

SECRET = "a word that nobody sees"
ASK = """
import sys
from sso.client.prompts import Prompts
credential = Prompts(user="alice", spn="host/vm").password()
print("got", len(credential.secret), credential.principal)
"""
CONSENT = """
from sso.client.prompts import Prompts
print("answer", Prompts().accept_spn("host/vm@TEST.EXAMPLE", "alice@TEST.EXAMPLE"))
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


@pytest.mark.proves("S114")
def test_a_terminal_asks_without_echo() -> None:
    with spawn(python(ASK)) as screen:
        screen.expect("Password for alice")
        screen.send(SECRET)
        screen.expect(f"got {len(SECRET)} alice")
        assert SECRET not in screen.transcript


@pytest.mark.proves("S130")
@pytest.mark.parametrize(
    ("answer", "accepted"), [("y", True), ("yes", True), ("n", False), ("", False), ("ja", False)]
)
def test_a_service_name_needs_a_clear_yes(answer: str, accepted: bool) -> None:
    with spawn(python(CONSENT)) as screen:
        screen.expect("host/vm@TEST.EXAMPLE")
        screen.send(answer)
        screen.expect(f"answer {accepted}")


def test_a_service_name_writes_no_question_of_its_own() -> None:
    """It is the guest's word: a terminal would be cleared by it, and show what the guest likes."""
    hostile = "host/vm\x1b[2J\rSign in to host/good? [y/N] \u202e"
    with spawn(
        python(f"from sso.client.prompts import Prompts; Prompts().accept_spn({hostile!r}, {hostile!r})")
    ) as screen:
        screen.expect(
            r"it is host/vm\x1b[2J\rSign in to host/good? [y/N] \u202e, and nothing here proves that"
        )
        screen.expect(r"Sign in there as host/vm\x1b[2J\rSign in to host/good? [y/N] \u202e?")
        screen.send("n")
        assert screen.wait() == 0
        assert "\x1b" not in screen.transcript and "\u202e" not in screen.transcript


def test_an_askpass_is_shown_the_escaped_name_too(
    no_terminal: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSO_ASKPASS", program(tmp_path / "askpass", f'printf %s "$1" > {tmp_path}/shown'))
    assert Prompts().accept_spn("host/\u2028vm", "alice@TEST.EXAMPLE")
    assert "it is host/\\u2028vm, and" in (tmp_path / "shown").read_text()


def test_a_descriptor_gives_one_line() -> None:
    reader, writer = os.pipe()
    os.write(writer, f"{SECRET}\nmore".encode())
    credential = Prompts(user="bob", password_fd=reader).password()
    assert credential is not None and credential.principal == "bob"
    assert credential.secret == bytearray(SECRET.encode()) and SECRET not in repr(credential)
    os.close(reader)
    os.close(writer)


def test_a_descriptor_that_is_not_open_is_named() -> None:
    with pytest.raises(ConfigError, match="--password-fd 987"):
        Prompts(user="bob", password_fd=987).password()


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sso.client.prompts.TERMINAL", "/nonexistent")
    for name in ("SSO_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.delenv(name, raising=False)


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_askpass_answers_where_there_is_no_terminal(
    no_terminal: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Prompts(user="alice").password() is None
    monkeypatch.setenv("SSO_ASKPASS", program(tmp_path / "askpass", f'echo "{SECRET}"'))
    credential = Prompts(user="alice").password()
    assert credential is not None and credential.secret == bytearray(SECRET.encode())
    monkeypatch.setenv("SSO_ASKPASS", program(tmp_path / "askpass", "exit 1"))
    assert Prompts(user="alice").password() is None and not Prompts().accept_spn(
        "host/vm", "alice@TEST.EXAMPLE"
    )
    monkeypatch.setenv("SSO_ASKPASS", program(tmp_path / "askpass", "exit 0"))
    assert Prompts().accept_spn("host/vm", "alice@TEST.EXAMPLE")


@pytest.mark.parametrize("user", ["a\0b", "alice"])
def test_a_program_that_cannot_be_run_leaves_the_signals_as_they_were(
    user: str, no_terminal: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSO_ASKPASS", str(tmp_path / "none"))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        assert Prompts(user=user).password() is None
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


ENDED = """
import signal, subprocess, sys
from sso.client import main
from sso.client.prompts import Prompts
class Early(subprocess.Popen):
    def __init__(self, *argv, **options):
        super().__init__(*argv, **options)
        {starting}
subprocess.Popen = Early
main.sign_in = lambda options, status: Prompts(user="alice").password()
sys.exit(main.main(["--no-config"]))
"""


@pytest.mark.parametrize("early", [False, True])
def test_a_dialog_ends_with_who_has_asked(tmp_path: Path, early: bool) -> None:
    """A dialog that stayed on the desktop would ask for a password that nobody waits for."""
    told, known = tmp_path / "told", tmp_path / "known"
    os.mkfifo(told)
    os.mkfifo(known)
    starting = f"open({str(known)!r}).read(); signal.raise_signal(signal.SIGTERM)" if early else "pass"
    dialog = program(tmp_path / "askpass", f"echo $$ > {told}; exec sleep 600")
    client = subprocess.Popen(
        python(ENDED.format(starting=starting)),
        env={**os.environ, "SSO_ASKPASS": dialog},
        stderr=subprocess.PIPE,
        start_new_session=True,  # it has no terminal
    )
    life = os.pidfd_open(int(told.read_text()))
    try:
        if early:  # the dialog is there, and Popen has not returned yet
            known.write_text("")
        else:
            client.terminate()
        said = client.communicate(timeout=30)[1]
        assert (client.returncode, said) == (Exit.LOST, b"spice-client-sso: interrupted\n")
        assert select.select([life], [], [], 30)[0], "the dialog is gone, too"
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(life, signal.SIGKILL)
        os.close(life)


def test_the_keyring_is_asked_first_if_wanted(
    no_terminal: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "lookup service console-sso user alice guest host/vm"
    program(tmp_path / "secret-tool", f'[ "$*" = "{words}" ] && printf "%s" "{SECRET}"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Prompts(user="alice", spn="host/vm").password() is None
    credential = Prompts(user="alice", spn="host/vm", keyring=True).password()
    assert credential is not None and credential.secret == bytearray(SECRET.encode())
