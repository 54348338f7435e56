"""A private Debian for the packages: a folder with a root file system, in namespaces of its own."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from sso.demo.programs import SEARCH_PATH, find_program, run_program
from sso.demo.vm import image
from sso.demo.vm.recipe import SMALL

CLIENT, COMMON, GUEST, MODULE = "console-sso-client", "console-sso-common", "console-sso-guest", "libpam-sso"
VIEWER = "console-sso-viewer"

# Users stay when a package goes, since a file may still be theirs; so do logs, what dpkg keeps for itself,
# and the folder of pam_faillock's tallies, which may be another one's.
STAYS = re.compile(
    r"etc/(passwd|group|shadow|gshadow)-?|etc/\.pwd\.lock|var/(lib/dpkg|log|cache)/.*|run/faillock"
)

_ENTER = """\
set -eu
mount --bind "$1" "$1"
mount -t proc none "$1/proc"
mount --rbind /dev "$1/dev"
exec chroot "$1" /bin/sh -eu /dev/stdin
"""


class Debian:
    """A private Debian of its own: a folder with a root file system, entered in namespaces of its own."""

    def __init__(self, folder: Path, debs: tuple[Path, ...]) -> None:
        self.folder = folder
        with image.base(SMALL) as base:
            unpack = [
                "-x",
                "--zstd",
                "-C",
                str(folder),
                "-f",
                str(base / "root.tar.zst"),
                "--exclude=./dev/*",
            ]
            run_program([find_program("tar"), *unpack], {"PATH": SEARCH_PATH}, timeout=120.0)
        (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (folder / "usr/sbin/policy-rc.d").chmod(0o755)
        (folder / "debs").mkdir()
        for deb in debs:
            shutil.copy(deb, folder / "debs")
        self.before = self.files()

    def run(self, script: str) -> str:
        """Run a script as root inside and return its output. Raises BedError when a command fails."""
        apart = [
            "--mount",
            "--propagation=private",
            "--net",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
        ]
        argv = [find_program("unshare"), *apart, "/bin/sh", "-c", _ENTER, "debian", str(self.folder)]
        environment = {"PATH": SEARCH_PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}
        environment["DEBIAN_FRONTEND"] = "noninteractive"
        return run_program(argv, environment, stdin=script, timeout=120.0).stdout

    def files(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Mode, owner, group and content (of a link: its target) of all but what stays behind any package."""
        found = {}
        for path in self.folder.rglob("*"):
            name, state = str(path.relative_to(self.folder)), path.lstat()
            if not STAYS.fullmatch(name):
                link, file = path.is_symlink(), path.is_file()
                content = os.fsencode(path.readlink()) if link else path.read_bytes() if file else b""
                found[name] = (state.st_mode, state.st_uid, state.st_gid, content)
        return found


def differing(first: Mapping[str, object], second: Mapping[str, object]) -> set[str]:
    """Return the names of entries that differ."""
    return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
