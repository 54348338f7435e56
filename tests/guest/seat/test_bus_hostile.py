"""What others may send to the agent's bus, and a bus that is none: nothing of it counts, nothing is kept."""

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beds_agent import open_fds
from beds_dbus import (
    CHANGED,
    ITEM,
    NAME,
    STRANGER,
    THE_BUS,
    Desk,
    MakeSomebody,
    Somebody,
    asked,
    own_name,
    silent_bus,
    unreadable,
)
from hypothesis import given
from hypothesis import strategies as st
from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    Parser,
    new_error,
    new_method_call,
    new_method_return,
    new_signal,
)

from sso.guest.seat.bus import CALL_SECONDS, DIAL_EVERY, MESSAGE_MAX, Incoming


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
    """With the system bus's own policy: mallory's signals change nothing here; all else is refused."""
    screen, mallory = make_somebody(), make_somebody(STRANGER)
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


def hello_answered(serial: int = 1) -> bytes:
    """The reply to Hello."""
    question = new_method_call(THE_BUS, "Hello")
    question.header.serial = serial
    answer = new_method_return(question, "s", (":1.1",))
    answer.header.fields[HeaderFields.sender] = THE_BUS.bus_name
    octets: bytes = answer.serialise(serial=1)
    return octets


GOOD = b"OK 1234deadbeef\r\n"


@pytest.mark.parametrize("step", ["OK", "Hello"])
def test_garbage_at_every_byte_ends_in_a_clean_redial(
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
def test_any_bytes_from_a_bus_that_has_greeted(said: bytes) -> None:
    desk = Desk("unix:path=/nonexistent")
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        desk.bus._link, desk.bus.ready = ours, True
        desk.reactor.readable(ours.fileno(), desk.bus._read)
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


@pytest.fixture
def greeted(false_bus: tuple[Desk, socket.socket]) -> Iterator[tuple[Desk, socket.socket]]:
    """A loop on a false bus, whose end the test holds, after the greeting."""
    desk, door = false_bus
    desk.bus.match(CHANGED, lambda: None)
    desk.bus.own("org.example.Ours")
    with greet(desk, door, hello_answered()) as peer:
        desk.turn(lambda: desk.bus.ready)
        yield desk, peer


def greet(desk: Desk, door: socket.socket, answer: bytes) -> socket.socket:
    """Let the loop dial and say Hello, and answer that."""
    if desk.bus._timer is None:
        desk.bus.open()
    else:
        desk.later(DIAL_EVERY)
    peer, _ = door.accept()
    peer.sendall(GOOD)
    desk.turn(lambda: desk.bus._login is None)
    peer.sendall(answer)
    desk.reactor.turn(0.05)
    return peer


def from_the_bus(member: str, *words: str) -> bytes:
    """A signal of the bus itself."""
    message = new_signal(THE_BUS, member, "s" * len(words) or None, words)
    message.header.fields[HeaderFields.sender] = THE_BUS.bus_name
    octets: bytes = message.serialise(serial=2)
    return octets


def asked_for(peer: socket.socket) -> set[str]:
    """The methods that were called since the last time."""
    return {raw.header.fields[HeaderFields.member] for raw in Parser().feed(peer.recv(65536))}


@pytest.mark.parametrize("words", [(), ("a", "b"), ("a", "b", "c", "d")])
def test_a_bus_that_speaks_nonsense_of_names(
    words: tuple[str, ...], greeted: tuple[Desk, socket.socket]
) -> None:
    desk, peer = greeted
    for member in ("NameOwnerChanged", "NameAcquired", "NameLost"):
        peer.sendall(from_the_bus(member, *words))
    desk.reactor.turn(0.05)
    assert desk.bus.ready and not desk.bus.owned


def test_a_name_can_be_lost(greeted: tuple[Desk, socket.socket]) -> None:
    desk, peer = greeted
    peer.sendall(from_the_bus("NameAcquired", "org.example.Ours"))
    desk.turn(lambda: desk.bus.owned)
    peer.sendall(from_the_bus("NameLost", "org.example.Ours"))
    desk.turn(lambda: not desk.bus.owned)


@pytest.mark.parametrize("change", [of_unknown_kind, with_unknown_field])
def test_a_header_of_the_future_is_passed_over(
    change: Callable[[Message], bytes], greeted: tuple[Desk, socket.socket]
) -> None:
    """This dbus-daemon drops such messages, or what is unknown of them; another may not."""
    desk, peer = greeted
    peer.sendall(change(new_signal(ITEM, "Changed", "u", (7,))))
    peer.sendall(from_the_bus("NameAcquired", "org.example.Ours"))
    desk.turn(lambda: desk.bus.owned)


def test_a_reply_to_no_number(greeted: tuple[Desk, socket.socket]) -> None:
    desk, peer = greeted
    fields = b"\x05\x02au\x00\x00\x00\x00" + struct.pack("<II", 4, 1)  # where a number is expected
    peer.sendall(b"l\x02\x00\x01" + struct.pack("<III", 0, 9, len(fields)) + fields)
    peer.sendall(from_the_bus("NameAcquired", "org.example.Ours"))
    desk.turn(lambda: desk.bus.owned)


def test_the_next_bus_is_asked_for_what_this_one_left_unsaid(
    false_bus: tuple[Desk, socket.socket],
) -> None:
    desk, door = false_bus
    desk.bus.match(CHANGED, lambda: None)
    for _ in range(3):
        with greet(desk, door, hello_answered(desk.bus._serial + 1)) as peer:
            desk.turn(lambda: desk.bus.ready)
            peer.recv(len(b"\0AUTH EXTERNAL \r\n") + 2 * len(str(os.geteuid())) + len(b"BEGIN\r\n"))
            assert {"Hello", "AddMatch", "GetNameOwner"} <= asked_for(peer)
        desk.turn(lambda: desk.bus._link is None)


def test_what_comes_with_a_refusal_is_not_taken(false_bus: tuple[Desk, socket.socket]) -> None:
    """A bus that answers Hello with an error is left; what it said in the same breath is of the past."""
    desk, door = false_bus
    desk.bus.own("org.example.Ours")
    refused = new_error(new_method_call(THE_BUS, "Hello"), "org.example.No")
    refused.header.fields[HeaderFields.reply_serial] = 1
    octets = refused.serialise(serial=1) + from_the_bus("NameAcquired", "org.example.Ours")
    with greet(desk, door, octets):
        assert desk.bus._link is None and not desk.bus.owned and not desk.bus.ready


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
