"""sso-greetd before another greeter: who is told to end, and when, and that nobody is left behind."""

import os
import select
import signal
import subprocess
import sys

import pytest
from beds_greeter import PROMPT, SUCCESS, Bed, make_bed, problem

__all__ = ["make_bed"]

pytestmark = pytest.mark.e2e  # the agent's end is root's

CHAINED = "trap 'echo was told to end; exit 0' TERM; echo the other greeter; while :; do sleep 0.05; done"


def test_another_greeter_ends_when_the_agent_names_a_user(bed: Bed) -> None:
    greetd = bed.greetd(SUCCESS, SUCCESS)
    screen = bed.screen("--session", "sway", "--chain", "/bin/sh", "-c", CHAINED)
    screen.expect("the other greeter")
    bed.desk().sign_in("alice")
    screen.expect("was told to end")
    assert screen.wait() == 0
    assert greetd.words() == ["create_session", "start_session"] and PROMPT not in screen.transcript


def test_another_greeter_is_started_anew_after_a_login_in_vain(bed: Bed) -> None:
    bed.greetd(problem("auth_error", "pam_authenticate: AUTH_ERR"))
    screen, desk = bed.screen("--chain", "/bin/sh", "-c", CHAINED), bed.desk()
    screen.expect("the other greeter")
    desk.sign_in("alice")
    screen.expect("Login incorrect")
    screen.expect("the other greeter")
    desk.driver.cancel()
    desk.turn(lambda: desk.driver.ready("alice"))


def test_another_greeters_end_is_ours(bed: Bed) -> None:
    assert bed.screen("--chain", "/bin/sh", "-c", "exit 7").wait() == 7


def test_another_greeter_ends_with_us(bed: Bed) -> None:
    screen = bed.screen("--chain", "/bin/sh", "-c", CHAINED)
    screen.expect("the other greeter")
    os.kill(screen.pid, signal.SIGTERM)
    screen.expect("was told to end")
    assert screen.wait() == 0


# main() as it is, but SIGTERM comes where a busy machine lets it come: the other greeter runs, and Popen has
# not returned; or we have told it to end, which it does not, and are told again.
TOLD = """\
import os, signal, subprocess, sys
from sso.guest.drivers.greetd_greeter import main
begin, wait = subprocess.Popen.__init__, subprocess.Popen.wait
def begins(self, *args, **given):
    begin(self, *args, **given)
    with open(sys.argv[1]) as ready:
        ready.read()
    os.kill(os.getpid(), signal.SIGTERM)
def waits(self, *args, **given):
    os.kill(os.getpid(), signal.SIGTERM)
    return wait(self, *args, **given)
if sys.argv[2] == "while it starts":
    subprocess.Popen.__init__ = begins
else:
    subprocess.Popen.wait = waits
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("moment", ["while it starts", "twice"])
def test_no_greeter_is_left_behind_whenever_the_signal_comes(bed: Bed, moment: str) -> None:
    ready, said = bed.folder / "ready", bed.folder / "said"
    os.mkfifo(ready)
    tell, ends = (f": >{ready}", "exit 0") if moment == "while it starts" else ("kill -TERM $PPID", ":")
    other = f"trap 'echo was told to end >{said}; {ends}' TERM; {tell}; while :; do sleep 0.05; done"
    ours = [sys.executable, "-c", TOLD, str(ready), moment, "--socket", bed.agent]
    argv = [*ours, "--chain", "/bin/sh", "-c", other]
    with subprocess.Popen(argv, env=bed.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.wait(60) == 0
        assert process.stdout is not None
        # The other greeter has it. Its last `sleep` outlives a SIGKILL; a greeter that is left never ends.
        still_open = not select.select([process.stdout], [], [], 60)[0]
    assert not still_open and said.read_text() == "was told to end\n"


@pytest.mark.slow
def test_another_greeter_that_stays_is_killed(bed: Bed) -> None:
    bed.greetd(SUCCESS, SUCCESS)
    stays = "trap '' TERM; echo the other greeter; stty raw -echo; while :; do sleep 0.05; done"
    screen = bed.screen("--chain", "/bin/sh", "-c", stays)
    screen.expect("the other greeter")
    bed.desk().sign_in("alice")
    assert screen.wait() == 0
