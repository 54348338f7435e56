"""Runs the viewer with or without a window, on GLib's main loop."""

import signal
from argparse import Namespace
from contextlib import suppress
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import GLib  # noqa: E402  (the version comes first)

from sso.console.console import Console  # noqa: E402
from sso.plug.plug import PlugInPoint, Start  # noqa: E402

from .exits import FAILED, LEFT, complain  # noqa: E402
from .fault import told_of_faults  # noqa: E402
from .glib_loop import GLibLoop  # noqa: E402
from .intent import Intent  # noqa: E402
from .spice import SpiceConsole  # noqa: E402
from .viewing import Connection, Viewing  # noqa: E402

_GRACE = 3.0  # seconds that the plug-ins get to end after the user has left the console


class _Lines:
    """A Face without a window: prints the lines for the user on stderr."""

    ask = None  # without a window the answer is no

    def __init__(self, stop: Any) -> None:
        self._stop = stop

    def line(self, text: str) -> None:
        if text:
            complain(text)

    def connected(self) -> None:
        pass

    def ended(self, why: str, password: bool) -> None:
        if why:
            complain(why)
        self._stop()


class _StreamOnly:
    """A VNC console without a window: there is nothing to connect, since only its stream is used."""

    def __init__(self, connected: Any, ended: Any) -> None:
        self._connected, self._ended = connected, ended

    def open(self) -> None:
        self._connected()

    def close(self) -> None:
        self._ended("", False)


def without_window(intent: Intent, starts: tuple[Start, ...], given: Namespace) -> int:
    """Serve the console's ports until the console ends or a signal comes."""
    loop = GLib.MainLoop()

    def connect(console: Console, point: PlugInPoint, connected: Any, ended: Any) -> Connection:
        if console.kind == "vnc":
            return _StreamOnly(connected, ended)
        return SpiceConsole(console, point, connected=connected, ended=ended, headless=True)

    viewing = Viewing(
        intent, starts, GLibLoop(), connect, _Lines(loop.quit), say=complain if given.verbose else _nothing
    )
    return _run(viewing, loop.run, viewing.close)


def has_display() -> bool:
    """Whether there is a display for a window."""
    from gi.repository import Gtk

    return bool(Gtk.init_check(None)[0])


def with_window(intent: Intent, starts: tuple[Start, ...], given: Namespace) -> int:
    """Show the console until its window is closed."""
    from gi.repository import Gtk

    from .window import Window

    window = Window(
        intent.reach.console,
        scaling=intent.settings.scaling,
        clipboard=intent.settings.clipboard,
        full_screen=given.full_screen,
    )
    viewing = Viewing(
        intent, starts, GLibLoop(), window.connect, window, say=complain if given.verbose else _nothing
    )
    window.viewing = viewing
    _run(viewing, Gtk.main, Gtk.main_quit)
    return LEFT


def _run(viewing: Viewing, run: Any, stop: Any) -> int:
    """Run a main loop, and end all plug-ins after it."""

    def told() -> bool:
        stop()
        return True

    def begin() -> bool:
        viewing.open()
        return False

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, told)
    GLib.idle_add(begin)
    # On idle: the GObject signal whose handler raised is still being emitted, so nothing may be freed yet.
    with told_of_faults(lambda line: GLib.idle_add(viewing.fail, line)):
        try:
            with suppress(KeyboardInterrupt):  # GTK's own way to end on SIGINT
                run()
            viewing.close()
            _let_end(viewing)
        finally:
            viewing.end()
    return FAILED if viewing.failed else LEFT


def _let_end(viewing: Viewing) -> None:
    """Let the plug-ins end by themselves, for at most _GRACE."""
    over: list[bool] = []
    GLibLoop().after(_GRACE, lambda: over.append(True))
    context = GLib.MainContext.default()
    while viewing.busy and not over:
        context.iteration(True)
    while context.pending():
        context.iteration(False)


def _nothing(line: str) -> None:
    pass
