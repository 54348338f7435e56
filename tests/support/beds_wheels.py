"""Environments with installed wheels, as a console and a guest have them: one each."""

import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir")
INSTALL = ("install", "--quiet", "--no-index", "--no-deps")


def build(folder: Path, *sources: Path) -> list[Path]:
    """Wheels of these source trees, built without a network."""
    for source in sources:
        run(sys.executable, *BUILD, str(folder), str(source))
    found = sorted(folder.glob("*.whl"))
    assert len(found) == len(sources)
    return found


def whole(folder: Path, *wheels: Path) -> Path:
    """An environment with these wheels and nothing else but the one library that no agent starts without."""
    _install(_empty(folder), *wheels)
    jeepney = find_spec("jeepney")
    assert jeepney is not None and jeepney.origin is not None
    shutil.copytree(Path(jeepney.origin).parent, site(folder) / "jeepney")
    return folder


def beside_ours(folder: Path, *wheels: Path) -> Path:
    """An environment that finds all that this one does, and these wheels."""
    here = sysconfig.get_path("purelib")
    (site(_empty(folder)) / "project.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    if wheels:
        _install(folder, *wheels)
    return folder


def site(folder: Path) -> Path:
    """Where an environment has its modules."""
    (found,) = folder.glob("lib/python*/site-packages")
    return found


def python(folder: Path) -> str:
    return str(folder / "bin" / "python")


def run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _empty(folder: Path) -> Path:
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    return folder


def _install(folder: Path, *wheels: Path) -> None:
    run(sys.executable, "-m", "pip", "--python", python(folder), *INSTALL, *map(str, wheels))
