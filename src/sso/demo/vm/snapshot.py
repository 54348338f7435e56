"""Stage 3: a guest is started once, and its memory, devices and disk are kept, to be restored at will."""

import tempfile
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ..programs import BedError
from . import cache
from .control import Control
from .qemu import Qemu, Variant, memory, overlay, version

_BOOT_SECONDS = 400.0  # on a busy machine without KVM


def snapshot(variant: Variant, guest: Path) -> AbstractContextManager[Path]:
    """From the cache where it is there: the folder of memory, devices and overlay."""
    key = cache.digest(guest.name, version(), *variant.devices(Path("/")), Path(__file__))

    def build(folder: Path) -> None:
        cache.say(f"starting {variant.name} once, for its snapshot (a quarter of a minute to two) ...")
        overlay("../disk.img", folder / "overlay")
        with tempfile.TemporaryDirectory(prefix="sso-vm-") as name:
            qemu = Qemu(Path(name), _first(variant, guest, folder, Path(name)))
            try:
                _boot(qemu, variant)
                qemu.save(folder / "devices")
            finally:
                qemu.close()

    return cache.entry(guest, variant.name, key, build)


def _boot(qemu: Qemu, variant: Variant) -> None:
    control = Control(qemu.control)
    try:
        control.wake(_BOOT_SECONDS)
        # It answers when all jobs are done; a failed unit is the test's own matter.
        _finish(control, "systemctl is-system-running --wait || true")
        if variant.manager:
            _finish(control, f"until {variant.flavour.managers[variant.manager]}; do sleep 0.3; done")
        _finish(control, "sync")
    except BedError as error:
        picture = cache.home() / f"failed-{variant.name}.png"
        with suppress(BedError):
            qemu.screenshot(picture)
        raise BedError(f"{variant.name} does not start: {error}; its screen is in {picture}") from None


def _finish(control: Control, command: str) -> None:
    result = control.run(command, _BOOT_SECONDS)
    if result.code:
        raise BedError(f"{command}: {result.code}: {result.output.strip()}")


def _first(variant: Variant, guest: Path, state: Path, folder: Path) -> list[str]:
    return [
        *variant.devices(folder),
        *memory(state / "memory", variant.flavour, shared=True),
        *("-drive", f"id=disk,if=none,format=qcow2,file={state / 'overlay'}"),
        *_kernel(guest),
    ]


def restored(variant: Variant, guest: Path, state: Path, folder: Path) -> list[str]:
    """QEMU's arguments for a guest from a snapshot. What it writes goes to a file without a name."""
    return [
        *variant.devices(folder),
        *memory(state / "memory", variant.flavour, shared=False),
        *("-drive", f"id=disk,if=none,format=qcow2,file={state / 'overlay'},snapshot=on"),
        *_kernel(guest),
        *("-incoming", "defer"),
    ]


def _kernel(guest: Path) -> list[str]:
    return ["-kernel", str(guest / "vmlinuz"), "-initrd", str(guest / "initrd.img")]
