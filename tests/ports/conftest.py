"""A port in memory, a device and a pump's surroundings for the tests of ports; nothing may be left open."""

from collections.abc import Iterator

import pytest
from fake_port import FakePort, PtyDevice, open_files
from fake_world import World


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before


@pytest.fixture
def port() -> Iterator[FakePort]:
    """A port in memory with a client."""
    found = FakePort()
    found.attach()
    yield found
    found.close()


@pytest.fixture
def device() -> Iterator[PtyDevice]:
    """A device without a client."""
    found = PtyDevice()
    yield found
    found.port.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A clock and a poll for a pump; nothing waits."""
    return World(monkeypatch)
