"""Keeps the mount namespace of a sandbox: mounts private folders over those of the machine, and waits.

`sandbox.Sandbox` starts it inside a new mount namespace, as a script (standard library only). It prints
"ready PID" when the namespace is complete; PID is its sweeper. It ends when its stdin closes, which happens
even if a test run is killed. Then the sweeper kills all that still runs in the namespace, and the mounts
end with the last process.
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

# Empty tmpfs folders, mounted over the machine's own, with their modes. /etc is filled with a copy.
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
    """Hide the machine's writable folders; the kept paths below them stay visible."""
    # An open folder stays reachable through its descriptor after another file system is mounted over it.
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
    # With journald /dev/log is a link into the hidden /run; a real socket would send lines to the machine.
    if os.path.exists("/dev/log") and not os.path.islink("/dev/log"):
        _mount("/dev/null", "/dev/log", "none", _MS_BIND)


def _links(pattern: str) -> set[str]:
    """Return the targets of links below /proc; a process may end meanwhile."""
    found = set()
    for link in glob.iglob(pattern):
        with contextlib.suppress(OSError):
            found.add(os.readlink(link))
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def inhabitants(namespace: str) -> list[int]:
    """Return the processes in a mount namespace, without this one; a zombie is in none."""
    return [pid for pid in _pids() if namespace in _links(f"/proc/{pid}/ns/mnt")]


def _entering(namespace: str) -> list[int]:
    """Return the nsenter processes that have opened a mount namespace and may not have entered it yet."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "nsenter\n" and namespace in _links(
                f"/proc/{pid}/fd/*"
            ):
                found.append(pid)
    return found


def _sweep(namespace: str, holding: int) -> None:
    """Wait for the end of the process `holding`, then kill all processes in the namespace until none is left.

    After that end no new process can enter. Look for entering processes first and for those inside second, so
    that no process is missed by moving from one list to the other.
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
    """Set up the namespace and keep it until stdin closes; `outer` is the caller's, which must differ."""
    namespace = os.readlink("/proc/self/ns/mnt")
    if namespace == outer:
        # Else the mounts and the sweep would change the machine itself.
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
