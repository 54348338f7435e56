"""A pump's surroundings without waiting: a conversation of few words, a clock, and a poll that moves it."""

import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sso.ports.port import Port
from sso.ports.pump import Pump

REAL_POLL = select.poll


class Talk:
    """A conversation that answers each piece of input with `reply`, and ends after `wanted` bytes."""

    def __init__(
        self, reply: Callable[[bytes], bytes] = bytes, wanted: int | None = None, first: bytes = b""
    ) -> None:
        self.reply, self.wanted = reply, wanted
        self.heard: list[bytes] = []
        self.passed: list[float] = []
        self.deadline: float | None = None
        self.finished = self.asking = False
        self._out = first

    def start(self, now: float) -> None:
        pass

    def receive_data(self, data: bytes, now: float) -> None:
        self.heard.append(data)
        self._out += self.reply(data)
        if self.wanted is not None and self.octets >= self.wanted:
            self.finished = True

    def data_to_send(self) -> bytes:
        out, self._out = self._out, b""
        return out

    def deadline_passed(self, now: float) -> None:
        self.passed.append(now)
        self.deadline = None

    @property
    def octets(self) -> int:
        return sum(map(len, self.heard))


class World:
    """A clock, and a poll that waits in it: what is ready is real, but nothing is waited for.

    When nothing is ready the next of `actions` happens; when none is left, time passes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.turns = 0.0, 0
        monkeypatch.setattr(select, "poll", self.poll)
        self.actions: Iterator[Callable[[], object]] = iter(())

    def clock(self) -> float:
        return self.now

    def poll(self) -> Any:
        return WorldPoll(self)

    def run(self, port: Port, talk: Talk, **arguments: Any) -> str:
        return Pump(port, talk, self.clock).run(**arguments)


class WorldPoll:
    def __init__(self, world: World) -> None:
        self._world, self._real = world, REAL_POLL()
        self.register = self._real.register

    def poll(self, timeout: int | None = None) -> list[tuple[int, int]]:
        world = self._world
        world.turns += 1
        assert world.turns < 1_000_000, "the pump spins"
        ready = self._real.poll(0)
        if ready:
            return ready
        action = next(world.actions, None)
        if action is not None:
            action()
            return self._real.poll(0)
        assert timeout is not None, "nothing would ever happen"
        world.now += timeout / 1000
        return []
