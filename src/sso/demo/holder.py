"""The process that keeps a sandbox alive: it lays private folders over the machine's and then waits.

`sandbox.Sandbox` starts it inside a fresh mount namespace, as a script (the standard library only). It
prints "ready PID" when the namespace is complete; PID is its sweeper. It ends when its stdin closes, which
a killed test run cannot prevent. Then the sweeper kills whatever still runs in the namespace, and the
mounts go with the last process.
"""

import contextlib
import ctypes
import glob
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_MS_BIND = 0x1000
_MS_REC = 0x4000
_SWEEP_SECONDS = 3.0

# Empty tmpfs folders laid over the machine's own, with their modes. /etc is filled with a copy.
VEILS = {
    "/etc": 0o755,
    "/run": 0o755,
    "/tmp": 0o1777,
    "/var/tmp": 0o1777,
    "/var/log": 0o755,
    "/var/lib": 0o755,
    "/home": 0o755,
}


def _mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"cannot mount on {target}: {os.strerror(code)}")


def _lay_veils(kept: list[str]) -> None:
    """Hide the machine's changeable folders; the kept paths below them stay where they are."""
    # An open folder stays reachable through its descriptor after another file system is laid over it.
    machine_etc = os.open("/etc", os.O_PATH)
    folders = {path: os.open(path, os.O_PATH) for path in kept}
    for path, mode in VEILS.items():
        _mount("tmpfs", path, "tmpfs", options=f"mode={mode:o}")
    subprocess.run(
        ["cp", "-a", f"/proc/self/fd/{machine_etc}/.", "/etc/"], pass_fds=[machine_etc], check=True
    )
    for path, folder in folders.items():
        Path(path).mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{folder}", path, "none", _MS_BIND | _MS_REC)
        os.close(folder)
    os.close(machine_etc)
    # With journald /dev/log is a link into /run and so gone; a real socket would carry lines to the machine.
    if os.path.exists("/dev/log") and not os.path.islink("/dev/log"):
        _mount("/dev/null", "/dev/log", "none", _MS_BIND)


def _links(pattern: str) -> set[str]:
    """Where the links of a process folder lead; a process may end while we look."""
    found = set()
    for link in glob.iglob(pattern):
        with contextlib.suppress(OSError):
            found.add(os.readlink(link))
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def inhabitants(namespace: str) -> list[int]:
    """The processes in a mount namespace, without this one; a zombie is in none any more."""
    return [pid for pid in _pids() if namespace in _links(f"/proc/{pid}/ns/mnt")]


def _entering(namespace: str) -> list[int]:
    """The nsenter processes that have opened a mount namespace and may not have entered it yet."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "nsenter\n" and namespace in _links(
                f"/proc/{pid}/fd/*"
            ):
                found.append(pid)
    return found


def _sweep(namespace: str, holding: int) -> None:
    """Wait for the holder's end, then kill all in the namespace until none is left that a dying one forked.

    Nobody finds the way in after the holder's end. Those on their way are looked for before those inside,
    so that nobody slips from the one list past the other.
    """
    select.select([holding], [], [])
    limit = time.monotonic() + _SWEEP_SECONDS
    while (pids := _entering(namespace) + inhabitants(namespace)) and time.monotonic() < limit:
        for pid in pids:
            with contextlib.suppress(OSError):
                life = os.pidfd_open(pid)
                signal.pidfd_send_signal(life, signal.SIGKILL)
                select.select([life], [], [], max(0.0, limit - time.monotonic()))
                os.close(life)


def main(outer: str, kept: list[str]) -> int:
    """Build the namespace and hold it; `outer` names the caller's own, which must be another one."""
    namespace = os.readlink("/proc/self/ns/mnt")
    if namespace == outer:
        # Never: the mounts and the sweep would hit the machine itself.
        print("not in a mount namespace of its own", file=sys.stderr)
        return 1
    try:
        _lay_veils(kept)
    except (OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    own_life = os.pidfd_open(os.getpid())
    sweeper = os.fork()
    if sweeper == 0:
        _sweep(namespace, own_life)
        os._exit(0)
    print("ready", sweeper, flush=True)
    while os.read(0, 4096):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
