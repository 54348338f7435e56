"""The acceptor's workers: one a session, each ends alone, and none speaks for another session."""

import fcntl
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beds_acceptor import ATTEMPT, SPN, Deed, MakeBed, ask, hung_up, log_in
from beds_agent import has, open_fds
from gssapi import raw

from sso.demo.realm import Realm
from sso.guest import records
from sso.guest.acceptor.acceptor import WORKER_TIME, WORKERS_MAX
from sso.guest.acceptor.peer_session import SEALS
from sso.guest.packets import BIND, CREDENTIAL, JUDGE, MAKE, NO, STEP, YES
from sso.guest.records import Authenticated, Child, Kind, Outcome
from sso.mech import load


def test_each_session_has_a_worker_that_is_gone_with_it(make_bed: MakeBed) -> None:
    bed = make_bed()
    log_in(bed, 1)
    bed.idle()
    before, pids = open_fds(), set[int]()
    for id in range(2, 8):
        with bed.child(id):
            pids.add(bed.worker(id))
        bed.turn(lambda id=id: id not in bed.acceptor._peers)  # type: ignore[misc]
        log_in(bed, 100 + id, 411)
    bed.idle()
    assert len(pids) == 6 and open_fds() == before and bed.lines == []
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_a_worker_has_its_own_descriptors_and_no_link_of_the_acceptor(make_bed: MakeBed) -> None:
    bed = make_bed()
    with bed.child(1) as child:
        assert ask(child, CREDENTIAL + b"password\0alice\0secret") == YES + b"alice"
        fds = {
            fd: os.readlink(f"/proc/{bed.worker(1)}/fd/{fd}")
            for fd in os.listdir(f"/proc/{bed.worker(1)}/fd")
        }
        sockets = sorted(place for fd, place in fds.items() if int(fd) > 2)
        assert len(sockets) == 3 and [place.split(":")[0] for place in sockets] == [
            "pipe",
            "socket",
            "socket",
        ]
        links = {os.readlink(f"/proc/self/fd/{end.fileno()}") for end in bed._theirs}
        assert not links & set(sockets)


def test_whoever_crashes_ends_its_own_session(make_bed: MakeBed) -> None:
    bed = make_bed()
    with bed.child(1) as one, bed.child(2) as two:
        assert ask(two, CREDENTIAL + b"password\0alice\0secret") == YES + b"alice"
        os.kill(bed.worker(1), signal.SIGSEGV)
        bed.turn(lambda: 1 not in bed.acceptor._peers)
        assert one.recv(9) == b"" and bed.lines == ["worker-failed session=1"]
        two.send(JUDGE + ATTEMPT)
        record, fds = bed.claim()
        records.close_all(fds)
        assert record.id == 2
    log_in(bed, 3)


@pytest.mark.parametrize("how", ["its child leaves", "its time is over"])
def test_whoever_hangs_is_ended_with_its_session(how: str, make_bed: MakeBed) -> None:
    bed = make_bed()
    child = bed.child(1)
    pid = bed.worker(1)
    assert (
        ask(child, CREDENTIAL + b"password\0alice\0secret") == YES + b"alice"
    )  # it holds nothing of the test
    os.kill(pid, signal.SIGSTOP)
    if how == "its child leaves":
        child.close()
    else:
        bed.clock.now += WORKER_TIME + 1
        bed.acceptor._reactor.turn(0.0)
        assert child.recv(9) == b""
        child.close()
    bed.idle()
    assert not os.path.exists(f"/proc/{pid}")
    log_in(bed, 2)


def test_no_more_than_a_few_at_once(make_bed: MakeBed) -> None:
    bed = make_bed()
    children = [bed.child(id) for id in range(1, 20)]
    assert bed.acceptor._living() == WORKERS_MAX == len(bed.acceptor._peers)
    assert [child.recv(1) for child in children[WORKERS_MAX:]] == [b""] * (19 - WORKERS_MAX)
    assert set(bed.lines) == {"worker-not-made too many at once"}
    for child in children:
        child.close()
    bed.idle()
    log_in(bed, 99)


