"""pam/: the life of a login, under the real libpam with an agent by script."""

import hashlib
import re
import stat
from dataclasses import replace

import pytest
from beds_pam import TICKET, UNAVAILABLE, caches, call, failures, listen, password, ticket
from fake_pam_agent import CLOSED, ESTABLISHED, GET, HELD, IDENTITY, OPENED, PASSED, PASSWORD, TRIED, Answer

from sso.demo.sandbox import Sandbox

pytestmark = pytest.mark.e2e


def test_a_ticket_lives_as_long_as_the_session(guest: Sandbox) -> None:
    steps = ("authenticate", "look", "setcred:2", "look", "open_session", "look", "close_session", "look")
    with listen(guest, ticket()) as agent:
        done = call(guest, *steps, user=None, items={"tty": "/dev/tty1"})
    verdict, before, established, stored, opened, used, closed, after = done.results
    assert (verdict, established, opened, closed, done.user) == (0, 0, 0, 0, "alice")
    assert not done.prompts
    assert before == after == {"name": "", "count": 0}
    assert stored == used
    assert re.fullmatch(r"FILE:/tmp/krb5cc_4001_[a-z2-7]{12}", stored["name"])
    assert (stored["mode"], stored["uid"], stored["gid"]) == (stat.S_IFREG | 0o600, 4001, 4001)
    assert stored["sha256"] == hashlib.sha256(TICKET).hexdigest()
    assert agent.operations == [[GET, ESTABLISHED, OPENED, CLOSED]]
    path = stored["name"].removeprefix("FILE:")
    assert [(heard.user, heard.path) for heard in agent.stories[0] if heard.operation != HELD] == [
        ("", ""),
        ("alice", path),
        ("alice", path),
        ("alice", path),
    ]
    assert {(heard.service, heard.tty, heard.token) for heard in agent.stories[0]} == {
        ("sso-bare", "tty1", "")
    }


@pytest.mark.parametrize(("tty", "told"), [("", ""), ("tty7", "tty7"), ("/dev/pts/3", "pts/3"), (":0", ":0")])
def test_the_terminal_is_told_by_its_short_name(guest: Sandbox, tty: str, told: str) -> None:
    with listen(guest, Answer()) as agent:
        call(guest, "authenticate", items={"tty": tty} if tty else {})
    assert [heard.tty for heard in agent.stories[0]] == [told]


def test_an_authenticated_user_without_a_ticket_gets_no_cache(guest: Sandbox) -> None:
    with listen(guest, Answer(IDENTITY, "alice")) as agent:
        done = call(guest, "authenticate", "setcred:2", "look", "open_session", "close_session")
    assert done.results == [0, 0, {"name": "", "count": 0}, 0, 0]
    assert agent.operations == [[GET, ESTABLISHED, OPENED, CLOSED]]


def test_a_session_without_setcred_is_established_all_the_same(guest: Sandbox) -> None:
    with listen(guest, ticket()) as agent:
        done = call(guest, "authenticate", "open_session", "look", "close_session", "look")
    assert [found["count"] for found in done.results[2::2]] == [1, 0]
    assert agent.operations == [[GET, ESTABLISHED, OPENED, CLOSED]]


@pytest.mark.parametrize(
    ("steps", "operations", "left"),
    [
        (["authenticate"], [GET], 0),
        (["authenticate", "setcred:2"], [GET, ESTABLISHED], 0),
        (["authenticate", "setcred:2", "setcred:2"], [GET, ESTABLISHED], 0),
        (["authenticate", "setcred:2", "setcred:4"], [GET, ESTABLISHED], 0),
        (["authenticate", "setcred:2", "open_session"], [GET, ESTABLISHED, OPENED, CLOSED], 1),
        (["authenticate", "setcred:2", "open_session", "setcred:4"], [GET, ESTABLISHED, OPENED, CLOSED], 0),
        # A child of the login program gives back its copy of the handle: nothing has ended.
        (["authenticate", "setcred:2", "end:0x40000000"], [GET, ESTABLISHED], 1),
        (["authenticate", "setcred:2", "open_session", "end:0x40000000"], [GET, ESTABLISHED, OPENED], 1),
    ],
)
def test_a_login_that_stops_half_way(
    guest: Sandbox, steps: list[str], operations: list[int], left: int
) -> None:
    with listen(guest, ticket()) as agent:
        call(guest, *steps)
    found = caches(guest)
    assert (agent.operations, len(found)) == ([operations], left)
    for cache in found:
        cache.unlink()


