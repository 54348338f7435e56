"""The agent's bus against a real dbus-daemon: calls, names, signals, and all that others may send us."""

import os
import pwd
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_agent import open_fds
from dbus_bed import (
    THE_BUS,
    Daemon,
    Desk,
    MakeSomebody,
    Somebody,
    daemon,
    desk,
    make_daemon,
    make_somebody,
    silent_bus,
    somebody,
)
from hypothesis import given
from hypothesis import strategies as st
from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    new_error,
    new_method_call,
    new_method_return,
    new_signal,
)

from sso.guest import journal
from sso.guest.bus import CALL_SECONDS, DIAL_EVERY, MESSAGE_MAX, SERIALS, Bus, Incoming, Match

__all__ = ["daemon", "desk", "make_daemon", "make_somebody", "somebody"]

MALLORY = pwd.getpwnam("nobody").pw_uid
NAME = "org.example.Screen"
ITEM = DBusAddress("/org/example/screen/item", NAME, f"{NAME}.Item")
CHANGED = Match(NAME, f"{NAME}.Item", "Changed", "/org/example/screen")


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the agent says of its bus."""
    said: list[str] = []
    monkeypatch.setattr("sso.guest.bus.note", lambda id, **values: said.append(id))
    return said


@pytest.fixture
def hints(desk: Desk) -> list[str]:
    """Filled when the signal that we wait for comes, or its sender."""
    hints: list[str] = []
    desk.bus.match(CHANGED, lambda: hints.append("hint"))
    return hints


def asked(desk: Desk, somebody: Somebody) -> tuple[list[Any], Any]:
    """Where the answer will be, and the question that somebody has got."""
    answers = desk.ask(DBusAddress("/", somebody.name, "org.example.Ask"), "Ask")
    return answers, somebody.question()


def own_name(desk: Desk) -> str:
    """Our unique name, as the bus tells it."""
    desk.bus.own("org.example.Me")
    desk.turn(lambda: "org.example.Me" in desk.bus.owned)
    answers = desk.ask(THE_BUS, "GetNameOwner", "s", "org.example.Me")
    desk.turn(lambda: answers)
    return str(answers[0][0])


def unreadable(message: Message) -> bytes:
    """With a body that names a descriptor where there is none: the bus lets it pass."""
    octets: bytes = message.serialise(serial=99)
    assert octets.count(b"\x08\x01g\x00\x01u\x00") == 1
    return octets.replace(b"\x08\x01g\x00\x01u\x00", b"\x08\x01g\x00\x01h\x00")


def of_unknown_kind(message: Message) -> bytes:
    octets = bytearray(message.serialise(serial=99))
    octets[1] = 5
    return bytes(octets)


def with_unknown_field(message: Message) -> bytes:
    """A header field of the future, which a program has to pass over (D-Bus specification)."""
    octets: bytes = message.serialise(serial=99)
    (length,) = struct.unpack("<I", octets[12:16])
    end = 16 + length
    fields = octets[16:end] + bytes(-end % 8) + b"\x2a\x01s\x00" + struct.pack("<I", 3) + b"new\x00"
    head = octets[:12] + struct.pack("<I", len(fields)) + fields
    return head + bytes(-len(head) % 8) + octets[end + -end % 8 :]


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


# What anybody may send


@pytest.mark.parametrize("change", [unreadable, of_unknown_kind, with_unknown_field])
def test_what_we_do_not_understand_is_passed_over(
    change: Callable[[Message], bytes],
    desk: Desk,
    hints: list[str],
    make_somebody: MakeSomebody,
    notes: list[str],
) -> None:
    screen, stranger = make_somebody(), make_somebody()
    screen.own(NAME)
    desk.up().turn()
    message = new_signal(ITEM, "Changed", "u", (7,))
    message.header.fields[HeaderFields.destination] = own_name(desk)
    stranger.octets(change(message))
    stranger.sync()
    desk.turn()
    screen.signal(ITEM, "Changed")
    desk.turn(lambda: hints)
    assert desk.bus.ready and notes == ["bus-back"] and hints == ["hint"]


@pytest.mark.parametrize("size", [MESSAGE_MAX, 2 * 1024 * 1024, 16 * 1024 * 1024])
def test_a_message_that_is_too_long_is_passed_over(
    size: int, desk: Desk, hints: list[str], make_somebody: MakeSomebody, notes: list[str]
) -> None:
    screen, stranger = make_somebody(), make_somebody()
    screen.own(NAME)
    desk.up().turn()
    ours = own_name(desk)
    most = []
    stranger.link.sock.setblocking(False)
    message = new_signal(ITEM, "Changed", "ay", (bytes(size),))
    message.header.fields[HeaderFields.destination] = ours
    data = memoryview(message.serialise(serial=99))
    while data:
        if select.select([], [stranger.link.sock], [], 0)[1]:
            data = data[stranger.link.sock.send(data[:65536]) :]
        desk.reactor.turn(0.0)
        most.append(len(desk.bus._incoming._data))
    stranger.link.sock.setblocking(True)
    stranger.sync()
    desk.turn()
    assert desk.bus.ready and not hints and notes == ["bus-back"]
    assert max(most) <= MESSAGE_MAX + 65536
    screen.signal(ITEM, "Changed")
    desk.turn(lambda: hints)


def test_a_call_from_others_gets_nothing(desk: Desk, somebody: Somebody) -> None:
    desk.up().turn()
    address = DBusAddress("/", own_name(desk), "org.freedesktop.DBus.Peer")
    before = desk.bus._serial
    somebody.link.send(new_method_call(address, "Ping"))
    somebody.sync()
    desk.turn()
    assert desk.bus.ready
    assert desk.bus._serial - before <= 2, "our own questions of this test"


def test_a_flood_does_not_keep_the_loop(desk: Desk, hints: list[str], somebody: Somebody) -> None:
    """Timers and replies come through between the signals of a flood, and nothing of it is kept."""
    desk.up().turn()
    ours = own_name(desk)
    for _ in range(2000):
        somebody.signal(ITEM, "Changed", ours, "s", "x" * 100)
    ticks: list[int] = []
    desk.reactor.after(0.0, lambda: ticks.append(1))
    desk.reactor.turn(0.05)
    assert ticks == [1]
    somebody.sync()
    desk.turn()
    assert desk.bus.ready and not hints and not desk.bus._incoming._data and not desk.bus._calls


@pytest.mark.e2e
def test_another_user_of_the_machine_reaches_nothing(
    desk: Desk, hints: list[str], make_somebody: MakeSomebody, notes: list[str]
) -> None:
    """With the system bus's own policy: her signals come to us and count for nothing, the rest is refused."""
    screen, mallory = make_somebody(), make_somebody(MALLORY)
    screen.own(NAME)
    answers, question = asked(desk.up(), screen)
    ours = str(question.header.fields[HeaderFields.sender])
    mallory.signal(ITEM, "Changed", ours)
    mallory.signal(ITEM, "Changed", ours, "ay", bytes(MESSAGE_MAX))
    mallory.link.send(new_method_return(question, "s", ("forged",)))
    refused = [
        mallory.ask(DBusAddress("/", ours, "org.freedesktop.DBus.Peer"), "Ping"),
        mallory.ask(THE_BUS, "RequestName", "su", "org.freedesktop.login1", 2),
    ]
    assert all(reply.header.message_type is MessageType.error for reply in refused)
    mallory.sync()
    desk.turn()
    assert not hints and not answers and notes == ["bus-back"]
    screen.link.send(new_method_return(question, "s", ("true",)))
    screen.signal(ITEM, "Changed")
    desk.turn(lambda: answers and hints)
    assert answers == [("true",)]


