"""The agent's end of the PAM socket: who may ask, and that nothing odd consumes a grant."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from beds_agent import GET, Asked, MakeStage, Stage, armed, connect, has, let_in, open_fds

from sso.daemon import local
from sso.daemon.local import Peer
from sso.errors import ConfigError
from sso.guest import records
from sso.guest.agent.grant import Grant
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.agent.pam_socket import CONNECTIONS_MAX, HALF_OPEN_MAX, Peers
from sso.guest.records import Kind


@pytest.mark.e2e
def test_the_socket_is_roots(make_stage: MakeStage) -> None:
    found = os.stat(make_stage().path)
    assert found.st_mode & 0o777 == 0o600 and found.st_uid == 0


def as_nobody(work: str, stage: Stage) -> int:
    """Let another uid do something with the socket, and tell its exit code."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            link.settimeout(5)
            link.connect(stage.path)
            status = 1
            if work == "ask":
                link.send(GET.pack())
            status = 2 if link.recv(1000) == b"" else 3
        except PermissionError:
            status = 13
        except OSError:
            status = 2  # hung up
        finally:
            os._exit(status)
    ended_with: list[int] = []

    def ended() -> bool:
        found, code = os.waitpid(pid, os.WNOHANG)
        if found:
            ended_with.append(os.waitstatus_to_exitcode(code))
        return bool(found)

    stage.turn(ended)
    return ended_with[0]


@pytest.fixture
def open_folder(tmp_path: Path) -> None:
    let_in(tmp_path)


@pytest.mark.e2e
def test_other_users_cannot_connect_and_are_refused_if_they_could(
    make_stage: MakeStage, open_folder: None
) -> None:
    stage = armed(make_stage)
    assert as_nobody("ask", stage) == 13
    os.chmod(stage.path, 0o666)
    assert as_nobody("ask", stage) == 2
    assert stage.ask().secret() == b"secret"


@pytest.mark.e2e
def test_a_thousand_foreign_connections_consume_no_grant(make_stage: MakeStage, open_folder: None) -> None:
    """A16: other users, half-open ones, garbage, wrong services and users."""
    stage = armed(make_stage)
    os.chmod(stage.path, 0o666)
    before = open_fds()
    packets = [b"x", b"\0" * 704, GET.pack()[:-1], GET.pack() + b"x", b"SSOR" + bytes(700), bytes(9000)]
    others = [
        Request(Operation.GET, "sshd", "tty1"),
        Request(Operation.GET, "login", "tty9"),
        Request(Operation.GET, "login", "tty1", "bob"),
        Request(Operation.GET, "login", "tty1", "alice", "ab"),
        Request(Operation.ESTABLISHED, "login", "tty1", "alice"),
        Request(Operation.CLOSED),
    ]
    packets += [request.pack() for request in others]
    for number in range(990):
        link = connect(stage)
        if number % (len(packets) + 1) < len(packets):
            link.send(packets[number % (len(packets) + 1)])
        stage.reactor.turn(0)
        stage.reactor.turn(0)
        link.close()
        stage.reactor.turn(0)
    for _ in range(10):
        assert as_nobody("ask", stage) == 2
    stage.pam.clear()
    stage.turn()
    assert open_fds() == before and len(stage.agent.pam) == 0
    assert stage.ask().secret() == b"secret", "the grant is as it was"
    assert stage.ask().reply.kind is Kind.NONE, "and of one use"


RACES = 10_000
# Asks once for each byte that it gets, and says what it was given.
CONSUMER = """
import socket, sys
path, request = sys.argv[1], bytes.fromhex(sys.argv[2])
while sys.stdin.buffer.read(1):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.connect(path)
        link.send(request)
        sys.stdout.buffer.write(bytes([link.recv(1000)[5]]))
        sys.stdout.buffer.flush()
"""


