"""A bus of its own, the agent's loop and others on it, for all tests of this folder."""

from beds_dbus import daemon, desk, hints, make_daemon, make_somebody, notes, somebody

__all__ = ["daemon", "desk", "hints", "make_daemon", "make_somebody", "notes", "somebody"]
