"""The pump: no byte lost or doubled, no busy turn, and an end for every way a peer can behave."""

import os
import socket
import subprocess
import sys
import threading
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from fake_port import FakePort
from fake_world import Talk, World
from hypothesis import given
from hypothesis import strategies as st

from sso.errors import PortClosed
from sso.ports.port import READ_MAX, FilePort, open_port
from sso.ports.pump import DRAIN_TIME, LAST_WORDS_MAX, PENDING_MAX, RETRY_TIME, Pump

# Bytes


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("step", [1, 7, 32768])
def test_every_split_gives_the_same(world: World, chunk: int, step: int) -> None:
    port = FakePort(chunk=chunk, step=step, room=50)
    port.attach()
    taken = bytearray()
    text = bytes(range(256)) * 4
    port.send(text)
    world.actions = repeat(lambda: taken.extend(port.take()))
    talk = Talk(wanted=len(text), first=b"greeting")
    assert world.run(port, talk) == "finished"
    assert b"".join(talk.heard) == text
    assert bytes(taken) + port.take() == b"greeting" + text
    port.close()


def test_what_may_be_done_meanwhile_is_done_once_the_first_words_are_written(
    world: World, port: FakePort
) -> None:
    found: list[bytes] = []

    def meanwhile() -> None:
        found.append(port.take())
        port.send(b"reply")

    talk = Talk(wanted=5, first=b"greeting")
    assert world.run(port, talk, meanwhile=meanwhile) == "finished"
    assert found == [b"greeting"] and talk.heard == [b"reply"]


@given(
    replies=st.lists(st.binary(max_size=300), min_size=1, max_size=20),
    chunk=st.integers(1, 40),
    step=st.integers(1, 400),
    room=st.integers(1, 400),
    refusals=st.integers(0, 5),
)
def test_nothing_is_lost_or_doubled(
    replies: list[bytes], chunk: int, step: int, room: int, refusals: int
) -> None:
    port = FakePort(chunk=chunk, step=step, room=room)
    port.attach()
    port.refusals = refusals
    taken, rest = bytearray(), iter(replies)
    talk = Talk(lambda data: next(rest, b""), wanted=chunk * len(replies))
    port.send(bytes(chunk * len(replies)))
    with pytest.MonkeyPatch.context() as patched:
        world = World(patched)
        world.actions = repeat(lambda: taken.extend(port.take()))
        assert world.run(port, talk) == "finished"
    assert bytes(taken) + port.take() == b"".join(replies)
    port.close()


