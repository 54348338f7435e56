"""LightDM's two PAM handles for one user, with the real module: the switch's, and the greeter's own.

The agent with the driver's own facts; the two handles as LightDM 1.26 has them (src/session-child.c): the
switch tells no terminal, the greeter ":0", and a handle that is reset goes on with an empty command, whose
child calls setcred(REINITIALIZE) and ignores the result.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_counted import Bed, guest
from fake_surroundings import FakeDriver

from sso.demo.sandbox import PAM_MODULE, Sandbox
from sso.guest.pam_files.pam_stack import add_lines
from sso.guest.screens.lightdm import LightDMDriver
from sso.guest.seat.logind import Found, Seated

__all__ = ["guest"]

pytestmark = pytest.mark.e2e

REINITIALIZE = "setcred:0x8"
DENIED, NO_SCREEN = 403, 411
GREETER = Seated("c1", "lightdm", 110, "x11", greeter=True)
ALICE = Seated("c2", "alice", 4001, "x11", service="lightdm", active=False)
STACK = """auth requisite pam_nologin.so
@include common-auth
@include common-account
session required pam_limits.so
@include common-session
"""


class LightDM(FakeDriver):
    """What the driver says of its screen; the test plays the daemon."""

    service, place, unlocks = LightDMDriver.service, LightDMDriver.place, LightDMDriver.unlocks
    token = LightDMDriver.token

    def __init__(self) -> None:
        super().__init__(LightDMDriver.token, LightDMDriver.unlocks)

    def is_locked(self, session: Seated) -> bool:
        return session.locked or self.greeter

    greeter = True  # in front


class Handles(Bed):
    """The bed with LightDM's place at the seat."""

    def __init__(self, guest: Sandbox, folder: Path) -> None:
        super().__init__(guest, folder, "lightdm")
        self.screen = LightDM()
        self.driver = self.screen
        judge = self.stage.agent.judge
        for part in (judge, judge._asking, judge._console, judge._evidence):
            for name in ("_driver", "driver"):
                if hasattr(part, name):
                    setattr(part, name, self.screen)
        self.stage.driver = self.screen

    def front(self, session: Seated, *users: Seated) -> None:
        self.screen.greeter = session.greeter
        self.stage.seat.found = Found(True, session, users)
        self.stage.seat.hint()

    def greeters(self, *steps: str) -> list[Any]:
        """The greeter's own handle; nobody types."""
        results: list[Any] = self.call(*steps, service="lightdm", items={"tty": ":0"}).results
        return results


@pytest.fixture
def handles(guest: Sandbox, tmp_path: Path) -> Iterator[Handles]:
    guest.write("/etc/pam.d/lightdm", add_lines(STACK, PAM_MODULE))
    bed = Handles(guest, tmp_path / "run")
    yield bed
    bed.close()


@pytest.mark.parametrize("unlocking", [True, False])
def test_the_greeters_own_handle_never_takes_the_grant(handles: Handles, unlocking: bool) -> None:
    stage = handles.stage
    handles.front(GREETER, *([ALICE] if unlocking else []))
    stage.begin()
    stage.claim()
    stage.armed()
    for _ in range(3):
        taken = handles.greeters("authenticate", "acct_mgmt", REINITIALIZE)
        assert taken[0] != 0, "the greeter is not let in with what is not its own"
    assert stage.silent(), "and says nothing that could be taken for a session"
    assert len(stage.agent.judge._grants) == 1, "it waits for the switch"
    done = handles.call("authenticate", "acct_mgmt", service="lightdm", items={})
    assert done.results == [0, 0]
    if not unlocking:
        assert stage.outcome() == (1, DENIED), "the switch went no further"
    else:
        assert stage.silent(), "PAM's yes is not yet a session in front"
        handles.front(ALICE._replace(active=True), ALICE)
        assert stage.outcome() == (1, 0)


def test_a_switch_that_does_not_come_to_the_front_is_no_and_a_retry_works(handles: Handles) -> None:
    stage = handles.stage
    handles.front(GREETER, ALICE)
    for id in (1, 2):
        stage.driver.calls.clear()
        stage.begin(id)
        stage.claim(id, attempt=bytes([id]) * 16)
        stage.armed()
        steps = ("authenticate", "acct_mgmt", REINITIALIZE)
        assert handles.call(*steps, service="lightdm", items={}).results[:2] == [0, 0]
        assert stage.silent()
        if id == 1:
            stage.clock.now += 30.1
            assert stage.outcome() == (1, NO_SCREEN)
            stage.end(1)
    handles.front(ALICE._replace(active=True), ALICE)
    assert stage.outcome() == (2, 0)


def test_a_handle_that_was_let_through_opens_nothing_after_the_client_has_left(handles: Handles) -> None:
    """ "Log In" at a greeter: the lines of PAM that are left ask the agent, which has let it go."""
    stage = handles.stage
    handles.front(GREETER)
    stage.begin()
    stage.claim()
    stage.armed()
    reached, left = threading.Event(), threading.Event()

    def leave() -> None:
        reached.set()
        left.wait(20)

    steps = ("authenticate", "acct_mgmt", "pause", "setcred:2", "open_session", REINITIALIZE)
    program = handles._start(*steps, service="lightdm", items={}, at_pause=leave)
    stage.turn(reached.is_set)
    stage.end()
    left.set()
    results = handles.wait(program).results
    assert results[:2] == [0, 0]
    assert results[4] != 0 and stage.agent.judge.signed_in is None
