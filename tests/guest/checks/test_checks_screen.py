"""sso doctor guest names what is broken in the login screen and in PAM, and its cure."""

import re
from collections.abc import Callable

import pytest
from beds_doctor import (
    DROP_IN,
    LOGIN,
    MANAGER,
    ROOT,
    SPN,
    TOML,
    Break,
    Machine,
    both,
    chmod,
    edit,
    machine,
    make_machine,
    names_it,
    of_state,
    remove,
    settings,
    unit,
    write,
)

from sso.doctor import FindingState, System
from sso.guest.checks import pam, screen
from sso.guest.checks.guest import of
from sso.guest.config import GuestConfig
from sso.guest.pam_files.pam_stack import add_lines, lines

__all__ = ["machine", "make_machine"]  # fixtures
pytestmark = pytest.mark.e2e  # files of several users, so it needs root


def _manager(name: str) -> Callable[[Machine], None]:
    return lambda machine: machine.path(MANAGER).symlink_to(f"/lib/systemd/system/{name}.service")


def _version(package: str, version: str) -> Callable[[Machine], None]:
    return lambda machine: machine.versions.update({package: version})


def _reorder(machine: Machine) -> None:
    """The line that decides comes behind the one that asks for a password."""
    text = machine.path("/etc/pam.d/login").read_text().splitlines(True)
    at = next(index for index, line in enumerate(text) if "success=done" in line)
    text[at], text[at + 1] = text[at + 1], text[at]
    machine.path("/etc/pam.d/login").write_text("".join(text))