def test_the_end_of_the_acceptor_leaves_nobody(make_bed: MakeBed) -> None:
    bed = make_bed()
    log_in(bed, 1)
    children = [bed.child(id) for id in (2, 3)]
    assert {ask(child, CREDENTIAL + b"password\0alice\0secret") for child in children} == {YES + b"alice"}
    pids = [bed.worker(2), bed.worker(3), *(worker.pid for worker in bed.acceptor._workers)]
    os.kill(pids[0], signal.SIGSTOP)
    bed.end()
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    assert [child.recv(1) for child in children] == [b"", b""]
    for child in children:
        child.close()


# A worker that was taken over


def authenticated(id: int, kind: Kind = Kind.IDENTITY) -> Authenticated:
    return Authenticated(id, ATTEMPT, kind, "root@TEST.EXAMPLE", bytes(32), 0)


def memfd(seal: bool) -> int:
    fd = os.memfd_create("forged", os.MFD_ALLOW_SEALING)
    os.write(fd, b"secret")
    if seal:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


FORGED: dict[str, Deed] = {
    "another session": lambda link: records.send(link, authenticated(2)),
    "a session that is to come": lambda link: records.send(link, authenticated(3)),
    "no session": lambda link: records.send(link, authenticated(0)),
    "an open file": lambda link: records.send(link, authenticated(1, Kind.PASSWORD), [memfd(False)]),
    "a pipe": lambda link: records.send(link, authenticated(1, Kind.KERBEROS), [os.pipe()[0]]),
    "garbage": lambda link: link.send(b"x" * 5000),
    "another record": lambda link: records.send(link, Outcome(2, 0)),
    "nothing": lambda link: link.send(b""),
    "two files": lambda link: socket.send_fds(
        link, [authenticated(1, Kind.PASSWORD).pack()], [memfd(True), memfd(True)]
    ),
}


@pytest.mark.parametrize("deed", FORGED.values(), ids=FORGED)
def test_a_worker_cannot_speak_for_another_session(deed: Deed, make_bed: MakeBed) -> None:
    bed = make_bed("", deed)
    with bed.child(1) as one, bed.child(2) as two:
        ask(one, MAKE + b"\0HOSTILE")
        one.send(STEP + b"x")
        bed.turn(lambda: 1 not in bed.acceptor._peers or has(one))
        bed.settle()
        assert not has(bed.agent), "the agent hears nothing of it"
        assert (
            2 in bed.acceptor._peers and ask(two, CREDENTIAL + b"password\0alice\0secret") == YES + b"alice"
        )
    log_in(bed, 3)


def test_a_worker_claims_its_own_session_once(make_bed: MakeBed) -> None:
    def twice(link: socket.socket) -> None:
        records.send(link, authenticated(1))
        records.send(link, authenticated(1))
        records.send(link, authenticated(2))

    bed = make_bed("", twice)
    with bed.child(1) as one, bed.child(2):
        ask(one, MAKE + b"\0HOSTILE")
        one.send(STEP + b"x")
        record, _ = bed.claim()
        assert (record.id, record.kind) == (1, Kind.IDENTITY)
        bed.settle()
        assert not has(bed.agent)


# A child, or a channel process, that was taken over


def test_a_child_that_speaks_while_it_has_to_wait_is_hung_up_on(make_bed: MakeBed) -> None:
    bed = make_bed()
    with bed.child(1) as child:
        ask(child, CREDENTIAL + b"password\0alice\0secret")
        child.send(JUDGE + ATTEMPT)
        records.close_all(bed.claim()[1])
        child.send(JUDGE + ATTEMPT)
        bed.turn(lambda: not bed.acceptor._peers)
        assert hung_up(child)
    assert not has(bed.agent)


