"""The Debian packages: how they install on a real Debian, and what is left without them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds_debian import CLIENT, COMMON, GUEST, MODULE, Debian, differing
from vm_console import SPN, TIME, sessions, wait_for_units

from sso import __version__
from sso.demo.realm import Realm
from sso.demo.vm import Machine
from sso.demo.vm.enrol import enrol

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

GETTY = "/etc/systemd/system/getty@tty1.service.d"
DROP_IN = "/usr/share/console-sso/getty@.service.d/console-sso.conf"

# A package that libpam-sso has to be deconfigured for, as it happens in a large upgrade.
BREAKS = f"""\
mkdir -p /other/DEBIAN
cat >/other/DEBIAN/control <<END
Package: other
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Breaks: {MODULE}
Description: other
END
dpkg-deb -b /other /other.deb
! dpkg --auto-deconfigure --force-unsafe-io -i /other.deb
dpkg-query -W -f '${{Status}}' {MODULE} | grep -qx 'install ok half-configured'
dpkg --purge other
dpkg --configure -a
"""
# Our module once more, as the package of another architecture brings it.
OTHER_ARCHITECTURE = f"""\
dpkg-deb -R /debs/{MODULE}_*.deb /other
sed -i 's/^Architecture: .*/Architecture: i386/; /^Depends:/d' /other/DEBIAN/control
mv /other/lib/*-linux-gnu /other/lib/i386-linux-gnu
dpkg-deb -b /other /other.deb
dpkg --add-architecture i386
dpkg --force-unsafe-io -i /other.deb
"""


@pytest.fixture
def debian(debs: tuple[Path, ...], tmp_path: Path) -> Iterator[Debian]:
    """A Debian with our packages installed by dpkg."""
    folder = tmp_path / "debian"
    folder.mkdir(mode=0o755)
    try:
        made = Debian(folder, debs)
        made.run("dpkg --force-unsafe-io -i /debs/*.deb")
        yield made
    finally:
        shutil.rmtree(folder)


@pytest.mark.e2e
@pytest.mark.proves("S085", "S086")
def test_programs_run_where_the_packages_are_installed(debian: Debian) -> None:
    assert "install-pam" in debian.run("sso --help")
    for program in ("sso", "spice-client-sso", "sso-guest-agent"):
        assert __version__ in debian.run(f"{program} --version")
    debian.run("sso-getty --help; sso-greetd --help")
    debian.run("python3 -c 'import sso.framing; assert sso.framing.COMPILED'")
    everything = "pkgutil.walk_packages(package.__path__, package.__name__ + '.')"
    script = f"""\
import importlib, pkgutil, sso, sso_mechs
for package in (sso, sso_mechs):
    for module in {everything}:
        # The viewer needs GTK, but for what reads its options.
        if module.name == "sso.viewer.main" or not ("viewer" in module.name or "__main__" in module.name):
            importlib.import_module(module.name)
"""
    debian.run(f"cd /\npython3 -I - <<'END'\n{script}END")


@pytest.mark.e2e
def test_users_and_folders_are_there(debian: Debian) -> None:
    for user in ("sso-agent", "sso-acceptor", "sso-ssh-agent"):
        name, _, uid, _, _, home, shell = debian.run(f"getent passwd {user}").strip().split(":")
        assert (name, shell) == (user, "/usr/sbin/nologin")
        assert int(uid) < 1000 and not (debian.folder / home.strip("/") / ".profile").exists()
    folders = "/etc/console-sso /run/console-sso /var/lib/console-sso /var/lib/console-sso/acceptor"
    assert debian.run(f"stat -c '%n %a %U:%G' {folders} /etc/console-sso/*").splitlines() == [
        "/etc/console-sso 755 root:root",
        "/run/console-sso 755 root:root",
        "/var/lib/console-sso 755 root:root",
        "/var/lib/console-sso/acceptor 700 sso-acceptor:sso-acceptor",
        "/etc/console-sso/client.toml 644 root:root",
        "/etc/console-sso/guest.toml 644 root:root",
    ]


@pytest.mark.e2e
def test_an_upgrade_keeps_what_the_administrator_has_set_up(debian: Debian) -> None:
    debian.run("sso install-pam --service login; echo 'min_uid = 2000' >>/etc/console-sso/guest.toml")
    debian.run("echo key >/etc/console-sso/acceptor.keytab")
    before = debian.files()
    debian.run("dpkg --force-unsafe-io --force-confold -i /debs/*.deb")
    after = debian.files()
    keytab = "etc/console-sso/acceptor.keytab"
    assert debian.run(f"stat -c '%a %U:%G' /{keytab}") == "600 sso-acceptor:sso-acceptor\n"
    assert after.pop(keytab)[3] == before.pop(keytab)[3] == b"key\n"
    assert {name for name in differing(before, after) if "__pycache__" not in name} == set()


@pytest.mark.e2e
def test_an_upgrade_brings_the_pam_lines_of_the_last_release_up_to_date(debian: Debian) -> None:
    login = "etc/pam.d/login"
    debian.run("sso install-pam --service login")
    new = debian.files()[login]
    # What 0.1's first builds wrote: no line with "check", and a last one that can refuse nothing.
    older = "s/^session .* pam_sso.so # console-sso$/session optional pam_sso.so # console-sso/"
    debian.run(f"sed -i '/pam_sso.so check # console-sso$/d; {older}' /{login}")
    assert debian.files()[login][3].count(b"# console-sso\n") == 5 and findings(debian)["PAM service"] == [
        "wrong"
    ]
    debian.run("dpkg --force-unsafe-io -i /debs/*.deb")
    assert debian.files()[login] == new
    assert findings(debian)["PAM service"] == ["ok", "ok"]
    debian.run("sso install-pam --service login --remove")
    assert debian.files()[login] == debian.before[login]


def findings(debian: Debian) -> dict[str, list[str]]:
    """What sso doctor says of each step of the guest."""
    found: dict[str, list[str]] = {}
    for each in json.loads(debian.run("sso doctor guest --json || true"))["findings"]:
        found.setdefault(each["step"], []).append(each["state"])
    return found


@pytest.mark.e2e
def test_removal_gives_back_a_file_whose_last_line_has_no_end(debian: Debian) -> None:
    text = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so \xe9"
    (debian.folder / "etc/pam.d/xdm").write_bytes(text.encode("latin-1"))
    (debian.folder / "etc/pam.d/slim").write_bytes(text.encode("latin-1"))
    debian.run("sso install-pam --service xdm; sso install-pam --service slim")
    debian.run("echo 'session optional pam_mail.so' >>/etc/pam.d/slim")
    debian.run(f"dpkg --remove {GUEST} {MODULE}")
    after = debian.files()
    assert after["etc/pam.d/xdm"][3] == text.encode("latin-1")
    assert after["etc/pam.d/slim"][3] == f"{text}\nsession optional pam_mail.so\n".encode("latin-1")


@pytest.mark.e2e
def test_pam_lines_come_and_go_by_name(debian: Debian) -> None:
    login = "etc/pam.d/login"
    assert "is there" in debian.run("sso install-pam --service login")
    changed = debian.files()
    assert changed[login][3].count(b"# console-sso\n") == 7
    assert {name for name in differing(changed, debian.before) if name.startswith("etc/pam.d/")} == {
        "etc/pam.d/gdm-ovirtcred",
        login,
        f"{login}.before-console-sso",
    }
    debian.run("sso install-pam --service login --remove")
    assert debian.files()[login] == debian.before[login]


@pytest.mark.e2e
def test_nothing_is_left_without_the_packages(debian: Debian) -> None:
    debian.run("sso install-pam --service login; touch /etc/console-sso/acceptor.keytab")
    debian.run(f"dpkg --remove {GUEST} {CLIENT} {MODULE} {COMMON}")
    removed = debian.files()
    assert removed["etc/pam.d/login"] == debian.before["etc/pam.d/login"]
    assert sorted(removed.keys() - debian.before.keys()) == [
        "etc/console-sso",
        "etc/console-sso/acceptor.keytab",
        "etc/console-sso/client.toml",
        "etc/console-sso/guest.toml",
        "etc/pam.d/gdm-ovirtcred",
        "etc/pam.d/login.before-console-sso",
        "etc/profile.d/console-sso-ssh-agent.sh",
        "run/console-sso",
        "var/lib/console-sso",
        "var/lib/console-sso/acceptor",
    ]
    debian.run(f"dpkg --purge {GUEST} {CLIENT} {MODULE} {COMMON}")
    assert differing(debian.files(), debian.before) == set()


@pytest.mark.e2e
def test_pam_lines_stay_when_the_module_is_only_deconfigured(debian: Debian) -> None:
    debian.run("sso install-pam --service login")
    before = debian.files()["etc/pam.d/login"]
    debian.run(BREAKS)
    assert debian.files()["etc/pam.d/login"] == before


@pytest.mark.e2e
def test_pam_lines_stay_until_the_last_architecture_goes(debian: Debian) -> None:
    debian.run("sso install-pam --service login")
    debian.run(OTHER_ARCHITECTURE)
    before = debian.files()
    debian.run(f"dpkg --purge {MODULE}:i386")
    names = {"etc/pam.d/login", "etc/pam.d/login.before-console-sso"}
    assert not names & differing(debian.files(), before)
    debian.run(f"dpkg --purge {GUEST} {MODULE}")
    assert not names & differing(debian.files(), debian.before)


@pytest.mark.e2e
def test_a_link_among_the_pam_services_stays_a_link(debian: Debian) -> None:
    debian.run(
        "ln -s login /etc/pam.d/alogin; ln -s login /etc/pam.d/mylogin; sso install-pam --service login"
    )
    debian.run(f"dpkg --purge {GUEST} {MODULE}")
    after = debian.files()
    assert after["etc/pam.d/login"] == debian.before["etc/pam.d/login"]
    assert after["etc/pam.d/alogin"][3] == after["etc/pam.d/mylogin"][3] == b"login"


@pytest.mark.e2e
def test_no_login_screen_starts_a_program_that_is_gone(debian: Debian) -> None:
    debian.run(f"install -D -m 644 -t {GETTY} {DROP_IN}; echo '[Service]' >{GETTY}/own.conf")
    debian.run("cp /usr/share/console-sso/greetd/config.toml /etc/greetd/config.toml")
    debian.run("dpkg --force-unsafe-io -i /debs/*.deb")
    assert f"{GETTY}/console-sso.conf".strip("/") in debian.files()
    said = debian.run(f"dpkg --remove {GUEST} 2>&1")
    assert f"{GETTY}/console-sso.conf is put aside" in said
    assert "/etc/greetd/config.toml starts sso-greetd: name another greeter there" in said
    aside = "console-sso.conf.console-sso-removed"
    assert sorted(debian.run(f"ls {GETTY}").split()) == [aside, "own.conf"]
    debian.run(f"rm {GETTY}/own.conf; dpkg --purge {GUEST}")
    assert not any(name.startswith(GETTY.strip("/")) for name in debian.files())


@pytest.mark.vm
def test_removal_ends_what_runs(vm: Machine, realm: Realm) -> None:
    enrol(vm, realm, SPN, login="getty")
    vm.run("udevadm trigger --subsystem-match=virtio-ports --action=change && udevadm settle", check=True)
    wait_for_units(vm)
    process = vm.run("systemctl show --value -p MainPID console-sso-agent", check=True).output.strip()
    vm.run(f"dpkg --purge {GUEST} {MODULE}", timeout=120, check=True)
    assert vm.run(f"test -d /proc/{process} || pgrep -u sso-agent,sso-acceptor").code == 1
    assert vm.run("systemctl list-units --plain --no-legend 'console-sso*'").output == ""
    assert vm.run("ls -A /etc/console-sso /run/console-sso /var/lib/console-sso").code != 0


@pytest.mark.vm
def test_people_still_log_in_on_the_console_after_removal(vm: Machine, realm: Realm) -> None:
    enrol(vm, realm, SPN, login="getty")
    vm.run(f"install -D -m 644 -t {GETTY} {DROP_IN}; sso install-pam --service login", check=True)
    vm.run("systemctl daemon-reload; systemctl restart getty@tty1", check=True)
    vm.wait("pgrep -f /usr/bin/sso-getty", TIME)
    vm.run(f"dpkg --remove {GUEST} {MODULE}", timeout=120, check=True)
    vm.run("systemctl restart getty@tty1", check=True)
    vm.wait("grep -q 'guest login:' /dev/vcs1", TIME)
    vm.keys("alice\n")
    vm.wait("grep -q Password: /dev/vcs1", TIME)
    vm.keys("alice-on-the-console\n")
    vm.wait("loginctl --no-legend list-sessions | grep -q alice", TIME)
    assert [session["Name"] for session in sessions(vm)] == ["alice"]
