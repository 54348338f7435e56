"""Checks the port: device, owner, users and udev rule. It is never opened, because the host would notice."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sso.doctor import Finding, System, not_checked, ok, warning, wrong
from sso.guest.checks.guest import ExaminedGuest
from sso.guest.checks.sockets import listening
from sso.guest.config import GuestConfig
from sso.ports.port import DEVICES

RULES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
TRIGGER = "udevadm control --reload && udevadm trigger --subsystem-match=virtio-ports --action=change"


class Holder(NamedTuple):
    """A process that has the device open."""

    pid: int
    uid: int
    name: str


def device(guest: ExaminedGuest) -> str:
    """Return the path of the device; "" if the port is not a device."""
    port = guest.config.port
    return DEVICES + port.removeprefix("virtio:") if port.startswith("virtio:") else port * (port[0] == "/")


def port(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check the port that guest.toml names."""
    path = device(guest)
    if path:
        yield from _device(guest, path)
        return
    kind, _, rest = guest.config.port.partition(":")
    if kind == "unix" and rest not in listening(guest.system):
        yield warning(f"nobody listens at {rest}: the channel process does when it runs")
    else:
        yield ok(f"{guest.config.port}, which is no virtio port")


def _device(guest: ExaminedGuest, path: str) -> Iterator[Finding]:
    system = guest.system
    if not system.path(path).exists():
        yield _missing(system, path)
        return
    found, user = system.path(path).stat(), system.user(guest.config.channel_user)
    if user is None:
        yield not_checked(f"whose {path} has to be: there is no user {guest.config.channel_user}")
        return
    if found.st_uid != user.uid or found.st_mode & 0o777 != 0o600:
        yield wrong(
            f"{path} belongs to {system.user_name(found.st_uid)}, mode {found.st_mode & 0o777:03o},"
            f" and has to be {guest.config.channel_user}'s, mode 600",
            f"Run: {TRIGGER}",
        )
    yield _held(guest, path, user.uid)


def _missing(system: System, path: str) -> Finding:
    folder, name = system.path(DEVICES), os.path.basename(path)
    others = ", ".join(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else ""
    found = f"there is no {path}" + (f", only {others}" if others else "")
    return wrong(
        found,
        f"Give the machine that port on its host (-device virtserialport,chardev=sso,name={name}),"
        " or name another one as port in guest.toml",
    )


def _held(guest: ExaminedGuest, path: str, uid: int) -> Finding:
    try:
        held = holders(guest.system, path)
    except PermissionError:
        return not_checked(f"who holds {path}: only root sees that")
    others = [holder for holder in held if holder.uid != uid]
    if others:
        pid, _, name = others[0]
        found = f"{path} is held by another program, {name} (pid {pid})"
        return wrong(found, f"End it (kill {pid}), and see to it that it is not started again")
    if not held:
        return warning(f"{path} is there, and no process has it open: see the units below")
    return ok(f"{path} is held by {guest.config.channel_user} (pid {min(holder.pid for holder in held)})")


def holders(system: System, path: str) -> list[Holder]:
    """Return the processes that have a device open. Raises PermissionError without root."""
    target = system.path(path)
    real, wanted = os.path.basename(os.path.realpath(target)), target.stat()
    found, hidden = [], False
    for process in sorted(system.path("/proc").glob("[0-9]*")):
        try:
            if any(_is(link, real, wanted) for link in (process / "fd").iterdir()):
                found.append(_holder(process))
        except PermissionError:
            hidden = True
        except OSError:
            continue  # it has ended
    if hidden and not found and os.geteuid() != 0:
        raise PermissionError
    return found


def _is(link: Path, name: str, wanted: os.stat_result) -> bool:
    """Whether a descriptor is that file; call stat on no other file: a dead network mount would block."""
    return os.path.basename(os.readlink(link)) == name and os.path.samestat(link.stat(), wanted)


def _holder(process: Path) -> Holder:
    status = (process / "status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Holder(int(process.name), int(fields["Uid"].split()[1]), fields["Name"].strip())


def rule(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check the udev rule that gives the port to the channel's user."""
    if not guest.config.port.startswith("virtio:"):
        yield ok(f"not needed: {guest.config.port} is no virtio port by name")
        return
    name, user = guest.config.port.removeprefix("virtio:"), guest.config.channel_user
    for file in _rules(guest.system):
        for line in file.read_text(errors="replace").replace("\\\n", " ").splitlines():
            if not line.lstrip().startswith("#") and f'ATTR{{name}}=="{name}"' in line:
                owner = re.search(r'OWNER="([^"]*)"', line)
                if owner and owner[1] == user:
                    yield ok(f"{file.name} gives {name} to {user}")
                    return
    mend = "Reinstall console-sso-guest"
    if (guest.config.port, user) != (GuestConfig().port, GuestConfig().channel_user):
        mend = f"Write 70-console-sso.rules with {name} and {user} to /etc/udev/rules.d/71-console-sso.rules"
    yield wrong(f"no udev rule gives the port {name} to {user}", f"{mend}, then: {TRIGGER}")


def _rules(system: System) -> list[Path]:
    """Return the rule files that count: for each name, the one in the first folder."""
    files: dict[str, Path] = {}
    for folder in RULES:
        for file in system.path(folder).glob("*.rules"):
            files.setdefault(file.name, file)
    return [files[name] for name in sorted(files)]