def odd_descriptors() -> dict[str, Callable[[], int]]:
    return {
        "a file": lambda: os.open("/dev/null", os.O_RDONLY),
        "a pipe": lambda: os.pipe()[0],
        "a stream": lambda: socket.socket(socket.AF_UNIX).detach(),
        "an internet socket": lambda: socket.socket().detach(),
    }


@pytest.mark.parametrize("odd", odd_descriptors().values(), ids=odd_descriptors())
def test_a_child_that_is_no_socket_for_packets_ends_the_link(
    odd: Callable[[], int], make_bed: MakeBed
) -> None:
    bed = make_bed()
    before = open_fds()
    fd = odd()
    records.send(bed.channel, Child(1), [fd])
    os.close(fd)
    bed.end(run=True)
    assert [line.split()[0] for line in bed.lines] == ["record-malformed"]
    assert open_fds() <= before + 1, "a pipe's other end is the test's"


def test_a_session_number_comes_once(make_bed: MakeBed) -> None:
    bed = make_bed()
    with bed.child(7), bed.child(7) as again:
        assert again.recv(9) == b""
    assert bed.lines == ["record-malformed a session that there is"] and not bed.acceptor._running


# What workers share


@pytest.fixture
def alice(realm: Realm, keytabs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRB5RCACHEDIR", str(tmp_path))
    realm.kinit("alice", "-f")
    return keytabs["deleg"]


def test_a_request_that_one_worker_has_seen_is_a_replay_for_the_next(alice: Path, make_bed: MakeBed) -> None:
    bed = make_bed(alice)
    client: Any = load("GSSAPI").initiate(spn=SPN)
    client.bind(b"sso/1:test")
    token = client.step(b"")
    with bed.child(1) as one, bed.child(2) as two:
        for child in (one, two):
            assert ask(child, MAKE + b"\0GSSAPI") == ask(child, BIND + b"sso/1:test") == YES
        assert ask(one, STEP + token)[:1] == YES
        assert ask(two, STEP + token).startswith(NO + b"replay\0")
    log_in(bed, 3)
    with bed.child(4) as later:
        assert ask(later, MAKE + b"\0GSSAPI") == ask(later, BIND + b"sso/1:test") == YES
        assert ask(later, STEP + token).startswith(NO + b"replay\0")


def test_a_password_has_the_same_digest_in_every_worker(make_bed: MakeBed) -> None:
    bed = make_bed()
    digests = set[bytes]()
    for id, secret in ((1, b"secret"), (2, b"secret"), (3, b"another")):
        with bed.child(id) as child:
            ask(child, CREDENTIAL + b"password\0alice\0" + secret)
            child.send(JUDGE + ATTEMPT)
            record, fds = bed.claim()
            records.close_all(fds)
            digests.add(record.digest)
    assert len(digests) == 2 and bytes(32) not in digests


def test_no_two_workers_make_the_same_key(alice: Path, make_bed: MakeBed) -> None:
    """Workers are copies of one process, and must not draw the same random bytes."""
    bed = make_bed(alice)
    answers = []
    for id in (1, 2):
        client: Any = load("GSSAPI").initiate(spn=SPN)
        client.bind(b"sso/1:test")
        with bed.child(id) as child:
            assert ask(child, MAKE + b"\0GSSAPI") == ask(child, BIND + b"sso/1:test") == YES
            client.step(ask(child, STEP + client.step(b""))[2:])
            answers.append(bytes(raw.export_sec_context(client._context)))
    assert answers[0] != answers[1]


def test_a_defect_of_a_mechanism_is_named_in_the_log(make_bed: MakeBed) -> None:
    def break_down(link: socket.socket) -> None:
        raise ZeroDivisionError("with a secret in its text")

    bed = make_bed("", break_down)
    with bed.child(1) as child:
        ask(child, MAKE + b"\0HOSTILE")
        child.send(STEP + b"x")
        bed.turn(lambda: not bed.acceptor._peers)
    assert bed.lines == ["mechanism-failed ZeroDivisionError mechanism=HOSTILE session=1"]
