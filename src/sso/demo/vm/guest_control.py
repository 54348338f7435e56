"""In the guest: answers the control port. A program of its own, which only the test image has.

One request and one answer is a line of JSON each, in turn; bytes in it are base64. A request is one of
{"run": command, "seconds": n}, {"path", "data", "mode", "owner"}, {"read": path}, {"now", "entropy"}.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PORT = "test.control.0"
OUTPUT_MAX = 4 * 1024 * 1024
TIMED_OUT = 124  # as timeout(1) says it

_RND_ADD_TO_ENTROPY_COUNT, _RND_RESEED = 0x40045201, 0x5207


def run(command: str, seconds: float) -> dict[str, Any]:
    """Run a shell command in a process group of its own; what it leaves in the background goes on.

    The output goes through a file: a pipe would be held open by what stays in the background.
    """
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/root",
        )
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            code = TIMED_OUT
        output.seek(0, os.SEEK_END)
        output.seek(max(0, output.tell() - OUTPUT_MAX))
        return {"code": code, "output": base64.b64encode(output.read()).decode()}


def write(path: Path, data: bytes, mode: int, owner: str) -> dict[str, Any]:
    """Replace a file at once, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with open(descriptor, "wb") as file:
        file.write(data)
    user, _, group = owner.partition(":")
    shutil.chown(name, user, group or None)
    os.chmod(name, mode)
    os.replace(name, path)
    return {}


def wake(now: float, entropy: bytes) -> dict[str, Any]:
    """Set the clock and stir the random numbers: every restored guest wakes with the same of both."""
    time.clock_settime(time.CLOCK_REALTIME, now)
    with open("/dev/urandom", "wb", buffering=0) as random:
        random.write(entropy)
        fcntl.ioctl(random, _RND_ADD_TO_ENTROPY_COUNT, (8 * len(entropy)).to_bytes(4, sys.byteorder))
        fcntl.ioctl(random, _RND_RESEED)
    return {}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks."""
    try:
        if "run" in request:
            return run(request["run"], request["seconds"])
        if "read" in request:
            data = Path(request["read"]).read_bytes()[:OUTPUT_MAX]
            return {"data": base64.b64encode(data).decode()}
        if "path" in request:
            data = base64.b64decode(request["data"])
            return write(Path(request["path"]), data, request["mode"], request["owner"])
        return wake(request["now"], base64.b64decode(request["entropy"]))
    except (OSError, LookupError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def device() -> str:
    """The port's device, found without udev."""
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == PORT:
            return f"/dev/{name.parent.name}"
    raise SystemExit(f"no port {PORT}")


def serve(port: int) -> None:
    """Answer for ever. The port is polled by edges: without a host it is always readable."""
    edges, waiting = select.epoll(), b""
    edges.register(port, select.EPOLLIN | select.EPOLLET)
    while True:
        edges.poll(1)
        while chunk := _read(port):
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in lines:
                _send(port, json.dumps(answer(json.loads(line))).encode() + b"\n")


def _read(port: int) -> bytes:
    try:
        return os.read(port, 4096)
    except BlockingIOError:
        return b""


def _send(port: int, octets: bytes) -> None:
    while octets:
        try:
            octets = octets[os.write(port, octets) :]
        except BlockingIOError:
            select.select([], [port], [], 1)


if __name__ == "__main__":
    serve(os.open(device(), os.O_RDWR | os.O_NONBLOCK))
