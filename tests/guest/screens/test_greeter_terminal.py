"""The terminal of sso-greetd: its settings, and a question without an answer."""

import os
import pty
import termios

import pytest

from sso.guest.screens import greeter_terminal
from sso.guest.screens.greeter_terminal import GreeterTerminal


def test_the_terminal_is_given_back_in_order() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    raw = [*before]
    raw[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)  # as a program that was killed has left it
    termios.tcsetattr(slave, termios.TCSANOW, raw)
    terminal = GreeterTerminal(slave)
    terminal.begin()
    assert not termios.tcgetattr(slave)[3] & termios.ISIG
    terminal.give_back()
    assert termios.tcgetattr(slave)[1:] == before[1:]
    for fd in (master, slave):
        os.close(fd)


def test_who_does_not_answer_in_time_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeter_terminal, "ANSWER_SECONDS", 0.0)
    master, slave = pty.openpty()
    terminal = GreeterTerminal(slave)
    assert terminal.ask("Password: ", False, bytearray(10)) == -1
    assert termios.tcgetattr(slave)[3] & termios.ECHO
    for fd in (master, slave):
        os.close(fd)
