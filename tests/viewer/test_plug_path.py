"""The old path of the plug-in point: it works as before, and says that it is old."""

import subprocess
import sys

import house

import sso.plug.plug as moved


def test_the_old_path_works_and_warns_whoever_imports_it() -> None:
    program = (
        "import warnings; warnings.simplefilter('always');"
        "import sso.plug.plug as new; import sso.viewer.plug as old;"
        "assert all(getattr(old, name) is getattr(new, name) for name in old.__all__); print(*old.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "<string>:1: DeprecationWarning: sso.viewer.plug is now sso.plug.plug" in done.stderr
    public = {
        name for name, found in vars(moved).items() if getattr(found, "__module__", "") == moved.__name__
    }
    assert public | {"BACKLOG_MAX", "CHUNK", "CLOSED_TIME", "Permit"} == set(done.stdout.split())


def test_nobody_of_ours_takes_the_old_path() -> None:
    assert [name for name in house.MODULES if "sso.viewer.plug" in house.ours(name)] == []
