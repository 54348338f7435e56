"""A new client on a stream that nobody hung up: the signed-in principal's renewal, or the screen locks."""

from typing import Any

import pytest
from beds_agent import Asked, MakeStage, Stage, has

from sso.guest import records
from sso.guest.agent.account import Checked
from sso.guest.agent.newcomer import RENEWAL_SECONDS
from sso.guest.agent.pam_records import Operation
from sso.guest.agent.rules import Eligibility
from sso.guest.records import Kind
from sso.guest.seat.logind import Found, Seated

ALICE = Seated("c2", "alice", 4001, "wayland", tty="tty2")
TEXT = Seated("3", "alice", 4001, "tty", tty="tty1")
PASSWORD: dict[str, Any] = {"principal": "alice", "kind": Kind.PASSWORD, "digest": b"d" * 32, "expires": 0}
TICKET: dict[str, Any] = {"principal": "alice@TEST.EXAMPLE"}
BOB = {"principal": "bob@TEST.EXAMPLE"}
OTHER_REALM = {"principal": "alice@OTHER.EXAMPLE"}
LOCK, UNLOCK = "lock c2", "unlock c2"


def looked_at(stage: Stage) -> Stage:
    """Alice's session is open, alice's client is answered, and the stream stays as it is."""
    stage.signed_in()
    stage.clock.now += 200.0  # what was answered is forgotten
    stage.seat.put(ALICE)
    stage.turn()
    return stage


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return looked_at(make_stage())


def arrives(stage: Stage, id: int = 2) -> None:
    stage.begin(id)
    stage.turn()


def shows(stage: Stage, claim: dict[str, Any], id: int = 2) -> int:
    stage.claim(id, **{"attempt": id.to_bytes(16, "big")} | claim)
    session, code = stage.outcome()
    assert session == id
    return code


def is_locked(stage: Stage) -> bool:
    return stage.seat.found.users[0].locked


def test_a_renewal_locks_nothing(stage: Stage) -> None:
    for id in (2, 3):
        arrives(stage, id)
        assert shows(stage, TICKET, id) == 0
        stage.end(id)
        stage.clock.now += 2 * RENEWAL_SECONDS
        stage.turn()
    assert not stage.seat.calls


def test_an_identity_is_a_renewal_too(make_stage: MakeStage) -> None:
    stage = looked_at(make_stage(accept_identity=True))
    arrives(stage)
    assert shows(stage, TICKET | {"kind": Kind.IDENTITY}) == 0
    stage.end(2)
    assert not stage.seat.calls


def test_who_says_nothing_finds_it_locked_after_a_step(stage: Stage) -> None:
    arrives(stage)
    stage.clock.now += RENEWAL_SECONDS - 0.1
    stage.turn()
    assert not stage.seat.calls
    stage.clock.now += 0.2
    stage.turn(lambda: is_locked(stage))
    assert stage.seat.calls == [LOCK]


def test_who_ends_without_a_word_has_locked_it_before_the_next_is_served(stage: Stage) -> None:
    stage.seat.obeys = False
    arrives(stage)
    records.send(stage.channel, records.End(2))
    stage.turn(lambda: stage.seat.calls)
    assert not has(stage.channel), "told to lock, and not locked: nobody is served"
    stage.seat.put(ALICE._replace(locked=True))
    assert stage.confirmed(2)


REFUSED: list[tuple[dict[str, Any], int]] = [
    (BOB, 403),
    (PASSWORD, 402),
    ({"principal": "nobody"}, 403),
    (BOB | {"kind": Kind.IDENTITY}, 403),
    (BOB | {"content": b""}, 412),
]


@pytest.mark.parametrize(("claim", "code"), REFUSED)
def test_who_is_refused_has_locked_it_before_the_answer(
    claim: dict[str, Any], code: int, stage: Stage
) -> None:
    stage.checker.answer = Checked.WRONG
    stage.seat.obeys = False
    arrives(stage)
    stage.claim(2, **{"attempt": b"2" * 16} | claim)
    stage.turn(lambda: stage.seat.calls)
    assert stage.silent()
    stage.seat.obeys = True
    stage.seat.put(ALICE._replace(locked=True))
    assert stage.outcome() == (2, code)
    assert stage.seat.calls[0] == LOCK and UNLOCK not in stage.seat.calls


def test_an_own_ticket_that_is_refused_locks_too(stage: Stage) -> None:
    stage.mapper.finding = Eligibility.NOT_IN_GROUP
    arrives(stage)
    assert shows(stage, TICKET) == 403
    assert is_locked(stage)