# A daemon that is none


@pytest.fixture
def false_bus(tmp_path: Path) -> Iterator[tuple[Desk, socket.socket]]:
    """A listener in place of the bus."""
    with silent_bus(tmp_path / "false") as door:
        desk = Desk(f"unix:path={tmp_path}/false")
        yield desk, door
        desk.close()


def hello_answered() -> bytes:
    """The reply to our first call."""
    question = new_method_call(THE_BUS, "Hello")
    question.header.serial = 1
    answer = new_method_return(question, "s", (":1.1",))
    answer.header.fields[HeaderFields.sender] = THE_BUS.bus_name
    octets: bytes = answer.serialise(serial=1)
    return octets


GOOD = b"OK 1234deadbeef\r\n"


@pytest.mark.parametrize("step", ["OK", "Hello"])
def test_garbage_at_every_octet_ends_in_a_clean_redial(
    step: str, false_bus: tuple[Desk, socket.socket]
) -> None:
    desk, door = false_bus
    good = GOOD if step == "OK" else hello_answered()
    before = open_fds()
    for at in range(len(good) + 1):
        for garbage in (b"", b"\x00", b"\xff" * 64, b"\r\n", b"l\x02\x00\x01" + b"\xff" * 12, good):
            desk.bus.open()
            peer, _ = door.accept()
            with peer:
                if step == "Hello":
                    peer.sendall(GOOD)
                    desk.turn(lambda: desk.bus._login is None)
                peer.sendall(good[:at] + garbage)
                desk.reactor.turn(0.0)
            for _ in range(20):
                if desk.bus._link is None:
                    break
                desk.reactor.turn(0.0)
            assert desk.bus._link is None and not desk.bus.ready and not desk.bus._calls
            assert open_fds() == before
            desk.bus.close()


