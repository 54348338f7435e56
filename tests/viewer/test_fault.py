"""Faults in callbacks of the real GLib, PyGObject and ctypes: each is told, without its message."""

import subprocess
from pathlib import Path

import pytest

from sso.demo.viewer import PYTHON

SOURCES = str(Path(__file__).parents[2] / "src")
PROGRAM = """
import sys
sys.path.insert(0, {sources!r})
import ctypes
import gi
from gi.repository import GLib, GObject
from sso.viewer.fault import told_of_faults
from sso.viewer.glib_loop import GLibLoop

class Thing(GObject.Object):
    __gsignals__ = {{"happens": (GObject.SignalFlags.RUN_FIRST, None, (int,))}}

loop = GLib.MainLoop()

def told(line):
    print(line, flush=True)
    GLib.idle_add(loop.quit)

def fault(*_):
    raise LookupError("hunter2")

def signal():
    thing = Thing()
    GObject.Object.connect(thing, "happens", fault)
    thing.emit("happens", 1)

def from_c():
    ctypes.CFUNCTYPE(None)(fault)()

def timer():
    GLibLoop().after(0.0, fault)

def descriptor():
    GLibLoop().writable(1, fault)

GLib.idle_add({name})
with told_of_faults(told):
    loop.run()
    before = sys.excepthook
print(before is not sys.excepthook and sys.excepthook is sys.__excepthook__)
"""


@pytest.mark.parametrize("name", ["fault", "signal", "from_c", "timer", "descriptor"])
def test_a_fault_in_any_callback_is_told(name: str) -> None:
    program = PROGRAM.format(sources=SOURCES, name=name)
    done = subprocess.run(
        [PYTHON, "-I", "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "an error in the viewer itself has ended the console, please report it: LookupError at "
    )
    assert lines[-1] == "True" and len(set(lines)) == 2, done.stdout
    assert "hunter2" not in done.stdout + done.stderr and "Traceback" not in done.stderr
