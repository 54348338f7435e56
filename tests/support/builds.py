"""Both builds of the framing core, and bytes in all kinds of chunks."""

import os
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest

from sso import _framing_py

BUILDS = ("compiled", "pure")
WANTED = os.environ.get("SSO_EXTENSION", "yes" if os.environ.get("CI") else "auto")


def compiled() -> Any:
    """The compiled core; where it was promised (SSO_EXTENSION=yes, or CI without a word) it must be there."""
    try:
        return import_module("sso._framing")
    except ImportError as error:
        if WANTED == "yes":
            pytest.fail(f"the compiled core is missing: {error}")
        pytest.skip(f"the compiled core was not built here: {error}")


def build_of(name: str) -> Any:
    """The module of that name in BUILDS."""
    return _framing_py if name == "pure" else compiled()


def chunkings(octets: bytes) -> Iterator[list[bytes]]:
    """Yield the data whole, byte by byte, in threes, and cut once at each place."""
    yield [octets]
    yield [octets[i : i + 1] for i in range(len(octets))]
    yield [octets[i : i + 3] for i in range(0, len(octets), 3)]
    for at in range(1, min(len(octets), 200)):
        yield [octets[:at], octets[at:]]


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """Chunks with their borders at these places; some may be empty."""
    borders = [0, *sorted(min(place, len(octets)) for place in places), len(octets)]
    return [octets[a:b] for a, b in pairwise(borders)]