@given(st.binary(max_size=200))
def test_any_octets_from_a_bus_that_has_greeted(said: bytes) -> None:
    desk = Desk("unix:path=/nonexistent")
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        desk.bus._link, desk.bus.ready = ours, True
        desk.reactor.watch(ours.fileno(), desk.bus._read)
        theirs.sendall(said)
        desk.reactor.turn(0.0)
    for _ in range(5):
        desk.reactor.turn(0.0)
    assert not desk.bus.ready and desk.bus._link is None
    desk.close()


@pytest.mark.parametrize("said", [b"", GOOD, b"OK"])
def test_a_bus_that_does_not_greet_is_left(said: bytes, false_bus: tuple[Desk, socket.socket]) -> None:
    desk, door = false_bus
    desk.bus.open()
    peer, _ = door.accept()
    with peer:
        peer.sendall(said)
        desk.reactor.turn(0.05)
        desk.later(CALL_SECONDS)
        assert desk.bus._link is None
    desk.later(DIAL_EVERY)
    peer, _ = door.accept()
    peer.close()


@pytest.mark.parametrize("body", [(), ("a", "b"), ("a", "b", "c", "d")])
def test_a_bus_that_speaks_nonsense_of_names(
    body: tuple[str, ...], false_bus: tuple[Desk, socket.socket]
) -> None:
    desk, door = false_bus
    desk.bus.match(CHANGED, lambda: None)
    desk.bus.open()
    peer, _ = door.accept()
    with peer:
        peer.sendall(GOOD)
        desk.turn(lambda: desk.bus._login is None)
        peer.sendall(hello_answered())
        desk.turn(lambda: desk.bus.ready)
        for member in ("NameOwnerChanged", "NameAcquired", "NameLost"):
            message = new_signal(THE_BUS, member, "s" * len(body) or None, body)
            message.header.fields[HeaderFields.sender] = THE_BUS.bus_name
            peer.sendall(message.serialise(serial=2))
        desk.reactor.turn(0.05)
        assert desk.bus.ready and not desk.bus.owned


def test_the_length_of_a_message_is_legal() -> None:
    with pytest.raises(ValueError, match="no message"):
        list(Incoming().feed(b"l\x04\x00\x01" + b"\xff" * 12))


@given(st.lists(st.integers(1, 300), max_size=8), st.integers(1, 97))
def test_messages_come_out_whole_at_every_cut(sizes: list[int], cut: int) -> None:
    messages = [new_signal(ITEM, "Changed", "s", ("x" * size,)).serialise(serial=7) for size in sizes]
    too_long = new_signal(ITEM, "Changed", "ay", (bytes(MESSAGE_MAX),)).serialise(serial=7)
    whole = too_long.join([b"", *messages, b""])
    incoming = Incoming()
    step = cut * 64
    found = [raw for at in range(0, len(whole), step) for raw in incoming.feed(whole[at : at + step])]
    assert found == messages


def test_every_word_of_the_bus_is_explained() -> None:
    assert {"bus-lost", "bus-back", "bus-name-refused"} <= set(journal.MESSAGE_IDS)
    assert Bus.close.__doc__
