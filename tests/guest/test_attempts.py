"""Memory of attempts: pauses, stops, failed secrets, and the same answer for the same attempt."""

import struct
from pathlib import Path

import pytest
from beds_agent import Clock

from sso.guest.attempts import ENTRIES_MAX, NO_DIGEST, Attempts, Outcomes
from sso.guest.records import Verdict
from sso.guest.utmp import signed_in_since

BAD, GOOD = b"b" * 32, b"g" * 32
LATER = Verdict.TRY_LATER


@pytest.fixture
def clock() -> Clock:
    return Clock()


def attempts(clock: Clock, by_hand: bool = False) -> Attempts:
    return Attempts(clock, lambda user, since: by_hand, lambda: 0.0)


def test_pauses_grow_and_a_user_is_stopped_after_three(clock: Clock) -> None:
    memory = attempts(clock)
    for pause in (30, 120):
        assert memory.refusal("alice", "tty1") is None
        memory.failed("alice", "tty1")
        clock.now += pause - 0.1
        assert memory.refusal("alice", "tty1") is LATER
        clock.now += 0.2
    memory.failed("alice", "tty1")
    clock.now += 100_000
    assert memory.refusal("alice", "tty1") is LATER
    assert memory.refusal("bob", "tty1") is None, "the console's pause is over"


def test_a_login_by_hand_ends_the_stop(clock: Clock) -> None:
    said: list[tuple[str, float]] = []

    def by_hand(user: str, since: float) -> bool:
        said.append((user, since))
        return len(said) > 1

    memory = Attempts(clock, by_hand, lambda: 77.0)
    for _ in range(3):
        memory.failed("alice", "tty1", BAD)
    clock.now += 1000
    assert memory.refusal("alice", "tty1", GOOD) is LATER
    assert memory.refusal("alice", "tty1", GOOD) is None and said == [("alice", 77.0)] * 2
    assert memory.refusal("alice", "tty1", BAD) is None, "it may be right again"


def test_a_console_pauses_for_everybody_and_another_for_nobody(clock: Clock) -> None:
    memory = attempts(clock)
    memory.failed("alice", "tty1")
    assert memory.refusal("bob", "tty1") is LATER
    assert memory.refusal("bob", "tty2") is None
    assert memory.refusal("alice", "tty2") is LATER


def test_a_secret_that_failed_is_not_tried_again_until_it_changes(clock: Clock) -> None:
    memory = attempts(clock)
    memory.failed("alice", "tty1", BAD)
    clock.now += 1000
    assert memory.refusal("alice", "tty1", BAD) is Verdict.NOT_AUTHENTICATED
    assert memory.refusal("bob", "tty1", BAD) is None
    assert memory.refusal("alice", "tty1", GOOD) is None
    memory.succeeded("alice", "tty1")
    assert memory.refusal("alice", "tty1", BAD) is None


def test_the_memory_does_not_hold_what_it_was_given(clock: Clock) -> None:
    memory = attempts(clock)
    memory.failed("alice", "tty1", BAD)
    assert all(BAD not in entry for entry in memory._failed)


def test_an_attempt_that_nobody_saw_end_is_free_once(clock: Clock) -> None:
    memory = attempts(clock)
    memory.unknown("alice", "tty1", GOOD)
    assert memory.refusal("alice", "tty1", GOOD) is None
    memory.unknown("alice", "tty1", GOOD)
    assert memory.refusal("alice", "tty1", GOOD) is Verdict.NOT_AUTHENTICATED
    assert memory.refusal("alice", "tty1") is LATER
    memory.succeeded("alice", "tty1")
    memory.unknown("alice", "tty1")
    assert memory.refusal("alice", "tty1") is None


@pytest.mark.proves("S039")
def test_a_hundred_bad_secrets_cost_one_failure(clock: Clock) -> None:
    """A19: one a second, as fast as the guest serves; with the real PAM in test_counted.py."""
    memory = attempts(clock)
    tried = 0
    for number in range(100):
        digest = number.to_bytes(32, "big") if number else BAD
        if memory.refusal("alice", "tty1", digest) is None:
            tried += 1
            memory.failed("alice", "tty1", digest)
        clock.now += 1.0
    assert tried == 1
    assert memory.refusal("bob", "tty1", GOOD) is None, "the console's own pause is over"
    clock.now += 28.9
    assert memory.refusal("alice", "tty1") is LATER, "a ticket is no guess, and changes nothing"
    clock.now += 0.2
    assert memory.refusal("alice", "tty1", GOOD) is None


def test_the_same_attempt_gets_the_same_answer_for_two_minutes(clock: Clock) -> None:
    outcomes = Outcomes(clock)
    outcomes.keep(b"i" * 16, "alice@R", NO_DIGEST, 411)
    assert outcomes.find(b"i" * 16, "alice@R", NO_DIGEST) == 411
    for other in (
        (b"j" * 16, "alice@R", NO_DIGEST),
        (b"i" * 16, "bob@R", NO_DIGEST),
        (b"i" * 16, "alice@R", BAD),
    ):
        assert outcomes.find(*other) is None
    clock.now += 120
    assert outcomes.find(b"i" * 16, "alice@R", NO_DIGEST) is None


def test_an_attempt_without_an_id_is_never_looked_up(clock: Clock) -> None:
    outcomes = Outcomes(clock)
    outcomes.keep(bytes(16), "alice@R", NO_DIGEST, 0)
    assert outcomes.find(bytes(16), "alice@R", NO_DIGEST) is None


def test_memory_is_bounded(clock: Clock) -> None:
    memory, outcomes = attempts(clock), Outcomes(clock)
    for number in range(ENTRIES_MAX + 10):
        memory.failed(f"user{number}", "tty1", number.to_bytes(32, "big"))
        outcomes.keep(number.to_bytes(16, "big"), "alice@R", NO_DIGEST, 0)
    assert max(len(memory._users), len(memory._failed), len(outcomes._kept)) == ENTRIES_MAX


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
