"""Memory of attempts: pauses, stops, failed secrets, and the same answer for the same attempt."""

import struct
from pathlib import Path

import pytest
from beds_agent import Clock

from sso.guest.agent.attempts import CONSOLE_SECONDS, ENTRIES_MAX, KEPT_SECONDS, Attempts, Guess, Outcomes
from sso.guest.records import Authenticated, Kind, Verdict
from sso.guest.seat.utmp import signed_in_since

BAD, GOOD = b"b" * 32, b"g" * 32
PASSWORD, TICKET = Kind.PASSWORD, Kind.KERBEROS


@pytest.fixture
def clock() -> Clock:
    return Clock()


def attempts(clock: Clock, by_hand: bool = False) -> Attempts:
    return Attempts(clock, lambda user, since: by_hand, lambda: 0.0)


def guess(user: str = "alice", kind: Kind = PASSWORD, digest: bytes = GOOD) -> Guess:
    return Guess(user, kind, digest)


def test_pauses_grow_and_a_user_is_stopped_after_three(clock: Clock) -> None:
    memory = attempts(clock)
    for pause in (30, 120):
        assert not memory.paused(guess())
        memory.failed(guess())
        clock.now += pause - 0.1
        assert memory.paused(guess(kind=PASSWORD, user="bob")), "another user at the console"
        clock.now += 0.2
    memory.failed(guess())
    clock.now += 100_000
    assert memory.paused(guess())
    assert not memory.paused(guess("bob")), "the console's pause is over"


def test_a_login_by_hand_ends_the_stop(clock: Clock) -> None:
    said: list[tuple[str, float]] = []

    def by_hand(user: str, since: float) -> bool:
        said.append((user, since))
        return len(said) > 1

    memory = Attempts(clock, by_hand, lambda: 77.0)
    for _ in range(3):
        memory.failed(guess(digest=BAD))
    clock.now += 1000
    assert memory.paused(guess())
    assert not memory.paused(guess()) and said == [("alice", 77.0)] * 2
    assert memory.failed_before(guess()) == (), "it may be right again"


def test_a_ticket_waits_for_nobodys_passwords_and_no_password_for_a_ticket(clock: Clock) -> None:
    memory = attempts(clock)
    for _ in range(3):
        memory.failed(guess())
        memory.failed(guess("bob"))
    assert memory.paused(guess()), "stopped"
    assert not memory.paused(guess(kind=TICKET)) and not memory.paused(guess(kind=Kind.IDENTITY))
    memory = attempts(clock)
    memory.failed(guess(kind=TICKET))
    assert memory.paused(guess(kind=TICKET))
    for other in (guess(), guess("bob"), guess("bob", kind=TICKET), guess(kind=Kind.IDENTITY)):
        assert not memory.paused(other)


def test_a_success_by_a_ticket_forgets_no_password_that_failed(clock: Clock) -> None:
    memory = attempts(clock)
    memory.failed(guess(digest=BAD))
    memory.succeeded(guess(kind=TICKET))
    assert memory.paused(guess()) and memory.failed_before(guess()) == (BAD,)
    clock.now += 31
    memory.succeeded(guess())
    assert memory.failed_before(guess()) == ()


def test_who_guesses_at_others_is_not_free_again_by_an_own_success(clock: Clock) -> None:
    """Spraying: one guess at each user, and the own password in between."""
    memory = attempts(clock)
    for number, pause in enumerate((30, 120, 600, 600)):
        memory.failed(guess(f"user{number}"))
        memory.succeeded(guess("mallory"))
        clock.now += pause - 0.1
        assert memory.paused(guess("alice")), "the pause has grown"
        clock.now += 0.2
        assert not memory.paused(guess("alice"))
    memory.failed(guess("alice"))
    clock.now += 600
    memory.succeeded(guess("alice"))
    assert memory._console.failures == 4, "those of the others"
    clock.now += CONSOLE_SECONDS
    memory.failed(guess("alice"))
    clock.now += 30.1
    assert not memory.paused(guess("bob")), "an hour without a failure begins anew"


