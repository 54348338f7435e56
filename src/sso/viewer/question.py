"""Dialog that asks the user whether to sign in at a console for which nobody else vouches."""

from collections.abc import Callable
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import GLib, Gtk, Pango  # noqa: E402  (the version comes first)

from sso.console.vouch import Question  # noqa: E402

TITLE = "Sign in at this console?"
YES_WAKES = 1000  # milliseconds until Yes is enabled, so that a click meant for something else is no yes
_WIDTH = 64  # characters of a line
_LEAD = (
    "Nobody vouches that this console shows the guest that is named here. If you know that it does, say yes."
)
_REMEMBERED = "A yes is remembered for this console, this guest and you."
_NOT_REMEMBERED = "A yes counts for this time only: nothing proves which console this is."


def put(parent: Any, question: Question, answered: Callable[[bool], None]) -> Callable[[], None]:
    """Show the question above a window. No is the default answer, also when the dialog is closed.

    Calls `answered` once. The returned function withdraws the question; then `answered` is not called.
    """
    dialog = Gtk.Dialog(title=TITLE, transient_for=parent, modal=True, resizable=False)
    no = dialog.add_button("_No", Gtk.ResponseType.NO)
    yes = dialog.add_button("_Yes, sign in", Gtk.ResponseType.YES)
    dialog.set_default_response(Gtk.ResponseType.NO)
    box = dialog.get_content_area()
    box.set_spacing(12)
    box.set_border_width(12)
    for part in (
        _text(_LEAD),
        _rows(question),
        _text(_REMEMBERED if question.remembered else _NOT_REMEMBERED),
    ):
        box.add(part)
    stop_waking = _wake_late(dialog, yes)

    def end() -> None:
        stop_waking()
        dialog.disconnect(hearing)
        dialog.destroy()

    def hear(widget: Any, response: Any) -> None:
        said_yes = response == Gtk.ResponseType.YES and yes.get_sensitive()
        end()
        answered(said_yes)

    hearing = dialog.connect("response", hear)
    dialog.show_all()
    no.grab_focus()
    return end


def _wake_late(dialog: Any, button: Any) -> Callable[[], None]:
    """Enable a button YES_WAKES after the dialog is shown; return a function that stops the timer."""
    timers: list[int] = []
    button.set_sensitive(False)

    def wake() -> bool:
        timers.clear()
        button.set_sensitive(True)
        return False

    def seen(widget: Any, event: Any) -> bool:
        if not timers:
            timers.append(GLib.timeout_add(YES_WAKES, wake))
        return False

    def stop() -> None:
        while timers:
            GLib.source_remove(timers.pop())

    dialog.connect("map-event", seen)
    return stop


def _text(text: str, **more: Any) -> Any:
    return Gtk.Label(
        label=text, xalign=0, wrap=True, wrap_mode=Pango.WrapMode.WORD_CHAR, max_width_chars=_WIDTH, **more
    )


def _rows(question: Question) -> Any:
    grid = Gtk.Grid(column_spacing=12, row_spacing=6)
    for at, (name, value) in enumerate(question.rows):
        grid.attach(_text(name, valign=Gtk.Align.START), 0, at, 1, 1)
        grid.attach(_text(value, hexpand=True), 1, at, 1, 1)
    return grid
