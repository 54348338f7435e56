"""The event loop that the plug-in point needs: descriptors and timers.

sso.viewer.glib_loop has GLib's; sso.daemon.reactor is one for programs without a loop of their own.
"""

from collections.abc import Callable
from typing import Protocol

Callback = Callable[[], None]


class Watch(Protocol):
    """One callback that waits for an event."""

    def cancel(self) -> None:
        """Stop waiting. Does nothing if the event is over, or cancelled already."""
        ...


class EventLoop(Protocol):
    """An event loop of one thread. It calls callbacks until they are cancelled; `after` calls once."""

    def readable(self, fd: int, call: Callback) -> Watch:
        """Call whenever `fd` is readable or hung up."""
        ...

    def writable(self, fd: int, call: Callback) -> Watch:
        """Call whenever `fd` is writable or hung up."""
        ...

    def after(self, seconds: float, call: Callback) -> Watch:
        """Call once, `seconds` from now."""
        ...
