"""The Debian packages of this checkout, built once for all that run at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..programs import SEARCH_PATH, BedError, find_program, run_program
from . import cache

SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "build-debs"
_BUILD_SECONDS = 600.0


@contextmanager
def built_packages() -> Iterator[tuple[Path, ...]]:
    """Context manager: the paths of all packages, in order; they stay while this is open.

    They are built if no other run has built them from the same files. Raises BedError when there is no
    checkout, or when they cannot be built.
    """
    if not SCRIPT.exists():
        raise BedError("the guest is made from a checkout of Console SSO: run make demo-vm there")
    env = {"PATH": SEARCH_PATH, "HOME": str(cache.home())}
    key = run_program([find_program("bash"), str(SCRIPT), "--key"], env, timeout=60.0).stdout.strip()

    def build(folder: Path) -> None:
        cache.say("building our Debian packages (about a minute) ...")
        words = [find_program("bash"), str(SCRIPT), str(folder)]
        run_program(words, env | {"HOME": str(folder)}, timeout=_BUILD_SECONDS)

    with cache.entry(cache.home(), "debs", cache.digest(key), build) as folder:
        yield tuple(sorted(folder.glob("*.deb")))


def for_guests(packages: tuple[Path, ...]) -> tuple[Path, ...]:
    """Those for a guest: the viewer needs all of GTK."""
    return tuple(deb for deb in packages if not deb.name.startswith("console-sso-viewer"))
