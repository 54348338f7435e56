"""The pump and time: deadlines are reported after they pass, and no peer can block it for ever."""

from itertools import repeat

import pytest
from fake_port import FakePort
from fake_world import Talk, World

from sso.ports.pump import DRAIN_TIME


def test_a_deadline_is_told_when_it_has_passed(world: World, port: FakePort) -> None:
    talk = Talk()
    talk.deadline = 1.2345
    world.actions = iter([lambda: port.send(b"x")])

    def passed(now: float) -> None:
        talk.passed.append(now)
        talk.finished, talk.deadline = True, None

    talk.deadline_passed = passed  # type: ignore[method-assign]
    assert world.run(port, talk) == "finished"
    assert len(talk.passed) == 1 and 1.2345 <= talk.passed[0] <= 1.24
    assert world.turns <= 4


def test_a_drip_does_not_put_a_deadline_off(world: World, port: FakePort) -> None:
    talk = Talk(lambda data: b"")

    def drip() -> None:
        world.now += 1.0
        port.send(b".")

    def passed(now: float) -> None:
        talk.passed.append(now)
        talk.finished = True

    talk.deadline = 10.0
    talk.deadline_passed = passed  # type: ignore[method-assign]
    world.actions = repeat(drip)
    assert world.run(port, talk) == "finished"
    assert talk.passed == [10.0] and talk.octets <= 10


def test_a_question_waits_until_all_is_written(world: World, port: FakePort) -> None:
    port.room = 2
    talk = Talk(first=b"request")
    talk.asking, talk.deadline = True, 0.0
    unwritten = []

    def take() -> None:
        assert talk.passed == []
        unwritten.append(port.take())

    def passed(now: float) -> None:
        talk.passed.append(now)
        talk.asking, talk.finished, talk.deadline = False, True, None

    talk.deadline_passed = passed  # type: ignore[method-assign]
    world.actions = iter([take, take, take])
    assert world.run(port, talk) == "finished"
    assert unwritten == [b"re", b"qu", b"es"] and port.take() == b"t" and len(talk.passed) == 1


def test_a_slow_moment_does_not_end_a_long_talk(world: World, port: FakePort) -> None:
    """The limit on the wait for a peer to read is over when it has read."""
    port.room = 4
    talk = Talk(first=b"request")
    talk.asking, talk.deadline = True, 0.0

    def passed(now: float) -> None:
        talk.passed.append(now)
        talk.asking, talk.deadline = False, 10 * DRAIN_TIME
        talk.finished = len(talk.passed) > 1

    talk.deadline_passed = passed  # type: ignore[method-assign]
    world.actions = iter([lambda: None, port.take])
    assert world.run(port, talk) == "finished"
    assert talk.passed[1] >= 10 * DRAIN_TIME


@pytest.mark.parametrize("asking", [True, False])
def test_a_peer_that_never_reads_is_left(world: World, port: FakePort, asking: bool) -> None:
    port.room = 4
    talk = Talk(first=b"request", wanted=1)
    talk.asking, talk.deadline = asking, 0.0
    if not asking:
        port.send(b"x")
    assert world.run(port, talk) == "hang-up"
    assert DRAIN_TIME <= world.now <= DRAIN_TIME + 0.01
    assert world.turns < 10
    assert talk.heard == ([b""] if asking else [b"x"])


def test_a_pulse_beats_on_while_the_rest_is_written(world: World, port: FakePort) -> None:
    port.room = 4
    port.send(b"x")
    talk = Talk(lambda data: b"request", wanted=1)
    talk.deadline = 0.0

    def beat(now: float) -> None:
        talk.passed.append(now)
        talk.deadline = now + 0.5

    talk.deadline_passed = beat  # type: ignore[method-assign]
    assert world.run(port, talk) == "hang-up"
    assert 19 <= len(talk.passed) <= 21
