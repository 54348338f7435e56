"""Fixtures with real guests: restored in a second, with our packages, thrown away at the end.

When a test fails, the screen and the journal of each of its guests are kept in build/vm-artefacts/.
"""

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sso.demo.programs import BedError
from sso.demo.realm import Realm
from sso.demo.vm import Machine
from sso.demo.vm.packages import built_packages, for_guests

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = ROOT / "build" / "vm-artefacts"


class Machines:
    """Opens guests that end with the test; the arguments are those of Machine."""

    def __init__(self, debs: tuple[Path, ...], ending: ExitStack) -> None:
        self.opened: list[Machine] = []
        self._debs = debs
        self._ending = ending

    def __call__(self, flavour: str = "small", *, manager: str = "", console: str = "socket") -> Machine:
        machine = Machine(flavour, debs=self._debs, manager=manager, console=console)
        self.opened.append(self._ending.enter_context(machine))
        return machine


@pytest.fixture(scope="session")
def all_debs() -> Iterator[tuple[Path, ...]]:
    """Our Debian packages, built from this checkout."""
    with built_packages() as packages:
        yield packages


@pytest.fixture(scope="session")
def debs(all_debs: tuple[Path, ...]) -> tuple[Path, ...]:
    """Those for a guest."""
    return for_guests(all_debs)


@pytest.fixture
def machines(debs: tuple[Path, ...]) -> Iterator[Machines]:
    """Opens guests with our packages."""
    with ExitStack() as ending:
        yield Machines(debs, ending)


@pytest.fixture
def bare_machines() -> Iterator[Machines]:
    """Opens guests without our packages: the bed alone."""
    with ExitStack() as ending:
        yield Machines((), ending)


@pytest.fixture
def vm(machines: Machines) -> Machine:
    """A fresh small guest."""
    return machines()


@pytest.fixture
def desktop(machines: Machines) -> Callable[[str], Machine]:
    """Opens a fresh desktop guest with the greeter of gdm3 or lightdm on its screen."""
    return lambda manager: machines("desktop", manager=manager)


@pytest.fixture(scope="session")
def kdc(realm: Realm) -> Realm:
    """The realm, which runs on this machine: no guest can reach it, as in the design."""
    return realm


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what there is to see while the guests of a failed test still run."""
    report = yield
    if report.failed and call.when != "teardown" and isinstance(item, pytest.Function):
        for makers in item.funcargs.values():
            if isinstance(makers, Machines):
                for number, machine in enumerate(makers.opened):
                    report.sections.append(("guest", _keep(machine, f"{item.name}-{number}")))
    return report


def _keep(machine: Machine, name: str) -> str:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    stem = ARTEFACTS / re.sub(r"[^\w.-]+", "_", name)
    try:
        machine.screenshot(stem.with_suffix(".png"))
        journal = machine.run("journalctl -b --no-pager -o short-monotonic").output
    except BedError as error:
        return f"nothing to see: {error}"
    stem.with_suffix(".journal").write_text(journal)
    ours = [line for line in journal.splitlines() if re.search(r" (sso-|gdm|lightdm|login\[)", line)]
    return "\n".join([f"screen and journal: {stem}.png, {stem}.journal", *ours[-60:]])
