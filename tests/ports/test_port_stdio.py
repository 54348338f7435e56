"""A port that is standard input and output: whatever else runs there says and reads nothing of it."""

import os
import socket
import subprocess
import sys

import pytest

BESIDE = """
import os, sys
os.devnull = {devnull!r}
from sso.ports.port import open_port, stdio_set_aside
port = open_port("stdio")
with stdio_set_aside("stdio"):
    os.write(1, b"by hand ")
    print("printed", sys.stdin.read() == "")
    assert port.write(b"said ") == 5 and port.read() == b"heard"
print("afterwards", sys.stdin.fileno() == 0 and os.read(0, 9))
"""


@pytest.mark.parametrize("devnull", [os.devnull, "/nowhere/null"])
@pytest.mark.parametrize("errors", [True, False])
def test_what_is_printed_beside_stdio_is_not_said_there(errors: bool, devnull: str) -> None:
    """Nobody else reads there either; where standard error is the port, too, it goes nowhere."""
    heard, say = os.pipe()
    os.write(say, b"heard")
    os.close(say)
    stderr = subprocess.PIPE if errors else subprocess.STDOUT
    argv = [sys.executable, "-c", BESIDE.format(devnull=devnull)]
    done = subprocess.run(argv, stdin=heard, stdout=subprocess.PIPE, stderr=stderr, timeout=60)
    os.close(heard)
    assert (done.returncode, done.stdout) == (0, b"said afterwards b''\n"), done.stderr
    assert done.stderr == (b"by hand printed True\n" if errors else None)


AT_A_SOCKET = """
import os, sys
from sso.ports.port import open_port, stdio_set_aside
port = open_port({address!r})
with stdio_set_aside({address!r}):
    os.write(1, b"by hand ")
    print("printed", sys.stdin.read())
    assert port.write(b"said") == 4 and port.read() == b"heard"
assert os.path.samestat(os.fstat(1), os.fstat(port.fileno()))
"""


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("address", ["fd:0", "fd:1", "fd:01", "fd:2"])
def test_what_is_printed_beside_a_port_by_its_descriptor_is_not_said_there(address: str, both: bool) -> None:
    """A standard input of its own stays as it is."""
    if address == "fd:0" and not both:
        return
    typed, keyboard = os.pipe()
    os.write(keyboard, b"typed")
    os.close(keyboard)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"heard")
        port = theirs.fileno()
        argv = [sys.executable, "-c", AT_A_SOCKET.format(address=address)]
        ends = port if both else typed, port, port if address == "fd:2" else subprocess.PIPE
        done = subprocess.run(argv, stdin=ends[0], stdout=ends[1], stderr=ends[2], timeout=60)
        os.close(typed)
        printed = f"by hand printed {'' if both else 'typed'}\n".encode()
        assert (done.returncode, done.stderr) == (0, None if address == "fd:2" else printed)
        assert ours.recv(100) == b"said"
