"""The checks of a guest for sso.doctor; each module checks one part."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from importlib.util import find_spec

from sso.doctor import Step, System, wrong
from sso.guest.main import CONFIG


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `sso doctor guest`."""
    guest = parser.add_argument_group("of the guest")
    guest.add_argument(
        "--config", default=CONFIG, metavar="FILE", help=f"the guest's configuration file (default: {CONFIG})"
    )


def steps(system: System, options: Namespace, rest: list[str]) -> Iterable[Step]:
    """Return the steps in order; without the library that the agent needs, report only that."""
    if find_spec("jeepney") is None:
        found = wrong(
            "jeepney is missing, without which no agent starts", "On Debian: apt install python3-jeepney"
        )
        return [("library", lambda: [found])]
    from sso.guest.checks import order

    return order.steps(system, options.config)
