"""The agent's links to the two other processes: who is accepted, who is joined, what strangers achieve."""

import os
import pwd
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds_agent import Clock, MakeStage, has, let_in, open_fds, secret_file

from sso.daemon import local
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor
from sso.errors import ConfigError, NoAgent
from sso.guest import records
from sso.guest.agent.leaving import LOCK_EVERY
from sso.guest.agent.links import Links
from sso.guest.config import GuestConfig
from sso.guest.links import fingerprint, join
from sso.guest.records import Begin, Child, Confirm, Link, SignIn
from sso.guest.seat.logind import Seated

ROLES = ("channel", "acceptor")
Pair = tuple[socket.socket, socket.socket]


class Door:
    """Links on a reactor of their own, and whoever dials them."""

    def __init__(self, folder: Path) -> None:
        me = pwd.getpwuid(os.geteuid()).pw_name
        self.paths = {role: f"{folder}/{role}.sock" for role in ROLES}
        sockets = {f"{role}_socket": path for role, path in self.paths.items()}
        self.config = GuestConfig(**sockets, channel_user=me, acceptor_user=me)  # type: ignore[arg-type]
        self.reactor = Reactor(Clock())
        self.attached: list[Pair] = []
        self.dialled: list[socket.socket] = []
        self.links = Links(self.config, self.reactor, lambda *pair: self.attached.append(pair))

    def dial(self, role: str) -> socket.socket:
        link = local.dial(self.paths[role])
        assert link is not None
        self.dialled.append(link)
        return link

    def pair(self) -> Pair:
        """Both processes dial, and are seen."""
        ends = self.dial("channel"), self.dial("acceptor")
        self.settle()
        return ends

    def settle(self) -> None:
        """All that is there is seen; an unbounded one would not come back."""
        for _ in range(200):
            if not self.reactor._selector.select(0):
                return
            self.reactor.turn(0)
        raise AssertionError("the loop does not come to rest")

    def close(self) -> None:
        self.links.close()
        for link in (*self.dialled, *(end for pair in self.attached for end in pair)):
            link.close()
        self.reactor.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    found = Door(tmp_path)
    yield found
    found.close()


def heard(link: socket.socket) -> str:
    """What a process hears: nothing, that it was hung up on, or a LINK (whose socket is closed again)."""
    if not has(link):
        return "nothing"
    received = records.receive(link, Link)
    if received is None:
        return "end"
    records.close_all(received[1])
    return "link"


# Who is joined


def test_a_pair_gets_the_ends_of_one_socket_and_the_agents_fingerprint(door: Door) -> None:
    door.links.resume()
    others = []
    for link in door.pair():
        received = records.receive(link, Link)
        assert received is not None and received[0].fingerprint == fingerprint(door.config)
        others.append(socket.socket(fileno=received[1][0]))
    channel, acceptor = others
    channel.send(b"to the acceptor")
    assert acceptor.recv(100) == b"to the acceptor" and len(door.attached) == 1
    channel.close()
    assert has(acceptor) and acceptor.recv(100) == b"", "the agent has kept no copy of it"
    acceptor.close()


def test_the_agents_ends_are_in_the_order_of_the_roles_whoever_dials_first(door: Door) -> None:
    door.links.resume()
    ends = {role: door.dial(role) for role in reversed(ROLES)}
    door.settle()
    for role, end in zip(ROLES, door.attached[0], strict=True):
        end.send(role.encode())
        assert heard(ends[role]) == "link" and ends[role].recv(99) == role.encode()


def test_nobody_is_joined_before_the_agent_has_seen_to_the_last_session(door: Door) -> None:
    first = door.pair()
    assert [heard(link) for link in first] == ["nothing"] * 2
    door.links.resume()
    assert [heard(link) for link in first] == ["link"] * 2
    second = door.pair()
    assert [heard(link) for link in second] == ["nothing"] * 2 and len(door.attached) == 1
    door.links.resume()
    assert [heard(link) for link in second] == ["link"] * 2 and len(door.attached) == 2


