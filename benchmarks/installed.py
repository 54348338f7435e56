"""The client as users have it: from a wheel in a virtual environment, and from the packages in a Debian."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from beds_debian import Debian

from sso.demo.realm import Realm

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "spice-client-sso"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "*.egg-info", "build", "*.so")


def wheel(folder: Path) -> Path:
    """A virtual environment with the wheel and the Kerberos library that this Python has."""
    tree = shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=LEFT_OUT)
    python = (sys.executable, "-m")
    _run(*python, "build", "--no-isolation", "--wheel", "--outdir", folder, tree, SSO_EXTENSION="yes")
    _run(*python, "venv", "--without-pip", folder / "env")
    pip = (*python, "pip", "--python", folder / "env", "install", "--quiet", "--no-index", "--no-deps")
    _run(*pip, *folder.glob("*.whl"))
    (packages,) = folder.glob("env/lib/python*/site-packages")
    for name in ("gssapi", "decorator"):  # the files are the same wherever they come from
        found = find_spec(name)
        assert found is not None and found.origin is not None
        source = Path(found.origin)
        if found.submodule_search_locations:
            shutil.copytree(source.parent, packages / name)
        else:
            shutil.copy(source, packages)
    return folder / "env"


def debian(folder: Path, debs: tuple[Path, ...], realm: Realm) -> Path:
    """A root file system with the packages, and with what a client needs of the realm, where it lies here."""
    folder.chmod(0o755)
    made = Debian(folder, debs)
    made.run("dpkg --force-unsafe-io -i /debs/*.deb")
    inside = folder / realm.folder.relative_to("/")
    inside.mkdir(parents=True)
    for path in (realm.krb5_conf, realm.ccache):
        shutil.copy(path, inside)
    return folder


def _run(*argv: str | Path, **environment: str) -> None:
    done = subprocess.run(
        argv, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