def test_a_refresh_keeps_the_one_cache(guest: Sandbox) -> None:
    new = b"\x05\x04 a newer ticket"
    first = ("authenticate", "setcred:2", "open_session", "look")
    again = (
        "authenticate",
        "setcred:0x10",
        "look",
        "authenticate",
        "setcred:0x8",
        "look",
        "close_session",
        "look",
    )
    with listen(guest, ticket(), replace(ticket(), secret=new), ticket()) as agent:
        done = call(guest, *first, *again)
    one, two, three, last = (found for found in done.results if isinstance(found, dict))
    assert [code for code in done.results if code] == [one, two, three, last]
    assert one["name"] == two["name"] == three["name"] and one["count"] == two["count"] == three["count"] == 1
    assert two["sha256"] == hashlib.sha256(new).hexdigest() and three == one
    assert last == {"name": "", "count": 0}
    assert agent.operations == [[GET, ESTABLISHED, OPENED, CLOSED], [GET, ESTABLISHED], [GET, ESTABLISHED]]
    assert {story[-1].path for story in agent.stories} == {one["name"].removeprefix("FILE:")}


@pytest.mark.parametrize("flags", ["0x8", "0x10"])
def test_a_locker_makes_no_cache_and_leaves_none(guest: Sandbox, flags: str) -> None:
    with listen(guest, ticket()) as agent:
        done = call(guest, "authenticate", f"setcred:{flags}", "look")
    assert done.results == [0, 0, {"name": "", "count": 0}]
    assert agent.operations == [[GET, ESTABLISHED]] and agent.stories[0][1].path == ""


def test_a_new_attempt_drops_the_answer_of_the_last_one(guest: Sandbox) -> None:
    with listen(guest, ticket(), Answer()) as agent:
        done = call(guest, "authenticate", "setcred:2", "authenticate", "look")
    assert done.results == [0, 0, UNAVAILABLE, {"name": "", "count": 0}]
    assert agent.operations == [[GET, ESTABLISHED], [GET]]


def test_a_session_that_a_failed_attempt_interrupts_goes_on(guest: Sandbox) -> None:
    steps = ("authenticate", "setcred:2", "open_session", "authenticate", "look", "close_session", "look")
    with listen(guest, ticket(), Answer()) as agent:
        done = call(guest, *steps)
    assert (done.results[4]["count"], done.results[6]["count"]) == (1, 0)
    assert agent.operations == [[GET, ESTABLISHED, OPENED, CLOSED], [GET]]


def test_no_child_inherits_the_connection(guest: Sandbox) -> None:
    with listen(guest, ticket()):
        done = call(
            guest, "authenticate", "children", "setcred:2", "open_session", "children", "close_session"
        )
    for links in (done.results[1], done.results[4]):
        assert len(links) >= 3 and not any("socket" in link or "memfd" in link for link in links)


# The password


@pytest.mark.proves("S075")
def test_a_password_is_judged_by_the_next_module(guest: Sandbox) -> None:
    steps = ("authenticate", "acct_mgmt", "setcred:2", "open_session", "look", "close_session")
    with listen(guest, password(guest)) as agent:
        done = call(guest, *steps, service="sso-counted", user=None)
    assert done.results == [0, 0, 0, 0, {"name": "", "count": 0}, 0]
    assert (done.user, done.prompts) == ("alice", [])
    assert agent.operations == [[GET, TRIED, PASSED, ESTABLISHED, OPENED, CLOSED]]


def test_a_wrong_password_is_one_failure_and_no_prompt(guest: Sandbox) -> None:
    assert failures(guest, "alice") == 0
    with listen(guest, Answer(PASSWORD, "alice", b"wrong")) as agent:
        done = call(guest, "authenticate", service="sso-counted", answers=["never asked"])
    assert done.results != [0] and done.prompts == []
    assert failures(guest, "alice") == 1
    assert agent.operations == [[GET, TRIED]]
