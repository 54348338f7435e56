"""The real PAM module as the user at the agent's verdict socket: live, dead, and for somebody else."""

import os
import subprocess
from collections.abc import Callable, Iterator
from subprocess import DEVNULL

import pytest
from beds_agent import MakeStage, Stage
from beds_pam import build_module

from sso.daemon.forked import Forked
from sso.demo.sandbox import PAM_MODULE, Sandbox
from sso.guest.agent.account import Checked
from sso.guest.seat.logind import Seated

pytestmark = pytest.mark.e2e

ALICE = 4001
SESSION = Seated("c1", "alice", ALICE, "x11", tty="tty7")
STACK = f"auth required {PAM_MODULE} socket=/run/console-sso/verdict.sock\naccount required pam_permit.so\n"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with the module, and lockers' services that have nothing but its line."""
    with Sandbox() as sandbox:
        sandbox.use_pam_module(build_module(tmp_path_factory.mktemp("pam")))
        for service in ("i3lock", "kde", "sudo"):
            sandbox.write(f"/etc/pam.d/{service}", STACK)
        sandbox.path("/run/console-sso").mkdir()
        yield sandbox


@pytest.fixture
def stage(guest: Sandbox, make_stage: MakeStage) -> Stage:
    """Alice is signed in, and the sandbox has the lockers' socket."""
    stage = make_stage(verdict_socket=str(guest.path("/run/console-sso/verdict.sock")))
    stage.seat.put(SESSION)
    stage.begin()
    return stage


def come(stage: Stage) -> None:
    """Alice's client authenticates."""
    stage.claim()
    assert stage.outcome() == (1, 0)
    stage.turn(lambda: stage.agent.judge.unlocker._offer)


def pamtester(
    guest: Sandbox, stage: Stage, by: str = "alice", service: str = "i3lock", user: str = "alice"
) -> str:
    """What the module says to a locker of `by`: its words by pamtester."""
    argv = guest.command(["pamtester", service, user, "authenticate"], user=by)
    with subprocess.Popen(
        argv, env=guest.env, text=True, stdin=DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as locker:
        stage.turn(lambda: locker.poll() is not None)
        assert locker.stdout is not None
        return locker.stdout.read().strip()


GOOD = "pamtester: successfully authenticated"
UNAVAILABLE = "pamtester: Authentication service cannot retrieve authentication info"


def test_the_module_gets_a_live_verdict_once(guest: Sandbox, stage: Stage) -> None:
    come(stage)
    assert pamtester(guest, stage) == GOOD
    assert pamtester(guest, stage) == UNAVAILABLE


@pytest.mark.parametrize(
    ("by", "service", "user"),
    [
        ("bob", "i3lock", "alice"),
        ("bob", "i3lock", "bob"),
        ("alice", "sudo", "alice"),
        ("alice", "i3lock", "bob"),
        ("", "i3lock", "alice"),
    ],
)
def test_the_module_gets_none_for_another(
    guest: Sandbox, stage: Stage, by: str, service: str, user: str
) -> None:
    come(stage)
    assert pamtester(guest, stage, by, service, user) == UNAVAILABLE
    assert pamtester(guest, stage, service="kde") == GOOD, "alice's is there still"


@pytest.mark.parametrize("end", ["before", "gone", "late", "refused"])
def test_without_a_live_verdict_it_is_as_if_the_module_were_not_there(
    guest: Sandbox, stage: Stage, end: str
) -> None:
    if end == "refused":
        stage.checker.answer = Checked.REFUSED
        stage.claim()
        assert stage.outcome() == (1, 0)
        stage.turn()
    elif end != "before":
        come(stage)
    if end == "gone":
        stage.gone()
    elif end == "late":
        stage.clock.now += 3600
    assert pamtester(guest, stage) == UNAVAILABLE


def test_an_offer_that_pam_decides_after_the_client_has_left_is_none(guest: Sandbox, stage: Stage) -> None:
    gate, opener = os.pipe()
    workers: list[Forked] = []

    def account(service: str, user: str, tty: str, done: Callable[[Checked], None]) -> Forked:
        """PAM takes its time."""
        slow = Forked(stage.reactor, lambda: os.read(gate, 1), lambda _: done(Checked.GOOD), 5.0, keep=[gate])
        workers.append(slow)
        return slow

    stage.checker.account = account  # type: ignore[method-assign]  # the rest of the checker stays as it is
    stage.claim()
    assert stage.outcome() == (1, 0) and workers
    stage.gone()
    assert stage.confirmed()
    os.write(opener, b"x")
    stage.turn(lambda: not os.path.exists(f"/proc/{workers[0].pid}"))
    os.close(gate)
    os.close(opener)
    assert stage.agent.judge.unlocker._offer is None
    assert pamtester(guest, stage) == UNAVAILABLE
