"""The socket for lockers that run as the user: a verdict, once, for the right one, whatever the others do."""

import os
import select
import signal
import socket
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds_agent import MakeStage, has, let_in, open_fds
from beds_locker import ALICE, GET, Hall

from sso.guest import records
from sso.guest.agent.locker_socket import ASK_SECONDS, CONNECTIONS_MAX, OF_ONE_UID_MAX, LockerServer
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.records import Kind
from sso.guest.seat.logind import Seated

pytestmark = pytest.mark.e2e  # other uids need root

BOB, MALLORY = 4002, 4003
YES, NO = Reply(Kind.IDENTITY, 0, "alice").pack(), Reply().pack()
KERNEL = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(tmp_path)
    yield hall
    hall.close()


# Who gets it


def test_the_named_user_gets_it_once(hall: Hall) -> None:
    assert hall.ask() == YES
    assert hall.ask() == NO
    assert hall.asked == [(ALICE, "alice", "i3lock")] * 2


@pytest.mark.parametrize("uid", [BOB, MALLORY, 65534])
def test_nobody_else_gets_it(hall: Hall, uid: int) -> None:
    assert hall.ask(uid) == NO
    assert hall.asked == [(uid, "alice", "i3lock")], "the kernel says who asks, not alice"
    assert hall.ask() == YES


def test_root_is_sent_away_before_it_asks(hall: Hall) -> None:
    assert hall.ask(0) == b""
    assert hall.asked == [] and hall.ask() == YES


@pytest.mark.parametrize(
    "request_",
    [
        Request(Operation.GET, "i3lock", "", ""),
        Request(Operation.ESTABLISHED, "i3lock", "", "alice"),
        Request(Operation.OPENED, "i3lock", "", "alice"),
        Request(Operation.CLOSED, "i3lock", "", "alice"),
    ],
)
def test_what_is_no_question_about_a_user_is_no_question(hall: Hall, request_: Request) -> None:
    assert hall.ask(ALICE, request_.pack()) == NO
    assert hall.asked == [] and hall.ask() == YES


def test_the_socket_is_everybodys_and_the_folder_roots(hall: Hall) -> None:
    assert os.stat(hall.path).st_mode & 0o777 == 0o666
    assert os.stat(hall.path).st_uid == 0


# What cannot be a request


@pytest.mark.parametrize(
    "packet",
    [
        b"x",
        GET.pack()[:-1],
        GET.pack() + b"\0",
        bytes(704),
        b"\xff" * 704,
        b"SSOP\x01" + GET.pack()[5:],
        b"SSOP\x04" + GET.pack()[5:],
        b"SSOP\x03\x09" + GET.pack()[6:],
        GET.pack().replace(b"alice\0", b"al\nce\0"),
        GET.pack().replace(b"alice\0", b"alice\xff"),
        GET.pack().replace(b"alice\0\0", b"alice\0x"),
        os.urandom(704),
        bytes(100_000),
    ],
)
def test_garbage_is_hung_up_on_and_consumes_no_verdict(hall: Hall, packet: bytes) -> None:
    before = open_fds()
    assert hall.ask(ALICE, packet) == b""
    hall.links.pop().close()
    assert (hall.asked, len(hall.server), open_fds()) == ([], 0, before)
    assert hall.ask() == YES


@pytest.mark.parametrize(
    "more",
    [
        GET.pack(),
        b"garbage",
        *(
            Request(operation, "i3lock", "", user).pack()
            for operation, user in (
                (Operation.OPENED, "alice"),
                (Operation.CLOSED, "alice"),
                (Operation.TRIED, "alice"),
                (Operation.HELD, "bob"),
                (Operation.ESTABLISHED, ""),
            )
        ),
    ],
)
def test_what_does_not_follow_the_answer_ends_the_connection(hall: Hall, more: bytes) -> None:
    link = hall.connect()
    hall.say(link, GET.pack())
    assert hall.hear(link) == YES
    hall.say(link, more)
    assert hall.hear(link) == b"" and len(hall.server) == 0
    assert len(hall.asked) == 1


