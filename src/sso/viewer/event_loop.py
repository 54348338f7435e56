"""The old path of sso.plug.event_loop, so that existing programs still work."""

import warnings

from sso.plug.event_loop import Callback, EventLoop, PollLoop, Watch

__all__ = ["Callback", "EventLoop", "PollLoop", "Watch"]

warnings.warn("sso.viewer.event_loop is now sso.plug.event_loop", DeprecationWarning, stacklevel=2)
