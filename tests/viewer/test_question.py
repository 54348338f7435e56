"""The dialog in a real window: what it shows, that no is the default, and when a yes wakes."""

import os
import subprocess
from pathlib import Path

import pytest

from sso.demo.viewer import PYTHON, Screen

SOURCES = str(Path(__file__).parents[2] / "src")
# Has the dialog of a question, whose yes wakes after `wakes` milliseconds, and does `act` to it.
PROGRAM = f"""
import sys
sys.path.insert(0, {SOURCES!r})
from sso.viewer import question
from sso.console.vouch import Question
from gi.repository import GLib, Gtk

question.YES_WAKES = {{wakes}}
rows = (("Console", "<b>evil</b>&amp;.example.org"), ("Service of the guest", "host/vm7.example.org"))
answers = []
parent = Gtk.Window(title="host/bank.example.org")
parent.show()
end = question.put(parent, Question(rows, remembered={{remembered}}), answers.append)
(dialog,) = [one for one in Gtk.Window.list_toplevels() if one.get_title() == question.TITLE]

def widgets(inside):
    yield inside
    for one in inside.get_children() if isinstance(inside, Gtk.Container) else ():
        yield from widgets(one)

texts = [one.get_text() for one in widgets(dialog) if isinstance(one, Gtk.Label)]
yes, no = (dialog.get_widget_for_response(one) for one in (Gtk.ResponseType.YES, Gtk.ResponseType.NO))

def turn(until):
    while not until():
        Gtk.main_iteration()

turn(dialog.get_mapped)
{{act}}
print(answers)
"""


def run(screen: Screen, act: str, wakes: int = 10**6, remembered: bool = True) -> list[str]:
    code = PROGRAM.format(wakes=wakes, act=act, remembered=remembered)
    env = {"PATH": os.environ["PATH"], "DISPLAY": screen.display, "NO_AT_BRIDGE": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [PYTHON, "-I", "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_shows_what_is_asked_as_it_stands(screen: Screen) -> None:
    """No markup, and nothing of a file's title."""
    shown = "\n".join(run(screen, "print(*texts, sep='\\n')"))
    assert "<b>evil</b>&amp;.example.org" in shown and "host/vm7.example.org" in shown
    assert "A yes is remembered" in shown and "bank" not in shown
    assert "counts for this time only" in "\n".join(run(screen, "print(*texts)", remembered=False))


@pytest.mark.parametrize(
    "act",
    [
        "dialog.activate_default()",  # Return
        "dialog.close()",  # Escape
        "dialog.response(Gtk.ResponseType.DELETE_EVENT)",
        "dialog.response(Gtk.ResponseType.YES)",  # while it sleeps
        "yes.clicked() or dialog.response(Gtk.ResponseType.NO)",
    ],
)
def test_everything_but_a_yes_that_is_awake_is_a_no(screen: Screen, act: str) -> None:
    assert run(screen, f"assert not yes.get_sensitive()\n{act}\nturn(lambda: answers)") == ["[False]"]


def test_a_yes_wakes_after_it_was_seen(screen: Screen) -> None:
    act = "turn(yes.get_sensitive)\nassert no.is_focus()\nyes.clicked()\nturn(lambda: answers)"
    assert run(screen, act, wakes=1) == ["[True]"]


def test_a_question_that_is_taken_back_has_no_answer(screen: Screen) -> None:
    assert run(screen, "end()\nassert not [w for w in Gtk.Window.list_toplevels() if w is dialog]") == ["[]"]


def test_a_second_is_what_a_yes_sleeps() -> None:
    source = (Path(SOURCES) / "sso" / "viewer" / "question.py").read_text()
    assert "\nYES_WAKES = 1000" in source
