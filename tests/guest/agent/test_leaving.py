"""The client leaves while logind is late, or during a look at the seat: all is locked, then logged off."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from beds_agent import Clock, MakeStage, Stage
from fake_surroundings import FakeDriver
from jeepney import DBusAddress

from sso.daemon.reactor import Reactor
from sso.guest.agent.leaving import BLIND, LOCK_EVERY, Leaving
from sso.guest.config import GuestConfig
from sso.guest.seat.bus import CALL_SECONDS, Bus, Done
from sso.guest.seat.logind import ROOT, Found, Seat, Seated

ALICE = Seated("c2", "alice", 4001, "wayland", tty="tty2")
LOCKED = ALICE._replace(locked=True)
TEXT = Seated("3", "alice", 4001, "tty", tty="tty1")
BOB = Seated("4", "bob", 4002, "tty", tty="tty3")
GREETER = Seated("c1", "gdm", 110, "wayland", greeter=True)
STRANGER = Seated("", "", -1, "")
NOT_TOLD = Found(False, None, (STRANGER,))
LOG_OFF: dict[str, Any] = {"disconnect": "log-off", "grace_seconds": 60}
MakeLate = Callable[..., Stage]


@pytest.fixture
def late(make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch) -> MakeLate:
    """Makes an agent whose bus is there, and whose logind has not answered yet."""

    def make(found: Found = NOT_TOLD, **options: Any) -> Stage:
        stage = make_stage(**options)
        monkeypatch.setattr(type(stage.seat.bus), "reachable", True)
        stage.seat.found = found
        return stage

    return make


def wait(stage: Stage, seconds: float) -> None:
    stage.clock.now += seconds
    stage.turn()


# The log-off


@pytest.mark.parametrize("session", [ALICE, TEXT], ids=["graphical", "in text"])
def test_the_grace_begins_as_soon_as_logind_tells_who_is_there(session: Seated, late: MakeLate) -> None:
    stage = late(**LOG_OFF)
    stage.gone()
    assert not stage.confirmed()
    stage.seat.put(session)
    stage.turn()
    assert stage.confirmed()
    wait(stage, 59.0)
    assert f"terminate {session.id}" not in stage.seat.calls
    wait(stage, 1.1)
    stage.turn(lambda: not stage.seat.found.users)


def test_an_agent_that_has_just_started_locks_and_logs_nobody_off(late: MakeLate) -> None:
    """The client of an older session may still look on: it has no time to prove that."""
    stage, served = late(**LOG_OFF), list[bool]()
    stage.agent.console.lock(lambda: served.append(True))
    stage.turn()
    assert not served, "the bus is not ready yet"
    stage.seat.put(ALICE)
    stage.turn(lambda: served)
    wait(stage, 61.0)
    assert stage.seat.calls == ["lock c2"]


def test_an_agent_that_has_just_started_leaves_a_session_alone_where_that_is_wanted(late: MakeLate) -> None:
    stage, served = late(disconnect="nothing"), list[bool]()
    stage.agent.console.lock(lambda: served.append(True))
    assert served and not stage.seat.calls


def test_a_grace_that_waits_for_logind_ends_when_the_user_is_back_or_nobody_is_there(late: MakeLate) -> None:
    for back in (True, False):
        stage = late(**LOG_OFF)
        stage.gone()
        stage.turn()
        if back:
            stage.agent.judge._console.back()
        else:
            stage.seat.put()
            stage.turn()
        stage.seat.put(LOCKED)
        wait(stage, 61.0)
        assert stage.seat.calls == []


def test_who_is_there_is_asked_again_when_logind_is_late_at_the_end_of_the_grace(
    make_stage: MakeStage,
) -> None:
    stage = make_stage(**LOG_OFF)
    stage.seat.put(TEXT)
    stage.gone()
    stage.turn()
    stage.seat.found = NOT_TOLD
    wait(stage, 60.1)
    assert stage.seat.calls == [], "nobody is logged off whom logind does not name"
    wait(stage, 2.1)
    assert stage.seat.calls == []
    stage.seat.found = Found(True, TEXT, (TEXT,))
    wait(stage, 2.1)
    assert stage.seat.calls == ["terminate 3"]


# Until it is locked


def test_logind_is_late_by_the_clock_and_not_by_the_signals_that_anybody_can_cause(late: MakeLate) -> None:
    stage = late()
    stage.gone()
    for _ in range(4 * BLIND):
        stage.seat.hint()
        stage.turn()
    assert not stage.confirmed()
    for _ in range(BLIND - 1):
        wait(stage, LOCK_EVERY)
        assert not stage.confirmed()
    wait(stage, LOCK_EVERY)
    assert stage.confirmed(), "nobody waits for ever for a logind that does not answer"


def test_what_is_seen_open_is_locked_although_logind_does_not_tell_of_all(late: MakeLate) -> None:
    stage = late(Found(False, ALICE, (ALICE, STRANGER)))
    stage.seat.obeys = False
    stage.gone()
    stage.turn()
    for _ in range(2 * BLIND):
        wait(stage, LOCK_EVERY)
    assert "lock c2" in stage.seat.calls and not stage.confirmed()
    stage.seat.put(LOCKED)
    assert stage.confirmed()


def test_a_session_has_not_appeared_because_logind_is_late(make_stage: MakeStage) -> None:
    """It still waits behind the greeter; once it comes to the front it is to be locked."""
    stage = make_stage()
    stage.seat.put(active=GREETER)
    stage.begin()
    stage.claim()
    stage.armed()
    behind = Found(True, GREETER, (LOCKED._replace(active=False),))
    stage.seat.found = behind
    stage.ask().opens()
    for found in (NOT_TOLD, behind):
        stage.seat.found = found
        stage.seat.hint()
        stage.turn()
    stage.end()
    stage.gone()
    assert not stage.confirmed()
    stage.seat.put(ALICE)
    stage.turn(lambda: stage.seat.found.users[0].locked)
    assert stage.confirmed()


class SlowBus(Bus):
    """A bus on which logind answers when the test does."""

    def __init__(self, reactor: Reactor) -> None:
        super().__init__(reactor, "unix:path=/nonexistent")
        self.reactor = reactor
        self.asked: list[tuple[str, Done]] = []

    def call(
        self,
        address: DBusAddress,
        member: str,
        signature: str | None = None,
        body: tuple[Any, ...] = (),
        done: Done = lambda reply: None,
        seconds: float = CALL_SECONDS,
    ) -> None:
        self.asked.append((member, done))

    def answer(self, **properties: Any) -> None:
        """Answer the oldest call with the properties of a seat or a session."""
        _, done = self.asked.pop(0)
        done(({name: ("", value) for name, value in properties.items()},))

    def tell(self, locked: bool) -> None:
        """Answer a whole look: alice's session is in front."""
        path = f"{ROOT}/session/c2"
        self.answer(ActiveSession=("c2", path), Sessions=[("c2", path)])
        self.answer(Id="c2", Name="alice", User=(4001, "/"), Type="x11", LockedHint=locked)


@pytest.fixture
def bus() -> Iterator[SlowBus]:
    reactor = Reactor(Clock())
    yield SlowBus(reactor)
    reactor.close()


@pytest.fixture
def leaving(bus: SlowBus) -> Leaving:
    return Leaving(bus.reactor, Seat(bus.reactor, bus), FakeDriver(), GuestConfig())


def test_nobody_is_called_back_after_the_end(bus: SlowBus, leaving: Leaving) -> None:
    served: list[bool] = []
    leaving.leave(lambda: served.append(True))
    leaving.close()
    bus.tell(locked=True)
    assert not served


def test_what_a_look_has_found_that_began_before_the_client_left_does_not_count(
    bus: SlowBus, leaving: Leaving
) -> None:
    """The session was unlocked in the middle of that look."""
    served: list[bool] = []
    leaving.seat.hint()
    leaving.leave(lambda: served.append(True))
    bus.tell(locked=True)
    assert not served
    bus.tell(locked=False)
    assert not served and [member for member, _ in bus.asked] == ["LockSession"]
    bus.asked.clear()
    leaving.seat.hint()
    bus.tell(locked=True)
    assert served
