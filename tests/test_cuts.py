"""Cuts at every octet of real flows, in both directions: the next client signs in, once, as itself."""

from collections import Counter

import pytest
from flows import Flow
from pair import Judge, Pair

from sso.state import State

pytestmark = pytest.mark.slow

FLOWS = ["tls_flow", "gss_flow", "tls_gss_flow", "refused_flow"]
# Who comes next. Where GSS was cut it is the same user by the cheapest way, so that every octet can be cut.
FOLLOWERS = {"tls_flow": "tls_flow", "refused_flow": "tls_flow"}
SLACK = 8  # TLS signatures differ by a few octets from run to run


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
    """A pair whose line carries nothing more behind the cut, and nobody is told."""

    def hang_up(self) -> None:
        self._cut = (self._cut or ("", 0))[0], 0


def length(flow: Flow, towards: str) -> int:
    return len(getattr(flow.pair().run(), towards)) + SLACK


def judged_once(judge: Judge, principal: str) -> None:
    """Nobody else, and no attempt of theirs twice (the agent would answer it, but here none comes up)."""
    assert set(judge.logins) <= {principal}
    assert max(Counter(claim.attempt for claim in judge.claims).values(), default=0) <= 1


@pytest.mark.parametrize("towards", ["to_guest", "to_client"])
def test_the_line_is_cut_at_every_octet(flow: Flow, follower: Flow, towards: str) -> None:
    """Both ends notice the hang-up and end; the next client finds a new guest session."""
    for octets in range(length(flow, towards)):
        judge = Judge()
        cut = flow.pair(cut=(towards, octets), judge=judge).run()
        cut.hang_up()  # behind the last octet too
        assert cut.client.finished
        assert cut.guest.finished
        follow = follower.pair(judge=judge).run()
        assert follow.exit == 0, (octets, follow.client.outcome)
        assert judge.logins[-1] == follower.principal
        judged_once(judge, follower.principal)


def test_a_new_client_on_a_guest_that_noticed_nothing(flow: Flow, follower: Flow) -> None:
    """A reset from every state of the guest, inside a TLS record and a SASL frame too."""
    states = set()
    for octets in range(0, length(flow, "to_guest"), 3):
        judge = Judge()
        old = Silent(
            flow.client,
            flow.guest,
            mechanisms=flow.mechanisms,
            person=flow.person,
            judge=judge,
            cut=("to_guest", octets),
        ).run()
        states.add(old.guest.session.state)
        new = follower.pair(judge=judge, channel=True)
        new.guest = old.guest
        new.client.start(new.now)
        new.settle()
        still_refused = flow.name == "refused" and new.guest is old.guest
        assert new.exit == (4 if still_refused else 0), (octets, new.client.outcome)
        assert new.guests_used <= 3  # its own first one was never used
        judged_once(judge, follower.principal)
    assert {State.SYNC, State.ASKED, State.DELAYED} <= states
    if flow.guest.tls or flow.mechanisms:
        assert states & {State.TLS, State.SASL}


def test_a_guest_that_begins_anew_under_a_client(flow: Flow) -> None:
    """The guest's agent restarts: the same client goes on with the same attempt id, which signs in once."""
    seen = set()
    for octets in range(0, length(flow, "to_client"), 7):
        judge = Judge()
        pair = Silent(
            flow.client,
            flow.guest,
            mechanisms=flow.mechanisms,
            person=flow.person,
            judge=judge,
            cut=("to_client", octets),
        ).run()
        seen.add(pair.client.session.state)
        if pair.client.finished:
            continue
        pair._cut, pair._channel = None, True
        pair.guest = pair.new_guest()
        pair.guest.start(pair.now)
        pair.go_on()
        refused = flow.name == "refused"
        assert pair.exit == (4 if refused else 0), (octets, pair.client.outcome)
        assert judge.logins == ([] if refused else [flow.principal])
        assert len({claim.attempt for claim in judge.claims}) <= 1
    assert {State.SYNC, State.GREETED} < seen


