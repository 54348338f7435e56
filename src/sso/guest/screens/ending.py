"""What SIGTERM and SIGHUP do to a program with a child: it never ends between a child's start and its care.

Python raises from a signal's handler wherever the program is, also inside of subprocess.Popen, when the child
runs and nobody knows it yet.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Ending:
    """A signal handler: SystemExit at once, or at the end of what has to be done as a whole (`later`)."""

    def __init__(self) -> None:
        self._told, self._depth = False, 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        if not self._depth:
            sys.exit(0)

    @contextmanager
    def later(self) -> Iterator[None]:
        """Context manager: what is begun inside is finished; who was told meanwhile ends behind it."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._told and not self._depth:
            sys.exit(0)
