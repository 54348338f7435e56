"""The GDM driver on a real bus: who hears the signal, and when it is sent. GNOME's part: tests/flows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_dbus import (
    ITEM,
    STRANGER,
    THE_BUS,
    Daemon,
    Desk,
    MakeDaemon,
    Somebody,
    daemon,
    desk,
    make_daemon,
    make_somebody,
    somebody,
)
from beds_logind import LogindMock, logind, look, seat
from jeepney import HeaderFields, MessageType

from sso.guest.config import GuestConfig
from sso.guest.screens.gdm import NAME, GDMDriver
from sso.guest.seat.logind import Seat, Seated

__all__ = ["daemon", "desk", "logind", "make_daemon", "make_somebody", "seat", "somebody"]

TOKEN = "0123456789abcdef" * 4
POLICY = Path(__file__).resolve().parents[3] / "data/dbus-1/system.d/org.ovirt.vdsm.Credentials.conf"
ALICE: dict[str, Any] = {"Type": "wayland", "Service": "gdm-ovirtcred"}
GREETER: dict[str, Any] = {"Type": "wayland", "Class": "greeter"}


@pytest.fixture
def driver(desk: Desk, seat: Seat) -> Iterator[GDMDriver]:
    """A driver on the bus, with its name."""
    driver = GDMDriver(GuestConfig(), desk.reactor, seat)
    driver.start(lambda: None)
    desk.up().turn(lambda: NAME in desk.bus.owned)
    yield driver
    driver.close()
    driver.close()


def listen(somebody: Somebody) -> None:
    """Hear the signal as a greeter does: by the well-known name."""
    somebody.call(THE_BUS, "AddMatch", "s", f"type='signal',sender='{NAME}',interface='{NAME}'")


def heard(somebody: Somebody) -> Any:
    while (message := somebody.answer()).header.fields.get(HeaderFields.interface) != NAME:
        pass
    return message


def test_the_signal_is_gnome_shell_s(driver: GDMDriver, somebody: Somebody) -> None:
    listen(somebody)
    assert driver.trigger("alice", TOKEN)
    message = heard(somebody)
    assert message.body == (TOKEN,) and message.header.fields == {
        HeaderFields.path: "/org/ovirt/vdsm/Credentials",
        HeaderFields.interface: "org.ovirt.vdsm.Credentials",
        HeaderFields.member: "UserAuthenticated",
        HeaderFields.signature: "s",
        HeaderFields.sender: somebody.owner(NAME),
    }


def test_nothing_is_sent_before_it_is_triggered(driver: GDMDriver, desk: Desk, somebody: Somebody) -> None:
    listen(somebody)
    driver.settled()
    driver.cancel()
    desk.turn()
    somebody.sync()
    driver.trigger("alice", TOKEN)
    assert heard(somebody).body == (TOKEN,)


def test_without_a_bus_nobody_could_be_told(driver: GDMDriver, desk: Desk, daemon: Daemon) -> None:
    daemon.kill()
    desk.turn(lambda: not desk.bus.ready)
    assert not driver.trigger("alice", TOKEN)


def test_a_greeter_in_front_is_ready(driver: GDMDriver, desk: Desk, logind: LogindMock, seat: Seat) -> None:
    logind.session("c1", "Debian-gdm", 112, **GREETER)
    look(desk, seat)
    assert driver.ready("alice") and driver.ready("bob")


def test_an_unlocked_session_is_never_told(
    driver: GDMDriver, desk: Desk, logind: LogindMock, seat: Seat
) -> None:
    """The signal would be lost there, and the first one of the next lock with it."""
    path = logind.session("2", "alice", 4001, **ALICE)
    look(desk, seat)
    assert not driver.ready("alice") and not driver.ready("bob")
    logind.change(path, LockedHint=True)
    look(desk, seat)
    assert driver.ready("alice") and not driver.ready("bob"), "only alice's session can be unlocked there"
    logind.change(path, LockedHint=False)
    look(desk, seat)
    assert not driver.ready("alice")


def test_nobody_in_front_is_not_ready(driver: GDMDriver, desk: Desk, logind: LogindMock, seat: Seat) -> None:
    look(desk, seat)
    assert not driver.ready("alice")
    logind.session("2", "alice", 4001, LockedHint=True, **ALICE)
    logind.front("", "/")
    look(desk, seat)
    assert not driver.ready("alice")


def test_no_logind_is_not_ready(driver: GDMDriver, desk: Desk, seat: Seat) -> None:
    look(desk, seat)
    assert not driver.ready("alice")


def test_another_owner_of_the_name_makes_it_wait(
    desk: Desk, logind: LogindMock, seat: Seat, somebody: Somebody
) -> None:
    """An agent that is just ending; as soon as it is gone the judge hears of it."""
    logind.session("c1", "Debian-gdm", 112, **GREETER)
    somebody.own(NAME)
    changed: list[bool] = []
    driver = GDMDriver(GuestConfig(), desk.reactor, seat)
    driver.start(lambda: changed.append(driver.ready("alice")))
    desk.up()
    look(desk, seat)
    assert not driver.ready("alice")
    somebody.release(NAME)
    desk.turn(lambda: NAME in desk.bus.owned)
    assert changed[-1] and driver.ready("alice")


def test_it_is_ready_again_when_the_bus_is(
    driver: GDMDriver, desk: Desk, daemon: Daemon, seat: Seat, tmp_path: Path
) -> None:
    daemon.kill()
    desk.turn(lambda: not desk.bus.ready)
    assert not driver.ready("alice")
    daemon.start()
    mock = LogindMock(daemon, tmp_path)
    try:
        mock.seat()
        mock.session("c1", "Debian-gdm", 112, **GREETER)
        desk.later(5.0)
        desk.turn(lambda: driver.ready("alice"))
    finally:
        mock.close()


def test_locking_is_logind_s_part(driver: GDMDriver) -> None:
    alice = Seated("2", "alice", 4001, "wayland")
    assert not driver.lock(alice) and not driver.is_locked(alice)
    assert driver.is_locked(Seated("2", "alice", 4001, "wayland", locked=True))
    # A session behind another one keeps its lock's state: it may be brought to the front without PAM.
    assert not driver.is_locked(Seated("2", "alice", 4001, "wayland", active=False))


def test_the_service_is_the_hooks_unless_told_otherwise(desk: Desk, seat: Seat) -> None:
    assert GDMDriver(GuestConfig(), desk.reactor, seat).service == "gdm-ovirtcred"
    assert GDMDriver(GuestConfig(service="other"), desk.reactor, seat).service == "other"
    assert GDMDriver.token and GDMDriver.unlocks and GDMDriver.retry == 15.0


# The policy that is installed


@pytest.mark.e2e
def test_others_may_hear_and_may_not_be_it(make_daemon: Callable[[str], Daemon]) -> None:
    """The bus refuses another user the name, and lets that user hear what root says."""
    daemon = make_daemon(f"<include>{POLICY}</include>")
    desk, mallory = Desk(daemon.address), Somebody(daemon.address, STRANGER)
    driver = GDMDriver(GuestConfig(), desk.reactor, Seat(desk.reactor, desk.bus))
    driver.start(lambda: None)
    assert mallory.ask(THE_BUS, "RequestName", "su", NAME, 0).header.message_type is MessageType.error
    desk.up().turn(lambda: NAME in desk.bus.owned)
    listen(mallory)
    driver.trigger("alice", TOKEN)
    assert heard(mallory).body == (TOKEN,)
    mallory.close()
    desk.close()


@pytest.mark.e2e
def test_others_may_send_the_agent_nothing(make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the policy: not even a signal of another user reaches us, neither by name nor by number."""
    daemon = make_daemon(f"<include>{POLICY}</include>")
    desk, mallory = Desk(daemon.address), Somebody(daemon.address, STRANGER)
    desk.bus.own(NAME)
    desk.up().turn(lambda: NAME in desk.bus.owned)
    came: list[bytes] = []
    monkeypatch.setattr(desk.bus, "_signal", lambda header, raw: came.append(raw))
    for to in (NAME, mallory.owner(NAME)):
        mallory.signal(ITEM, "Changed", to)
    mallory.sync()
    desk.turn()
    assert not came
    mallory.close()
    desk.close()
