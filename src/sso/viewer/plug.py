"""The old path of sso.plug.plug, so that existing programs still work."""

import warnings

from sso.plug.plug import BACKLOG_MAX, CHUNK, CLOSED_TIME, Permit, Plug, PlugEvent, PlugInPoint, Remote, Start

__all__ = [
    "BACKLOG_MAX",
    "CHUNK",
    "CLOSED_TIME",
    "Permit",
    "Plug",
    "PlugEvent",
    "PlugInPoint",
    "Remote",
    "Start",
]

warnings.warn("sso.viewer.plug is now sso.plug.plug", DeprecationWarning, stacklevel=2)
