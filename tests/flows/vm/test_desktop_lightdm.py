"""The LightDM film: the seat switches to alice with a ticket, to the greeter when alice leaves, and back.

Once it has two busy loops beside it: LightDM's greeter begins a login of its own while the
switch is still under way, and what was told too early is seen on the screen.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beds import Certificates
from vm_console import (
    SPN,
    artefact,
    caches,
    enrol_with_passwords,
    pam_failures,
    session_of,
    sign_in,
    start,
    staying,
    tickets_of,
    wait_for_event,
)

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.vm import Machine
from sso.demo.vm.enrol import enrol

pytestmark = [pytest.mark.desktop, pytest.mark.long]


@pytest.fixture
def lightdm(desktop: Callable[[str], Machine]) -> Machine:
    """A guest with LightDM's greeter on its screen."""
    return desktop("lightdm")


@pytest.fixture(autouse=True, params=["quiet", "busy"])
def beside(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing, or two loops that take what the processors have, in our own scheduling class."""
    count = 2 if request.param == "busy" else 0
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.proves("S026")
def test_sign_in_lock_and_unlock(lightdm: Machine, realm: Realm, tmp_path: Path) -> None:
    enrol(lightdm, realm, SPN, login="lightdm")
    start(lightdm, "sso install-pam --service lightdm")
    artefact(lightdm, "lightdm-1-greeter")
    realm.kinit("alice", "-f")
    with staying(lightdm, realm):
        opened = session_of(lightdm, "alice")
        assert opened["Active"] == "yes", "signed in is said when alice's session is in front"
        assert (opened["Service"], opened["Type"], opened["Seat"]) == ("lightdm", "x11", "seat0")
        lightdm.wait("pgrep -u alice -x openbox", 120)
        assert "Default principal: alice@TEST.EXAMPLE" in tickets_of(lightdm, "alice", "openbox")
        (cache,) = caches(lightdm)
        assert re.fullmatch(r"600 alice /tmp/krb5cc_4001_\w+", cache)
        artefact(lightdm, "lightdm-2-signed-in")
    wait_for_event(lightdm, "session-locked user=alice")
    session_of(lightdm, "alice", Active="no")
    artefact(lightdm, "lightdm-3-locked")

    realm.kinit("bob", "-f", ccache=tmp_path / "bob")
    other = sign_in(lightdm, realm, "--spn", SPN, "--ccache", f"FILE:{tmp_path / 'bob'}")
    assert other.code == Exit.DENIED and pam_failures(lightdm) == 0
    assert session_of(lightdm, "alice")["Active"] == "no"

    for _ in range(10):
        # The next client is served when the screen is seen locked; LightDM's greeter takes its time for that.
        locked = len(wait_for_event(lightdm, "session-locked user=alice").splitlines())
        with staying(lightdm, realm):
            assert session_of(lightdm, "alice")["Active"] == "yes", (
                "unlocked is said when alice's session is in front"
            )
            assert caches(lightdm) == [cache], "unlocking made no second one"
        wait_for_event(lightdm, "session-locked user=alice", locked + 1)
        session_of(lightdm, "alice", Active="no")
    lightdm.run("loginctl terminate-user alice", check=True)
    wait_for_event(lightdm, "session-over user=alice")
    lightdm.wait("! ls /tmp/krb5cc_*", 60)


def test_a_wrong_password_counts_once_and_the_right_one_opens(
    lightdm: Machine, realm: Realm, certificates: Certificates
) -> None:
    by_password = enrol_with_passwords(lightdm, realm, certificates, login="lightdm")
    start(lightdm, "sso install-pam --service lightdm")
    wrong = sign_in(lightdm, realm, *by_password, secret="a-wrong-password")
    assert wrong.code == Exit.NOT_ACCEPTED and pam_failures(lightdm) == 1
    lightdm.run("sleep 30", timeout=200)  # the pause after a failure
    with staying(lightdm, realm, *by_password, secret="alice-on-the-console"):
        session_of(lightdm, "alice", Active="yes", Service="lightdm")
        assert not caches(lightdm) and pam_failures(lightdm) == 1