def test_the_module_asks_before_each_step(hall: Hall) -> None:
    link = hall.connect()
    hall.say(link, GET.pack())
    assert hall.hear(link) == YES
    for operation in (Operation.HELD, Operation.HELD, Operation.ESTABLISHED):
        hall.say(link, Request(operation, "i3lock", "", "alice").pack())
        assert hall.hear(link) == YES and len(hall.server) == 1
    link.close()
    hall.turn()
    assert len(hall.server) == 0 and len(hall.asked) == 1


@pytest.mark.parametrize("how", ["left", "replaced", "again"])
def test_a_locker_at_work_hears_no_when_the_client_has_left(
    how: str, make_stage: MakeStage, tmp_path: Path
) -> None:
    """PAM may be asking something there: who answers after that opens nothing. A renewal changes nothing."""
    stage = make_stage()
    let_in(tmp_path)
    stage.seat.put(Seated("c1", "alice", ALICE, "x11", tty="tty7"))
    stage.begin()
    stage.claim()
    assert stage.outcome() == (1, 0)
    stage.turn(lambda: stage.agent.judge.unlocker._offer)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stage.pam.append(link)
    os.seteuid(ALICE)
    try:
        link.connect(stage.agent._verdicts._listener._path)
    finally:
        os.seteuid(0)
    link.send(GET.pack())
    stage.turn(lambda: has(link))
    assert link.recv(4096) == YES
    stage.end()
    stage.begin(2)
    if how == "left":
        stage.gone()
    elif how == "replaced":
        records.send(stage.channel, records.End(2))
    else:
        stage.claim(2, attempt=b"2" * 16)
        assert stage.outcome() == (2, 0)
    stage.turn(lambda: how == "again" or has(link))
    if how == "again":
        link.send(Request(Operation.HELD, "i3lock", "", "alice").pack())
        stage.turn(lambda: has(link))
    assert link.recv(4096) == (YES if how == "again" else b"")


def test_one_who_does_not_read_holds_nobody_up(hall: Hall) -> None:
    link = hall.connect(BOB)
    link.shutdown(socket.SHUT_RD)
    hall.say(link, GET.pack())
    gone = hall.connect(ALICE, accept=False)
    gone.send(GET.pack())
    gone.close()
    hall.turn()
    assert len(hall.server) == 0


# Descriptors


@pytest.mark.parametrize("count", [1, 4, 200])
def test_descriptors_are_not_taken(hall: Hall, count: int) -> None:
    link = hall.connect()
    before = open_fds()
    files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [link.fileno()] * count))]
    if KERNEL >= (6, 16):
        with pytest.raises(PermissionError):
            link.sendmsg([GET.pack()], files)
        assert hall.connect(MALLORY, accept=False).sendmsg([b"x"]) == 1
    else:
        link.sendmsg([GET.pack()], files)
        hall.turn()
        assert hall.hear(link) == b"" and open_fds() == before - 1
    assert hall.asked == []


