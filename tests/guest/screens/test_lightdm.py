"""The LightDM driver on a real bus, with a seat object that remembers what it was told."""

from typing import Any

import pytest
from beds_dbus import Daemon, Desk, Somebody, daemon, desk, make_daemon, make_somebody, somebody
from beds_logind import LogindMock, logind, look, seat
from jeepney import HeaderFields, new_error

from sso.guest.config import GuestConfig
from sso.guest.screens.lightdm import LOCK_AGAIN, NAME, LightDMDriver
from sso.guest.seat.logind import Seat, Seated

__all__ = ["daemon", "desk", "logind", "make_daemon", "make_somebody", "seat", "somebody"]

GREETER: dict[str, Any] = {"Type": "x11", "Class": "greeter"}
ALICE = Seated("2", "alice", 4001, "x11", "lightdm")


@pytest.fixture
def driver(desk: Desk, seat: Seat) -> LightDMDriver:
    """A driver on the bus."""
    driver = LightDMDriver(GuestConfig(), desk.reactor, seat)
    driver.start(lambda: None)
    desk.up()
    return driver


@pytest.fixture
def manager(somebody: Somebody) -> Somebody:
    """Who is LightDM."""
    assert somebody.own(NAME) == 1
    return somebody


def told(manager: Somebody) -> tuple[str, ...]:
    """Path, interface, member and arguments of the next call."""
    question = manager.question()
    names = (HeaderFields.path, HeaderFields.interface, HeaderFields.member)
    return tuple(question.header.fields[name] for name in names) + tuple(question.body)


SEAT_0 = ("/org/freedesktop/DisplayManager/Seat0", "org.freedesktop.DisplayManager.Seat")


def test_the_seat_switches_to_the_user(driver: LightDMDriver, manager: Somebody) -> None:
    assert driver.trigger("alice", "")
    assert told(manager) == (*SEAT_0, "SwitchToUser", "alice", "")


def test_the_seat_locks_by_its_own_means(driver: LightDMDriver, manager: Somebody) -> None:
    assert driver.lock(ALICE)
    assert told(manager) == (*SEAT_0, "Lock")


def test_it_is_not_told_again_while_it_locks(
    driver: LightDMDriver, desk: Desk, manager: Somebody, logind: LogindMock, seat: Seat
) -> None:
    """Each word more would kill the greeter that is just starting."""
    for _ in range(5):
        driver.lock(ALICE)
        desk.later(2.0)
    desk.later(LOCK_AGAIN)
    driver.lock(ALICE)
    driver.trigger("marks", "the end")
    assert [told(manager)[2] for _ in range(3)] == ["Lock", "Lock", "SwitchToUser"]
    # A greeter was there: the next time is a time of its own.
    logind.session("c1", "lightdm", 113, **GREETER)
    look(desk, seat)
    assert driver.is_locked(ALICE)
    driver.lock(ALICE)
    assert told(manager)[2] == "Lock"


def test_a_lightdm_that_was_not_there_is_told_at_once_when_it_is(
    driver: LightDMDriver, desk: Desk, manager: Somebody
) -> None:
    manager.release(NAME)
    driver.lock(ALICE)
    desk.turn()
    assert manager.own(NAME) == 1
    driver.lock(ALICE)
    assert told(manager)[2] == "Lock"


def test_the_rest_says_nothing(driver: LightDMDriver, manager: Somebody) -> None:
    driver.settled()
    driver.cancel()
    driver.close()
    driver.close()
    driver.trigger("bob", "")
    assert told(manager)[-2:] == ("bob", "")


def test_a_refusal_or_no_lightdm_harms_nobody(
    driver: LightDMDriver, desk: Desk, manager: Somebody, daemon: Daemon
) -> None:
    driver.trigger("alice", "")
    manager.link.send(new_error(manager.question(), f"{NAME}.Error"))
    manager.sync()
    desk.turn()
    manager.release(NAME)
    assert driver.trigger("alice", "") and driver.lock(ALICE)
    desk.turn()
    daemon.kill()
    desk.turn(lambda: not desk.bus.ready)
    driver.trigger("alice", "")
    driver.lock(ALICE)
    desk.turn()
    assert not desk.bus.ready


def test_a_greeter_in_front_is_ready(
    driver: LightDMDriver, desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    assert not driver.ready("alice"), "before anybody has looked"
    look(desk, seat)
    assert not driver.ready("alice"), "LightDM knows no seat without a greeter"
    logind.session("c1", "lightdm", 113, **GREETER)
    look(desk, seat)
    assert driver.ready("alice")


def test_a_session_in_front_is_not_ready(
    driver: LightDMDriver, desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    logind.session("2", "alice", 4001, Type="x11")
    look(desk, seat)
    assert not driver.ready("alice")


def test_a_locked_session_lies_behind_a_greeter(
    driver: LightDMDriver, desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    path = logind.session("2", "alice", 4001, Type="x11")
    user = look(desk, seat).user
    assert user is not None and not driver.is_locked(user)
    logind.change(path, Active=False, State="online")
    logind.session("c1", "lightdm", 113, **GREETER)
    user = look(desk, seat).user
    assert user is not None and driver.is_locked(user) and driver.ready("alice")


def test_a_locker_inside_the_session_counts_too(driver: LightDMDriver) -> None:
    assert driver.is_locked(Seated("2", "alice", 4001, "x11", locked=True))


def test_it_is_not_ready_without_a_bus(
    driver: LightDMDriver, desk: Desk, daemon: Daemon, logind: LogindMock, seat: Seat
) -> None:
    logind.session("c1", "lightdm", 113, **GREETER)
    look(desk, seat)
    daemon.kill()
    desk.turn(lambda: not desk.bus.ready)
    assert not driver.ready("alice")


def test_the_judge_hears_when_the_bus_is_there(desk: Desk, seat: Seat) -> None:
    heard: list[bool] = []
    driver = LightDMDriver(GuestConfig(), desk.reactor, seat)
    driver.start(lambda: heard.append(True))
    desk.up()
    assert heard and (driver.service, driver.place, driver.token, driver.unlocks) == (
        "lightdm",
        "",
        False,
        True,
    )
    assert LightDMDriver(GuestConfig(service="other"), desk.reactor, seat).service == "other"


def test_a_session_behind_a_text_login_is_not_locked(
    driver: LightDMDriver, desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    """A key brings it to the front, without a greeter."""
    logind.session("2", "alice", 4001, Type="x11", Active=False, State="online")
    logind.session("3", "bob", 4002, Type="tty")
    alice = next(user for user in look(desk, seat).users if user.user == "alice")
    assert not driver.is_locked(alice)