@pytest.mark.parametrize("claim", [PASSWORD, OTHER_REALM])
def test_who_is_the_user_by_another_proof_unlocks_what_was_locked(
    claim: dict[str, Any], stage: Stage
) -> None:
    """A password is no renewal: PAM is asked. So is an account that another principal may use."""
    arrives(stage)
    assert shows(stage, claim) == 0
    assert stage.seat.calls == [LOCK, UNLOCK] and len(stage.checker.calls) == 1


def test_an_own_ticket_that_comes_late_unlocks(stage: Stage) -> None:
    arrives(stage)
    stage.clock.now += RENEWAL_SECONDS + 0.1
    stage.turn(lambda: is_locked(stage))
    assert shows(stage, TICKET) == 0
    assert stage.seat.calls == [LOCK, UNLOCK]


def test_what_was_granted_to_the_one_before_counts_no_more(stage: Stage) -> None:
    """Alice's answer of a moment ago, and the verdict that a locker may ask for."""
    stage.gone()
    assert stage.confirmed()
    stage.seat.put(ALICE)  # by hand
    stage.turn()
    arrives(stage)
    assert shows(stage, TICKET) == 0
    unlocker = stage.agent.judge.unlocker
    stage.turn(lambda: unlocker._offer)
    stage.end(2)
    arrives(stage, 3)
    stage.end(3)
    assert is_locked(stage) and not unlocker.verdict(4001, "alice", "i3lock")
    stage.checker.answer = Checked.REFUSED
    arrives(stage, 4)
    assert shows(stage, TICKET | {"attempt": (2).to_bytes(16, "big")}, 4) == 403, "asked anew"
    assert is_locked(stage)


def test_a_client_that_comes_before_logind_has_answered_waits_for_it(stage: Stage) -> None:
    stage.begin(2)
    stage.claim(2, **PASSWORD)
    assert stage.outcome()[1] == 0
    assert stage.seat.calls == [LOCK, UNLOCK]


def test_each_new_client_is_watched(stage: Stage) -> None:
    arrives(stage, 2)
    stage.clock.now += RENEWAL_SECONDS - 1.0
    stage.begin(3)
    stage.turn()
    stage.clock.now += 2.0
    stage.turn()
    assert not stage.seat.calls, "the time is that of the newer one"
    stage.clock.now += RENEWAL_SECONDS
    stage.turn(lambda: is_locked(stage))


def test_what_is_locked_already_is_left_alone(stage: Stage) -> None:
    stage.seat.put(ALICE._replace(locked=True))
    stage.turn()
    arrives(stage)
    stage.seat.put(ALICE)  # by hand, while it says nothing
    stage.clock.now += 2 * RENEWAL_SECONDS
    stage.turn()
    stage.end(2)
    assert not stage.seat.calls


def test_where_nobody_is_in_nobody_is_locked_out(make_stage: MakeStage) -> None:
    stage = make_stage()
    arrives(stage)
    stage.seat.put(ALICE)  # signed in by hand
    stage.clock.now += 2 * RENEWAL_SECONDS
    stage.turn()
    stage.end(2)
    assert not stage.seat.calls


def test_nothing_is_done_where_that_is_wanted(make_stage: MakeStage) -> None:
    stage = looked_at(make_stage(disconnect="nothing"))
    arrives(stage)
    assert shows(stage, BOB) == 403
    stage.end(2)
    assert not stage.seat.calls


def test_nobody_is_logged_off_for_it(make_stage: MakeStage) -> None:
    stage = looked_at(make_stage(disconnect="log-off", grace_seconds=0))
    arrives(stage)
    stage.end(2)
    stage.clock.now += 100.0
    stage.turn()
    assert stage.seat.calls == [LOCK], "whether alice's client has left, nobody knows"


def test_a_session_in_text_cannot_be_locked_and_the_log_says_so(stage: Stage, events: list[str]) -> None:
    stage.seat.put(TEXT)
    stage.turn()
    arrives(stage)
    stage.end(2)
    stage.turn()
    assert not stage.seat.calls
    assert [line.split()[0] for line in events[-2:]] == ["client-unproved", "session-not-locked"]


def test_a_session_that_is_still_to_come_to_the_front_is_locked_too(stage: Stage) -> None:
    stage.seat.put(ALICE, active=Seated("c1", "gdm", 110, "wayland", greeter=True))
    stage.turn()
    arrives(stage)
    stage.clock.now += RENEWAL_SECONDS + 0.1
    stage.turn(lambda: is_locked(stage))
    assert stage.seat.calls == [LOCK]


def test_a_hang_up_in_between_is_confirmed_with_the_rest(stage: Stage) -> None:
    """Both records wait for the same lock."""
    stage.seat.obeys = False
    arrives(stage)
    records.send(stage.channel, records.End(2))
    stage.gone(2)
    stage.turn()
    assert not has(stage.channel)
    stage.seat.put(ALICE._replace(locked=True))
    assert stage.confirmed(2) and stage.confirmed(2)


