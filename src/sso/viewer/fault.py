"""Reports our own exceptions in callbacks of GTK, spice-gtk, gtk-vnc and GLib to the user.

PyGObject passes an exception of a callback to sys.excepthook, and ctypes passes it to sys.unraisablehook.
Both then continue, and the user would see nothing. So both hooks are replaced here.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any


@contextmanager
def told_of_faults(tell: Callable[[str], object]) -> Iterator[None]:
    """Context manager: calls `tell` with a line for the user about each exception that a callback raises."""
    before = sys.excepthook, sys.unraisablehook

    def fault(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if issubclass(kind, Exception):
            tell(line(kind, trace))
        else:
            before[0](kind, error or kind(), trace)

    def unraisable(told: Any) -> None:
        fault(told.exc_type, told.exc_value, told.exc_traceback)

    sys.excepthook, sys.unraisablehook = fault, unraisable
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = before


def line(kind: type[BaseException], trace: TracebackType | None) -> str:
    """Return the place and the class of an exception, without its message, which may quote a secret."""
    where = "an unknown place"
    while trace is not None:
        where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return (
        f"an error in the viewer itself has ended the console, please report it: {kind.__name__} at {where}"
    )