@pytest.mark.parametrize("role", ROLES)
def test_of_two_that_dial_for_one_role_the_last_one_is_joined(role: str, door: Door) -> None:
    door.links.resume()
    former, last = door.dial(role), door.dial(role)
    door.settle()
    assert (heard(former), heard(last)) == ("end", "nothing")
    other = door.dial(ROLES[role == "channel"])
    door.settle()
    assert (heard(last), heard(other)) == ("link", "link") and len(door.attached) == 1
    door.dial(role)
    door.settle()
    assert (heard(last), heard(other)) == ("nothing", "nothing"), "who is joined stays it"


@pytest.mark.parametrize("role", ROLES)
def test_one_that_dies_while_it_waits_is_forgotten(role: str, door: Door) -> None:
    door.links.resume()
    before = open_fds()
    door.dial(role).close()
    door.settle()
    assert open_fds() == before
    assert [heard(link) for link in door.pair()] == ["link"] * 2


def test_one_that_dies_as_it_is_joined_is_seen_by_the_agent(door: Door) -> None:
    channel = door.dial("channel")
    door.settle()
    channel.close()
    acceptor = door.dial("acceptor")
    door.links._waiting["acceptor"] = door.links._listeners[1]._socket.accept()[0]  # in the same turn
    door.links.resume()
    ((to_channel, _),) = door.attached
    assert to_channel.recv(1) == b"" and heard(acceptor) == "link"


# Who speaks out of turn, and strangers

OUT_OF_TURN = {
    "garbage": b"x",
    "nothing": b"",
    "a forged LINK": Link(0).pack(),
    "a forged CONFIRM": Confirm(1).pack(),
    "a forged SIGN": SignIn("alice", "t" * 70).pack(),
    "BEGIN": Begin(1).pack(),
    "too much": b"x" * 100_000,
}


@pytest.mark.parametrize("packet", OUT_OF_TURN.values(), ids=OUT_OF_TURN)
@pytest.mark.parametrize("role", ROLES)
def test_whoever_speaks_before_it_was_asked_is_hung_up_on(role: str, packet: bytes, door: Door) -> None:
    door.links.resume()
    link = door.dial(role)
    door.settle()
    link.send(packet)
    door.settle()
    assert heard(link) == "end"
    other = door.dial(ROLES[role == "channel"])
    door.settle()
    assert heard(other) == "nothing" and not door.attached


@pytest.mark.parametrize("role", ROLES)
def test_descriptors_of_one_that_waits_are_not_kept(role: str, door: Door) -> None:
    link = door.dial(role)
    door.settle()
    before = open_fds()
    fd = secret_file()
    try:
        socket.send_fds(link, [Child(1).pack()], [fd])
        door.settle()
    except PermissionError:
        assert role == "channel", "the acceptor has tickets to hand over"
        return
    finally:
        os.close(fd)
    assert open_fds() == before - 1 and not door.links._waiting