@pytest.mark.slow
def test_of_two_processes_that_ask_at_once_exactly_one_gets_the_grant(make_stage: MakeStage) -> None:
    """A17: as two login programs would, over the socket."""
    stage = make_stage()
    argv = [sys.executable, "-I", "-S", "-c", CONSUMER, stage.path, GET.pack().hex()]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(argv, **pipes) as one, subprocess.Popen(argv, **pipes) as other:
        both: list[tuple[Any, Any]] = [(program.stdin, program.stdout) for program in (one, other)]
        wins = [0, 0]
        for race in range(RACES):
            stage.agent.judge._grants.arm(Grant(race, "login", "tty1", "alice", Kind.IDENTITY), 30)
            for stdin, _ in both:
                stdin.write(b".")
            while len(select.select([stdout for _, stdout in both], [], [], 0)[0]) < 2:
                stage.reactor.turn(0.001)
            given = [stdout.read(1)[0] for _, stdout in both]
            assert sorted(given) == [Kind.NONE, Kind.IDENTITY]
            wins[given.index(Kind.IDENTITY)] += 1
        for stdin, _ in both:
            stdin.close()
    assert sum(wins) == RACES and min(wins) > 0, "each of them was the faster one at times"


def test_half_open_connections_are_bounded_and_end(make_stage: MakeStage) -> None:
    stage = armed(make_stage)
    links = []
    for _ in range(HALF_OPEN_MAX + 5):
        links.append(connect(stage))
        stage.turn()
    assert len(stage.agent.pam) == HALF_OPEN_MAX < CONNECTIONS_MAX
    assert [has(link) for link in links] == [False] * HALF_OPEN_MAX + [True] * 5
    stage.clock.now += 2.1
    stage.turn()
    assert len(stage.agent.pam) == 0 and all(map(has, links))
    assert stage.ask().secret() == b"secret"


def given(make_stage: MakeStage) -> Asked:
    asked = armed(make_stage).ask()
    records.close_all(asked.fds)
    asked.fds = []
    return asked


@pytest.mark.parametrize(
    "report",
    [
        Request(Operation.OPENED, "login", "tty1", "alice"),
        Request(Operation.CLOSED, "login", "tty1", "alice"),
        Request(Operation.ESTABLISHED, "login", "tty1", "bob"),
        Request(Operation.ESTABLISHED, "login", "tty1", ""),
        Request(Operation.GET, "login", "tty1", "alice"),
    ],
)
def test_a_report_that_does_not_follow_ends_the_login(report: Request, make_stage: MakeStage) -> None:
    asked = given(make_stage)
    records.send(asked.module, report)
    assert asked.stage.outcome() == (1, 403) and asked.hung_up()
    assert asked.stage.agent.judge.signed_in is None


def test_garbage_after_the_reply_ends_the_login(make_stage: MakeStage) -> None:
    asked = given(make_stage)
    asked.module.send(b"garbage")
    assert asked.stage.outcome() == (1, 403)


def test_descriptors_that_a_module_sends_are_closed(make_stage: MakeStage) -> None:
    stage = armed(make_stage)
    link = connect(stage)
    before = open_fds()
    socket.send_fds(link, [GET.pack()], [0, 1, 2])
    stage.turn()
    assert open_fds() <= before and records.receive(link, Reply) is None
    assert stage.ask().secret() == b"secret"


def test_the_secret_is_closed_here_once_it_is_handed_out(make_stage: MakeStage) -> None:
    stage = make_stage()
    before = open_fds()
    stage.begin()
    stage.claim()
    stage.armed()
    asked = stage.ask()
    assert open_fds() == before + 3  # both ends of the connection, and the module's own copy
    assert not os.get_inheritable(asked.fds[0])
    records.close_all(asked.fds)


# Who may ask


def proc(folder: Path, loginuid: str | None, cgroup: str = "0::/system.slice/getty@tty1.service\n") -> Path:
    (folder / "7").mkdir(parents=True)
    if loginuid is not None:
        (folder / "7" / "loginuid").write_text(loginuid)
    (folder / "7" / "cgroup").write_text(cgroup)
    return folder


