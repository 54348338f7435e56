"""The agent between channel, acceptor, PAM module and login screen: the rules of a login."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from beds_agent import ATTEMPT, MakeStage, Stage, has, let_in, open_fds, take

from sso.guest import records
from sso.guest.agent.agent import RECORDS_MAX
from sso.guest.agent.pam_records import Operation
from sso.guest.agent.rules import Eligibility
from sso.guest.records import SECRET_MAX, Begin, Confirm, End, Kind, Outcome

LOGGED_IN, WRONG, DENIED, NO_TICKET, LATER, NO_SCREEN, UNUSABLE, INTERNAL = (
    0,
    402,
    403,
    409,
    410,
    411,
    412,
    500,
)
PASSWORD: dict[str, Any] = {"principal": "alice", "kind": Kind.PASSWORD, "digest": b"d" * 32, "expires": 0}


@pytest.mark.proves("S081")
def test_a_ticket_signs_in(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim(content=b"the ticket")
    stage.armed()
    asked = stage.ask()
    assert (asked.reply.kind, asked.reply.length, asked.reply.user) == (Kind.KERBEROS, 10, "alice")
    assert asked.secret() == b"the ticket"
    assert stage.silent(), "it is not over yet"
    assert asked.report(Operation.ESTABLISHED, "/tmp/cc")
    assert stage.silent() and stage.driver.calls == ["trigger alice"], "PAM may still refuse the session"
    assert asked.report(Operation.OPENED, "/tmp/cc")
    assert stage.outcome() == (1, LOGGED_IN)
    assert stage.driver.calls == ["trigger alice", "settled"]


def test_a_password_signs_in(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim(**PASSWORD, content=b"pass word")
    stage.armed()
    asked = stage.ask("alice")
    assert (asked.reply.kind, asked.secret()) == (Kind.PASSWORD, b"pass word")
    asked.opens()
    assert stage.outcome() == (1, LOGGED_IN)


def test_a_password_that_was_wrong_is_told_and_paused(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim(**PASSWORD)
    stage.armed()
    asked = stage.ask()
    assert asked.report(Operation.TRIED)
    asked.hang_up()
    assert stage.outcome() == (1, WRONG)
    stage.end()
    stage.begin(2)
    stage.claim(2, **{**PASSWORD, "attempt": b"2" * 16})
    assert stage.outcome() == (2, LATER)
    assert stage.driver.calls == ["trigger alice", "settled"], "the screen is left alone"


def test_an_identity_needs_to_be_allowed(make_stage: MakeStage) -> None:
    for allowed, code in ((False, NO_TICKET), (True, LOGGED_IN)):
        stage = make_stage(accept_identity=allowed)
        stage.begin()
        stage.claim(kind=Kind.IDENTITY)
        if allowed:
            stage.armed()
            asked = stage.ask()
            assert (asked.reply.kind, asked.fds) == (Kind.IDENTITY, [])
            asked.opens()
        assert stage.outcome() == (1, code)


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (Eligibility.NO_USER, DENIED),
        (Eligibility.NOT_AUTHORISED, DENIED),
        (Eligibility.ROOT, DENIED),
        (Eligibility.SYSTEM, DENIED),
        (Eligibility.NOT_IN_GROUP, DENIED),
        (Eligibility.NO_SHELL, DENIED),
        (Eligibility.BROKEN, INTERNAL),
    ],
)
def test_whoever_may_not_is_refused(finding: Eligibility, code: int, make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.mapper.finding = finding
    stage.begin()
    stage.claim()
    assert stage.outcome() == (1, code)
    assert stage.driver.calls == [] and stage.ask().reply.kind is Kind.NONE


@pytest.mark.parametrize(
    ("kind", "size"), [(Kind.KERBEROS, 0), (Kind.KERBEROS, SECRET_MAX + 1), (Kind.PASSWORD, 512)]
)
def test_a_secret_of_a_wrong_size_is_refused(kind: Kind, size: int, make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim(kind=kind, content=b"x" * size)
    assert stage.outcome() == (1, UNUSABLE)


def test_a_secret_that_is_no_file_is_refused(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    ends = os.pipe()
    record = records.Authenticated(1, ATTEMPT, Kind.KERBEROS, "alice@R", bytes(32), 0)
    records.send(stage.acceptor, record, ends[:1])
    assert stage.outcome() == (1, UNUSABLE)
    records.close_all(ends)


# Once


def test_the_same_attempt_gets_the_same_answer_and_no_second_login(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.signed_in()
    stage.begin(2)
    stage.claim(2)
    assert stage.outcome() == (2, LOGGED_IN) and stage.driver.calls == []
    stage.end(2)
    stage.clock.now += 121
    stage.begin(3)
    stage.claim(3, "bob@TEST.EXAMPLE")
    assert stage.outcome() == (3, DENIED), "an attempt id is no authority"


def test_a_session_gets_one_decision(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.mapper.finding = Eligibility.ROOT
    stage.begin()
    stage.claim()
    assert stage.outcome() == (1, DENIED)
    stage.mapper.finding = None
    stage.claim()
    assert stage.silent() and stage.driver.calls == []


@pytest.mark.parametrize("id", [0, 2, 7])
def test_nobody_is_signed_in_for_a_session_that_does_not_run(id: int, make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim(id)
    assert stage.silent()
    stage.end()
    stage.claim(1)
    assert stage.silent() and stage.driver.calls == []


def test_a_session_begins_before_its_claim_whichever_is_read_first(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.claim()
    stage.begin()
    stage.agent._on_acceptor()
    stage.armed()


# Somebody is signed in


@pytest.mark.proves("S150")
def test_another_user_is_refused_quietly(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.signed_in()
    stage.begin(2)
    stage.claim(2, "bob@TEST.EXAMPLE")
    assert stage.outcome() == (2, DENIED)
    assert stage.driver.calls == [] and stage.ask().reply.kind is Kind.NONE


@pytest.mark.parametrize(("digest", "code"), [(b"d" * 32, LOGGED_IN), (b"e" * 32, WRONG)])
def test_a_password_counts_for_an_open_session_only_if_it_opened_it(
    digest: bytes, code: int, make_stage: MakeStage
) -> None:
    stage = make_stage()
    stage.signed_in(**PASSWORD)
    stage.begin(2)
    stage.claim(2, **{**PASSWORD, "digest": digest, "attempt": b"2" * 16})
    assert stage.outcome() == (2, code) and stage.driver.calls == []


def test_after_the_session_the_next_one_signs_in(make_stage: MakeStage) -> None:
    for closes in (True, False):
        stage = make_stage()
        asked = stage.signed_in()
        asked.report(Operation.CLOSED) if closes else asked.hang_up()
        stage.begin(2)
        stage.claim(2, "bob@TEST.EXAMPLE")
        stage.armed()
        assert stage.ask("bob").reply.user == "bob"


def renew(stage: Stage, id: int, attempt: bytes, expires: int, principal: str = "alice@TEST.EXAMPLE") -> int:
    stage.begin(id)
    stage.claim(id, principal, attempt=attempt * 16, expires=expires, content=b"new ticket")
    answered, code = stage.outcome()
    assert answered == id
    stage.end(id)
    return code


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "caches"
    folder.mkdir()
    folder.chmod(0o1777)
    let_in(tmp_path)
    path = folder / "krb5cc_1"
    path.write_bytes(b"old ticket")
    path.chmod(0o600)
    os.chown(path, 1, 1)
    return path


@pytest.mark.e2e
def test_a_renewed_ticket_is_put_in_place_at_most_once_a_minute(make_stage: MakeStage, cache: Path) -> None:
    stage = make_stage()
    stage.mapper.uids["alice"] = 1
    stage.signed_in(path=str(cache))
    assert renew(stage, 2, b"2", 5000) == LOGGED_IN and cache.read_bytes() == b"old ticket", "not later"
    assert renew(stage, 3, b"3", 6000) == LOGGED_IN and cache.read_bytes() == b"new ticket"
    with cache.open("r+b") as file:  # to create would be refused (fs.protected_regular)
        file.write(b"untouched")
        file.truncate()
    assert renew(stage, 4, b"4", 7000) == LOGGED_IN and cache.read_bytes() == b"untouched", "too soon"
    stage.clock.now += 60
    assert renew(stage, 5, b"5", 7000) == LOGGED_IN and cache.read_bytes() == b"new ticket"
    assert stage.driver.calls == [], "it opens nothing and unlocks nothing"


@pytest.mark.e2e
def test_another_principal_of_the_same_user_renews_nothing(make_stage: MakeStage, cache: Path) -> None:
    stage = make_stage()
    stage.mapper.uids["alice"] = 1
    stage.signed_in(path=str(cache))
    assert renew(stage, 2, b"2", 9000, "alice@OTHER.EXAMPLE") == LOGGED_IN
    assert cache.read_bytes() == b"old ticket"


@pytest.mark.e2e
def test_a_cache_that_is_gone_stays_gone(make_stage: MakeStage, cache: Path) -> None:
    stage = make_stage()
    stage.mapper.uids["alice"] = 1
    stage.signed_in(path=str(cache))
    cache.unlink()
    assert renew(stage, 2, b"2", 9000) == INTERNAL
    assert list(cache.parent.iterdir()) == []


# The other processes


def test_it_ends_with_the_other_processes(make_stage: MakeStage) -> None:
    for which in ("channel", "acceptor"):
        stage = make_stage()
        getattr(stage, which).close()
        stage.reactor.run()


@pytest.mark.parametrize("packet", [b"x", b"AUTH", Begin(1).pack() + b"\0", Confirm(1).pack(), b"x" * 5000])
@pytest.mark.parametrize("which", ["channel", "acceptor"])
def test_a_record_that_is_none_ends_it(packet: bytes, which: str, make_stage: MakeStage) -> None:
    stage = make_stage()
    getattr(stage, which).send(packet)
    stage.reactor.run()


def test_a_channel_that_talks_without_end_keeps_nobody_waiting(make_stage: MakeStage) -> None:
    stage = make_stage()
    fired: list[bool] = []
    stage.reactor.after(0.0, lambda: fired.append(True))
    stage.channel.setblocking(False)
    sent = 0
    while records.send(stage.channel, Begin(sent + 1)):
        sent += 1
    assert sent > 2 * RECORDS_MAX
    stage.reactor.turn(0.0)
    assert stage.agent._channel is not None
    assert fired and has(stage.agent._channel), "a timer had its turn, and there is more to read"


def test_no_claim_is_judged_before_all_that_the_channel_said_of_its_session(make_stage: MakeStage) -> None:
    stage = make_stage()
    for id in range(1, RECORDS_MAX + 1):
        stage.begin(id)
    last = RECORDS_MAX + 1
    stage.begin(last)
    records.send(stage.channel, End(last))
    stage.claim(last)
    stage.turn()
    assert stage.silent() and not stage.driver.calls, "its session is over"


@pytest.mark.parametrize(
    ("which", "packet"), [("acceptor", Begin(1).pack()), ("channel", Outcome(1, 0).pack())]
)
def test_a_record_of_the_other_process_ends_both_links(
    which: str, packet: bytes, make_stage: MakeStage, events: list[str]
) -> None:
    stage = make_stage()
    before = open_fds()
    getattr(stage, which).send(packet)
    stage.reactor.run()
    assert [line.split()[0] for line in events[-2:]] == ["record-malformed", "links-lost"]
    assert [take(link, Confirm) for link in (stage.channel, stage.acceptor)] == [None, None]
    assert open_fds() == before - 2


def test_an_acceptor_that_reads_nothing_ends_it(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.mapper.finding = Eligibility.ROOT
    stage.acceptor.setblocking(True)
    for id in range(100_000):
        stage.agent._tell_outcome(id, 0)
        if stage.agent._acceptor is None:
            break
    stage.reactor.run()


def test_it_can_reach_no_parser_of_a_peers_bytes() -> None:
    program = "import sys, sso.guest.agent.agent, sso.guest.screens.getty; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "sso.guest.agent.judge" in loaded
    forbidden = (
        "ssl",
        "gssapi",
        "pyasn1",
        "asyncio",
        "sso.protocol.session",
        "sso.protocol.messages",
        "sso.framing",
        "sso_mechs",
    )
    assert {name for name in loaded if name.split(".")[0] in forbidden or name in forbidden} == set()


def test_nothing_secret_is_logged(make_stage: MakeStage, events: list[str]) -> None:
    stage = make_stage()
    stage.signed_in(**PASSWORD, content=b"canary-canary")
    text = "\n".join(events)
    assert (
        "login-opened session=1 user=alice code=0" in text and "canary" not in text and "d" * 32 not in text
    )
