"""Who sits at seat0: python-dbusmock's logind on a real bus, beside the real logind of the VM tests."""

from pathlib import Path
from typing import Any

import pytest
from beds_agent import open_fds
from beds_dbus import Daemon, Desk, Somebody
from beds_logind import LogindMock, logind, look, seat
from jeepney import DBusAddress

from sso.daemon.reactor import Reactor
from sso.guest.seat import logind as source
from sso.guest.seat.bus import CALL_SECONDS, DIAL_EVERY, Bus, Done
from sso.guest.seat.logind import LOGIN1, PAUSE, PROPERTIES, ROOT, SESSIONS_MAX, Found, Seat, Seated

__all__ = ["logind", "seat"]

GREETER: dict[str, Any] = {"Class": "greeter", "Type": "wayland"}
LEADER = 1  # of every session of the mock
SESSION_1 = f"{ROOT}/session/1"


# Who is there


def test_nobody(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    assert look(desk.up(), seat) == Found(True, None, ())


@pytest.mark.parametrize("kind", ["greeter", "lock-screen"])
def test_a_greeter_is_in_front_and_no_user(kind: str, desk: Desk, logind: LogindMock, seat: Seat) -> None:
    logind.session("c1", "gdm", 112, Type="wayland", Class=kind)
    found = look(desk.up(), seat)
    assert found.known and found.active is not None and found.active.greeter and found.user is None


@pytest.mark.parametrize("locked", [False, True])
def test_a_user_with_all_that_is_known(locked: bool, desk: Desk, logind: LogindMock, seat: Seat) -> None:
    logind.session("7", "alice", 4001, Type="x11", Service="lightdm", TTY="tty7", LockedHint=locked)
    alice = Seated("7", "alice", 4001, "x11", "lightdm", "tty7", False, True, locked, LEADER)
    assert look(desk.up(), seat) == Found(True, alice, (alice,))
    assert alice.graphical and alice.belongs_to("whoever", 4001) and not alice.belongs_to("alice", 4002)


def test_a_text_session_cannot_be_locked(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    logind.session("2", "alice", 4001, Type="tty", TTY="tty1")
    user = look(desk.up(), seat).user
    assert user is not None and not user.graphical


def test_the_session_in_front_is_first(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    logind.session("1", "bob", 4002, Type="x11", Active=False, State="online")
    path = logind.session("2", "alice", 4001, Type="x11")
    logind.session("3", "mallory", 4003, Type="tty", Active=False, State="online")
    logind.front("2", path)
    found = look(desk.up(), seat)
    assert [user.user for user in found.users] == ["alice", "bob", "mallory"] and found.user is found.active


def test_a_greeter_in_front_of_a_locked_user(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    """The fast user switching of GDM, and LightDM's way to lock."""
    logind.session("1", "alice", 4001, Type="x11", Active=False, State="online")
    logind.session("c1", "lightdm", 113, **GREETER)
    found = look(desk.up(), seat)
    assert found.active is not None and found.active.greeter
    assert found.user is not None and found.user.user == "alice" and not found.user.active


def test_a_closing_session_is_nobodys(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    logind.session("1", "alice", 4001, Type="x11", State="closing")
    assert look(desk.up(), seat) == Found(True, None, ())


def test_a_session_that_ends_during_a_look_is_nobodys(
    desk: Desk, logind: LogindMock, seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = logind.session("1", "bob", 4002, Type="x11", Active=False, State="online")
    alice = logind.session("2", "alice", 4001, Type="x11")
    look(desk.up(), seat)
    desk.later(PAUSE)
    desk.turn()
    logind.end(bob)
    ask, asked = desk.bus.call, []

    def call(address: DBusAddress, *arguments: Any, **more: Any) -> None:
        asked.append(address.object_path)
        if asked.count(bob) == 1 and address.object_path == f"{ROOT}/seat/seat0":
            logind.listed(alice)
        ask(address, *arguments, **more)

    monkeypatch.setattr(desk.bus, "call", call)
    found = look(desk, seat)
    assert found.known and [user.user for user in found.users] == ["alice"] and bob in asked


def test_a_session_that_nobody_can_tell_of_makes_all_uncertain(
    desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    """Otherwise a slow logind would make a user vanish, and the next user would get the console."""
    path = logind.session("1", "alice", 4001, Type="x11")
    gone = logind.session("2", "bob", 4002, Type="x11", Active=False, State="online")
    logind.front("1", path)
    logind.end(gone)
    found = look(desk.up(), seat)
    assert not found.known and [user.user for user in found.users] == ["alice", ""]


def test_a_session_in_front_that_nobody_can_tell_of_is_a_strangers(
    desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    logind.end(logind.session("1", "alice", 4001, Type="x11"))
    found = look(desk.up(), seat)
    assert not found.known and found.user is not None
    assert not any(found.user.belongs_to(*user) for user in (("alice", 4001), ("root", 0)))


def test_the_session_in_front_is_looked_at_however_many_there_are(
    desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    paths = [logind.session(str(n), "alice", 4001, Type="tty") for n in range(SESSIONS_MAX + 3)]
    found = look(desk.up(), seat)
    assert len(found.users) == SESSIONS_MAX
    assert found.active is not None and paths[-1].endswith(found.active.id)


def test_other_seats_are_not_looked_at(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    logind.session("1", "alice", 4001, "seat1", Type="x11")
    assert look(desk.up(), seat) == Found(True, None, ())


def test_no_seat_is_nothing_that_anybody_could_tell(
    desk: Desk, daemon: Daemon, seat: Seat, tmp_path: Path
) -> None:
    mock = LogindMock(daemon, tmp_path)
    try:
        assert look(desk.up(), seat) == Found(False)
    finally:
        mock.close()


def test_no_logind_and_no_bus(desk: Desk, daemon: Daemon, seat: Seat) -> None:
    assert look(desk.up(), seat) == Found(False)
    daemon.kill()
    desk.turn(lambda: not desk.bus.ready)
    assert look(desk, seat) == Found(False)


# Hints


def test_a_change_brings_a_look(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    path = logind.session("1", "alice", 4001, Type="x11")
    desk.up().turn(lambda: seat.found.user)
    desk.turn()
    desk.later(PAUSE)
    desk.turn()
    logind.change(path, LockedHint=True)
    desk.turn(lambda: seat.found.user and seat.found.user.locked)
    desk.later(PAUSE)
    logind.change(path, LockedHint=False)
    desk.turn(lambda: seat.found.user and not seat.found.user.locked)


@pytest.mark.parametrize("member", ["SessionNew", "SessionRemoved"])
def test_sessions_that_come_and_go_bring_a_look(
    member: str, desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    desk.up().turn(lambda: seat.found.known)
    desk.turn()
    looks: list[Found] = []
    seat.watch(lambda: looks.append(seat.found))
    logind.manager_signal(member, "9", SESSION_1)
    desk.turn(lambda: looks)


def test_logind_begins_anew(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    """Another process with another unique name: its signals count, the old one's sessions are forgotten."""
    logind.session("1", "alice", 4001, Type="x11")
    desk.up().turn(lambda: seat.found.user)
    logind.kill()
    desk.turn(lambda: seat.found == Found(False))
    desk.later(PAUSE)
    logind.start()
    logind.seat()
    desk.later(PAUSE)
    desk.turn(lambda: seat.found.known)
    desk.turn()
    desk.later(PAUSE)
    path = logind.session("1", "bob", 4002, Type="x11")
    logind.change(path, LockedHint=True)
    desk.turn(lambda: seat.found.user and seat.found.user.locked)
    assert seat.found.user is not None and seat.found.user.user == "bob"


def test_a_stranger_brings_no_look(desk: Desk, logind: LogindMock, seat: Seat, somebody: Somebody) -> None:
    desk.up().turn(lambda: seat.found.known)
    desk.turn()
    desk.later(PAUSE)
    looks: list[Found] = []
    seat.watch(lambda: looks.append(seat.found))
    for emitter, member in (
        (DBusAddress(SESSION_1, LOGIN1, PROPERTIES), "PropertiesChanged"),
        (DBusAddress(ROOT, LOGIN1, f"{LOGIN1}.Manager"), "SessionNew"),
    ):
        somebody.signal(emitter, member)
    somebody.sync()
    desk.turn()
    assert not looks


# A flood


class SlowBus(Bus):
    """A bus whose answers come when the test wants; it counts the questions."""

    def __init__(self, reactor: Reactor) -> None:
        super().__init__(reactor)
        self.questions: list[Done] = []
        self.most = 0

    def call(self, *arguments: Any, done: Done = lambda reply: None, **more: Any) -> None:
        self.questions.append(arguments[4] if len(arguments) > 4 else done)
        self.most = max(self.most, len(self.questions))

    def answer(self) -> None:
        self.questions.pop(0)(({"ActiveSession": ("(so)", ("", "/")), "Sessions": ("a(so)", [])},))


@pytest.fixture
def slow(desk: Desk) -> SlowBus:
    """A bus that answers when the test wants."""
    return SlowBus(desk.reactor)


@pytest.fixture
def slow_seat(desk: Desk, slow: SlowBus) -> Seat:
    """The seat on the slow bus."""
    return Seat(desk.reactor, slow, seats="/nonexistent")


def test_any_number_of_hints_is_one_look_and_one_more(desk: Desk, slow_seat: Seat, slow: SlowBus) -> None:
    looks: list[Found] = []
    slow_seat.watch(lambda: looks.append(slow_seat.found))
    for _ in range(1000):
        slow_seat.hint()
    slow.answer()
    assert len(looks) == 1 and not slow.questions, "the next look waits"
    for _ in range(1000):
        slow_seat.hint()
    assert not slow.questions
    desk.later(PAUSE)
    slow.answer()
    desk.later(PAUSE)
    assert len(looks) == 2 and not slow.questions and slow.most == 1


def test_hints_without_end_keep_nobody_from_an_answer(desk: Desk, slow_seat: Seat, slow: SlowBus) -> None:
    """Any user can make logind send signals; a console that waits for a look has to lock all the same."""
    answers: list[str] = []
    slow_seat.look(lambda found: answers.append("first"))
    for _ in range(3):
        slow_seat.hint()
    slow_seat.look(lambda found: answers.append("second"))
    slow_seat.hint()
    slow.answer()
    assert answers == ["first"]
    slow_seat.hint()
    assert len(slow.questions) == 1, "who asked is not kept waiting by the pause"
    slow.answer()
    assert answers == ["first", "second"]


def test_who_asks_in_the_pause_is_answered_at_once(desk: Desk, slow_seat: Seat, slow: SlowBus) -> None:
    slow_seat.hint()
    slow_seat.hint()
    slow.answer()
    answers: list[Found] = []
    slow_seat.look(answers.append)
    slow.answer()
    assert len(answers) == 1
    desk.later(PAUSE)
    assert not slow.questions, "the look of the pause has become needless"


def test_who_asks_out_of_an_answer_gets_a_look_of_its_own(desk: Desk, slow_seat: Seat, slow: SlowBus) -> None:
    answers: list[str] = []

    def again(found: Found) -> None:
        answers.append("first")
        slow_seat.look(lambda found: answers.append("second"))

    slow_seat.look(again)
    slow_seat.hint()
    slow.answer()
    assert answers == ["first"] and len(slow.questions) == 1
    slow.answer()
    assert answers == ["first", "second"]


def test_an_answer_that_begins_a_look_begins_no_other(desk: Desk, slow_seat: Seat, slow: SlowBus) -> None:
    def again(found: Found) -> None:
        slow_seat.look(lambda found: None)
        slow_seat.hint()

    slow_seat.look(again)
    slow.answer()
    desk.later(PAUSE)
    assert len(slow.questions) == 1
    slow.answer()
    desk.later(PAUSE)
    assert len(slow.questions) == 1 and slow.most == 1


def test_a_flood_of_real_signals(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    path = logind.session("1", "alice", 4001, Type="x11")
    desk.up().turn(lambda: seat.found.user)
    desk.turn()
    desk.later(PAUSE)
    looks: list[Found] = []
    seat.watch(lambda: looks.append(seat.found))
    for n in range(100):
        logind.change(path, LockedHint=bool(n % 2))
    desk.turn()
    desk.later(PAUSE)
    desk.turn()
    assert len(looks) <= 3
    assert look(desk, seat).users[0].locked


# What is told to logind


def test_what_is_done_to_sessions_arrives(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    desk.up().turn()
    seat.lock("3")
    seat.unlock("4")
    seat.terminate("5")
    desk.turn()
    seat.lock_all()
    desk.turn()
    assert "LockSessions" in logind.calls()
    wanted = ["LockSession 3", "UnlockSession 4", "TerminateSession 5"]
    assert [call for call in logind.calls() if call in wanted] == wanted


def test_a_late_logind_is_no_answer(desk: Desk, somebody: Somebody, seat: Seat) -> None:
    somebody.own(LOGIN1)
    desk.up()
    found: list[Found] = []
    seat.look(found.append)
    desk.turn()
    for _ in range(4):
        desk.later(CALL_SECONDS)
    assert found == [Found(False)] and desk.bus.ready


# No leaks


def test_a_seat_leaks_nothing(desk: Desk, logind: LogindMock, seat: Seat) -> None:
    logind.session("1", "alice", 4001, Type="x11")
    desk.up()
    look(desk, seat)
    before = open_fds()
    for _ in range(20):
        look(desk, seat)
    assert open_fds() == before and not seat._waiting
    desk.bus._lost("test")
    assert look(desk, seat) == Found(False)
    desk.later(DIAL_EVERY)
    desk.turn(lambda: seat.found.user)


def test_the_names_are_logind_s() -> None:
    assert source.LOGIN1 == "org.freedesktop.login1"


@pytest.mark.parametrize(("leader", "known"), [(4711, 4711), ("4711", 0)])
def test_the_process_that_has_opened_a_session_is_known(
    desk: Desk, logind: LogindMock, seat: Seat, leader: int | str, known: int
) -> None:
    logind.session("7", "alice", 4001, Leader=leader)
    user = look(desk.up(), seat).user
    assert user is not None and user.leader == known
