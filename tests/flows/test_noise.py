"""Noise in every state and very slow peers: the result is always Closed, and each state times out."""

from collections.abc import Iterator
from typing import Any

import pytest
from flows import Flow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair import Judge, Pair
from target import NONCE, SIGNATURE, fresh, greeted

from sso.policy import ClientPolicy, GuestPolicy
from sso.protocol.messages import MAGIC
from sso.protocol.state import State

# Time


def drip(conversation: Any, octets: Iterator[bytes], seconds: float, limit: float = 1000.0) -> float:
    """One byte each so many seconds; returns when the conversation ended."""
    now = 0.0
    while now < limit and not conversation.finished:
        now += seconds
        deadline = conversation.deadline
        if deadline is not None and deadline <= now:
            conversation.deadline_passed(deadline)
            now = deadline
        if not conversation.finished:
            conversation.receive_data(next(octets), now)
        conversation.data_to_send()
    return now


def endless(data: bytes) -> Iterator[bytes]:
    while True:
        for octet in data:
            yield bytes([octet])


@pytest.mark.parametrize(
    ("data", "at_most"),
    [
        (b"x", 10.0),
        (b"\n", 10.0),
        (
            SIGNATURE % NONCE + b"x" * 200,
            95.0,
        ),  # the greeting itself takes 90 s at this pace: it is cut at 10 s
    ],
)
def test_a_slow_drip_ends_at_the_deadline_of_the_state(data: bytes, at_most: float) -> None:
    target = fresh()
    assert drip(target.guest, endless(data), 1.0) <= at_most
    assert target.log[0][0] == "peer-silent"


def test_a_slow_drip_behind_the_greeting() -> None:
    target = greeted()
    assert drip(target.guest, endless(b"frobnicate\n"), 1.0) <= 10.0
    assert [id for id, _ in target.log] == ["peer-late", "peer-late"]


def test_a_person_has_two_minutes_and_no_more() -> None:
    target = greeted()
    target.guest.receive_data(b"error 300 delay\n", 0.0)
    assert 119.0 <= drip(target.guest, endless(b"error 300 delay\n"), 1.0) <= 121.0


@pytest.mark.parametrize(
    "data", [b"x", b"\n", b"\nSIGNATURE " + MAGIC.encode() + b" 1 1 guest " + NONCE + b" - GSSAPI\n"]
)
def test_a_dripping_guest_does_not_hold_the_client(data: bytes) -> None:
    pair = Pair(ClientPolicy(), GuestPolicy())
    pair.client.start(0.0)
    assert drip(pair.client, endless(data), 0.2) <= 6.0
    assert pair.exit == 3


def test_a_guest_that_drips_behind_its_greeting_does_not_hold_the_client(tls_flow: Flow) -> None:
    pair = tls_flow.pair(judge=Judge(None))
    pair.guest.start(0.0)
    pair.client.start(0.0)
    pair.guest.receive_data(pair.client.data_to_send(), 0.0)
    pair.client.receive_data(pair.guest.data_to_send(), 0.0)
    assert pair.client.session.state is State.TLS_ASKED
    assert drip(pair.client, endless(b"o"), 1.0) <= 10.0
    assert pair.exit == 14


# Whatever comes, only Closed


def reachable(flow: Flow) -> dict[tuple[str, State], int]:
    """For each state of each role, the number of bytes from the peer after which it is first reached."""
    pair = flow.pair(chunk=1)
    found: dict[tuple[str, State], int] = {}

    def note(direction: str, data: bytes) -> bytes:
        end = "guest" if direction == "to_guest" else "client"
        found.setdefault((end, getattr(pair, end).session.state), len(getattr(pair, direction)))
        return data

    pair.change = note
    pair.run()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tls_flow", "gss_flow", "tls_gss_flow", "ticket_flow"])
def test_noise_in_every_reachable_state(request: pytest.FixtureRequest, name: str) -> None:
    """No exception but Closed in any state of either role, and nobody is signed in by noise."""
    flow: Flow = request.getfixturevalue(name)

    @settings(max_examples=300, suppress_health_check=list(HealthCheck))
    @given(
        place=st.sampled_from(sorted(reachable(flow).items(), key=str)),
        noise=st.lists(st.binary(min_size=1, max_size=80) | st.sampled_from(WORDS), min_size=1, max_size=4),
    )
    def run(place: tuple[tuple[str, State], int], noise: list[bytes]) -> None:
        (end, _), octets = place
        pair = StopAt(flow, "to_" + end, octets)
        target: Any = getattr(pair, end)
        before = len(pair.judge.logins)
        for part in noise:
            target.receive_data(part, 0.0)
            target.data_to_send()
        target.receive_data(b"", 0.0)
        assert target.finished
        assert len(pair.judge.logins) == before

    run()


WORDS = [
    b"\n",
    b"ok\n",
    b"ok value\n",
    b"error 300 delay\n",
    b"error 407 x\n",
    b"error 400 x\n",
    b"startTLS\n",
    b"startSASL GSSAPI\n",
    b"info spn\n",
    b"credentials password YQBi\n",
    b"authenticate kerberos password\n",
    b"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 client AAAAAAAAAAAAAAAAAAAAAA== - -\n",
    b"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 guest AAAAAAAAAAAAAAAAAAAAAA== - GSSAPI\n",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\0\0\0\4abcd",
    b"\x16\x03\x03\x00\x04abcd",
    b"\x15\x03\x03\x00\x02\x02\x28",
]


class StopAt(Pair):
    """A pair that stops where one direction has carried so many bytes, both ends alive."""

    def __init__(self, flow: Flow, towards: str, octets: int) -> None:
        super().__init__(
            flow.client,
            flow.guest,
            mechanisms=flow.mechanisms,
            person=flow.person,
            cut=(towards, octets),
            ccache=flow.ccache,
        )
        self.run()

    def hang_up(self) -> None:
        self._cut = (self._cut or ("", 0))[0], 0
