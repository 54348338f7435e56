"""Ports of the console with other programs: much, stalled, often opened; the clipboard."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from beds_viewer import Desktop, copied, pasted, tapped
from beds_vm import Machines
from vm_console import TIME

from sso.demo.vm import Machine

pytestmark = pytest.mark.vm

MIRROR = """
pending = b""
while True:
    try:
        pending += os.read(port, 65536)
    except BlockingIOError:
        wait(select.EPOLLIN | select.EPOLLOUT)
    if not pending:
        continue
    try:
        pending = pending[os.write(port, pending):]
    except BlockingIOError:
        wait(select.EPOLLOUT)
"""
SENDER = """
import hashlib, os, socket, sys, threading
s = socket.socket(fileno=0)
data = os.urandom(16 * 1024 * 1024)
threading.Thread(target=s.sendall, args=(data,)).start()
got = hashlib.sha256()
left = len(data)
while left:
    part = s.recv(min(left, 65536))
    if not part:
        sys.exit(9)
    got.update(part)
    left -= len(part)
sys.exit(0 if got.digest() == hashlib.sha256(data).digest() else 8)
"""


def test_sixteen_mebibytes_each_way_arrive(bare: Callable[[str], Machine], desktop_of_alice: Desktop) -> None:
    desktop_of_alice.only(SENDER)
    vm = bare(MIRROR)
    with desktop_of_alice.view(f"spice+unix://{vm.spice}", window=False) as viewer:
        assert viewer.expect("exited", TIME).endswith("exited 0")


def test_a_stalled_guest_costs_no_memory(
    bare: Callable[[str], Machine], desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    """Of 100 MiB only what the server's own queues hold crosses; the rest waits in the plug-in."""
    flood = "for _ in range(1600): os.write(1, bytes(65536))\n"
    desktop_of_alice.only(f"import os\nos.read(0, 1)\n{flood}")
    vm = bare("wait(select.EPOLLOUT)\nos.write(port, b'x')\ntime.sleep(3600)\n")
    with (
        tapped(vm.spice, tmp_path) as tap,
        desktop_of_alice.view(f"spice+unix://{tap.path}", window=False) as viewer,
    ):
        viewer.expect("started")
        before = _memory(viewer.pid, "VmRSS")
        tap.wait(512 * 1024)
        with pytest.raises(subprocess.TimeoutExpired):
            viewer.wait(15)
        assert _memory(viewer.pid, "VmHWM") - before <= 16
        assert len(tap.heard) < 50 * 1024 * 1024
        assert not any("exited" in line for line in viewer.lines)


def _memory(pid: int, kind: str) -> int:
    """RSS of a process, in MiB: now (VmRSS), or the most that it ever was (VmHWM)."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) // 1024


def test_ten_thousand_opens_leave_no_descriptor_and_no_process(
    bare: Callable[[str], Machine], desktop_of_alice: Desktop, tmp_path: Path
) -> None:
    desktop_of_alice.only("import os, sys\nwhile b'end' not in os.read(0, 65536): pass\nsys.exit(7)\n")
    vm = bare(
        "wait(select.EPOLLOUT)\nfor _ in range(10_000):\n    os.close(port)\n    port = opened()\n"
        "wait(select.EPOLLOUT)\nos.write(port, b'end')\ntime.sleep(3600)\n"
    )
    with tapped(vm.spice, tmp_path) as tap:
        with desktop_of_alice.view(f"spice+unix://{tap.path}", window=False) as viewer:
            viewer.expect("started")
            before = len(os.listdir(f"/proc/{viewer.pid}/fd"))
            viewer.expect("exited 7", TIME)  # all that came before it has been seen
            assert len(os.listdir(f"/proc/{viewer.pid}/fd")) < before
            assert not Path(f"/proc/{viewer.pid}/task/{viewer.pid}/children").read_text()
            assert sum("started" in line for line in viewer.lines) == 1
        assert len(tap.heard) > 10_000 * 7  # an event is a header of six bytes and one more


# The guest's side of the clipboard, as spice-vdagent has it: offers a text, and asks for every other.
CLIPBOARD = """\
import os, select, struct
CLIPBOARD, ANNOUNCE, GRAB, REQUEST, BY_DEMAND, TEXT = 4, 6, 7, 8, 5, 1
port = os.open("/dev/virtio-ports/com.redhat.spice.0", os.O_RDWR | os.O_NONBLOCK)
def say(kind, *numbers, text=b""):
    body = struct.pack(f"<{len(numbers)}I", *numbers) + text
    message = struct.pack("<IIQI", 1, kind, 0, len(body)) + body
    os.write(port, struct.pack("<II", 1, len(message)) + message)
def exactly(size):
    said = b""
    while len(said) < size:
        try:
            said += os.read(port, size - len(said))
        except BlockingIOError:
            with select.epoll() as poll:
                poll.register(port, select.EPOLLIN | select.EPOLLET)
                poll.poll(1)
    return said
message = b""
while True:
    message += exactly(struct.unpack("<II", exactly(8))[1])
    _, kind, _, size = struct.unpack_from("<IIQI", message)
    if len(message) < 20 + size:
        continue
    body, message = message[20:20 + size], message[20 + size:]
    if kind == ANNOUNCE and body[0]:
        say(ANNOUNCE, 0, 1 << BY_DEMAND)
        say(GRAB, TEXT)
    elif kind == GRAB:
        say(REQUEST, TEXT)
    elif kind == REQUEST:
        say(CLIPBOARD, TEXT, text=b"of the guest")
    elif kind == CLIPBOARD:
        with open("/run/pasted", "wb") as file:
            file.write(body[4:] + b"\\n")
"""


def test_text_is_cut_and_pasted_both_ways(bare_machines: Machines, desktop_of_alice: Desktop) -> None:
    vm = bare_machines(console="spice")
    vm.write("/run/clipboard.py", CLIPBOARD)
    vm.run("systemd-run -q --unit=clipboard python3 -I /run/clipboard.py", check=True)
    with desktop_of_alice.view(f"spice+unix://{vm.spice}", "--no-plug-ins") as viewer:
        viewer.expect("connected to")
        assert pasted(desktop_of_alice) == "of the guest"
        with copied(desktop_of_alice, "of the desktop"):
            vm.wait("grep -qx 'of the desktop' /run/pasted", 60)