BREAKS: dict[str, Break] = {
    # login screen
    "no such driver": (
        settings(login="nonsuch"),
        "login screen",
        "no login driver nonsuch is installed",
        f'Write login = "auto".* in {TOML}',
    ),
    "another manager": (
        both(settings(login="lightdm"), _manager("gdm3")),
        "login screen",
        "login = lightdm, but the display manager of this machine is gdm3.service",
        f'Write login = "auto" in {TOML}',
    ),
    "manager not active": (
        both(settings(login="lightdm"), unit("lightdm.service", ActiveState="inactive")),
        "login screen",
        "lightdm.service is not active",
        "systemctl start lightdm.service",
    ),
    "no drop-in": (
        remove(DROP_IN),
        "login screen",
        "getty@tty1.service does not start sso-getty",
        "install -D -m 644 -t /etc/systemd/system/getty@tty1.service.d .*console-sso.conf",
    ),
    "start limit": (
        edit(DROP_IN, "StartLimitIntervalSec=0", ""),
        "login screen",
        "may be started a few times only",
        '"StartLimitIntervalSec=0"',
    ),
    "another greeter": (
        both(settings(login="greetd"), edit("/etc/greetd/config.toml", '"sso-greetd"', '"agreety --cmd sh"')),
        "login screen",
        "config.toml starts agreety, not sso-greetd",
        'Write command = "sso-greetd"',
    ),
    "another greeter's user": (
        both(settings(login="greetd"), edit("/etc/greetd/config.toml", '"_greetd"', '"alice"')),
        "login screen",
        "the greeter runs as alice, and the agent answers _greetd",
        'Write user = "_greetd"',
    ),
    "GNOME Shell 51.beta": (
        both(settings(login="gdm"), _version("gnome-shell", "51~beta-1")),
        "login screen",
        "GNOME Shell 51~beta-1 does not sign in",
        "Update GNOME Shell to 51.rc",
    ),
    # PAM
    "no lines": (
        write("/etc/pam.d/login", LOGIN),
        "PAM service",
        "/etc/pam.d/login has no line of pam_sso.so",
        "sso install-pam --service login",
    ),
    "no lines where greetd takes them from": (
        both(settings(login="greetd"), write("/etc/pam.d/login", LOGIN)),
        "PAM service",
        "/etc/pam.d/login has no line of pam_sso.so",
        "sso install-pam --service login",
    ),
    "wrong order": (
        edit("/etc/pam.d/login", "@include common-auth\n", "")
        if False
        else lambda machine: _reorder(machine),
        "PAM service",
        "our lines in /etc/pam.d/login are not in the right places",
        "sso install-pam --service login",
    ),
    "another socket": (
        lambda machine: machine.write("/etc/pam.d/login", add_lines(LOGIN, arguments="socket=/run/x.sock")),
        "PAM service",
        "asks at /run/x.sock, and the agent listens at /run/console-sso/pam.sock",
        "sso install-pam --service login --socket /run/console-sso/pam.sock",
    ),
    "no GDM service": (
        both(settings(login="gdm"), remove("/etc/pam.d/gdm-ovirtcred")),
        "PAM service",
        "there is no /etc/pam.d/gdm-ovirtcred",
        "--force-confmiss console-sso-guest",
    ),
    "GDM asks for a name": (
        both(
            settings(login="gdm"),
            lambda machine: machine.write(
                "/etc/pam.d/gdm-ovirtcred",
                "auth required pam_nologin.so\n" + machine.path("/etc/pam.d/gdm-ovirtcred").read_text(),
            ),
        ),
        "PAM service",
        "does not begin auth with pam_sso.so and token",
        "Write as the first auth line",
    ),
    "no module": (
        remove("/lib/x/security/pam_sso.so"),
        "PAM module",
        "there is no pam_sso.so",
        "libpam-sso",
    ),
    "no library": (
        write("/lib/x/security/pam_sso.so", b"\x7fELF, but no more"),
        "PAM module",
        "/lib/x/security/pam_sso.so cannot be loaded: .*(too short|invalid ELF)",
        "apt install --reinstall libpam-sso",
    ),
    "a module that others may change": (
        chmod("/lib/x/security/pam_sso.so", 0o666),
        "PAM module",
        "belongs to root, mode 666",
        "apt install --reinstall libpam-sso",
    ),
    "in common-auth": (
        write("/etc/pam.d/common-auth", "auth sufficient pam_sso.so\nauth required pam_unix.so\n"),
        "PAM elsewhere",
        "/etc/pam.d/common-auth has lines of pam_sso.so",
        "sed -i /pam_sso/d /etc/pam.d/common-auth",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_named_with_its_cure(machine: Machine, name: str) -> None:
    names_it(machine, BREAKS[name])


@pytest.mark.parametrize(
    ("version", "state"),
    [("0.19.0-5", FindingState.OK), ("0.20.0-1", FindingState.WRONG), ("", FindingState.NOT_CHECKED)],
)
def test_sddm_is_known_in_one_version(machine: Machine, version: str, state: FindingState) -> None:
    machine.versions["sddm"] = version
    guest = of(System(machine.root, machine.ask), GuestConfig(login="sddm"), TOML)
    (found,) = screen.sddm(guest)
    assert found.state == state


def test_a_manager_that_nobody_knows_leaves_the_text_console(machine: Machine) -> None:
    machine.settings(f'spn = "{SPN}"', login="auto")
    machine.path(MANAGER).symlink_to("/lib/systemd/system/lxdm.service")
    (line,) = of_state(machine.examine(), FindingState.WARNING)
    assert "the display manager lxdm.service is not known" in line


def test_lines_by_hand_are_worth_a_warning(machine: Machine) -> None:
    control = add_lines(LOGIN).replace(" # console-sso", "")
    machine.write("/etc/pam.d/login", control)
    (line,) = of_state(machine.examine(), FindingState.WARNING)
    assert "written by hand" in line and "sso install-pam --service login --dry-run" in line


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda text: re.sub(r"account .*check\n", "", text), "first account line"),
        (lambda text: re.sub(r"session .*check\n", "", text), "first session line"),
        (lambda text: re.sub(r"session .*pam_sso.so\n", "", text), "last session line"),
        (lambda text: text.replace("default=die", "default=ignore"), "first account line"),
    ],
)
def test_lines_by_hand_that_cannot_take_a_login_back_are_wrong(
    machine: Machine, change: Callable[[str], str], place: str
) -> None:
    machine.write("/etc/pam.d/login", change(add_lines(LOGIN).replace(" # console-sso", "")))
    (line,) = of_state(machine.examine(), FindingState.WRONG)
    assert f"has no {place} of pam_sso.so" in line and "default=die] pam_sso.so check" in line


def test_the_lines_of_an_older_version_are_wrong(machine: Machine) -> None:
    text = re.sub(r"(account|session) .*check # console-sso\n", "", add_lines(LOGIN))
    machine.write("/etc/pam.d/login", re.sub(r"session \[.*?\] pam_sso", "session optional pam_sso", text))
    (line,) = of_state(machine.examine(), FindingState.WRONG)
    assert "of an older version" in line and "sso install-pam --upgrade" in line


def test_the_packages_lines_for_gdm_are_good(machine: Machine) -> None:
    text = (ROOT / "data/pam.d/gdm-ovirtcred").read_text()
    assert not pam._unguarded(list(lines(text)))
    old = re.sub(r"(account|session) .*check\n", "", text)
    assert pam._unguarded(list(lines(old))) == "first account line of pam_sso.so with its control"
