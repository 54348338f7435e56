"""GLib's main loop as an EventLoop, for the viewer and for every program on GTK."""

from gi.repository import GLib

from sso.plug.event_loop import Callback, Watch

_INPUT = GLib.IOCondition.IN | GLib.IOCondition.HUP | GLib.IOCondition.ERR
_OUTPUT = GLib.IOCondition.OUT | GLib.IOCondition.HUP | GLib.IOCondition.ERR


class _Source:
    """A GLib source that is removed once."""

    def __init__(self) -> None:
        self.id = 0

    def cancel(self) -> None:
        id, self.id = self.id, 0
        if id:
            GLib.source_remove(id)


class GLibLoop:
    """An EventLoop on the default main context."""

    def readable(self, fd: int, call: Callback) -> Watch:
        return self._watch(fd, _INPUT, call)

    def writable(self, fd: int, call: Callback) -> Watch:
        return self._watch(fd, _OUTPUT, call)

    def after(self, seconds: float, call: Callback) -> Watch:
        source = _Source()

        def once() -> bool:
            source.id = 0
            call()
            return False

        source.id = GLib.timeout_add(int(seconds * 1000), once)
        return source

    def _watch(self, fd: int, condition: GLib.IOCondition, call: Callback) -> Watch:
        source = _Source()

        def ready(_fd: int, _condition: GLib.IOCondition) -> bool:
            call()
            return bool(source.id)

        source.id = GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, fd, condition, ready)
        return source