def lingering() -> tuple[socket.socket, socket.socket]:
    """A connection whose close waits for the other end, which does not read; and that end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = socket.socket()
        link.connect(server.getsockname())
        other, _ = server.accept()
    link.setblocking(False)
    try:
        while True:
            link.send(bytes(65536))
    except BlockingIOError:
        pass
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1000))
    return link, other


@pytest.mark.parametrize("accepted", [True, False])
def test_a_file_that_takes_long_to_close_does_not_stop_the_agent(hall: Hall, accepted: bool) -> None:
    """Ours would be the last descriptor of it, and the loop would stand until the holder is gone.

    Older kernels cannot refuse it; there the agent's watchdog is what is left.
    """
    stranger = hall.connect(MALLORY, accept=accepted)
    file, other = lingering()
    told, teller = os.pipe2(os.O_NONBLOCK)
    holder = os.fork()
    if holder == 0:
        file.close()
        os.write(teller, b"r")
        select.select([], [], [], 15)  # after which only a broken agent still waits
        os.write(teller, b"late")
        os._exit(0)
    select.select([told], [], [])
    os.read(told, 1)
    other.close()
    try:
        stranger.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file.fileno()]))])
    except PermissionError:
        file.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    file.close()
    if KERNEL < (6, 16):
        os.kill(holder, signal.SIGKILL)
    said = hall.ask()
    late = bool(select.select([told], [], [], 0)[0])
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    os.close(told)
    os.close(teller)
    assert said == YES and not late, "the loop stood"


# Numbers and time


def test_a_uid_has_some_and_no_more(hall: Hall) -> None:
    links = [hall.connect(MALLORY) for _ in range(OF_ONE_UID_MAX + 3)]
    assert len(hall.server) == OF_ONE_UID_MAX
    assert [hall.hear(link) for link in links] == [b"nothing"] * OF_ONE_UID_MAX + [b""] * 3
    assert hall.ask() == YES


def test_many_uids_of_one_user_do_not_keep_another_out(hall: Hall) -> None:
    """A user may have 65536 of them (subuid(5))."""
    for uid in range(100_000, 100_000 + 3 * CONNECTIONS_MAX):
        hall.connect(uid)
        assert len(hall.server) <= CONNECTIONS_MAX
    assert hall.ask() == YES
    assert len(hall.server) == CONNECTIONS_MAX


def test_who_has_asked_is_answered_before_others_take_the_place(hall: Hall) -> None:
    hall.connect(ALICE, accept=False).send(GET.pack())
    for uid in range(100_000, 100_000 + 20):
        hall.connect(uid, accept=False)
    hall.turn()
    assert hall.hear(hall.links[0]) == YES


def test_a_thousand_strangers_change_nothing(hall: Hall) -> None:
    before = open_fds()
    for number in range(1000):
        link = hall.connect((BOB, MALLORY, 0, 65534)[number % 4])
        if number % 3:
            hall.say(link, GET.pack() if number % 3 == 1 else b"?")
        if number % 5:
            hall.links.remove(link)
            link.close()
    hall.turn()
    assert len(hall.server) <= 3 * OF_ONE_UID_MAX
    assert hall.ask() == YES
    for link in hall.links:
        link.close()
    hall.turn()
    assert (len(hall.server), open_fds()) == (0, before)


def test_refusals_are_noted_at_most_once_a_second(hall: Hall, events: list[str]) -> None:
    for _ in range(50):
        hall.ask(MALLORY)
        hall.ask(0)
    hall.pass_time(1.0)
    hall.ask(MALLORY)
    assert [event.split()[:2] for event in events] == [["verdict-refused", f"uid={MALLORY}"]] * 2
    assert hall.ask() == YES
    assert events[-1] == "verdict-given user=alice service=i3lock"


def test_the_silent_has_two_seconds(hall: Hall) -> None:
    link = hall.connect()
    hall.pass_time(ASK_SECONDS - 0.1)
    assert hall.hear(link) == b"nothing"
    hall.pass_time(0.1)
    assert hall.hear(link) == b"" and len(hall.server) == 0
    assert hall.ask() == YES


def test_nothing_hurries_the_answered(hall: Hall) -> None:
    """PAM may ask for a new password, and whoever types it may take an hour."""
    link = hall.connect()
    hall.say(link, GET.pack())
    assert hall.hear(link) == YES
    hall.pass_time(3600.0)
    hall.say(link, Request(Operation.HELD, "i3lock", "", "alice").pack())
    assert hall.hear(link) == YES


def test_the_end_hangs_up_on_everybody(hall: Hall) -> None:
    links = [hall.connect(uid) for uid in (ALICE, BOB)]
    before = open_fds()
    hall.server.close()
    assert [hall.hear(link) for link in links] == [b"", b""]
    assert not Path(hall.path).exists() and open_fds() == before - 3
    hall.server = LockerServer(hall.path, hall.reactor, hall.verdict)
