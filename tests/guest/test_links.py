"""A process of the guest that waits for the others, and goes on with the next ones."""

import socket
import threading
import time
from pathlib import Path

import pytest
from beds_agent import open_fds, secret_file

from sso.daemon import local, notify
from sso.errors import NoAgent
from sso.guest import records
from sso.guest.config import GuestConfig
from sso.guest.links import Joined, fingerprint, join, joined
from sso.guest.records import Begin, Child, Link

SECONDS = 20
CONFIG = GuestConfig()


def pair(fingerprint: int) -> tuple[Joined, list[socket.socket]]:
    """A pair of links, and the other ends."""
    agent, theirs = socket.socketpair()
    other, others = socket.socketpair()
    return Joined(agent, other, fingerprint), [theirs, others]


def close(ends: list[socket.socket]) -> None:
    for end in ends:
        end.close()


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
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        records.send(agent, records.Link(7), [theirs.fileno()])
        process.join(SECONDS)
        (joined_now,) = found
        assert isinstance(joined_now, Joined) and joined_now.fingerprint == 7
        joined_now.close()
        close([agent, ours, theirs])


@pytest.mark.parametrize("last_word", [None, b""])
def test_an_agent_that_is_killed_while_it_is_waited_for_is_followed_by_the_next_one(
    last_word: bytes | None, tmp_path: Path
) -> None:
    """The service manager holds the socket: whoever dials meanwhile waits for the next agent."""
    path = str(tmp_path / "agent.sock")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def agents(listener: socket.socket) -> None:
        for _ in range(3):
            killed, _ = listener.accept()
            if last_word is not None:
                killed.send(last_word)
            killed.close()
        with listener.accept()[0] as agent:
            records.send(agent, Link(7), [theirs.fileno()])

    with local.listen(path) as listener:
        listener.setblocking(True)
        living = threading.Thread(target=agents, args=(listener,))
        living.start()
        found = join(path)
        living.join(SECONDS)
    assert found.fingerprint == 7
    found.close()
    close([ours, theirs])


def test_an_agent_that_refuses_us_is_asked_more_and_more_seldom_and_no_more_when_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "agent.sock")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            local.hang_up(listener, path)
        else:
            refuse()

    def refuse() -> None:
        threading.Thread(target=lambda: listener.accept()[0].close()).start()

    monkeypatch.setattr(time, "sleep", pause)
    listener = local.listen(path)
    listener.setblocking(True)
    refuse()
    with pytest.raises(NoAgent):
        join(path)
    assert pauses[:3] == [0.02, 0.04, 0.08] and pauses[-2:] == [5.0, 5.0]


# What is no agent

NOT_A_LINK = {
    "garbage": (b"x", 0),
    "another record": (Begin(1).pack(), 0),
    "another record with a socket": (Child(1).pack(), 1),
    "no socket": (Link(1).pack(), 0),
    "two sockets": (Link(1).pack(), 2),
    "more than fit": (Link(1).pack(), 9),
    "too short": (Link(1).pack()[:-1], 1),
    "too long": (Link(1).pack() + b"\0", 1),
}


@pytest.mark.parametrize(("packet", "count"), NOT_A_LINK.values(), ids=NOT_A_LINK)
def test_whatever_is_no_link_is_no_agent(packet: bytes, count: int, tmp_path: Path) -> None:
    path = f"{tmp_path}/role.sock"
    before = open_fds()
    with local.listen(path) as listener:
        listener.setblocking(True)
        fds = [secret_file() for _ in range(count)]

        def answer() -> None:
            with listener.accept()[0] as link:
                socket.send_fds(link, [packet], fds)

        agent = threading.Thread(target=answer)
        agent.start()
        with pytest.raises(NoAgent):
            join(path)
        agent.join()
        records.close_all(fds)
    assert open_fds() == before


class Agents:
    """One agent after the other, as a process meets them; `ends` are those that it was given."""

    def __init__(self, *configs: GuestConfig) -> None:
        self.configs, self.ends = list(configs), list[Joined]()

    def __call__(self) -> Joined:
        assert all(end.agent.fileno() == end.other.fileno() == -1 for end in self.ends), "closed before"
        if not self.configs:
            raise NoAgent("there is none")
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ends.append(Joined(*pair, fingerprint(self.configs.pop(0))))
        return self.ends[-1]


def test_links_follow_each_other_and_end_at_another_configuration() -> None:
    ours = GuestConfig()
    agents = Agents(ours, ours, ours._replace(min_uid=2000), ours)
    before = open_fds()
    assert len(list(joined(agents, ours))) == 2
    assert len(agents.ends) == 3 and open_fds() == before


def test_links_end_when_there_is_no_agent_any_more() -> None:
    before = open_fds()
    pairs = joined(Agents(GuestConfig()), GuestConfig())
    next(pairs)
    with pytest.raises(NoAgent):
        next(pairs)
    assert open_fds() == before
