"""A small initrd: a static busybox, the few kernel modules that reach the disk, and a script."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..programs import BedError, find_program

_INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
for module in {modules}; do
    /bin/busybox insmod /$module || echo "initrd: $module is not loaded"
done
while ! [ -b /dev/vda ]; do /bin/busybox usleep 20000; done
/bin/busybox mount -t ext4 -o rw /dev/vda /root || exec /bin/busybox sh
/bin/busybox umount /sys /proc
exec /bin/busybox switch_root /root /sbin/init
"""


def build(path: Path, modules_folder: Path, modules: Sequence[str]) -> None:
    """Write an initrd that loads `modules` and what they need from /lib/modules/VERSION."""
    with tempfile.TemporaryDirectory(prefix="sso-initrd-") as name:
        folder = Path(name)
        for inner in ("bin", "dev", "proc", "sys", "root"):
            (folder / inner).mkdir()
        busybox = Path(find_program("busybox"))
        if b"/ld-linux" in busybox.read_bytes():
            raise BedError("busybox is not static; on Debian: apt-get install busybox-static")
        shutil.copy(busybox, folder / "bin/busybox")
        files = [modules_folder / file for file in in_order(modules_folder, modules)]
        for file in files:
            shutil.copy(file, folder)
        init = folder / "init"
        init.write_text(_INIT.format(modules=" ".join(file.name for file in files)))
        init.chmod(0o755)
        names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))
        with path.open("wb") as archive:
            subprocess.run(
                [find_program("cpio"), "--quiet", "-o", "-H", "newc"],
                input="\n".join([".", *names]).encode(),
                stdout=archive,
                cwd=folder,
                check=True,
            )


def in_order(modules_folder: Path, wanted: Sequence[str]) -> list[str]:
    """The files of modules and of what they need, each after what it needs (see modules.dep(5))."""
    needs: dict[str, list[str]] = {}
    files: dict[str, str] = {}
    for line in (modules_folder / "modules.dep").read_text().splitlines():
        file, _, needed = line.partition(":")
        needs[file] = needed.split()
        files[_name(file)] = file
    built_in = {_name(line) for line in (modules_folder / "modules.builtin").read_text().splitlines()}
    order: list[str] = []

    def add(file: str) -> None:
        for needed in needs[file]:
            add(needed)
        if file not in order:
            order.append(file)

    for name in wanted:
        if name in files:
            add(files[name])
        elif name not in built_in:
            raise BedError(f"{modules_folder.name} has no module {name}")
    return order


def _name(file: str) -> str:
    return re.sub(r"\.ko(\..*)?$", "", file.rpartition("/")[2]).replace("-", "_")
