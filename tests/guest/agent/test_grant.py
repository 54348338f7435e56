"""Grants: one use, one fit, one life."""

from typing import Any

import pytest
from beds_agent import Clock, open_fds, secret_file

from sso.guest.agent.grant import Grant, Grants
from sso.guest.records import Kind


def grant(session: int = 1, **changes: Any) -> Grant:
    values = {"service": "login", "place": "tty1", "user": "alice", "kind": Kind.IDENTITY, **changes}
    return Grant(session, **values)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("user", ["", "alice"])
def test_a_grant_is_taken_once(user: str, clock: Clock) -> None:
    grants = Grants(clock)
    grants.arm(grant(), 30)
    assert grants.take("login", "tty1", user, "") == grant()
    assert grants.take("login", "tty1", user, "") is None


@pytest.mark.parametrize(
    "request_",
    [
        ("sshd", "tty1", "", ""),
        ("login", "tty2", "", ""),
        ("login", "", "", ""),
        ("login", "tty1", "bob", ""),
        ("login", "tty1", "alic", ""),
        ("login", "tty1", "alice", "ab"),
        ("", "", "", ""),
    ],
)
def test_what_does_not_fit_gets_nothing_and_consumes_no_grant(
    request_: tuple[str, str, str, str], clock: Clock
) -> None:
    grants = Grants(clock)
    grants.arm(grant(), 30)
    assert grants.take(*request_) is None
    assert grants.take("login", "tty1", "", "") is not None


@pytest.mark.parametrize(("token", "good"), [("ab12", True), ("ab13", False), ("", False), ("ab123", False)])
def test_a_token_has_to_be_the_same(token: str, good: bool, clock: Clock) -> None:
    grants = Grants(clock)
    grants.arm(grant(token="ab12"), 30)
    assert (grants.take("login", "tty1", "", token) is not None) is good
    assert "ab12" not in repr(grant(token="ab12"))


@pytest.mark.parametrize(
    ("token", "place", "good"), [("", "", True), ("", ":0", False), ("ab12", ":0", True)]
)
def test_an_empty_place_is_one_and_any_is_said_by_a_token(
    token: str, place: str, good: bool, clock: Clock
) -> None:
    """A greeter's own conversation tells its display, and the login that we asked for tells nothing."""
    grants = Grants(clock)
    grants.arm(grant(service="lightdm", place="", token=token), 30)
    assert (grants.take("lightdm", place, "alice", token) is not None) is good


def test_a_grant_lives_as_long_as_it_was_armed_for_and_never_above_the_cap(clock: Clock) -> None:
    for seconds, life in ((30, 30), (1000, 60)):
        grants = Grants(clock)
        grants.arm(grant(), seconds)
        clock.now += life - 0.01
        assert grants.expire() == [] and len(grants) == 1
        clock.now += 0.01
        assert grants.take("login", "tty1", "", "") is None
        assert len(grants) == 0


def test_a_grant_dies_with_its_session(clock: Clock) -> None:
    grants = Grants(clock)
    grants.arm(grant(1), 30)
    assert not grants.revoke(2)
    assert grants.revoke(1) and not grants.revoke(1)
    assert grants.take("login", "tty1", "", "") is None


@pytest.mark.parametrize("end", ["revoke", "expire", "replace", "close", "take"])
def test_the_secrets_descriptor_is_closed_on_every_way(end: str, clock: Clock) -> None:
    before = open_fds()
    grants = Grants(clock)
    grants.arm(grant(kind=Kind.KERBEROS, secret=secret_file()), 30)
    assert open_fds() == before + 1
    if end == "revoke":
        grants.revoke(1)
    elif end == "expire":
        clock.now += 30
        assert grants.expire() == [1]
    elif end == "replace":
        grants.arm(grant(), 30)
    elif end == "close":
        grants.close()
    else:
        taken = grants.take("login", "tty1", "", "")
        assert taken is not None
        taken.close()
    assert open_fds() == before
