"""The Kerberos cache of a session: renewed at most once a minute, parked without a client, then deleted."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beds_agent import ATTEMPT, Clock, let_in, secret_file

from sso.daemon.reactor import Reactor
from sso.guest.agent.attempts import NO_DIGEST
from sso.guest.agent.opening import SignedIn
from sso.guest.agent.rules import Renewal
from sso.guest.agent.ticket import Tickets
from sso.guest.records import Authenticated, Kind, Who

pytestmark = pytest.mark.e2e  # becomes another user, so it needs root
UID = 1  # daemon's, on every Debian
CACHE = "krb5cc_1_x"


class Bed:
    """Tickets over one cache of another user; the clock of the rules stands still."""

    def __init__(self, folder: Path, park: bool) -> None:
        self.path = folder / CACHE
        self.path.write_bytes(b"old")
        self.path.chmod(0o600)
        os.chown(self.path, UID, UID)
        self.clock = Clock()
        self.reactor = Reactor(time.monotonic)
        self.tickets = Tickets(self.reactor, park)
        self.reactor.clock = self.clock
        link: Any = None  # the PAM connection is not looked at here
        self.session = SignedIn(
            link, "daemon", UID, Who("kerberos", "alice@A"), NO_DIGEST, 5000, 0.0, str(self.path)
        )

    def claim(self, **changes: Any) -> Authenticated:
        values: dict[str, Any] = {"principal": "alice@A", "expires": 6000, "kind": Kind.KERBEROS} | changes
        return Authenticated(1, ATTEMPT, digest=NO_DIGEST, **values)

    def renews(self, **changes: Any) -> bool:
        return self.tickets.renewal(self.claim(**changes), self.session) is not Renewal.NONE

    def refresh(self, content: bytes = b"new", **changes: Any) -> bool:
        secret, got = secret_file(content), list[bool]()
        self.tickets.refresh(self.claim(**changes), self.session, secret, got.append)
        os.close(secret)
        self.wait(lambda: got)
        return got[0]

    def leave(self) -> None:
        gone: list[None] = []
        self.tickets.client_gone(self.session, lambda: gone.append(None))
        self.wait(lambda: gone)

    def wait(self, until: Callable[[], Any]) -> None:
        for _ in range(200):
            if until():
                return
            self.reactor.turn(0.05)
        pytest.fail("it did not happen")

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path.parent))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    let_in(tmp_path)
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.mark.proves("S107")
def test_a_renewal_is_of_the_same_principal_later_and_not_too_often(folder: Path) -> None:
    bed = Bed(folder, park=False)
    assert bed.renews()
    for changes in ({"principal": "bob@A"}, {"expires": 5000}, {"kind": Kind.IDENTITY}):
        assert not bed.renews(**changes)
    assert bed.refresh() and bed.path.read_bytes() == b"new" and bed.names() == [CACHE]
    assert not bed.renews(expires=7000), "a minute has to pass"
    bed.clock.now += 60.0
    assert bed.renews(expires=7000)
    assert not bed.renews(expires=6000)


def test_ten_unlockings_leave_one_cache(folder: Path) -> None:
    bed = Bed(folder, park=False)
    for number in range(10):
        assert bed.refresh(b"ticket %d" % number, expires=6000 + number)
    assert bed.names() == [CACHE] and bed.path.read_bytes() == b"ticket 9"
    assert bed.path.stat().st_mode & 0o7777 == 0o600 and bed.path.stat().st_uid == UID


def test_a_parked_ticket_is_gone_and_comes_back(folder: Path) -> None:
    bed = Bed(folder, park=True)
    bed.leave()
    assert bed.session.parked and bed.names() == []
    bed.leave()  # nothing more to take
    assert bed.renews(expires=1), "also one that is not longer"
    assert bed.refresh() and not bed.session.parked
    found = bed.path.stat()
    assert bed.names() == [CACHE] and bed.path.read_bytes() == b"new"
    assert (found.st_uid, found.st_mode & 0o7777, found.st_nlink) == (UID, 0o600, 1)


def test_what_took_the_place_of_a_parked_cache_is_not_touched(folder: Path) -> None:
    bed = Bed(folder, park=True)
    bed.leave()
    bed.path.symlink_to("/etc/passwd")
    assert not bed.refresh()
    assert bed.path.is_symlink() and bed.names() == [CACHE]


def test_without_the_option_nothing_is_parked(folder: Path) -> None:
    bed = Bed(folder, park=False)
    bed.leave()
    assert bed.path.read_bytes() == b"old" and not bed.session.parked


def test_what_a_killed_pam_process_left_is_removed(folder: Path) -> None:
    bed = Bed(folder, park=False)
    bed.tickets.session_over(bed.session)
    bed.wait(lambda: not bed.path.exists())


@pytest.mark.parametrize("left", [True, False])
def test_a_ticket_that_stays_behind_is_told(folder: Path, events: list[str], left: bool) -> None:
    bed = Bed(folder, park=False)
    if left:
        folder.chmod(0o755)  # root's: the user cannot remove a file there
    else:
        bed.path.unlink()  # as the PAM module does
    bed.tickets.session_over(bed.session)
    over: list[None] = []
    bed.tickets.client_gone(bed.session, lambda: over.append(None))  # waits for the removal
    bed.wait(lambda: over)
    assert bed.path.exists() == left
    assert events == (["ticket-not-removed user=daemon"] if left else [])


@pytest.mark.parametrize("make", ["symlink", "hard link", "another's"])
def test_only_the_users_own_file_is_removed(folder: Path, make: str) -> None:
    bed = Bed(folder, park=True)
    victim = folder / "victim"
    victim.write_bytes(b"precious")
    if make == "another's":
        os.chown(bed.path, 0, 0)
    else:
        os.chown(victim, UID, UID)
        bed.path.unlink()
        bed.path.symlink_to(victim) if make == "symlink" else os.link(victim, bed.path)
    bed.leave()
    assert os.path.lexists(bed.path) and victim.read_bytes() == b"precious"
    assert not bed.session.parked
