"""The agent with the real PAM module in Debian's stacks: who gets a grant, and what pam_faillock counts."""

import pytest
from beds_counted import FOREIGN, TTY, MakeBed, guest, make_bed
from beds_pam import UNAVAILABLE, failures

__all__ = ["guest", "make_bed"]

pytestmark = pytest.mark.e2e
WRONG, LATER = 402, 410


@pytest.mark.proves("S039")
def test_a_hundred_bad_passwords_are_one_failure(make_bed: MakeBed) -> None:
    """A19: one client after the other, one a second, which is as fast as the guest serves."""
    bed = make_bed("sso-counted")
    codes = []
    for id in range(1, 101):
        codes.append(bed.guess(id, f"a-wrong-one-{id}"))
        bed.stage.clock.now += 1.0
    assert codes == [WRONG] + [LATER] * 99
    assert len(bed.asked) == 1 and failures(bed.guest, "alice") == 1
    typed = bed.call("authenticate", service="sso-counted", answers=[bed.guest.password("alice")])
    assert typed.results == [0], "alice is not locked out"


def test_who_pays_every_pause_locks_nobody_out(make_bed: MakeBed) -> None:
    """Debian's deny=3: the failure that would lock alice out is not risked, however long somebody waits."""
    bed = make_bed("sso-strict")
    codes = []
    for id in range(1, 11):
        codes.append(bed.guess(id, f"a-wrong-one-{id}"))
        bed.stage.clock.now += 1000.0
    assert codes == [WRONG] * 2 + [LATER] * 8
    assert len(bed.asked) == 2 == failures(bed.guest, "alice")
    typed = bed.call("authenticate", service="sso-strict", answers=[bed.guest.password("alice")])
    assert typed.results == [0]


def test_su_sudo_ssh_and_a_login_from_elsewhere_get_nothing(make_bed: MakeBed) -> None:
    """Not even with our line in their stacks, while a grant for that very user and terminal is armed."""
    bed = make_bed("login")
    bed.driver.trigger = lambda user, token: True  # type: ignore[method-assign]  # it asks below
    bed.stage.begin()
    bed.stage.claim()
    bed.stage.turn(lambda: len(bed.stage.agent.judge._grants))
    for service in FOREIGN:
        assert bed.call("authenticate", service=service).results == [UNAVAILABLE]
    su = bed.run(bed.guest.run, ["su", "alice", "-c", "id"], user="bob", check=False)
    assert su.returncode == 1 and "uid=" not in su.stdout
    elsewhere = bed.call("authenticate", service="login", items=TTY | {"rhost": "desktop.test.example"})
    assert elsewhere.results == [UNAVAILABLE]
    assert bed.call("authenticate", service="login").results == [0], "the grant has waited for its screen"
