"""The channel process: rates, pulses, and that the end of one session comes before the next."""

import pytest

from sso.guest.channel.channel import BURST, Rate


def test_forks_are_five_at_once_and_then_one_a_second() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])
    assert [rate.wait() for _ in range(BURST)] == [0.0] * BURST
    assert rate.wait() == pytest.approx(1.0)
    now[0] = 1.0
    assert rate.wait() == 0.0 and rate.wait() > 0.0
    now[0] = 1000.0
    assert sum(rate.wait() == 0.0 for _ in range(100)) == BURST, (
        "a long pause saves up no more than the burst"
    )
