"""Whatever one process of the guest sends to another: the link ends, never the process.

Each receiver is the real object with a socket of its own; the packets are whole, damaged and random records,
with descriptors. Hypothesis prints the packet that breaks one, and the seed that finds it again.
"""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from beds_acceptor import AcceptorBed
from beds_agent import Stage, open_fds, raise_stage
from beds_channel import Bed as ChannelBed
from fake_surroundings import FakeDriver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sso.errors import ConfigError, MechanismError, NoAgent
from sso.guest import links, records
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.channel.conversation import Claim
from sso.guest.channel.remote import Acceptance
from sso.guest.packets import NO, VERDICT, YES
from sso.guest.records import (
    Authenticated,
    Begin,
    Child,
    Confirm,
    End,
    Go,
    Gone,
    Hello,
    Kind,
    Link,
    Outcome,
    SignIn,
    Taken,
)
from sso.guest.screens.getty_program import Getty
from sso.guest.screens.greetd_greeter import Word
from sso.mech import load
from sso.protocol.messages import Error

pytestmark = pytest.mark.slow

WHOLE = [
    *(
        kind(number).pack()
        for kind in (Begin, End, Gone, Confirm, Link, Child)
        for number in (0, 1, 2**64 - 1)
    ),
    *(Authenticated(1, bytes(16), kind, "alice@R", bytes(32), 5).pack() for kind in list(Kind)[1:]),
    *(Outcome(1, code).pack() for code in (0, 1, 300, 402, 599, 600, 2**32 - 1)),
    *(kind(text).pack() for kind in (Hello, Go, Taken) for text in ("", "tty1", "alice", "root", "-f")),
    *(SignIn(user, "t" * 64).pack() for user in ("alice", "-f", "")),
    *(Request(operation, "login", "tty1", "alice").pack() for operation in Operation),
    *(Reply(kind, 6, "alice").pack() for kind in Kind),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A record with some bytes replaced, and cut or lengthened."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    size = draw(st.sampled_from([len(data)] * 6 + [0, 4, len(data) - 1]))
    return bytes(data[:size]) + draw(st.sampled_from([b""] * 6 + [b"\0", b"x" * 5000]))


PACKETS = st.one_of(damaged(), st.sampled_from(WHOLE), st.binary(max_size=700))
FILES = st.sampled_from([0, 0, 0, 1, 1, 2, 9])
FUZZED = settings(
    max_examples=150,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Ends = tuple[socket.socket, socket.socket]


@contextmanager
def pair() -> Iterator[Ends]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()


@contextmanager
def a_stage() -> Iterator[Stage]:
    """An agent for one example, with nothing left of it."""
    with tempfile.TemporaryDirectory() as folder:
        stage = raise_stage(Path(folder) / "run", FakeDriver(), {})
        try:
            yield stage
        finally:
            stage.agent.close()
            stage.reactor.close()
            for link in (stage.channel, stage.acceptor):
                link.close()


def send(link: socket.socket, packet: bytes, files: int = 0) -> None:
    """One packet with so many descriptors, of kinds that a process may not expect."""
    kinds = [os.open("/dev/null", os.O_RDONLY), os.memfd_create("fuzz"), *os.pipe()]
    try:
        socket.send_fds(link, [packet], (kinds * 3)[:files])
    except OSError:
        pass  # it has hung up already
    finally:
        records.close_all(kinds)


@FUZZED
@given(packets=st.lists(st.tuples(st.booleans(), PACKETS, FILES), min_size=1, max_size=4))
def test_the_agent(packets: list[tuple[bool, bytes, int]]) -> None:
    with a_stage() as stage:
        for from_channel, packet, files in packets:
            send(stage.channel if from_channel else stage.acceptor, packet, files)
            stage.turn()


@FUZZED
@given(packet=PACKETS, files=FILES, waits=st.booleans())
def test_the_channel_process(packet: bytes, files: int, waits: bool) -> None:
    bed = ChannelBed()
    before = open_fds()
    try:
        bed.channel._unconfirmed = int(waits)
        send(bed.agent, packet, files)
        goes_on = bed.channel._on_agent()
        assert goes_on == (waits and not files and packet[:4] == b"CONF" and len(packet) == 12)
        assert goes_on or not packet or [line.split()[0] for line in bed.lines] == ["record-malformed"]
        assert open_fds() == before
    finally:
        bed.close()


@FUZZED
@given(packet=PACKETS, files=FILES, from_channel=st.booleans())
def test_the_acceptor(packet: bytes, files: int, from_channel: bool) -> None:
    bed = AcceptorBed()
    try:
        send(bed.channel if from_channel else bed.agent, packet, files)
        bed.settle()
        good = not files and packet[:4] == b"OUTC" and len(packet) == 16 and not from_channel
        assert not bed.acceptor._running or good
    finally:
        bed.close()


@settings(FUZZED, max_examples=50)  # a fork each
@given(packet=PACKETS, files=FILES)
def test_the_acceptor_from_a_worker(worker_bed: AcceptorBed, packet: bytes, files: int) -> None:
    bed = worker_bed
    if 1 not in bed.acceptor._peers:
        bed.child(1).detach()
    worker = bed.acceptor._peers[1]
    bed.acceptor._hang_up(worker)
    theirs, worker.link = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    worker.link.setblocking(False)
    with theirs:
        send(theirs, packet, files)
        bed.acceptor._on_claim(worker)
    heard = worker.claimed
    if heard:
        received = records.receive(bed.agent, Authenticated)
        assert received is not None and received[0].id == 1 and received[0].kind is Kind.IDENTITY
    assert heard or 1 not in bed.acceptor._peers or not packet
    for left in list(bed.acceptor._peers.values()):
        bed.acceptor._drop(left)
    bed.idle()


@pytest.fixture
def worker_bed() -> Iterator[AcceptorBed]:
    bed = AcceptorBed()
    yield bed
    bed.close()


REPLIES = st.one_of(
    st.builds(
        lambda head, rest: head + rest, st.sampled_from([YES, NO, VERDICT, b""]), st.binary(max_size=90)
    ),
    st.integers(0, 2**32 - 1).map(lambda code: VERDICT + code.to_bytes(4, "big")),
    st.sampled_from([YES + b"\1", YES + b"\0", YES + b"\1\4" + bytes(40), b"x" * 80_000, YES + b"\xff\xfe"]),
)


@FUZZED
@given(replies=st.lists(REPLIES, min_size=4, max_size=4), blob=st.binary(max_size=50))
def test_the_child(replies: list[bytes], blob: bytes) -> None:
    """Its worker in the acceptor may have been taken over as well: no reply is more than a refusal."""
    with pair() as (worker, child):
        child_side = Acceptance(child, {name: load(name) for name in ("GSSAPI", "kerberos", "password")})
        child.settimeout(0.0)  # an answer that is not there yet is none
        worker.setblocking(False)
        for reply in replies:
            send(worker, reply)
        for step in (
            lambda: child_side.make("GSSAPI").step(blob),
            lambda: child_side.make("kerberos").step(blob),
            lambda: child_side.submit(Claim(bytes(16), "alice", None)),
        ):
            try:
                step()
            except (MechanismError, ConfigError):
                continue
        code = child_side.verdict()
        assert code is None or code == 0 or len(Error(code).words()[1]) == 3


@FUZZED
@given(packet=PACKETS, files=FILES)
def test_a_process_that_is_joined(packet: bytes, files: int) -> None:
    before = open_fds()
    with pair() as (agent, process):
        send(agent, packet, files)
        try:
            found = links._wait(process, "agent")
        except NoAgent:
            found = None
        assert found is None or packet[:4] == b"LINK"
        if found is not None:
            found.close()
    assert open_fds() == before


@FUZZED
@given(packet=PACKETS, files=FILES)
def test_the_login_screen_and_the_greeter(packet: bytes, files: int) -> None:
    """They obey a whole record with a login name, and hang up on everything else."""
    master, terminal = os.openpty()
    try:
        for screen, tag in ((Getty("/nonexistent", terminal), b"LOGN"), (Word("/nonexistent"), b"SIGN")):
            with pair() as (agent, process):
                send(agent, packet, files)
                held: Any = screen
                held._agent = process
                user = held._hear()
                assert not user or packet[:4] == tag
                assert user or held._agent is None
    finally:
        os.close(master)
        os.close(terminal)


@FUZZED
@given(packets=st.lists(st.tuples(PACKETS, FILES), min_size=1, max_size=3))
def test_the_agents_pam_socket(packets: list[tuple[bytes, int]]) -> None:
    with a_stage() as stage:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as module:
            module.connect(stage.path)
            for packet, files in packets:
                send(module, packet, files)
                stage.turn()
        stage.turn()


@pytest.mark.parametrize("process", ["agent", "peer"])
def test_a_port_in_place_of_a_link_is_malformed_too(process: str, tmp_path: Path) -> None:
    """A stream of bytes has no packets: it ends the link at the first one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(Confirm(1).pack() + b"x")
        with pytest.raises(NoAgent):
            links._wait(theirs, process)
