"""park_tickets: alice's ticket is gone while alice is away, and back before alice's programs run on."""

import os
from pathlib import Path

import pytest
from beds_agent import MakeStage, Stage, has, let_in
from fake_surroundings import FakeDriver

from sso.guest.agent.pam_records import Operation
from sso.guest.records import Kind
from sso.guest.seat.logind import Seated

pytestmark = pytest.mark.e2e  # becomes another user, so it needs root
UID = 1  # daemon's, on every Debian
OPEN = Seated("c2", "alice", UID, "wayland")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    let_in(tmp_path)
    folder = tmp_path / "caches"
    folder.mkdir()
    folder.chmod(0o1777)
    path = folder / "krb5cc_1_x"
    path.write_bytes(b"first")
    path.chmod(0o600)
    os.chown(path, UID, UID)
    return path


def away(make_stage: MakeStage, cache: Path, driver: FakeDriver) -> Stage:
    """Alice has signed in and has left: the session is locked, the ticket taken away."""
    stage = make_stage(driver, park_tickets=True)
    stage.mapper.uids["alice"] = UID
    stage.signed_in(path=str(cache))
    stage.seat.put(OPEN)
    stage.gone()
    stage.turn(lambda: has(stage.channel))
    assert stage.confirmed() and stage.seat.found.users[0].locked and list(cache.parent.iterdir()) == []
    return stage


def back(stage: Stage, id: int) -> None:
    """Alice's client is there again, with a ticket that lasts no longer than the first one."""
    stage.begin(id)
    stage.claim(id, attempt=id.to_bytes(16, "big"), content=b"alice's ticket")


def is_alices(cache: Path) -> bool:
    found = cache.stat()
    private = (found.st_uid, found.st_mode & 0o7777, found.st_nlink) == (UID, 0o600, 1)
    return private and cache.read_bytes() == b"alice's ticket" and list(cache.parent.iterdir()) == [cache]


def test_it_is_there_before_logind_is_told_to_unlock(
    make_stage: MakeStage, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = away(make_stage, cache, FakeDriver())
    found: list[bool] = []
    unlock = stage.seat.unlock

    def look_first(session: str) -> None:
        found.append(is_alices(cache))
        unlock(session)

    monkeypatch.setattr(stage.seat, "unlock", look_first)
    back(stage, 2)
    assert stage.outcome() == (2, 0)
    assert found == [True] and not stage.seat.found.users[0].locked


def test_it_is_there_before_the_screen_is_told_and_pam_gets_one_too(
    make_stage: MakeStage, cache: Path
) -> None:
    stage = away(make_stage, cache, FakeDriver(unlocks=True))
    back(stage, 2)
    stage.armed()
    assert is_alices(cache)
    asked = stage.ask("alice")
    assert (asked.reply.kind, asked.secret()) == (Kind.KERBEROS, b"alice's ticket")
    assert asked.report(Operation.ESTABLISHED) and stage.silent()
    stage.seat.unlock("c2")
    assert stage.outcome() == (2, 0) and is_alices(cache)


def test_who_leaves_before_it_is_unlocked_finds_it_parked_again(make_stage: MakeStage, cache: Path) -> None:
    stage = away(make_stage, cache, FakeDriver(unlocks=True))
    back(stage, 2)
    stage.armed()
    stage.end(2)
    stage.gone(2)
    stage.turn(lambda: has(stage.channel))
    assert stage.confirmed(2) and stage.seat.found.users[0].locked and list(cache.parent.iterdir()) == []


def test_what_cannot_be_put_back_does_not_keep_the_user_out(make_stage: MakeStage, cache: Path) -> None:
    stage = away(make_stage, cache, FakeDriver())
    cache.symlink_to("/etc/passwd")
    back(stage, 2)
    assert stage.outcome() == (2, 0) and not stage.seat.found.users[0].locked
    assert cache.is_symlink()


@pytest.mark.parametrize("claims", [True, False])
def test_a_client_that_another_one_has_replaced_is_gone_too(
    claims: bool, make_stage: MakeStage, cache: Path
) -> None:
    """Nobody has hung up: the new client finds the screen locked, and the ticket is not there."""
    stage = make_stage(FakeDriver(), park_tickets=True)
    stage.mapper.uids["alice"] = UID
    stage.signed_in(path=str(cache))
    stage.seat.put(OPEN)
    stage.begin(2)
    stage.turn()
    if claims:
        stage.claim(2, "bob@TEST.EXAMPLE", attempt=b"2" * 16)
        assert stage.outcome() == (2, 403)
    stage.end(2)
    assert stage.seat.found.users[0].locked and list(cache.parent.iterdir()) == []
    back(stage, 3)
    assert stage.outcome() == (3, 0) and is_alices(cache)


def test_somebody_else_brings_nothing_back(make_stage: MakeStage, cache: Path) -> None:
    stage = away(make_stage, cache, FakeDriver())
    for id, principal in ((2, "bob@TEST.EXAMPLE"), (3, "alice@OTHER.EXAMPLE")):
        stage.begin(id)
        stage.claim(id, principal, attempt=id.to_bytes(16, "big"))
        assert stage.outcome() == (id, 403 if id == 2 else 0)
        stage.end(id)
    assert list(cache.parent.iterdir()) == []