@pytest.mark.parametrize("kind", ["socket", "pipes"])
def test_much_both_ways_in_real_time(kind: str) -> None:
    size = 3 * 1024 * 1024
    talk = Talk(wanted=size)
    ours, theirs = socket.socketpair()
    if kind == "socket":
        port, hear, say = open_port(f"fd:{ours.fileno()}"), theirs.fileno(), theirs.fileno()
    else:
        (reader, say), (hear, writer) = os.pipe(), os.pipe()
        port = FilePort("pipes", reader, writer)
    sent = os.urandom(1024) * (size // 1024)
    speaker = threading.Thread(target=lambda: _write_all(say, sent))
    ends: list[str] = []
    pump = threading.Thread(target=lambda: ends.append(Pump(port, talk).run()))
    speaker.start()
    pump.start()
    got = bytearray()
    while len(got) < size:
        got += os.read(hear, 100_000)
    for thread in (speaker, pump):
        thread.join(5)
    assert ends == ["finished"] and got == sent
    assert max(map(len, talk.heard)) <= READ_MAX
    for end in (port, ours, theirs):
        end.close()
    if kind == "pipes":
        os.close(say)
        os.close(hear)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


# Back-pressure, and a port that is writable but accepts nothing


def test_a_peer_that_does_not_read_is_not_read_from(world: World, port: FakePort) -> None:
    flood = bytes(100 * 4096)
    port.send(flood)
    talk = Talk(lambda data: data * 16, wanted=len(flood))
    taken, waiting = [0], []

    def drain() -> None:
        waiting.append(talk.octets * 16 - taken[0])
        taken[0] += len(port.take())

    world.actions = repeat(drain)
    assert world.run(port, talk) == "finished"
    taken[0] += len(port.take())
    assert taken[0] == 16 * len(flood)
    assert PENDING_MAX < max(waiting) <= PENDING_MAX + 2 * 16 * 4096 + port.room


def test_an_eagain_storm_does_not_spin(world: World, port: FakePort) -> None:
    port.refusals = 1000
    talk = Talk(first=b"hello", wanted=1)
    port.send(b"x")
    assert world.run(port, talk) == "hang-up", "taken too late after the end"
    assert world.now >= DRAIN_TIME
    assert world.turns <= 2.5 * DRAIN_TIME / RETRY_TIME


def test_no_byte_is_lost_in_a_short_storm(world: World, port: FakePort) -> None:
    port.refusals = 20
    talk = Talk(first=b"hello", wanted=1)
    port.send(b"x")
    assert world.run(port, talk) == "finished"
    assert port.take() == b"hellox"
    assert world.turns < 100


# Ends


def test_a_hang_up_is_told_once(world: World, port: FakePort) -> None:
    talk = Talk()
    port.send(b"half a li")
    world.actions = iter([port.detach])
    assert world.run(port, talk) == "hang-up"
    assert talk.heard == [b"half a li", b""]


def test_an_end_leaves_nothing_unwritten(world: World, port: FakePort) -> None:
    port.room = 10
    taken = bytearray()
    port.send(b"x")
    world.actions = repeat(lambda: taken.extend(port.take()))
    assert world.run(port, Talk(lambda data: b"y" * 1000, wanted=1)) == "finished"
    assert bytes(taken) + port.take() == b"y" * 1000


def test_input_after_the_end_goes_to_nobody(world: World, port: FakePort) -> None:
    port.room = 10
    port.send(b"x")
    talk = Talk(lambda data: b"y" * 30, wanted=1)
    world.actions = iter([lambda: port.send(b"more"), port.take, port.take])
    assert world.run(port, talk) == "finished"
    assert talk.heard == [b"x"]


def test_a_hang_up_after_the_end_is_no_finish(world: World, port: FakePort) -> None:
    port.room = 10
    port.send(b"x")
    talk = Talk(lambda data: b"y" * 30, wanted=1)
    world.actions = iter([port.detach])
    assert world.run(port, talk) == "hang-up"
    assert talk.heard == [b"x"], "whoever has finished hears no more"


def test_what_a_peer_said_before_it_went_is_heard() -> None:
    ours, theirs = socket.socketpair()
    port = open_port(f"fd:{ours.fileno()}")
    theirs.send(b"the reason")
    theirs.close()
    talk = Talk(first=b"question")
    assert Pump(port, talk).run() == "hang-up"
    assert talk.heard == [b"the reason", b""]
    port.close()
    ours.close()


def test_unplugged_while_writing(world: World, port: FakePort) -> None:
    port.room = 3
    talk = Talk(first=b"hello")
    world.actions = iter([port.unplug])
    assert world.run(port, talk) == "hang-up"
    assert talk.heard == [b""]


def test_last_words_have_an_end(world: World) -> None:
    class Deaf(FakePort):
        def read(self, size: int = READ_MAX) -> bytes:
            return bytes(size)

        def write(self, data: object) -> int:
            raise PortClosed("gone")

    port, talk = Deaf(), Talk(first=b"x")
    assert world.run(port, talk) == "hang-up"
    assert talk.octets <= LAST_WORDS_MAX and talk.heard[-1] == b""
    port.close()


# Other descriptors


def test_other_descriptors_are_served_until_the_end(world: World, port: FakePort) -> None:
    (reader, writer), (second, late) = os.pipe(), os.pipe()
    talk = Talk()

    def call() -> None:
        assert os.read(reader, 1) == b"!"
        talk.finished = True

    def never() -> None:
        pytest.fail("called after the end")

    world.actions = iter([lambda: (os.write(writer, b"!"), os.write(late, b"!"))])
    assert world.run(port, talk, watch={reader: call, second: never}) == "finished"
    for fd in (reader, writer, second, late):
        os.close(fd)


def test_another_descriptor_is_left_alone_after_the_end(world: World, port: FakePort) -> None:
    """No one would read it, so waiting for it would spin until the peer has read everything."""
    reader, writer = os.pipe()
    port.room = 4
    port.send(b"x")
    talk = Talk(lambda data: b"request", wanted=1)
    world.actions = iter([lambda: os.write(writer, b"!"), port.take])
    calls: list[int] = []
    assert world.run(port, talk, watch={reader: lambda: calls.append(1)}) == "finished"
    assert calls == [] and world.turns < 10
    os.close(reader)
    os.close(writer)


def test_a_listening_port_needs_nothing_more(tmp_path: Path) -> None:
    guest = open_port(f"unix:{tmp_path}/port.sock", listen=True)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/port.sock")
        client.send(b"ping")
        assert Pump(guest, Talk(first=b"hello ", wanted=4)).run() == "finished"
        assert client.recv(100) == b"hello ping"
    guest.close()


# Secrets, fds and imports


class Keeper(FakePort):
    """Keeps the buffers whose parts were passed to it."""

    def __init__(self, **arguments: int) -> None:
        super().__init__(**arguments)
        self.buffers: dict[int, Any] = {}

    def write(self, data: bytes | bytearray | memoryview) -> int:
        assert isinstance(data, memoryview) and isinstance(data.obj, bytearray)
        self.buffers[id(data.obj)] = data.obj
        start = len(data.obj) - len(data)
        assert not any(data.obj[:start]), "what was sent is wiped"
        return super().write(data)


def test_what_was_sent_is_wiped(world: World) -> None:
    port = Keeper(step=3, room=7)
    port.attach()
    port.send(b"x" * 10)
    taken = bytearray()
    world.actions = repeat(lambda: taken.extend(port.take()))
    port.chunk = 1
    assert world.run(port, Talk(lambda data: b"canary", wanted=10)) == "finished"
    assert bytes(taken) + port.take() == b"canary" * 10
    assert len(port.buffers) > 1
    assert not any(any(buffer) for buffer in port.buffers.values())
    port.close()


@pytest.mark.parametrize("how", ["hang-up", "exception"])
def test_what_was_not_sent_is_wiped_too(world: World, how: str) -> None:
    port = Keeper(room=3)
    port.attach()

    def stop() -> None:
        raise SystemExit(0)  # what a handler of SIGTERM does

    world.actions = iter([port.detach if how == "hang-up" else stop])
    talk = Talk(first=b"canary")
    if how == "hang-up":
        assert world.run(port, talk) == "hang-up"
    else:
        with pytest.raises(SystemExit):
            world.run(port, talk)
    assert port.buffers and not any(any(buffer) for buffer in port.buffers.values())
    port.close()


def test_a_thousand_pumps_leak_nothing() -> None:
    for _ in range(1000):
        ours, theirs = socket.socketpair()
        port = open_port(f"fd:{ours.fileno()}")
        theirs.send(b"x")
        theirs.shutdown(socket.SHUT_WR)
        assert Pump(port, Talk()).run() == "hang-up"
        for end in (port, ours, theirs):
            end.close()


def test_what_every_login_pays_for() -> None:
    """A stdin that is a socket needs no more than this either."""
    slow = (
        "asyncio",
        "email",
        "logging",
        "selectors",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "tempfile",
    )
    code = (
        "import sys, site; before = set(sys.modules)\n"
        "import sso.ports.pump, sso.ports.port\n"
        "sso.ports.port.open_port('stdio').close()\n"
        f"print(*(set(sys.modules) - before) & {set(slow)})"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=ours.fileno(),
            stdout=ours.fileno(),
            stderr=subprocess.PIPE,
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert theirs.recv(1000) == b"\n"
