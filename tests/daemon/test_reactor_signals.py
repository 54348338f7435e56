"""Signals and the agent's loop: one right before a wait ends it; a forked worker has its own way with it."""

import os
import signal
from collections.abc import Iterator

import pytest

from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor

PATIENCE = 60.0  # seconds that no good run waits


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    before = signal.getsignal(signal.SIGTERM)
    yield reactor
    signal.signal(signal.SIGTERM, before)
    reactor.close()


def test_a_signal_that_comes_right_before_the_wait_ends_it(reactor: Reactor) -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    reactor.heed_signals()
    for count in (1, 2):
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(heard) == count
        late = reactor.after(PATIENCE, lambda: None)
        reactor.turn()
        assert not late.cancelled, "the wait was not ended by the signal"
    reactor.close()
    assert signal.set_wakeup_fd(-1) == -1, "the loop has taken it back"


def test_what_is_forked_never_runs_our_handlers(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal is there from the first instruction of the child on."""
    reactor.heed_signals()
    parent, fork = os.getpid(), os.fork
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0) if os.getpid() != parent else None)

    def forked_and_told() -> int:
        pid = fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return pid

    monkeypatch.setattr(os, "fork", forked_and_told)
    answers: list[bytes] = []
    statuses: list[int] = []
    wait = os.waitpid

    def waited(pid: int, options: int) -> tuple[int, int]:
        found = wait(pid, options)
        statuses.append(found[1])
        return found

    monkeypatch.setattr(os, "waitpid", waited)
    Forked(reactor, lambda: b"went on", answers.append, PATIENCE)
    while not answers:
        reactor.turn()
    assert answers == [b""] and os.WTERMSIG(statuses[0]) == signal.SIGTERM


def test_the_agents_mask_is_what_it_was(reactor: Reactor) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    answers: list[bytes] = []
    read = lambda: str(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))).encode()  # noqa: E731
    Forked(reactor, read, answers.append, PATIENCE)
    while not answers:
        reactor.turn()
    assert answers == [str(sorted(before)).encode()]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
