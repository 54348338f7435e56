"""The Debian packages: what is in them, and that the same checkout gives the same bytes."""

import filecmp
import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from beds_debian import CLIENT, COMMON, GUEST, MODULE, VIEWER, differing

from sso import __version__
from sso.demo.programs import SEARCH_PATH, find_program, run_program

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LIBRARY = "usr/lib/python3/dist-packages/"
COMPLETIONS = "usr/share/bash-completion/completions/"
# The maintainer has no address yet that mail would reach.
UNPROVED = "bogus-mail-host,bogus-mail-host-in-debian-changelog"


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
def packages(all_debs: tuple[Path, ...]) -> dict[str, Package]:
    """The built packages by name."""
    return {path.name.partition("_")[0]: Package(path) for path in all_debs}


def installed_as(package: Package, folder: str) -> set[str]:
    """The names of what a package has in a folder."""
    return {Path(name).name for name in package.content if name.startswith(folder)}


# What is in them


def test_there_are_five_packages_of_this_version(packages: dict[str, Package]) -> None:
    assert sorted(packages) == [CLIENT, COMMON, GUEST, VIEWER, MODULE]
    assert {package.field("Version") for package in packages.values()} == {__version__}


def test_everything_belongs_to_root_and_nobody_else_may_change_it(packages: dict[str, Package]) -> None:
    for package in packages.values():
        for name, entry in package.entries.items():
            program = entry.isdir() or name.startswith(("usr/bin/", "usr/lib/console-sso/plugins/"))
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
        CLIENT: {"spice-client-sso", "console-sso-ssh-agent"},
        COMMON: {"sso"},
        GUEST: {"sso-guest-agent", "sso-getty", "sso-greetd", "sso-ssh-agent"},
        VIEWER: {"sso-viewer"},
        MODULE: set(),
    }
    assert installed_as(packages[CLIENT], "usr/lib/console-sso/plugins/") == programs[CLIENT]
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
    assert "console-sso-viewer.toml.5" in pages(packages[VIEWER])


def pages(package: Package) -> set[str]:
    """The manual pages of a package, each in the folder of its section."""
    places = [name for name in package.content if name.startswith("usr/share/man/")]
    for place in places:
        assert re.fullmatch(r"usr/share/man/man(\d)/[\w.-]+\.\1\.gz", place)
    return {Path(place).stem for place in places}


@pytest.mark.long
def test_the_same_checkout_gives_the_same_bytes(all_debs: tuple[Path, ...], tmp_path: Path) -> None:
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
    assert [path.name for path in again] == [path.name for path in all_debs]
    for first, second in zip(all_debs, again, strict=True):
        assert filecmp.cmp(first, second, shallow=False), first.name


def key(tree: Path) -> str:
    """The hash over all that goes into packages that are built from this tree."""
    script = tree / "scripts" / "build-debs"
    environment = {"PATH": SEARCH_PATH, "HOME": "/nonexistent"}
    return run_program([find_program("bash"), str(script), "--key"], environment, timeout=60.0).stdout


def test_the_sdist_has_all_that_goes_into_the_packages(tmp_path: Path) -> None:
    """Also where it is unpacked inside somebody else's git, which ignores it."""
    ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "*.egg-info", "build")
    tree = shutil.copytree(ROOT, tmp_path / "tree", symlinks=True, ignore=ignored)
    options = ["--no-isolation", "--sdist", "--outdir", str(tmp_path / "out")]
    environment = {"PATH": SEARCH_PATH, "HOME": str(tmp_path)}
    run_program([sys.executable, "-I", "-m", "build", *options, str(tree)], environment, timeout=300.0)
    (sdist,) = (tmp_path / "out").iterdir()
    outer = tmp_path / "outer"
    run_program([find_program("git"), "init", "--quiet", str(outer)], environment)
    (outer / ".gitignore").write_text("*\n")
    with tarfile.open(sdist) as archive:
        archive.extractall(outer, filter="data")
    assert key(outer / sdist.name.removesuffix(".tar.gz")) == key(tree)


def test_lintian_has_nothing_to_say(all_debs: tuple[Path, ...]) -> None:
    options = ["--fail-on", "error,warning", "--suppress-tags", UNPROVED]
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"}
    run_program([find_program("lintian"), *options, *map(str, all_debs)], environment, timeout=300.0)
