"""sso.demo.terminal: a program on a pseudo-terminal."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from sso.demo import terminal
from sso.demo.programs import BedError
from sso.demo.terminal import spawn

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PS1": "ready> ", "LC_ALL": "C.UTF-8"}


def test_a_shell_is_driven_word_by_word() -> None:
    with spawn(["/bin/sh"], ENV) as shell:
        shell.expect("ready> ")
        shell.send("echo $((6 * 7))")
        assert shell.expect(re.compile(r"\r\n(\d+)\r\n")).group(1) == "42"
        shell.expect("ready> ")
        shell.send("exit 7")
        assert shell.wait() == 7
    assert "ready> echo $((6 * 7))\r\n42\r\nready> exit 7" in shell.transcript


def test_what_was_expected_is_used_up() -> None:
    with spawn(["/bin/sh", "-c", "echo one two one"], ENV) as shell:
        assert shell.expect("one").start() == 0
        assert shell.expect("one").start() == 8
        with pytest.raises(BedError, match="ended before it showed 'one'"):
            shell.expect("one")


def test_the_terminal_is_the_controlling_one_of_a_new_session() -> None:
    with spawn(["/bin/sh", "-c", "echo typed > /dev/tty; ps -o sid= -p $$; tty"], ENV) as shell:
        shell.expect("typed")
        shell.expect(str(shell.pid))
        shell.expect("/dev/pts/")
        assert shell.wait() == 0
    assert shell.pid != os.getsid(0)


def test_a_silent_program_is_reported_with_its_last_words() -> None:
    with spawn(["/bin/sh", "-c", "echo last words; read line"], ENV) as shell:
        shell.expect("last")
        with pytest.raises(BedError, match=r"not shown within 0.05 s: 'more'; last words: 'last words"):
            shell.expect("more", deadline=0.05)
        with pytest.raises(BedError, match=r"still running after 0\.05 s"):
            shell.wait(deadline=0.05)


def test_a_password_typed_without_echo_is_not_shown() -> None:
    ask = "import getpass; print(len(getpass.getpass('Password: ')))"
    with spawn([sys.executable, "-I", "-c", ask], ENV) as program:
        program.expect("Password: ")
        program.send("correct horse")
        program.expect("13")
        assert program.wait() == 0
    assert "horse" not in program.transcript


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", -signal.SIGTERM)]
)
def test_exit_status(command: str, status: int) -> None:
    with spawn(["/bin/sh", "-c", command], ENV) as program:
        assert program.wait() == status


def test_long_output_arrives_whole_and_characters_are_not_torn() -> None:
    with spawn(["/bin/sh", "-c", "yes äöü€ | head -n 30000; echo end"], ENV) as program:
        assert program.wait() == 0
    assert program.transcript.count("äöü€\r\n") == 30000
    assert program.transcript.endswith("end\r\n")


def test_a_program_that_lets_go_of_its_terminal_for_a_while_is_followed() -> None:
    # As login(1) does with vhangup(): for a moment nobody has the terminal open.
    script = (
        "import os, time; tty = os.ttyname(0); os.closerange(0, 3);"
        "time.sleep(0.1); os.write(os.open(tty, os.O_WRONLY), b'back')"
    )
    with spawn([sys.executable, "-I", "-c", script], ENV) as program:
        program.expect("back")
        assert program.wait() == 0


def test_close_hangs_up_and_leaves_no_process_and_no_descriptor() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with spawn(["sleep", "1000"], ENV) as program:
        assert Path(f"/proc/{program.pid}").exists()
    assert not Path(f"/proc/{program.pid}").exists()
    assert program.wait() == -signal.SIGHUP
    program.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_close_kills_a_program_that_ignores_the_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_HANGUP_SECONDS", 0.05)
    with spawn(["/bin/sh", "-c", "trap '' HUP; echo armed; while :; do sleep 1000; done"], ENV) as program:
        program.expect("armed\r\n")
    assert program.wait() == -signal.SIGKILL


def test_a_missing_program_is_named() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(BedError, match=r"cannot start /nowhere/program: No such file"):
        spawn(["/nowhere/program"], ENV)
    assert set(os.listdir("/proc/self/fd")) == before