def test_the_channel_cannot_hand_over_descriptors(door: Door) -> None:
    """To close one that was prepared can take the agent as long as its maker likes."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    local.refuse_descriptors(ends[1])
    fd = secret_file()
    try:
        socket.send_fds(ends[0], [b"x"], [fd])
    except PermissionError:
        with pytest.raises(PermissionError):
            socket.send_fds(door.dial("channel"), [b"x"], [fd])
        socket.send_fds(door.dial("acceptor"), [b"x"], [fd])
    else:
        pytest.skip("Linux before 6.16")
    finally:
        os.close(fd)
        for end in ends:
            end.close()


@pytest.mark.parametrize("role", ROLES)
def test_a_stranger_is_refused_and_displaces_nobody(
    role: str, door: Door, monkeypatch: pytest.MonkeyPatch, events: list[str]
) -> None:
    door.links.resume()
    waiting = door.dial(role)
    door.settle()
    stranger = door.dial(role)
    with monkeypatch.context() as patch:
        patch.setattr(local, "peer", lambda link: Peer(1, os.geteuid() + 1, 1))
        door.settle()
    assert (heard(stranger), heard(waiting)) == ("end", "nothing")
    assert events == [f"link-refused uid={os.geteuid() + 1} pid=1 role={role}"]
    other = door.dial(ROLES[role == "channel"])
    door.settle()
    assert (heard(waiting), heard(other)) == ("link", "link")


@pytest.mark.e2e
@pytest.mark.parametrize("role", ROLES)
def test_another_uid_is_refused_where_the_mode_lets_it_connect(
    role: str, door: Door, tmp_path: Path, events: list[str]
) -> None:
    let_in(tmp_path)
    assert os.stat(door.paths[role]).st_mode & 0o777 == 0o600
    os.chmod(door.paths[role], 0o666)
    door.links.resume()
    waiting = door.dial(role)
    door.settle()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setresuid(65534, 65534, 65534)
            stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stranger.connect(door.paths[role])
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    door.settle()
    assert events == [f"link-refused uid=65534 pid={pid} role={role}"] and heard(waiting) == "nothing"


def test_a_crowd_costs_one_descriptor_a_role(door: Door) -> None:
    before = open_fds()
    crowd = [door.dial(role) for _ in range(30) for role in ROLES]
    for turn in range(1, 31):
        door.reactor.turn(0)
        assert open_fds() == before + len(crowd) + len(ROLES)
        assert [heard(link) for link in crowd].count("end") == 2 * (turn - 1)
    door.links.resume()
    assert [heard(link) for link in crowd[-2:]] == ["link"] * 2


def test_without_a_descriptor_left_the_next_one_waits_and_is_let_in_later(door: Door) -> None:
    link = door.dial("channel")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        door.reactor.turn(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert heard(link) == "nothing" and not door.links._waiting
    door.links.resume()
    other = door.dial("acceptor")
    door.settle()
    assert (heard(link), heard(other)) == ("link", "link")


def test_who_waits_is_told_when_the_agent_ends_and_finds_the_next_one(door: Door) -> None:
    before = open_fds() - len(ROLES)  # the listeners
    link = door.dial("channel")
    door.settle()
    door.links.close()
    assert heard(link) == "end" and open_fds() == before + 1
    assert not any(map(os.path.exists, door.paths.values()))
    with pytest.raises(NoAgent):
        join(door.paths["channel"])
    door.links = Links(door.config, door.reactor, lambda *pair: door.attached.append(pair))
    door.links.resume()
    assert [heard(link) for link in door.pair()] == ["link"] * 2


def test_an_agent_without_its_users_says_so(door: Door, tmp_path: Path) -> None:
    config = GuestConfig(channel_socket=f"{tmp_path}/another.sock", channel_user="no-such-user")
    with pytest.raises(ConfigError, match="no-such-user"):
        Links(config, door.reactor, lambda *pair: None)


@pytest.mark.parametrize("lost", [0, 1], ids=ROLES)
def test_when_one_is_lost_both_are_and_the_next_pair_waits_for_the_lock(
    lost: int, make_stage: MakeStage, door: Door
) -> None:
    stage = make_stage()
    stage.channel.close()
    stage.turn()
    door.links.close()
    door.links = Links(
        door.config, stage.reactor, lambda one, two: stage.agent.attach(one, two, door.links.resume)
    )
    door.links.resume()
    first = [door.dial(role) for role in ROLES]
    stage.turn()
    assert [heard(link) for link in first] == ["link"] * 2
    stage.seat.obeys = False
    stage.seat.put(Seated("c2", "alice", 4001, "wayland"))
    first[lost].close()
    stage.turn()
    assert heard(first[1 - lost]) == "end"
    second = [door.dial(role) for role in ROLES]
    stage.turn()
    assert [heard(link) for link in second] == ["nothing"] * 2, "alice's screen is still open"
    stage.seat.obeys = True
    stage.clock.now += LOCK_EVERY
    stage.turn()
    assert [heard(link) for link in second] == ["link"] * 2