def test_who_pays_for_own_failures_leaves_nothing_behind(clock: Clock) -> None:
    memory = attempts(clock)
    memory.failed(guess())
    clock.now += 31
    memory.succeeded(guess())
    memory.failed(guess("bob"))
    clock.now += 30.1
    assert not memory.paused(guess("bob")) and not memory.paused(guess())


def test_a_password_that_failed_before_costs_a_pause_and_no_failure(clock: Clock) -> None:
    memory = attempts(clock)
    memory.failed(guess(digest=BAD))
    for _ in range(10):
        clock.now += 31
        assert not memory.paused(guess(digest=BAD))
        memory.again(guess(digest=BAD))
        assert memory.paused(guess()) and memory.paused(guess("bob"))
    assert memory._users["alice", PASSWORD].failures == 1 == memory._console.failures


def test_an_attempt_that_nobody_saw_end_is_free_once(clock: Clock) -> None:
    memory = attempts(clock)
    memory.unknown(guess())
    assert not memory.paused(guess())
    memory.unknown(guess())
    assert memory.failed_before(guess()) == (GOOD,)
    assert memory.paused(guess())
    memory.succeeded(guess())
    memory.unknown(guess())
    assert not memory.paused(guess())


def test_hanging_up_is_free_once_at_the_console_too(clock: Clock) -> None:
    memory = attempts(clock)
    memory.unknown(guess("alice"))
    memory.unknown(guess("bob"))
    assert memory.paused(guess("carol"))
    tickets = attempts(clock)
    for user in ("alice", "bob"):
        tickets.unknown(guess(user, kind=TICKET))
    assert not tickets.paused(guess("carol"))


@pytest.mark.proves("S039")
def test_a_hundred_bad_secrets_cost_one_failure(clock: Clock) -> None:
    """A19: one a second, as fast as the guest serves; with the real PAM in test_counted.py."""
    memory = attempts(clock)
    tried = 0
    for number in range(100):
        wrong = guess(digest=number.to_bytes(32, "big") if number else BAD)
        if not memory.paused(wrong):
            tried += 1
            memory.failed(wrong)
        clock.now += 1.0
    assert tried == 1
    assert not memory.paused(guess("bob")), "the console's own pause is over"
    clock.now += 28.9
    assert not memory.paused(guess(kind=TICKET)), "a ticket is no guess, and changes nothing"
    clock.now += 0.2
    assert not memory.paused(guess())


# Bounds


def test_a_flood_of_names_makes_the_limiter_forget_nobody(clock: Clock) -> None:
    memory = attempts(clock)
    for _ in range(3):
        memory.failed(guess(digest=BAD))
    for number in range(2 * ENTRIES_MAX):
        flood = guess(f"user{number}", digest=number.to_bytes(32, "big"))
        if not memory.paused(flood):
            memory.failed(flood)
        clock.now += 30
    assert len(memory._users) == 1 + 2 * ENTRIES_MAX * 30 // 600, "one at each end of the console's pause"
    assert memory.paused(guess()) and memory.failed_before(guess()) == (BAD,) * 3


def test_a_full_memory_refuses_a_newcomers_password(clock: Clock) -> None:
    """Tickets fill it: their failures are no guesses, so the console does not pause for them."""
    memory = attempts(clock)
    for _ in range(3):
        memory.failed(guess(digest=BAD))
    for number in range(ENTRIES_MAX - 1):
        memory.failed(guess(f"user{number}", TICKET))
        clock.now += 30
    assert len(memory._users) == ENTRIES_MAX
    assert memory.paused(guess()) and memory.failed_before(guess()) == (BAD,) * 3
    assert memory.paused(guess("newcomer")), "no room, so nothing is tried"
    assert not memory.paused(guess("newcomer", TICKET)), "a ticket never waits for passwords"
    clock.now += KEPT_SECONDS
    assert not memory.paused(guess("newcomer"))
    memory.failed(guess("newcomer"))
    assert len(memory._users) == ENTRIES_MAX and memory.paused(guess("newcomer"))


