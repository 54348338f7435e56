"""Handles SIGTERM and SIGHUP in a program with a child, so that it never exits without ending the child.

A Python signal handler may raise anywhere, also inside subprocess.Popen, when the child runs already but the
program has no reference to it yet.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Ending:
    """A signal handler that raises SystemExit at once, or at the end of a `later` block."""

    def __init__(self) -> None:
        self._told, self._depth = False, 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        if not self._depth:
            sys.exit(0)

    @contextmanager
    def later(self) -> Iterator[None]:
        """Context manager: finish the block first; a signal that came meanwhile takes effect after it."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._told and not self._depth:
            sys.exit(0)
