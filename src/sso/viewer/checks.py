"""Checks of `sso doctor client` on the viewer's configuration: consoles, and keys that vouch for them."""

import importlib.util
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from sso.console import trust_folder
from sso.console.vouch import ConsoleTable, says_something, service_says_something
from sso.doctor import Finding, Step, System, ok, warning, wrong
from sso.errors import ConfigError

from .reach import pem
from .settings import Settings, load


def add_options(parser: ArgumentParser) -> None:
    """Add nothing: these checks have no options."""


def steps(system: System, options: Namespace, rest: list[str]) -> Iterator[Step]:
    """Yield the steps in order."""
    yield "consoles", consoles
    yield "trusted keys", keys


def consoles() -> Iterator[Finding]:
    """Check what the tables [[console]] vouch for, and what is wrong with each."""
    settings = _settings()
    if isinstance(settings, Finding):
        yield settings
        return
    for note in settings.notes:
        yield wrong(note, "Make it, and every folder above it, yours or root's, and writable by nobody else")
    for at, table in enumerate(settings.tables, 1):
        yield from _table(f"[[console]] {at}", table)
    vouching = sum(map(_vouches, settings.tables))
    if vouching:
        yield ok(f"{vouching} tables say which consoles show which guests")
    else:
        yield ok("no table says which console shows which guest: from a connection file you are asked")


def _settings() -> Settings | Finding:
    try:
        return load()
    except ConfigError as error:
        return wrong(str(error), "Correct that key in the file")


def _vouches(table: ConsoleTable) -> bool:
    return any(map(says_something, table.places)) and any(map(service_says_something, table.services))


def _table(name: str, table: ConsoleTable) -> Iterator[Finding]:
    if not any(map(says_something, table.places)) and (table.services or table.plain):
        yield wrong(
            f"{name}: its places name nothing, so it vouches for nothing",
            "Write hosts, such as node*.example.org",
        )
    elif table.services and not _vouches(table):
        yield wrong(
            f"{name}: its services name nothing, so it vouches for nothing",
            "Write guests, such as host/vm*.example.org",
        )
    if table.ca:
        try:
            pem(table.ca)
        except ConfigError as error:
            yield wrong(f"{name}: ca: {error}", "Write the path of the CA's certificate, as PEM")
    if table.plain:
        where = ", ".join(table.places)
        yield warning(f"{name}: plain TCP counts for {where}: anybody on the way can redirect it")


def keys() -> Iterator[Finding]:
    """Check whose signatures count, and whether this machine can check signatures at all."""
    settings = _settings()
    found, notes = trust_folder.load()
    for note in notes:
        yield wrong(note, "Correct or remove that file")
    count = len(found) + (len(settings.keys) if isinstance(settings, Settings) else 0)
    if not count:
        yield ok("none, so no signature of a connection file counts")
    elif importlib.util.find_spec("cryptography") is None:
        yield warning(
            f"{count}, but no signature can be checked here", "On Debian: apt install python3-cryptography"
        )
    else:
        yield ok(f"{count} keys may vouch for connection files, within their consoles and services")
