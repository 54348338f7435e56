"""Finds the programs that the test bed starts, and names the Debian package of a missing one."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import SSOError

# Debian 12 names; a plain user's PATH often lacks the sbin folders, so they are searched too.
_PACKAGES = {
    "busybox": "busybox-static",
    "krb5kdc": "krb5-kdc",
    "kdb5_util": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
    "kinit": "krb5-user",
    "mke2fs": "e2fsprogs",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
_UNPACKED = Path(__file__).resolve().parents[3] / "build" / "sshd"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BedError(SSOError):
    """The test bed cannot be built or used; the message says what to fix."""


def find_program(name: str) -> str:
    """Return the full path of a program.

    Raises BedError, naming the Debian package, when the program is not installed.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SEARCH_PATH}")
    if path is None:
        raise BedError(f"{name} is not installed; on Debian: apt-get install {_PACKAGES.get(name, name)}")
    return path


def find_sshd() -> tuple[str, dict[str, str]]:
    """Return the path of OpenSSH's server and the environment that it needs.

    It is the system's, or the one that scripts/setup has unpacked below build/. Raises BedError if neither
    is there.
    """
    installed = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if installed:
        return installed, {}
    unpacked = _UNPACKED / "usr/sbin/sshd"
    if not unpacked.exists():
        raise BedError("sshd is not there; in a checkout: scripts/setup test")
    libraries = next(_UNPACKED.glob("usr/lib/*-linux-gnu"), _UNPACKED / "usr/lib")
    return str(unpacked), {"LD_LIBRARY_PATH": str(libraries)}


def run_program(
    argv: Sequence[str], env: Mapping[str, str], *, stdin: str = "", check: bool = True, timeout: float = 20.0
) -> subprocess.CompletedProcess[str]:
    """Run a program with exactly this environment and return its output.

    Raises BedError with the program's output if it fails and `check` is set, or after `timeout` s.
    """
    try:
        done = subprocess.run(argv, env=env, input=stdin, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BedError(f"{argv[0]} did not end within {timeout:g} s") from None
    except OSError as error:
        raise BedError(f"cannot start {argv[0]}: {error.strerror}") from None
    if check and done.returncode:
        raise BedError(
            f"{argv[0]} failed with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done