@pytest.mark.parametrize(
    ("uid", "loginuid", "reason"),
    [
        (0, "4294967295", ""),
        (0, "4294967295\n", ""),
        (0, None, ""),
        (0, "1000", "login-uid"),
        (0, "0", "login-uid"),
        (0, "", "login-uid"),
        (1000, "4294967295", "not-root"),
    ],
)
def test_only_root_without_a_login_session(
    uid: int, loginuid: str | None, reason: str, tmp_path: Path
) -> None:
    peers = Peers("/system.slice/", proc(tmp_path / "proc", loginuid), tmp_path / "no-systemd")
    assert peers.refusal(Peer(7, uid, 0), -1) == reason


@pytest.mark.parametrize(
    ("cgroup", "good"),
    [
        ("0::/system.slice/getty@tty1.service\n", True),
        ("0::/user.slice/user-1000.slice/session-1.scope\n", False),
        ("0::/system.slice-x/getty\n", False),
        ("0::/\n", False),
        ("1:name=systemd:/system.slice/gdm.service\n0::/\n", True),
        ("1:name=systemd:/user.slice/x\n0::/system.slice/x\n", False),
        ("12:pids:/system.slice/x\n", False),
        ("", False),
    ],
)
def test_where_systemd_runs_the_cgroup_counts(cgroup: str, good: bool, tmp_path: Path) -> None:
    folder = proc(tmp_path / "proc", "4294967295", cgroup)
    (tmp_path / "systemd").mkdir()
    assert (Peers("/system.slice/", folder, tmp_path / "systemd").refusal(Peer(7, 0, 0), -1) == "") is good
    assert Peers("/system.slice/", folder, tmp_path / "none").refusal(Peer(7, 0, 0), -1) == ""
    assert Peers("", folder, tmp_path / "systemd").refusal(Peer(7, 0, 0), -1) == ""


@pytest.mark.parametrize(
    ("loginuid", "cgroup", "reason"),
    [
        ("4001", "0::/user.slice/user-4001.slice/session-2.scope\n", ""),  # GDM's own, at the lock screen
        ("4001", "0::/system.slice/gdm.service\n", ""),
        ("4294967295", "0::/system.slice/gdm.service\n", ""),
        ("4002", "0::/user.slice/user-4001.slice/session-2.scope\n", "login-uid"),
        ("4001", "0::/user.slice/user-4002.slice/session-2.scope\n", "cgroup"),
        ("4001", "0::/user.slice/user-40010.slice/x\n", "cgroup"),
    ],
)
def test_who_is_to_be_unlocked_may_be_authenticated_from_the_own_session(
    loginuid: str, cgroup: str, reason: str, tmp_path: Path
) -> None:
    folder = proc(tmp_path / "proc", loginuid, cgroup)
    (tmp_path / "systemd").mkdir()
    peers = Peers("/system.slice/", folder, tmp_path / "systemd")
    assert peers.refusal(Peer(7, 0, 0), 4001) == reason
    assert bool(peers.refusal(Peer(7, 0, 0), -1)) == ("user.slice" in cgroup or loginuid == "4001")


def test_a_process_that_is_gone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    assert Peers("/system.slice/", tmp_path, tmp_path / "systemd").refusal(Peer(7, 0, 0), -1) == "cgroup"


# The listener


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    first = local.listen(path)
    with pytest.raises(ConfigError, match="another agent"):
        local.listen(path)
    first.close()
    local.listen(path).close()


def test_a_folder_that_others_can_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match="changed by others"):
        local.listen(str(tmp_path / "open" / "x.sock"))


@pytest.mark.e2e
def test_a_foreign_listener_is_not_talked_to(tmp_path: Path) -> None:
    let_in(tmp_path)
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        os.seteuid(65534)
        listener.listen()
        os.seteuid(0)
        assert local.dial(path) is None
    assert local.dial(str(tmp_path / "none")) is None
