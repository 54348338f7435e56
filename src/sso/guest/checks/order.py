"""The guest's checks, ordered so that each comes after those on which it depends."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from sso.doctor import Finding, Step, System
from sso.guest.checks import bus, clock, guest, keytab, pam, port, screen, settings, sockets, tls, units

STEPS: tuple[tuple[str, Callable[[guest.ExaminedGuest], Iterable[Finding]]], ...] = (
    ("users", settings.users),
    ("mechanisms", settings.mechanisms),
    ("port", port.port),
    ("udev rule", port.rule),
    ("Kerberos file", keytab.kerberos_file),
    ("keytab", keytab.keytab),
    ("replay cache", keytab.replay_cache),
    ("TLS", tls.certificate),
    ("clock", clock.clock),
    ("units", units.units),
    ("sockets", sockets.sockets),
    ("login screen", screen.screen),
    ("bus", bus.bus),
    ("PAM service", pam.service),
    ("PAM module", pam.module),
    ("PAM elsewhere", pam.elsewhere),
    ("lock-out", pam.lockout),
    ("who may sign in", settings.rules),
    ("clone", keytab.clone),
)


def steps(system: System, path: str) -> Iterator[Step]:
    """Yield the steps, configuration first; if it cannot be read, the other steps use the defaults."""
    config, findings = settings.configuration(system, path)
    yield "configuration", lambda: findings
    subject = guest.of(system, config, path)
    for name, check in STEPS:
        yield name, partial(check, subject)
