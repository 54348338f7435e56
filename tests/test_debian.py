"""The Debian packages: what is in them, how they install on a real Debian, and what is left without them."""

import filecmp
import gzip
import io
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from beds_vm import enrol
from vm_console import SPN, wait_for_units

from sso import __version__
from sso.demo.programs import SEARCH_PATH, find_program, run_program
from sso.demo.realm import Realm
from sso.demo.vm import Machine, image
from sso.demo.vm.recipe import SMALL

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LIBRARY = "usr/lib/python3/dist-packages/"
COMPLETIONS = "usr/share/bash-completion/completions/"
CLIENT, COMMON, GUEST, MODULE = "console-sso-client", "console-sso-common", "console-sso-guest", "libpam-sso"
# The maintainer has no address yet that mail would reach.
UNPROVED = "bogus-mail-host,bogus-mail-host-in-debian-changelog"
# Users stay when a package goes, since a file may still be theirs; so do logs, what dpkg keeps for itself,
# and the folder of pam_faillock's tallies, which may be another one's.
STAYS = re.compile(
    r"etc/(passwd|group|shadow|gshadow)-?|etc/\.pwd\.lock|var/(lib/dpkg|log|cache)/.*|run/faillock"
)


class Package:
    """One built package: the entries of its archive by path, and the content of its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, tarfile.TarInfo] = {}
        self.content: dict[str, bytes] = {}
        argv = [find_program("dpkg-deb"), "--fsys-tarfile", str(path)]
        archive = subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for entry in tar:
                name = entry.name.removeprefix("./")
                self.entries[name] = entry
                if (file := tar.extractfile(entry)) is not None:
                    self.content[name] = file.read()

    def field(self, name: str) -> str:
        """A field of its control file."""
        done = run_program([find_program("dpkg-deb"), "-f", str(self.path), name], {"PATH": SEARCH_PATH})
        return done.stdout.strip()


@pytest.fixture(scope="module")
def packages(debs: tuple[Path, ...]) -> dict[str, Package]:
    """The built packages by name."""
    return {path.name.partition("_")[0]: Package(path) for path in debs}


def differing(first: Mapping[str, object], second: Mapping[str, object]) -> set[str]:
    """The names of what is not the same in both."""
    return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}


def installed_as(package: Package, folder: str) -> set[str]:
    """The names of what a package has in a folder."""
    return {Path(name).name for name in package.content if name.startswith(folder)}


# What is in them


def test_there_are_four_packages_of_this_version(packages: dict[str, Package]) -> None:
    assert sorted(packages) == [CLIENT, COMMON, GUEST, MODULE]
    assert {package.field("Version") for package in packages.values()} == {__version__}


def test_everything_belongs_to_root_and_nobody_else_may_change_it(packages: dict[str, Package]) -> None:
    for package in packages.values():
        for name, entry in package.entries.items():
            program = entry.isdir() or name.startswith("usr/bin/")
            assert entry.isdir() or entry.isreg(), name
            assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "root", "root"), name
            assert entry.mode == (0o755 if program else 0o644), name


def test_no_file_is_in_two_packages(packages: dict[str, Package]) -> None:
    names = [name for package in packages.values() for name in package.content]
    assert sorted(set(names)) == sorted(names)


def test_compiled_things_are_in_their_places(packages: dict[str, Package]) -> None:
    compiled = [
        (package, name)
        for package, found in packages.items()
        for name, content in found.content.items()
        if content.startswith(b"\x7fELF") or name.endswith((".so", ".o", ".pyc", ".pyx", ".c"))
    ]
    (core, core_place), (module, module_place) = compiled
    assert (core, module) == (COMMON, MODULE)
    assert re.fullmatch(LIBRARY + r"sso/_framing\.cpython-311-[\w-]+\.so", core_place)
    assert re.fullmatch(r"lib/[\w-]+-linux-gnu/security/pam_sso\.so", module_place)


def test_only_the_module_needs_libpam(packages: dict[str, Package], tmp_path: Path) -> None:
    needs = {}
    for name, package in packages.items():
        for place, content in package.content.items():
            if place.endswith(".so"):
                (tmp_path / "elf").write_bytes(content)
                said = run_program([find_program("readelf"), "-d", str(tmp_path / "elf")], {"LC_ALL": "C"})
                needs[name] = set(re.findall(r"\(NEEDED\).*\[(.+)\]", said.stdout))
    assert needs == {COMMON: {"libc.so.6"}, MODULE: {"libpam.so.0", "libc.so.6"}}
    assert [name for name, package in packages.items() if "libpam0g" in package.field("Depends")] == [MODULE]


def test_no_path_of_the_build_machine_is_inside(packages: dict[str, Package]) -> None:
    for package in packages.values():
        for name, content in package.content.items():
            text = gzip.decompress(content) if name.endswith(".gz") else content
            assert os.fsencode(ROOT) not in text, name
            assert not re.search(rb"/tmp/tmp\.|\.venv|/home/[a-z]+/", text), name


def test_all_of_the_library_is_in_the_common_package(packages: dict[str, Package]) -> None:
    sources = {
        str(path.relative_to(ROOT / folder)): path.read_bytes()
        for folder, package in (("src", "sso"), ("mechs", "sso_mechs"))
        for path in (ROOT / folder / package).rglob("*.py*")
        if path.suffix in (".py", ".pyi") or path.name == "py.typed"
    }
    files = {
        name.removeprefix(LIBRARY): content
        for name, content in packages[COMMON].content.items()
        if name.startswith((LIBRARY + "sso/", LIBRARY + "sso_mechs/"))
        and not name.endswith((".so", ".typed"))
    }
    assert differing(files, sources) == set()
    assert not any(name.startswith(LIBRARY) for name in packages[CLIENT].content | packages[GUEST].content)


def test_programs_come_with_their_pages_and_completion(packages: dict[str, Package]) -> None:
    programs = {name: installed_as(package, "usr/bin/") for name, package in packages.items()}
    assert programs == {
        CLIENT: {"spice-client-sso"},
        COMMON: {"sso"},
        GUEST: {"sso-guest-agent", "sso-getty", "sso-greetd"},
        MODULE: set(),
    }
    assert set().union(*programs.values()) == set(PROJECT["scripts"])
    for name, package in packages.items():
        completions = {path.name for path in (ROOT / "data" / "bash-completion").iterdir()} & programs[name]
        assert installed_as(package, COMPLETIONS) == completions
        assert {page.rpartition(".")[0] for page in pages(package)} >= programs[name]
    assert set().union(*map(pages, packages.values())) == {
        path.name for path in (ROOT / "docs/man").iterdir()
    }
    assert {"pam_sso.8"} == pages(packages[MODULE])
    assert "console-sso.7" in pages(packages[COMMON])
    assert "console-sso-guest.toml.5" in pages(packages[GUEST])
    assert "console-sso-client.toml.5" in pages(packages[CLIENT])


def pages(package: Package) -> set[str]:
    """The manual pages of a package, each in the folder of its section."""
    places = [name for name in package.content if name.startswith("usr/share/man/")]
    for place in places:
        assert re.fullmatch(r"usr/share/man/man(\d)/[\w.-]+\.\1\.gz", place)
    return {Path(place).stem for place in places}


def test_the_same_checkout_gives_the_same_octets(debs: tuple[Path, ...], tmp_path: Path) -> None:
    """Another folder without git, other times, umask, zone and language."""
    other = tmp_path / "other checkout"
    other.mkdir()
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, other)
    for name in ("data", "debian", "docs", "mechs", "pam", "scripts", "src"):
        shutil.copytree(
            ROOT / name, other / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.o")
        )
    (other / ".venv").symlink_to(ROOT / ".venv")
    for path in other.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (978307200, 978307200))  # the year 2001
    environment = {"PATH": SEARCH_PATH, "HOME": str(tmp_path), "TZ": "Asia/Tokyo", "LANG": "C.UTF-8"}
    script = f"umask 077; '{other}/scripts/build-debs' '{tmp_path}/again'"
    said = run_program([find_program("sh"), "-c", script], environment, timeout=600.0)
    again = [Path(line) for line in said.stdout.splitlines()]
    assert [path.name for path in again] == [path.name for path in debs]
    for first, second in zip(debs, again, strict=True):
        assert filecmp.cmp(first, second, shallow=False), first.name


def test_lintian_has_nothing_to_say(debs: tuple[Path, ...]) -> None:
    options = ["--fail-on", "error,warning", "--suppress-tags", UNPROVED]
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"}
    run_program([find_program("lintian"), *options, *map(str, debs)], environment, timeout=300.0)


# Installed

_ENTER = """\
set -eu
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
        """What a script says as root in there; raises BedError when one of its commands fails."""
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
        """Mode, owner, group and content of everything but what stays behind any package."""
        found = {}
        for path in self.folder.rglob("*"):
            name, state = str(path.relative_to(self.folder)), path.lstat()
            if not STAYS.fullmatch(name):
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[name] = (state.st_mode, state.st_uid, state.st_gid, content)
        return found


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
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
    debian.run(f"cd /\npython3 -I - <<'END'\n{script}END")


@pytest.mark.e2e
def test_users_and_folders_are_there(debian: Debian) -> None:
    for user in ("sso-agent", "sso-acceptor"):
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
def test_pam_lines_come_and_go_by_name(debian: Debian) -> None:
    login = "etc/pam.d/login"
    assert "is there" in debian.run("sso install-pam --service login")
    changed = debian.files()
    assert changed[login][3].count(b"# console-sso\n") == 5
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
        "run/console-sso",
        "var/lib/console-sso",
        "var/lib/console-sso/acceptor",
    ]
    debian.run(f"dpkg --purge {GUEST} {CLIENT} {MODULE} {COMMON}")
    assert differing(debian.files(), debian.before) == set()


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
