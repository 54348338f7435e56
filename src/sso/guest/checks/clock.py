"""Checks the clock: whether a program keeps it right, and whether it agrees with the hypervisor's clock.

Kerberos allows a difference of 300 seconds.
"""

import ctypes
import os
import time
from collections.abc import Iterator

from sso.doctor import Finding, System, ok, warning, wrong
from sso.guest.checks.guest import ExaminedGuest

SKEW_MAX = 300.0  # seconds (RFC 4120 section 5.2.3, clockskew in krb5.conf)
SKEW_WARN = 60.0
ERROR_MAX = 16_000_000  # microseconds: the kernel's value for a clock that was not set for a long time


class _Timex(ctypes.Structure):
    """The fields of struct timex (adjtimex(2)) that we read, and space for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 512),
    )


def is_kept() -> bool:
    """Whether an NTP client (chrony, systemd-timesyncd, ...) keeps the clock, according to the kernel."""
    found = _Timex()  # modes 0: read only
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.adjtimex(ctypes.byref(found))) >= 0 and found.maxerror < ERROR_MAX


def hypervisor(system: System) -> float | None:
    """Return how many seconds our clock is ahead of KVM's; None without a KVM clock."""
    for clock in sorted(system.path("/sys/class/ptp").glob("ptp*")):
        if "KVM" not in (clock / "clock_name").read_text():
            continue
        fd = os.open(system.path(f"/dev/{clock.name}"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return time.time() - time.clock_gettime((~fd << 3) | 3)  # FD_TO_CLOCKID (clock_gettime(2))
        finally:
            os.close(fd)
    return None


def hardware(system: System) -> float | None:
    """Do the same for the hardware clock, which a virtual machine gets from its host; precise to a second."""
    said = system.read("/sys/class/rtc/rtc0/since_epoch").strip()
    return time.time() - int(said) if said.isdigit() else None


def clock(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check that a program keeps the clock, or that it agrees with the hypervisor's or hardware clock."""
    kept = is_kept()
    try:
        name, ahead = "the hypervisor's clock", hypervisor(guest.system)
    except OSError:
        ahead = None
    if ahead is None:
        name, ahead = "the hardware clock", hardware(guest.system)
    yield judge(kept, name, ahead)


def judge(kept: bool, name: str, ahead: float | None) -> Finding:
    """Turn the measurements into a finding; `ahead` is None if there is no other clock."""
    mend = "Run: timedatectl set-ntp true (or set the clock once: date -s)"
    if kept:
        return ok("kept by a time service")
    if ahead is None:
        return warning("no time service keeps it, and there is no other clock to compare it with", mend)
    found = f"no time service keeps it, and it is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"
    if abs(ahead) >= SKEW_MAX:
        return wrong(f"{found} {name}: Kerberos allows {SKEW_MAX:.0f} s", mend)
    if abs(ahead) >= SKEW_WARN:
        return warning(f"{found} {name}", mend)
    return ok(f"no time service keeps it, and it agrees with {name}")
