"""Root file systems: packages by mmdebstrap (stage 1); our packages, users, settings and a disk (stage 2)."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ..programs import SEARCH_PATH, BedError, find_program
from ..sandbox import ACCOUNTS
from . import cache, initrd
from .recipe import PEOPLE, RELEASE, Flavour

_DISK_SPARE = 400  # MiB free in the guest

# Kernels and other loose packages are unpacked only: their scripts and dependencies are not for this guest.
# What nobody reads goes last: dpkg's path-exclude would also drop the pages of our own packages later.
_UNPACK = """\
set -eu
cd /var/cache/apt/archives
for package in {loose}; do
    kernel=$(apt-cache depends "$package" | sed -n 's/^ *Depends: \\(linux-image-\\)/\\1/p')
    apt-get -qq -o APT::Sandbox::User=root download "${{kernel:-$package}}"
done
for package in *.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C / --keep-directory-symlink
    rm "$package"
done
cd /usr/share
rm -rf doc/* man/* info/* help/* gnome/help locale/* backgrounds/* lintian bug
{prune}
for folder in /lib/modules/*; do depmod "${{folder##*/}}"; done
"""
_PRUNE = """\
cd /lib/modules/*/kernel
find . -name '*.ko' | grep -Ev '^\\./({keep})' | xargs rm -f
"""

# In a mount namespace of its own, so nothing of it is left on this machine however it ends.
_FURNISH = """\
set -eu
root=$1; shift
mount -t proc none "$root/proc"
mount -t tmpfs none "$root/tmp"
mount --rbind /dev "$root/dev"
printf '#!/bin/sh\\nexit 101\\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
for deb in "$@"; do cp "$deb" "$root/tmp/"; done
if [ $# -gt 0 ]; then chroot "$root" sh -c 'exec dpkg --force-confold --force-unsafe-io -i /tmp/*.deb'; fi
chroot "$root" sh -eu /dev/stdin
rm "$root/usr/sbin/policy-rc.d"
"""


def base(flavour: Flavour) -> AbstractContextManager[Path]:
    """Stage 1, from the cache where it is there: the folder of root.tar.zst."""
    hook = _hook(flavour)
    key = cache.digest(RELEASE, hook, *flavour.packages)

    def build(folder: Path) -> None:
        cache.say(f"building the base image {flavour.name} from Debian packages (one to three minutes) ...")
        _mmdebstrap(flavour, hook, folder)

    return cache.entry(cache.home(), f"base-{flavour.name}", key, build)


@contextmanager
def guest(flavour: Flavour, debs: Sequence[Path]) -> Iterator[Path]:
    """Stage 2, from the cache where it is there: the folder of disk.img, vmlinuz and initrd.img."""
    if os.geteuid() != 0:
        raise BedError("an image of a guest needs root: it is furnished in a chroot (use sudo)")
    source = [Path(__file__), Path(initrd.__file__)]
    with base(flavour) as root:
        key = cache.digest(root.name, repr(flavour), *source, *debs)

        def build(folder: Path) -> None:
            cache.say(f"making the disk of {flavour.name} with {len(debs)} packages of ours ...")
            with tempfile.TemporaryDirectory(prefix="root-", dir=folder) as name:
                _furnish(flavour, root / "root.tar.zst", debs, Path(name))
                _disk(Path(name), flavour, folder)

        with cache.entry(cache.home(), f"guest-{flavour.name}", key, build) as folder:
            yield folder


def _hook(flavour: Flavour) -> str:
    prune = _PRUNE.format(keep="|".join(flavour.keep)) if flavour.keep else ""
    return _UNPACK.format(loose=" ".join(flavour.loose), prune=prune)


def _mmdebstrap(flavour: Flavour, hook: str, folder: Path) -> None:
    script = folder / "hook"
    script.write_text(hook)
    argv = [
        find_program("mmdebstrap"),
        *("--quiet", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io"),
        *('--aptopt=Acquire::Languages "none"', "--aptopt=APT::Install-Recommends false"),
        f"--include={','.join(flavour.packages)}",
        f'--customize-hook=chroot "$1" /bin/sh <{shlex.quote(str(script))}',
        RELEASE,
        str(folder / "root.tar.zst"),
        *_sources(),
    ]
    _run(argv)
    script.unlink()


def _sources() -> list[str]:
    """This machine's own Debian sources for the release, as lines of sources.list."""
    wanted = "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    said = _run([find_program("apt-get"), "indextargets", "--format", wanted, "Created-By: Packages"])
    found = dict.fromkeys(line for line in said.splitlines() if line.startswith("Debian "))
    entries = [line.split() for line in found]
    lines = [
        f"deb {uri} {release} {component}"
        for _, uri, release, component in entries
        if release in (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")
    ]
    if not lines:
        raise BedError(f"apt here knows no Debian {RELEASE}: add it to its sources, then apt-get update")
    return lines


def _furnish(flavour: Flavour, base: Path, debs: Sequence[Path], root: Path) -> None:
    """Unpack the base and make a guest of it."""
    root.chmod(0o755)
    _run([find_program("tar"), "-x", "--zstd", "-C", str(root), "-f", str(base), "--exclude=./dev/*"])
    for name, text in flavour.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    people = [account for account in ACCOUNTS if account.name in PEOPLE]
    commands = [
        *(f"useradd -m -s /bin/bash -u {person.uid} {person.name}" for person in people),
        *(f"echo '{person.name}:{person.password}' | chpasswd" for person in people),
        "systemctl enable test-control.service",
        f"systemctl mask {' '.join(flavour.masked)}",
        flavour.setup,
        "rm -rf /var/cache/apt /var/lib/apt/lists/* /var/log/*.log",
    ]
    apart = [find_program("unshare"), "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    furnish = [*apart, "/bin/sh", "-c", _FURNISH, "furnish", str(root), *map(str, debs)]
    _run(furnish, stdin="\n".join(commands))


def _disk(root: Path, flavour: Flavour, folder: Path) -> None:
    """Make the kernel, the initrd and the disk of a furnished root."""
    kernel = next((root / "boot").glob("vmlinuz-*"))
    modules = root / "lib/modules" / kernel.name.removeprefix("vmlinuz-")
    shutil.copy(kernel, folder / "vmlinuz")
    initrd.build(folder / "initrd.img", modules, flavour.modules)
    shutil.rmtree(root / "boot")
    used = int(_run([find_program("du"), "-sxm", str(root)]).split()[0])
    disk = folder / "disk.img"
    options = ["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(root)]
    _run([find_program("mke2fs"), *options, str(disk), f"{used + used // 8 + _DISK_SPARE}M"])
    disk.chmod(0o444)


def _run(argv: Sequence[str], stdin: str = "") -> str:
    environment = {"PATH": SEARCH_PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}
    environment["DEBIAN_FRONTEND"] = "noninteractive"
    done = subprocess.run(argv, env=environment, input=stdin, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr[-3000:] + done.stdout[-1000:]
        raise BedError(f"{argv[0]} failed with {done.returncode}:\n{words}")
    return done.stdout
