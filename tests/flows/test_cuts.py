"""Cuts at every byte of real flows, in both directions: the next client signs in, once, as itself."""

import os
import traceback
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from flows import Flow
from pair import Judge, Pair

from sso.client.parties import Person
from sso.credential import Credential
from sso.protocol.state import State

pytestmark = pytest.mark.slow

FLOWS = ["tls_flow", "gss_flow", "tls_gss_flow", "refused_flow"]
# Who comes next: the same user by the cheapest way, since every byte is cut.
FOLLOWERS = {"tls_flow": "tls_flow", "refused_flow": "tls_flow"}
SLACK = 8  # TLS signatures differ by a few bytes from run to run


@pytest.fixture(params=FLOWS)
def flow(request: pytest.FixtureRequest) -> Flow:
    found: Flow = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def follower(flow: Flow, request: pytest.FixtureRequest) -> Flow:
    name = request.node.callspec.params["flow"]
    found: Flow = request.getfixturevalue(FOLLOWERS.get(name, "plain_flow"))
    return found


class Silent(Pair):
    """A pair whose connection loses everything after the cut, without a hang-up."""

    def hang_up(self) -> None:
        self._cut = (self._cut or ("", 0))[0], 0


def length(flow: Flow, towards: str) -> int:
    return len(getattr(flow.pair().run(), towards)) + SLACK


def for_each(places: Sequence[int], work: Callable[[int], None]) -> None:
    """Do the work at every place, half of them in a forked process: there are thousands."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            for place in places[1::2]:
                work(place)
        except BaseException:
            os.write(writer, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        for place in places[::2]:
            work(place)
    finally:
        with open(reader, encoding="utf-8") as pipe:
            trouble = pipe.read()
        os.waitpid(child, 0)
    assert not trouble, trouble


def judged_once(judge: Judge, principal: str) -> None:
    """Nobody else, and no attempt of theirs twice (the agent would answer it, but here none comes up)."""
    assert set(judge.logins) <= {principal}
    assert max(Counter(claim.attempt for claim in judge.claims).values(), default=0) <= 1


@pytest.mark.parametrize("towards", ["to_guest", "to_client"])
def test_the_line_is_cut_at_every_byte(flow: Flow, follower: Flow, towards: str) -> None:
    """Both ends notice the hang-up and end; the next client finds a new guest session."""

    def cut_at(octets: int) -> None:
        judge = Judge()
        cut = flow.pair(cut=(towards, octets), judge=judge).run()
        cut.hang_up()  # behind the last byte too
        assert cut.client.finished
        assert cut.guest.finished
        follow = follower.pair(judge=judge).run()
        assert follow.exit == 0, (octets, follow.client.outcome)
        assert judge.logins[-1] == follower.principal
        judged_once(judge, follower.principal)

    for_each(range(length(flow, towards)), cut_at)


def silent(flow: Flow, judge: Judge, cut: tuple[str, int]) -> Silent:
    return Silent(
        flow.client, flow.guest, mechanisms=flow.mechanisms, person=flow.person, judge=judge, cut=cut
    )


@pytest.mark.proves("S116", "S125")
def test_a_new_client_on_a_guest_that_noticed_nothing(flow: Flow, follower: Flow) -> None:
    """A reset from every state of the guest, inside a TLS record and a SASL frame too."""
    states = set()

    def fall_silent_at(octets: int) -> None:
        judge = Judge()
        old = silent(flow, judge, ("to_guest", octets)).run()
        states.add(old.guest.session.state)
        new = follower.pair(judge=judge, channel=True)
        new.guest = old.guest
        new.client.start(new.now)
        new.settle()
        still_refused = flow.name == "refused" and new.guest is old.guest
        assert new.exit == (4 if still_refused else 0), (octets, new.client.outcome)
        assert new.guests_used <= 3  # its own first one was never used
        judged_once(judge, follower.principal)

    for_each(range(0, length(flow, "to_guest"), 3), fall_silent_at)
    assert {State.SYNC, State.ASKED, State.DELAYED} <= states
    if flow.name != "refused":
        assert states & {State.TLS, State.SASL}


def test_a_guest_that_begins_anew_under_a_client(flow: Flow) -> None:
    """The guest's agent restarts: the same client goes on with the same attempt id, which signs in once.

    Its person is asked once as well: a password from a descriptor is not there a second time.
    """
    seen = set()
    refused = flow.name == "refused"

    def restart_at(octets: int) -> None:
        judge = Judge()
        pair = silent(flow, judge, ("to_client", octets))
        asked: list[Person] = []

        def password() -> Credential | None:
            asked.append(flow.person)
            return flow.person.password()

        pair.client._person = flow.person._replace(password=password)
        pair.run()
        seen.add(pair.client.session.state)
        if pair.client.finished:
            return
        pair._cut, pair._channel = None, True
        pair.guest = pair.new_guest()
        pair.guest.start(pair.now)
        pair.go_on()
        assert pair.exit == (4 if refused else 0), (octets, pair.client.outcome)
        assert judge.logins == ([] if refused else [flow.principal])
        assert len({claim.attempt for claim in judge.claims}) <= 1
        assert len(asked) <= 1

    for_each(range(0, length(flow, "to_client"), 3), restart_at)
    assert {State.SYNC, State.GREETED} < seen


def putting_before(direction: str, stale: bytes) -> Callable[[str, bytes], bytes]:
    """Glue bytes in front of the first ones that go that way."""
    left = [stale]
    return lambda towards, data: left.pop() + data if left and towards == direction else data


@pytest.mark.parametrize("direction", ["to_guest", "to_client"])
@pytest.mark.parametrize("flow", ["tls_flow", "gss_flow", "refused_flow"], indirect=True)
def test_every_prefix_of_an_older_session(flow: Flow, follower: Flow, direction: str) -> None:
    """The kernel still has bytes written before: both ends recover within the client's repetitions."""
    stale = bytes(getattr(flow.pair().run(), direction))

    def begin_behind(octets: int) -> None:
        judge = Judge()
        change = putting_before(direction, stale[:octets])
        pair = follower.pair(judge=judge, channel=True, change=change).run_out()
        assert pair.exit == 0, (octets, pair.client.outcome)
        assert judge.logins == [follower.principal]
        assert pair.now <= 5.0
        assert pair.guests_used <= 3

    for_each(range(1, len(stale) + 1), begin_behind)
