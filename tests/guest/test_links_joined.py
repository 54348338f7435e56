"""A process of the guest that waits for the others, and goes on with the next ones."""

import socket
import threading
from pathlib import Path

import pytest

from sso.errors import NoAgent
from sso.guest import local, notify, records
from sso.guest.config import GuestConfig
from sso.guest.links import DIALS, Joined, fingerprint, join, joined

SECONDS = 20
CONFIG = GuestConfig()


def pair(fingerprint: int) -> tuple[Joined, list[socket.socket]]:
    """A pair of links, and the other ends."""
    agent, theirs = socket.socketpair()
    other, others = socket.socketpair()
    return Joined(agent, other, fingerprint), [theirs, others]


def close(links: list[socket.socket]) -> None:
    for link in links:
        link.close()


def test_whatever_the_first_agent_has_it_will_do_and_nothing_is_left_of_its_links() -> None:
    (first, ends), (second, others) = pairs = pair(0), pair(fingerprint(CONFIG))
    coming = iter(pairs)
    all_of_them = joined(lambda: next(coming)[0], CONFIG)
    assert next(all_of_them) is first, "a new process reads the newest configuration itself"
    assert next(all_of_them) is second
    assert [end.recv(1) for end in ends] == [b"", b""]
    second.close()
    close([*ends, *others])


def test_another_configuration_ends_the_process() -> None:
    (first, ends), (_, others) = pairs = pair(0), pair(fingerprint(CONFIG._replace(min_uid=500)))
    coming = iter(pairs)
    assert list(joined(lambda: next(coming)[0], CONFIG)) == [first]
    assert [end.recv(1) for end in (*ends, *others)] == [b""] * 4
    close([*ends, *others])


def test_who_waits_tells_the_service_manager_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "agent.sock")
    beats = threading.Semaphore(0)
    monkeypatch.setattr(notify, "watchdog", lambda: 0.01)
    monkeypatch.setattr(notify, "alive", beats.release)
    found: list[Joined | NoAgent] = []

    def wait() -> None:
        try:
            found.append(join(path))
        except NoAgent as error:
            found.append(error)

    with local.listen(path) as listener:
        process = threading.Thread(target=wait)
        process.start()
        for _ in range(3):
            assert beats.acquire(timeout=SECONDS)
        listener.setblocking(True)
        agent, _ = listener.accept()
        ours, theirs = socket.socketpair()
        records.send(agent, records.Link(7), [theirs.fileno()])
        process.join(SECONDS)
        (joined_now,) = found
        assert isinstance(joined_now, Joined) and joined_now.fingerprint == 7
        joined_now.close()
        close([agent, ours, theirs])


def test_who_waits_when_the_agent_goes_waits_for_the_next_one(tmp_path: Path) -> None:
    """The manager keeps the socket meanwhile; a process that ended instead would not be started again."""
    path = str(tmp_path / "agent.sock")
    found: list[Joined] = []
    with local.listen(path) as listener:
        listener.setblocking(True)
        process = threading.Thread(target=lambda: found.append(join(path)))
        process.start()
        for _ in range(3):
            listener.accept()[0].close()
        agent, _ = listener.accept()
        ours, theirs = socket.socketpair()
        records.send(agent, records.Link(7), [theirs.fileno()])
        process.join(SECONDS)
        assert found[0].fingerprint == 7
        found[0].close()
        close([agent, ours, theirs])


def test_an_agent_that_refuses_is_not_asked_for_ever(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    found: list[str] = []

    def wait() -> None:
        with pytest.raises(NoAgent) as raised:
            join(path)
        found.append(str(raised.value))

    with local.listen(path) as listener:
        listener.setblocking(True)
        process = threading.Thread(target=wait)
        process.start()
        for _ in range(DIALS):
            listener.accept()[0].close()
        process.join(SECONDS)
    assert found == [f"{path}: the agent has gone"]
