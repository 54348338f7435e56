"""sso doctor guest: a healthy guest has nothing wrong, a clone is suspected, no secret is read or shown."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from beds import Certificates
from beds_dbus import STRANGER, Daemon, MakeDaemon, Somebody, daemon, make_daemon, make_somebody, somebody
from beds_doctor import (
    AGENT,
    KEYTAB,
    MANAGER,
    PORT,
    REALM,
    SECRET,
    SPN,
    TOML,
    Machine,
    MakeMachine,
    both,
    machine,
    make_machine,
    of_state,
    settings,
    write,
)
from beds_logind import LogindMock, logind

from sso import doctor
from sso.doctor import Finding, FindingState, System
from sso.guest import checks
from sso.guest.checks import bus, clock, keytab, units
from sso.guest.checks.bus import POLICIES
from sso.guest.checks.guest import of
from sso.guest.config import GuestConfig
from sso.guest.screens.gdm import NAME

__all__ = [
    "daemon",
    "logind",
    "machine",
    "make_daemon",
    "make_machine",
    "make_somebody",
    "somebody",
]  # fixtures
pytestmark = pytest.mark.e2e  # files of several users, so it needs root


@pytest.mark.parametrize("login", ["getty", "greetd", "lightdm", "gdm"])
def test_a_healthy_guest_is_all_well(make_machine: MakeMachine, login: str) -> None:
    lines = make_machine(login).examine()
    assert [doctor.text(line) for line in lines if line[1].state != FindingState.OK] == []
    assert {"configuration", "port", "keytab", "units", "PAM service", "clone"} <= {step for step, _ in lines}


def test_without_the_agents_library_that_is_all_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jeepney", None)
    ((step, check),) = checks.steps(System(), Namespace(config="/nonsuch"), [])
    (found,) = check()
    assert (step, found.state) == (
        "library",
        FindingState.WRONG,
    ) and "apt install python3-jeepney" in found.mend


def test_auto_takes_the_display_manager_that_is_enabled(machine: Machine) -> None:
    machine.settings(f'spn = "{SPN}"', login="auto")
    machine.path(MANAGER).symlink_to("/lib/systemd/system/gdm3.service")
    assert any("login = auto: gdm" in line for line in of_state(machine.examine(), FindingState.OK))


def test_no_key_is_ever_read_or_shown(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = bytearray()
    opened = open

    def watched(*arguments: object, **options: object) -> object:
        file = opened(*arguments, **options)  # type: ignore[call-overload]  # whatever open takes
        read = file.read

        def keep(size: int = -1) -> object:
            data = read(size)
            taken.extend(data)
            return data

        class Watched:
            def __getattr__(self, name: str) -> object:
                return keep if name == "read" else getattr(file, name)

            def __enter__(self) -> "Watched":
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

        return Watched()

    monkeypatch.setattr(keytab, "open", watched, raising=False)
    keys = keytab.read(System(machine.root), KEYTAB)
    assert [(each.version, each.enctype) for each in keys] == [(2, 18), (2, 17)]
    assert len(taken) > 50 and SECRET[:4] not in taken
    said = json.dumps([doctor.as_json(line) for line in machine.examine()])
    assert SECRET.hex() not in said


@pytest.mark.parametrize(
    ("breaks", "found"),
    [
        (
            write("/etc/hostname", "copy\n"),
            "its key is that of guest.test.example, and this machine calls itself copy",
        ),
        (write("/etc/hostname", "guest.other.example\n"), "calls itself guest.other.example"),
        (write("/etc/machine-id", "uninitialized\n"), "/etc/machine-id is not set"),
        (write("/etc/machine-id", ""), "/etc/machine-id is not set"),
    ],
)
def test_a_clone_is_suspected_and_not_accused(
    machine: Machine, breaks: Callable[[Machine], None], found: str
) -> None:
    breaks(machine)
    lines = machine.examine()
    assert any(found in line for line in of_state(lines, FindingState.WARNING))
    assert of_state(lines, FindingState.WRONG) == []


def test_a_keytab_that_came_before_the_machines_id_is_a_sign(machine: Machine) -> None:
    machine.path("/etc/machine-id").unlink()
    machine.write("/etc/machine-id", "f" * 32 + "\n")
    assert any(
        "before the machine got its machine-id" in line
        for line in of_state(machine.examine(), FindingState.WARNING)
    )


def test_without_a_port_the_units_only_wait(machine: Machine) -> None:
    machine.path(PORT).unlink()
    for name in units.SERVICES:
        machine.units[f"{name}.service"] = {"ActiveState": "inactive"}
    lines = machine.examine()
    (line,) = of_state(lines, FindingState.WARNING)
    assert "console-sso-acceptor.service: started when the port is there" in line
    assert [line for line in of_state(lines, FindingState.WRONG) if "units" in line] == []


def test_without_systemd_its_steps_are_not_checked(machine: Machine) -> None:
    machine.path("/run/systemd/system").rmdir()
    lines = machine.examine()
    assert [line.split()[2] for line in of_state(lines, FindingState.NOT_CHECKED)] == ["units:", "login"]
    assert of_state(lines, FindingState.WRONG) == []


def test_a_port_that_nobody_holds_is_worth_a_warning(machine: Machine) -> None:
    machine.let_go()
    assert any("no process has it open" in line for line in of_state(machine.examine(), FindingState.WARNING))


def test_the_realm_is_found_in_included_files(machine: Machine) -> None:
    machine.write("/etc/krb5.conf", "includedir /etc/krb5.conf.d/\n[realms]\ndefault_realm = NOT.HERE\n")
    machine.write("/etc/krb5.conf.d/.hidden", "[libdefaults]\ndefault_realm = NOT.HERE\n")
    machine.write("/etc/krb5.conf.d/site", f"include /etc/krb5.conf\n[libdefaults]\ndefault_realm={REALM}\n")
    assert doctor.default_realm(System(machine.root)) == REALM


def test_lock_out_is_told(machine: Machine) -> None:
    machine.write("/etc/pam.d/common-auth", "auth required pam_faillock.so preauth\n")
    machine.write("/etc/security/faillock.conf", "deny = 5\neven_deny_root\n")
    assert any(
        "locks after 5 failures, root too" in line for line in of_state(machine.examine(), FindingState.OK)
    )


# TLS


def tls(machine: Machine, certificate: Path, key_file: Path) -> list[Finding]:
    for name, file in (("cert", certificate), ("key", key_file)):
        machine.write(f"/etc/console-sso/{name}.pem", file.read_bytes(), 0o600, AGENT)
    machine.settings(
        f'spn = "{SPN}"',
        'tls_certificate = "/etc/console-sso/cert.pem"',
        'tls_key = "/etc/console-sso/key.pem"',
    )
    return [finding for step, finding in machine.examine() if step == "TLS"]


def test_a_good_certificate(machine: Machine, certificates: Certificates) -> None:
    (found,) = tls(machine, certificates.guest.certificate, certificates.guest.key)
    assert found.state == FindingState.OK and "for guest.test.example, until 2" in found.found


def test_a_certificate_that_has_expired(machine: Machine, certificates: Certificates) -> None:
    (found,) = tls(machine, certificates.expired.certificate, certificates.expired.key)
    assert (
        found.state == FindingState.WRONG and "has expired" in found.found and "new certificate" in found.mend
    )


def test_a_key_that_does_not_fit(machine: Machine, certificates: Certificates) -> None:
    (found,) = tls(machine, certificates.guest.certificate, certificates.other_name.key)
    assert found.state == FindingState.WRONG and "do not fit together (KEY_VALUES_MISMATCH)" in found.found


def test_a_certificate_for_another_name(machine: Machine, certificates: Certificates) -> None:
    (found,) = tls(machine, certificates.other_name.certificate, certificates.other_name.key)
    assert found.state == FindingState.WARNING and "is for other.test.example" in found.found


def test_a_certificate_without_a_subject_alternative_name(
    machine: Machine, certificates: Certificates
) -> None:
    (found,) = tls(machine, certificates.common_name.certificate, certificates.common_name.key)
    assert found.state == FindingState.WARNING and "has no subjectAltName" in found.found and found.mend


def test_a_key_for_all(machine: Machine, certificates: Certificates) -> None:
    tls(machine, certificates.guest.certificate, certificates.guest.key)
    machine.path("/etc/console-sso/key.pem").chmod(0o644)
    found = [finding for step, finding in machine.examine() if step == "TLS"]
    assert found[0].state == FindingState.WRONG and "chmod 600 /etc/console-sso/key.pem" in found[0].mend


# The bus, a real one


def of_bus(machine: Machine, daemon: Daemon, login: str = "gdm") -> list[Finding]:
    """What is found of logind, and for GDM of the name and of its policy."""
    machine.settings(f'spn = "{SPN}"', login=login)
    machine.copy("data/dbus-1/system.d/org.ovirt.vdsm.Credentials.conf", POLICIES[0])
    system = System(machine.root, machine.ask, daemon.address)
    return list(bus.bus(of(system, GuestConfig(login=login), TOML)))


def test_a_bus_with_logind_and_the_agent(
    machine: Machine, daemon: Daemon, logind: LogindMock, somebody: Somebody
) -> None:
    somebody.own(NAME)
    logind.session("c1", "gdm", 110, Class="greeter")
    found = of_bus(machine, daemon)
    assert [each.state for each in found] == [FindingState.OK] * 3
    assert "in front of seat0 is gdm" in found[0].found


def test_a_bus_where_nobody_has_the_name(machine: Machine, daemon: Daemon, logind: LogindMock) -> None:
    _, name, _ = of_bus(machine, daemon)
    assert name.state == FindingState.WRONG and "systemctl restart console-sso-agent.service" in name.mend


def test_a_bus_where_a_user_has_the_name(machine: Machine, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(f'<policy user="{STRANGER}"><allow own="{NAME}"/></policy>')
    stranger = Somebody(daemon.address, STRANGER)
    stranger.own(NAME)
    _, name, _ = of_bus(machine, daemon)
    assert name.state == FindingState.WRONG and f"owned by uid {STRANGER} (pid " in name.found
    stranger.close()


def test_a_bus_without_logind(machine: Machine, daemon: Daemon) -> None:
    assert of_bus(machine, daemon)[0].state == FindingState.WRONG
    (found,) = of_bus(machine, daemon, "getty")
    assert found.state == FindingState.WARNING and "utmp tells who is signed in" in found.found


def test_no_bus(machine: Machine) -> None:
    (found,) = bus.bus(of(System(machine.root), GuestConfig(login="lightdm"), TOML))
    assert found.state == FindingState.WRONG and "apt install dbus" in found.mend


def test_no_policy_for_the_name(machine: Machine, daemon: Daemon) -> None:
    of_bus(machine, daemon)
    machine.path(POLICIES[0]).unlink()
    system = System(machine.root, machine.ask, daemon.address)
    found = list(bus.bus(of(system, GuestConfig(login="gdm"), TOML)))[-1]
    assert found.state == FindingState.WRONG and "no D-Bus policy" in found.found


# The clock


@pytest.mark.parametrize(
    ("kept", "ahead", "state"),
    [
        (True, None, FindingState.OK),
        (False, 2.0, FindingState.OK),
        (False, -90.0, FindingState.WARNING),
        (False, None, FindingState.WARNING),
        (False, 301.0, FindingState.WRONG),
        (False, -4000.0, FindingState.WRONG),
    ],
)
def test_what_the_clock_means(kept: bool, ahead: float | None, state: FindingState) -> None:
    found = clock.judge(kept, "the hypervisor's clock", ahead)
    assert found.state == state and bool(found.mend) == (state != FindingState.OK)


def test_the_hardware_clock_is_compared(machine: Machine) -> None:
    machine.write("/sys/class/rtc/rtc0/since_epoch", "1000000000\n")
    assert (clock.hardware(System(machine.root)) or 0) > 10**8
    assert clock.hypervisor(System(machine.root)) is None
    assert isinstance(clock.is_kept(), bool)


WITHOUT_SYSTEMD: dict[str, Callable[[Machine], None]] = {
    "nobody listens": lambda machine: machine.listening.clear(),
    "no TOML": write(TOML, "spn ="),
    "greetd starts another": both(
        settings(login="greetd"), write("/etc/greetd/config.toml", '[default_session]\ncommand = "sh"\n')
    ),
    "certificate without its key": both(
        write("/etc/console-sso/vm.pem", "x"), settings('tls_certificate = "/etc/console-sso/vm.pem"')
    ),
}


@pytest.mark.parametrize("name", WITHOUT_SYSTEMD)
def test_where_no_systemd_runs_no_cure_needs_it(machine: Machine, name: str) -> None:
    machine.path("/run/systemd/system").rmdir()
    WITHOUT_SYSTEMD[name](machine)
    lines = machine.examine()
    assert any(finding.found == "systemd does not run here" for _, finding in lines)
    told = [finding.mend for _, finding in lines if "anew, as this machine does it" in finding.mend]
    assert told and not any("systemctl" in finding.mend for _, finding in lines), lines


def test_nor_does_a_cure_of_the_bus(machine: Machine, daemon: Daemon) -> None:
    """Neither logind nor the agent is there."""
    machine.path("/run/systemd/system").rmdir()
    machine.path(POLICIES[0]).unlink(missing_ok=True)
    found = of_bus(machine, daemon)
    told = [each.mend for each in found if each.state == FindingState.WRONG]
    assert len(told) >= 2 and not any("systemctl" in mend for mend in told), found
