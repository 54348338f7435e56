"""The agent's bus against a real dbus-daemon: calls, names, signals, and all that others may send us."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beds_agent import open_fds
from beds_dbus import (
    ITEM,
    NAME,
    THE_BUS,
    Daemon,
    Desk,
    MakeSomebody,
    Somebody,
    asked,
    own_name,
    unreadable,
)
from jeepney import (
    DBusAddress,
    HeaderFields,
    new_error,
    new_method_return,
    new_signal,
)

from sso.guest import log
from sso.guest.seat.bus import CALL_SECONDS, DIAL_EVERY, SERIALS, Bus, Match

# Calls


def test_a_call_gets_its_reply(desk: Desk) -> None:
    desk.up()
    answers = desk.ask(THE_BUS, "NameHasOwner", "s", THE_BUS.bus_name)
    assert not answers, "before the call has returned"
    desk.turn(lambda: answers)
    assert answers == [(True,)]


def test_an_error_is_none(desk: Desk, somebody: Somebody) -> None:
    answers, question = asked(desk.up(), somebody)
    somebody.link.send(new_error(question, "org.example.No"))
    desk.turn(lambda: answers)
    assert answers == [None]


def test_nobody_of_that_name_is_none(desk: Desk) -> None:
    desk.up()
    answers = desk.ask(DBusAddress("/", "org.example.Nobody", "org.example.No"), "Ask")
    desk.turn(lambda: answers)
    assert answers == [None]


def test_a_late_reply_is_none_once(desk: Desk, somebody: Somebody) -> None:
    answers, question = asked(desk.up(), somebody)
    desk.later(CALL_SECONDS - 0.1)
    assert not answers
    desk.later(0.2)
    assert answers == [None]
    somebody.link.send(new_method_return(question, "s", ("late",)))
    somebody.sync()
    desk.turn()
    assert answers == [None] and desk.bus.ready


def test_a_body_that_cannot_be_read_is_none(desk: Desk, somebody: Somebody) -> None:
    answers, question = asked(desk.up(), somebody)
    somebody.octets(unreadable(new_method_return(question, "u", (7,))))
    desk.turn(lambda: answers)
    assert answers == [None] and desk.bus.ready


def test_the_serials_begin_anew(desk: Desk) -> None:
    desk.up()
    desk.bus._serial = SERIALS - 1
    answers: list[Any] = []
    for _ in range(4):
        desk.bus.call(THE_BUS, "GetId", done=answers.append)
    desk.turn(lambda: len(answers) == 4)
    assert None not in answers and desk.bus.ready


def test_a_forged_reply_does_not_arrive(desk: Desk, make_somebody: MakeSomebody) -> None:
    """The bus lets only those replies pass that somebody waits for, so our serials may be guessed."""
    slow, forger = make_somebody(), make_somebody()
    answers, question = asked(desk.up(), slow)
    forger.link.send(new_method_return(question, "s", ("forged",)))
    forger.sync()
    desk.turn()
    assert not answers
    slow.link.send(new_method_return(question, "s", ("true",)))
    desk.turn(lambda: answers)
    assert answers == [("true",)]


def test_a_call_without_a_bus_is_none_and_not_at_once(tmp_path: Path) -> None:
    desk = Desk(f"unix:path={tmp_path}/nothing")
    desk.bus.open()
    answers = desk.ask(THE_BUS, "GetId")
    assert not answers and not desk.bus.emit(ITEM, "Changed", "", ())
    desk.later(0.0)
    assert answers == [None]
    desk.close()


# The bus comes and goes


@pytest.mark.parametrize("address", ["", "nonsense", "tcp:host=localhost", "unix:", "unix:tmpdir=/tmp"])
def test_an_address_that_is_none_is_no_bus(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "nonsense")
    desk = Desk(address)
    before = open_fds()
    for _ in range(3):
        desk.bus.open()
        desk.later(DIAL_EVERY)
    assert not desk.bus.ready and open_fds() == before
    desk.close()


def test_a_bus_that_comes_later(make_daemon: Callable[[], Daemon], tmp_path: Path) -> None:
    desk = Desk(f"unix:path={tmp_path}/bus")
    ready: list[bool] = []
    desk.bus.when_ready(lambda: ready.append(desk.bus.ready))
    desk.bus.open()
    desk.later(DIAL_EVERY)
    assert not ready
    make_daemon()
    desk.later(DIAL_EVERY)
    desk.turn(lambda: ready)
    assert ready == [True]
    desk.close()


def test_a_bus_that_dies_and_comes_back(
    daemon: Daemon, desk: Desk, hints: list[str], notes: list[str]
) -> None:
    desk.bus.own("org.example.Ours")
    desk.up().turn(lambda: desk.bus.owned)
    daemon.pause()
    waiting = desk.ask(THE_BUS, "GetId")
    daemon.kill()
    desk.turn(lambda: not desk.bus.ready)
    assert waiting == [None] and not desk.bus.owned and notes == ["bus-back", "bus-lost"]
    daemon.start()
    desk.later(DIAL_EVERY)
    desk.turn(lambda: "org.example.Ours" in desk.bus.owned)
    screen = Somebody(daemon.address)
    screen.own(NAME)
    desk.turn(lambda: hints)
    hints.clear()
    screen.signal(ITEM, "Changed")
    desk.turn(lambda: hints)
    screen.close()
    assert notes == ["bus-back", "bus-lost", "bus-back"]


@pytest.mark.parametrize("left", range(5))
def test_a_bus_that_dies_before_it_told_who_owns_a_name(
    daemon: Daemon, desk: Desk, hints: list[str], left: int
) -> None:
    """Whatever it left unsaid is asked again of the next one."""
    desk.bus.open()
    desk.turn(lambda: desk.bus.ready)
    for _ in range(left):
        desk.reactor.turn(0.01)
    daemon.kill()
    desk.turn(lambda: not desk.bus.ready)
    daemon.start()
    screen = Somebody(daemon.address)
    screen.own(NAME)
    desk.later(DIAL_EVERY)
    desk.turn(lambda: desk.bus.ready)
    desk.turn()
    screen.signal(ITEM, "Changed")
    desk.turn(lambda: hints)
    screen.close()


def test_a_bus_that_stands_still_does_not_hold_us(
    daemon: Daemon, desk: Desk, somebody: Somebody, hints: list[str]
) -> None:
    desk.up().turn()
    daemon.pause()
    answers = desk.ask(DBusAddress("/", somebody.name, "org.example.Ask"), "Ask")
    ticks: list[int] = []
    desk.reactor.after(1.0, lambda: ticks.append(1))
    desk.later(1.0)
    assert ticks == [1] and not answers
    desk.later(CALL_SECONDS)
    assert answers == [None]
    daemon.resume()
    desk.turn()
    assert desk.bus.ready


def test_a_bus_that_is_late_itself_is_dialled_again(
    daemon: Daemon, desk: Desk, hints: list[str], notes: list[str]
) -> None:
    """What it would have said of names is missing, so we would be deaf for ever."""
    desk.bus.open()
    desk.turn(lambda: desk.bus.ready)
    daemon.pause()
    desk.bus.match(Match("org.example.Other", "org.example.Other", "Changed"), lambda: None)
    desk.later(CALL_SECONDS)
    assert not desk.bus.ready and notes == ["bus-back", "bus-lost"]
    daemon.resume()
    desk.later(DIAL_EVERY)
    desk.turn(lambda: desk.bus.ready)


def test_a_bus_that_reads_nothing_is_lost(daemon: Daemon, desk: Desk) -> None:
    desk.up().turn()
    daemon.pause()
    for _ in range(10_000):
        desk.bus.emit(ITEM, "Changed", "s", ("x" * 4096,))
        desk.later(0.0)
        if not desk.bus.ready:
            break
    assert not desk.bus.ready
    daemon.resume()
    desk.later(DIAL_EVERY)
    desk.turn(lambda: desk.bus.ready)


@pytest.mark.slow
def test_a_thousand_reconnections_leak_nothing(desk: Desk, hints: list[str]) -> None:
    desk.bus.own("org.example.Ours")
    desk.up().turn()
    before = open_fds()
    for _ in range(1000):
        desk.bus._lost("test")
        desk.later(DIAL_EVERY)
        desk.turn(lambda: desk.bus.ready)
    assert open_fds() == before
    assert len(desk.reactor._timers) < 100 and len(desk.bus._calls) < 10


# Names


def test_a_name_is_ours_and_lost_and_ours_again(desk: Desk, somebody: Somebody, notes: list[str]) -> None:
    allow_replacement, replace_existing = 1, 2
    somebody.own("org.example.Ours", allow_replacement)
    ready: list[bool] = []
    desk.bus.when_ready(lambda: ready.append(bool(desk.bus.owned)))
    desk.bus.own("org.example.Ours")
    desk.up().turn()
    assert not desk.bus.owned and "bus-name-refused" in notes and ready == [False]
    somebody.release("org.example.Ours")
    desk.turn(lambda: desk.bus.owned)
    assert ready == [False, True] and somebody.owner("org.example.Ours") != somebody.name
    # Ours is for nobody to take.
    assert somebody.own("org.example.Ours", replace_existing) == 2


def test_a_name_that_the_bus_forbids(make_daemon: Callable[[str], Daemon], notes: list[str]) -> None:
    daemon = make_daemon(f'<policy user="{os.geteuid()}"><deny own="org.example.Ours"/></policy>')
    desk = Desk(daemon.address)
    desk.up().bus.own("org.example.Ours")
    desk.turn()
    assert not desk.bus.owned and notes == ["bus-back", "bus-name-refused"]
    desk.close()


def test_a_hang_up_is_no_refusal_of_a_name(daemon: Daemon, desk: Desk, notes: list[str]) -> None:
    desk.up()
    daemon.pause()
    desk.bus.own("org.example.Ours")
    desk.later(CALL_SECONDS)
    assert notes == ["bus-back", "bus-lost"]
    daemon.resume()


def test_names_of_others_are_not_ours(desk: Desk) -> None:
    """The bus tells us our unique name in the same way."""
    desk.up().turn()
    assert not desk.bus.owned


# Signals


def test_the_owners_signals_count(desk: Desk, hints: list[str], make_somebody: MakeSomebody) -> None:
    screen = make_somebody()
    screen.own(NAME)
    desk.up().turn()
    screen.signal(ITEM, "Changed", "", "s", "whatever it says")
    desk.turn(lambda: hints)
    assert hints == ["hint"]


@pytest.mark.parametrize(
    "emitter",
    [
        DBusAddress("/org/example/screenless", NAME, f"{NAME}.Item"),
        DBusAddress("/org/example", NAME, f"{NAME}.Item"),
        DBusAddress("/org/example/screen", NAME, f"{NAME}.Other"),
    ],
)
def test_other_signals_of_the_owner_do_not_count(
    emitter: DBusAddress, desk: Desk, hints: list[str], somebody: Somebody
) -> None:
    somebody.own(NAME)
    desk.up().turn()
    desk.bus.match(Match(NAME, f"{NAME}.Other", "Another"), lambda: None)
    ours = own_name(desk)
    somebody.signal(emitter, "Changed")
    somebody.signal(emitter, "Changed", ours)
    somebody.signal(ITEM, "Unchanged", ours)
    somebody.sync()
    desk.turn()
    assert not hints


def test_forged_signals_do_not_count(desk: Desk, hints: list[str], make_somebody: MakeSomebody) -> None:
    screen, forger = make_somebody(), make_somebody()
    for name in (NAME, "org.example.Ours"):
        screen.own(name)
    desk.bus.own("org.example.Ours")
    desk.up().turn()
    ours = own_name(desk)
    for to in ("", ours):
        forger.signal(ITEM, "Changed", to)
        forger.signal(THE_BUS, "NameOwnerChanged", to, "sss", NAME, screen.name, forger.name)
        forger.signal(ITEM, "Changed", to)
        forger.signal(THE_BUS, "NameAcquired", to, "s", "org.example.Ours")
    message = new_signal(ITEM, "Changed")
    message.header.fields[HeaderFields.sender] = screen.name
    message.header.fields[HeaderFields.destination] = ours
    forger.link.send(message)
    forger.sync()
    desk.turn()
    assert not hints and "org.example.Ours" not in desk.bus.owned and desk.bus.ready


def test_the_sender_may_be_another_process(desk: Desk, hints: list[str], make_somebody: MakeSomebody) -> None:
    """It is what logind's restart looks like; what the new one did before we knew it may be lost."""
    first, second = make_somebody(), make_somebody()
    first.own(NAME)
    desk.up().turn()
    first.release(NAME)
    second.own(NAME)
    desk.turn(lambda: len(hints) == 2)
    first.signal(ITEM, "Changed", own_name(desk))
    first.sync()
    desk.turn()
    assert len(hints) == 2
    second.signal(ITEM, "Changed")
    desk.turn(lambda: len(hints) == 3)


def test_every_word_of_the_bus_is_explained() -> None:
    assert {"bus-lost", "bus-back", "bus-name-refused"} <= set(log.MESSAGE_IDS)
    assert Bus.close.__doc__