def test_without_logind_nothing_can_be_locked_and_nobody_waits(stage: Stage, events: list[str]) -> None:
    stage.seat.found = Found(False, None, (Seated("", "", -1, ""),))
    stage.begin(2)
    stage.end(2)
    assert events[-1] == "session-not-locked user='' reason=no-logind", "this bed has no bus to lock by"


# A login that goes on at the console (414), and sessions that open under a new client's eyes


def asking(stage: Stage, claim: dict[str, Any]) -> Asked:
    """A login at whose console somebody is asked something; its client knows, and has ended its session."""
    stage.begin()
    stage.claim(1, **{"attempt": b"1" * 16} | claim)
    stage.armed()
    asked = stage.ask()
    stage.clock.now += 30.1
    assert stage.outcome() == (1, 414)
    stage.end()
    return asked


@pytest.mark.parametrize("claim", [TICKET, PASSWORD])
def test_what_opens_while_a_new_client_looks_on_is_locked(
    claim: dict[str, Any], make_stage: MakeStage
) -> None:
    stage = make_stage()
    asked = asking(stage, claim)
    arrives(stage)
    asked.opens()
    stage.seat.put(ALICE)
    stage.turn()
    assert not stage.seat.calls, "it may be alice's own client"
    assert shows(stage, BOB) == 403
    assert is_locked(stage)


def test_a_new_client_that_says_nothing_ends_what_the_console_asks(make_stage: MakeStage) -> None:
    stage = make_stage()
    asked = asking(stage, TICKET)
    arrives(stage)
    stage.clock.now += RENEWAL_SECONDS + 0.1
    stage.turn(lambda: "cancel" in stage.driver.calls)
    assert asked.hung_up()


@pytest.mark.parametrize("claim", [TICKET, PASSWORD])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_own_client_that_asks_again_finds_it_open(
    when: str, claim: dict[str, Any], make_stage: MakeStage
) -> None:
    stage = make_stage()
    asked = asking(stage, claim)
    if when == "before":
        asked.opens()
        stage.seat.put(ALICE)
        stage.turn()
    arrives(stage)
    stage.claim(2, **{"attempt": b"1" * 16} | claim)
    if when == "after":
        assert stage.silent()
        stage.clock.now += RENEWAL_SECONDS + 0.1
        stage.turn()
        asked.opens()
        stage.seat.put(ALICE)
    assert stage.outcome() == (2, 0)
    assert not stage.seat.calls


def test_who_repeats_the_attempt_with_another_password_has_locked_it(make_stage: MakeStage) -> None:
    stage = make_stage()
    asking(stage, PASSWORD).opens()
    stage.seat.put(ALICE)
    arrives(stage)
    assert shows(stage, PASSWORD | {"attempt": b"1" * 16, "digest": b"e" * 32}) == 402
    assert is_locked(stage)


def test_a_login_that_takes_longer_than_a_renewal_is_not_locked(make_stage: MakeStage) -> None:
    """PAM asked alice something; then another client of alice signs in."""
    stage = make_stage()
    asking(stage, TICKET)
    stage.driver.calls.clear()
    arrives(stage)
    stage.claim(2, **TICKET, attempt=b"2" * 16)
    stage.armed()
    asked = stage.ask()
    for operation in (Operation.HELD, Operation.ESTABLISHED, Operation.OPENED):
        assert asked.report(operation)
    stage.clock.now += RENEWAL_SECONDS + 0.1
    stage.turn()
    stage.seat.put(ALICE)
    assert stage.outcome() == (2, 0)
    assert not stage.seat.calls


def test_signed_in_is_not_said_of_a_screen_that_is_being_locked(stage: Stage) -> None:
    """The time for a renewal ends while the ticket is judged: "ok" waits until the screen is unlocked."""
    stage.seat.obeys = False
    arrives(stage)
    stage.clock.now += RENEWAL_SECONDS - 1.0
    stage.claim(2, **TICKET, attempt=b"3" * 16)
    stage.turn(lambda: stage.agent.judge.login)
    stage.clock.now += 1.1
    stage.turn(lambda: stage.seat.calls)
    judge = stage.agent.judge
    stage.turn(lambda: judge.login is None or judge.login.user)
    assert stage.silent()
    stage.seat.obeys = True
    stage.seat.put(ALICE._replace(locked=True))
    assert stage.outcome() == (2, 0)
    assert stage.seat.calls == [LOCK, UNLOCK] and not is_locked(stage)
