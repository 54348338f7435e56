"""The sdist builds a wheel, and each kind of wheel installs and runs away from the source tree."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from sso.mech import OURS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMPILED, PURE = (
    "import sso.framing; assert sso.framing.COMPILED",
    "import sso.framing; assert not sso.framing.COMPILED",
)


class Built(NamedTuple):
    """What was built from the tree: the sdist, its content, and the compiled wheel made from it."""

    sdist: Path
    source: Path
    wheel: Path


def attempt(*argv: str | Path, cwd: Path, **environ: str) -> tuple[int, str]:
    """Run a program; its exit code and all it said."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SSO_", "PYTHON"))}
    out, err = subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(argv, cwd=cwd, env=env | environ, stdout=out, stderr=err, text=True, timeout=300)
    return done.returncode, done.stdout


def run(*argv: str | Path, cwd: Path, **environ: str) -> str:
    """Run a program that must succeed and return all it said."""
    status, said = attempt(*argv, cwd=cwd, **environ)
    assert status == 0, said
    return said


def build(source: Path, out: Path, *options: str, **environ: str) -> Path:
    """Build one distribution without a network and return its file."""
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        *options,
        "--outdir",
        out,
        source,
        cwd=out.parent,
        **environ,
    )
    (file,) = out.iterdir()
    return file


def unpack(sdist: Path, folder: Path) -> Path:
    """The content of an sdist, for one build: the next would take up what this one left."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / sdist.name.removesuffix(".tar.gz")


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    # From a copy, with what an editable install leaves in it; so nothing is written to the tree.
    ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "*.egg-info")
    tree = shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=ignored)
    sdist = build(tree, folder / "sdist", "--sdist")
    source = unpack(sdist, folder)
    wheel = build(unpack(sdist, folder / "work"), folder / "wheel", "--wheel", SSO_EXTENSION="yes")
    return Built(sdist, source, wheel)


class Away:
    """A virtual environment with nothing in it but what is installed here, far from the source tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=folder)

    def install(self, *wheels: Path) -> None:
        pip = (
            sys.executable,
            "-m",
            "pip",
            "--python",
            "env",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
        )
        run(*pip, *wheels, cwd=self.folder)

    def run(self, program: str, *arguments: str, **environ: str) -> str:
        return run(self.folder / "env" / "bin" / program, *arguments, cwd=self.folder, **environ)


@pytest.fixture
def away(tmp_path: Path) -> Away:
    return Away(tmp_path)


def test_entry_points_name_our_mechanisms() -> None:
    assert PROJECT["entry-points"]["sso.mechs"] == OURS


def test_the_base_needs_nothing() -> None:
    assert PROJECT["dependencies"] == []


@pytest.mark.packaging
def test_the_sdist_carries_sources_and_nothing_generated(built: Built) -> None:
    files = {str(path.relative_to(built.source)) for path in built.source.rglob("*") if path.is_file()}
    wanted = {
        f"src/sso/{name}" for name in ("_framing.pyx", "_framing.pyi", "_base64.pxi", "_core.pxd", "py.typed")
    }
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "src/sso/_core").glob("*.h")}
    wanted |= {
        "mechs/sso_mechs/py.typed",
        "setup.py",
        "Makefile",
        "scripts/setup",
        "tests/conftest.py",
        "docs/checklist.md",
        "PROTOCOL.md",
    }
    assert wanted <= files
    generated = re.compile(r"_framing.*\.(c|so|o)$|\.so$|\.o$|\.pyc$|^build/|^\.venv/|^dist/")
    assert [name for name in files if generated.search(name)] == []


@pytest.mark.packaging
def test_the_wheel_holds_the_two_packages_and_the_core_alone(built: Built) -> None:
    files = names(built.wheel)
    assert {name.split("/")[0].split("-")[0] for name in files} == {"sso", "sso_mechs", "console_sso"}
    assert [name for name in files if ".so" in name] == [
        name for name in files if name.startswith("sso/_framing.c")
    ]
    assert not [
        name for name in files if name.endswith((".pyx", ".pxi", ".pxd", ".c", ".h")) or "pam_sso" in name
    ]
    assert {"sso/py.typed", "sso/_framing.pyi", "sso_mechs/py.typed", "sso_mechs/kerberos.py"} <= set(files)
    modules = {
        path.relative_to(built.source / "src").as_posix() for path in (built.source / "src").rglob("*.py")
    }
    assert modules <= set(files)


@pytest.mark.packaging
def test_the_wheel_links_to_no_pam_and_suits_manylinux(built: Built, tmp_path: Path) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        (core,) = [name for name in archive.namelist() if name.endswith(".so")]
        assert b"libpam" not in archive.read(core)
    said = " ".join(run(sys.executable, "-m", "auditwheel", "show", built.wheel, cwd=tmp_path).split())
    assert re.search(r'is consistent with the following platform tag: "manylinux_2_\d+_\w+"', said), said


@pytest.mark.packaging
def test_the_compiled_wheel_runs_away_from_the_tree(built: Built, away: Away) -> None:
    away.install(built.wheel)
    away.run("python", "-c", COMPILED)
    away.run("python", "-c", PURE, SSO_PURE="1")
    assert str(away.folder) in away.run("python", "-c", "import sso, sso_mechs.password; print(sso.__file__)")
    assert (
        away.run("sso", "--version")
        == f"console-sso {built.sdist.name.split('-')[1].removesuffix('.tar.gz')}\n"
    )
    assert "usage: spice-client-sso" in away.run("spice-client-sso", "--help")
    listed = away.run("python", "-c", "import sso.mech; print(sorted(sso.mech.names()))")
    assert listed == f"{sorted(OURS)}\n"


@pytest.mark.packaging
def test_a_missing_library_is_named(built: Built, away: Away) -> None:
    """The base has no Kerberos library: the mechanism is listed, and loading it says what is missing."""
    away.install(built.wheel)
    code = "import sso.mech as m\ntry: m.load('GSSAPI')\nexcept m.MechanismError as error: print(repr(error))"
    assert "No module named 'gssapi'" in away.run("python", "-c", code)


@pytest.mark.packaging
def test_without_the_extension_the_wheel_is_for_everybody(built: Built, away: Away) -> None:
    wheel = build(unpack(built.sdist, away.folder), away.folder / "pure", "--wheel", SSO_EXTENSION="no")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in names(wheel) if name.endswith(".so")]
    away.install(wheel)
    away.run("python", "-c", PURE)
    assert "usage: spice-client-sso" in away.run("spice-client-sso", "--help")


@pytest.mark.packaging
def test_without_a_compiler_the_fallback_runs(built: Built, away: Away) -> None:
    wheel = build(unpack(built.sdist, away.folder), away.folder / "fallback", "--wheel", CC="/bin/false")
    away.install(wheel)
    away.run("python", "-c", PURE)


@pytest.mark.packaging
@pytest.mark.parametrize(
    "environ", [{"SSO_EXTENSION": "yes", "CC": "/bin/false"}, {"SSO_EXTENSION": "maybe"}]
)
def test_what_was_asked_for_and_cannot_be_is_an_error(
    built: Built, tmp_path: Path, environ: dict[str, str]
) -> None:
    source, out = unpack(built.sdist, tmp_path), tmp_path / "out"
    command = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, source)
    status, said = attempt(*command, cwd=tmp_path, **environ)
    assert status != 0, said
    assert not list(out.glob("*.whl"))