def test_a_name_that_is_none_takes_no_room(clock: Clock) -> None:
    memory = attempts(clock)
    memory.failed(guess(""))
    assert not memory._users and memory.paused(guess("alice")), "it is a guess at the console"


def test_few_digests_of_a_user_are_kept(clock: Clock) -> None:
    memory = attempts(clock)
    for number in range(10):
        memory.failed(guess(digest=number.to_bytes(32, "big")))
    assert [int.from_bytes(digest, "big") for digest in memory.failed_before(guess())] == [7, 8, 9]


def test_a_guess_and_an_answer_do_not_show_their_digest(clock: Clock) -> None:
    outcomes = Outcomes(clock)
    outcomes.keep(claim(kind=PASSWORD), 0, BAD)
    for shown in (
        repr(guess(digest=BAD)),
        repr(outcomes.find(claim(kind=PASSWORD))),
        repr(claim(kind=PASSWORD)),
    ):
        assert "bbbb" not in shown


# Answers


def claim(attempt: bytes = b"i" * 16, principal: str = "alice@R", kind: Kind = TICKET) -> Authenticated:
    return Authenticated(1, attempt, kind, principal, bytes(32), 0)


def test_the_same_attempt_gets_the_same_answer_for_two_minutes(clock: Clock) -> None:
    outcomes = Outcomes(clock)
    outcomes.keep(claim(), 411)
    found = outcomes.find(claim())
    assert found is not None and found.code == 411
    for other in (claim(b"j" * 16), claim(principal="bob@R"), claim(kind=PASSWORD)):
        assert outcomes.find(other) is None
    clock.now += 120
    assert outcomes.find(claim()) is None


def test_an_attempt_without_an_id_is_never_looked_up(clock: Clock) -> None:
    outcomes = Outcomes(clock)
    outcomes.keep(claim(bytes(16)), 0)
    assert outcomes.find(claim(bytes(16))) is None


@pytest.mark.parametrize("code", [0, 402, 403, 410, 411, 500])
@pytest.mark.parametrize("kind", [PASSWORD, TICKET])
def test_of_a_password_little_is_kept_and_later_never(kind: Kind, code: int, clock: Clock) -> None:
    outcomes = Outcomes(clock)
    outcomes.keep(claim(kind=kind), code, GOOD)
    kept = code in (0, 403) if kind is PASSWORD else code != Verdict.TRY_LATER
    assert (outcomes.find(claim(kind=kind)) is not None) is kept


def test_the_first_answer_stays(clock: Clock) -> None:
    """So that whoever has read the attempt id cannot put another password in the place of alice's."""
    outcomes = Outcomes(clock)
    outcomes.keep(claim(kind=PASSWORD), 0, GOOD)
    outcomes.keep(claim(kind=PASSWORD), 403, BAD)
    found = outcomes.find(claim(kind=PASSWORD))
    assert found is not None and (found.code, found.digest) == (0, GOOD)


def test_answers_are_bounded(clock: Clock) -> None:
    outcomes = Outcomes(clock)
    for number in range(ENTRIES_MAX + 10):
        outcomes.keep(claim(number.to_bytes(16, "big")), 0)
    assert len(outcomes._kept) == ENTRIES_MAX


def entry(kind: int, user: str, seconds: int) -> bytes:
    fields = (kind, 1, b"tty1", b"1", user.encode(), b"", 0, 0, 0, seconds, 0, b"", b"")
    return struct.pack("=h2xi32s4s32s256shhiii16s20s", *fields)


def test_wtmp_tells_who_signed_in_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "wtmp"
    assert not signed_in_since("alice", 0, str(path))
    path.write_bytes(entry(7, "alice", 100) + entry(8, "alice", 300) + entry(7, "bob", 400) + b"half")
    assert signed_in_since("alice", 99, str(path)) and not signed_in_since("alice", 100, str(path))
    assert signed_in_since("bob", 300, str(path)) and not signed_in_since("mallory", 0, str(path))
    path.write_bytes(entry(7, "alice", 100) * 1000)
    assert signed_in_since("alice", 99, str(path))
