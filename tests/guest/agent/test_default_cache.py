"""The default cache at its edges: PAM gets no ticket, and a login that is taken back leaves none behind."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from beds_agent import MakeStage, Stage, let_in
from sso_mechs import ccache
from sso_mechs.ccache import Ticket

from sso.guest import records
from sso.guest.agent import default_cache
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.records import Kind

pytestmark = pytest.mark.e2e  # becomes another user, so it needs root
UID = 1  # daemon's, on every Debian
ALICE, TGT = "alice@TEST.EXAMPLE", "krbtgt/TEST.EXAMPLE@TEST.EXAMPLE"
TICKET = Ticket(ALICE, TGT, 18, bytearray(range(32)), 1, 2, 2**31 - 1, 4, 0x40E10000, b"\x61\x03abc")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, below which krb5.conf has the default collection."""
    let_in(tmp_path)
    found = tmp_path / "user"
    found.mkdir(mode=0o700)
    os.chown(found, UID, UID)
    config = f"[libdefaults]\n default_realm = TEST.EXAMPLE\n default_ccache_name = DIR:{found}/caches\n"
    (tmp_path / "krb5.conf").write_text(config)
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "krb5.conf"))
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nonexistent/agents-own")
    return found


@pytest.fixture
def stage(make_stage: MakeStage, folder: Path) -> Stage:
    """A login for which PAM has come to its session."""
    stage = make_stage(ticket_store="default")
    stage.mapper.uids["alice"], stage.mapper.store = UID, f"DIR:{folder}/caches"
    stage.begin()
    stage.claim(content=bytes(ccache.write(TICKET)), expires=2**31 - 1)
    stage.armed()
    return stage


def tickets(folder: Path) -> list[Path]:
    return sorted(folder.glob("caches/tkt*"))


def test_pam_gets_no_ticket_and_the_cache_is_there_before_the_yes(stage: Stage, folder: Path) -> None:
    asked = stage.ask()
    assert (asked.reply, asked.fds) == (Reply(Kind.IDENTITY, 0, "alice"), [])
    assert asked.report(Operation.ESTABLISHED) and not tickets(folder)
    asked.module.send(Request(Operation.OPENED, "login", "tty1", "alice").pack())
    stage.turn(lambda: records_there(stage))
    (cache,) = tickets(folder)
    found = cache.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (UID, UID, 0o600)
    assert ccache.read(cache.read_bytes()) == [TICKET]
    assert (folder / "caches").stat().st_mode & 0o777 == 0o700


def records_there(stage: Stage) -> bool:
    return stage.agent.judge.signed_in is not None


def begun(stage: Stage) -> None:
    """The module waits for its yes, and the worker is at work."""
    asked = stage.ask()
    assert asked.report(Operation.ESTABLISHED)
    asked.module.send(Request(Operation.OPENED, "login", "tty1", "alice").pack())
    stage.reactor.turn(1.0)


def client_gone(stage: Stage) -> None:
    stage.agent.judge.gone(lambda: None)


def module_gone(stage: Stage) -> None:
    stage.pam[-1].close()


def said_twice(stage: Stage) -> None:
    stage.pam[-1].send(Request(Operation.OPENED, "login", "tty1", "alice").pack())


@pytest.mark.parametrize("end", [client_gone, module_gone, said_twice])
def test_what_is_taken_back_meanwhile_leaves_no_ticket(
    stage: Stage, folder: Path, end: Callable[[Stage], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("sso.guest.log._say", lambda id, line, values: said.append(id))
    begun(stage)
    end(stage)
    stage.turn(lambda: "ticket-stored" in said and not tickets(folder))
    assert stage.agent.judge.signed_in is None and stage.agent.judge.login is None
    if end is not module_gone:
        assert records.receive(stage.pam[-1], Reply) is None, "no yes"


def test_a_folder_that_takes_none_refuses_the_session(stage: Stage, folder: Path) -> None:
    os.chown(folder, 2, 2)
    asked = stage.ask()
    assert asked.report(Operation.ESTABLISHED)
    asked.module.send(Request(Operation.OPENED, "login", "tty1", "alice").pack())
    stage.turn(lambda: stage.agent.judge.login is None)
    assert records.receive(asked.module, Reply) is None and stage.agent.judge.signed_in is None


def test_a_password_goes_to_pam_as_ever(make_stage: MakeStage, folder: Path) -> None:
    stage = make_stage(ticket_store="default")
    stage.mapper.store = f"DIR:{folder}/caches"
    stage.begin()
    stage.claim(1, "alice", Kind.PASSWORD, digest=b"d" * 32)
    stage.armed()
    assert stage.ask().secret() == b"secret"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """While this file is there, no worker removes a cache: as one whose KCM or disk is slow."""
    gate, remove = tmp_path / "held", default_cache._remove

    def late(name: str, uid: int, principal: str) -> bytes:
        with gate.open("rb") as opened:  # a FIFO: it opens when the test opens its end
            opened.read()
        return remove(name, uid, principal)

    os.mkfifo(gate, 0o666)
    gate.chmod(0o666)
    monkeypatch.setattr(default_cache, "_remove", late)
    return gate


def test_a_late_removal_never_takes_the_next_sessions_ticket(
    stage: Stage, folder: Path, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("sso.guest.log._say", lambda id, line, values: said.append(id))
    first = stage.ask()
    assert first.report(Operation.ESTABLISHED)
    first.module.send(Request(Operation.OPENED, "login", "tty1", "alice").pack())
    stage.turn(lambda: records_there(stage))
    assert stage.outcome() == (1, 0)
    stage.end()
    first.module.close()
    client_gone(stage)
    stage.turn(lambda: "session-over" in said)
    stage.driver.calls.clear()

    stage.begin(2)
    stage.claim(2, attempt=bytes([2]) * 16, content=bytes(ccache.write(TICKET)), expires=2**31 - 1)
    stage.armed()
    second = stage.ask()
    assert second.report(Operation.ESTABLISHED)
    second.module.send(Request(Operation.OPENED, "login", "tty1", "alice").pack())
    stage.turn()
    with held.open("wb"):
        pass
    stage.turn(lambda: records_there(stage) and "ticket-removed" in said)
    assert len(tickets(folder)) == 1, "the second session has its ticket"
