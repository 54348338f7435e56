"""What the guest answers to a client that has nothing to give, has another version, or leaves."""

from typing import Any

import pytest
from ends import ATTEMPT, Secretless
from flows import Flow
from pair import Judge

from sso.guest.channel import child
from sso.guest.channel.conversation import (
    GuestConversation,
)
from sso.mech import Mechanism
from sso.policy import GuestPolicy
from sso.protocol.messages import Code, Error, Ok, StartSASL
from sso.protocol.session import Session
from sso.protocol.state import Role, State

NOTHING = Error(Code.UNSUPPORTED)


class BareClient:
    """A client's Session, whom the test tells what to say, and a guest's conversation."""

    def __init__(self, mechanism: Mechanism, policy: GuestPolicy | None = None) -> None:
        self.judge = Judge()
        policy = policy or GuestPolicy(sasl=("PLAINEST",), types=("kerberos", "password"))
        self.guest = GuestConversation(policy, lambda name, **_: mechanism, self.judge)
        self.client = Session(Role.CLIENT, attempt=ATTEMPT)
        self.guest.start(0.0)
        self.client.start()
        self.cross()

    def cross(self) -> list[Any]:
        found: list[Any] = []
        for _ in range(8):
            if octets := self.client.data_to_send():
                self.guest.receive_data(octets, 0.0)
            if octets := self.guest.data_to_send():
                self.client.receive_data(octets)
            found += iter(self.client.next_event, None)
        return found

    def authenticate(self) -> list[Any]:
        self.client.send(Error(Code.DELAY))
        self.client.request_layer(StartSASL("PLAINEST"), Secretless())
        return self.cross()


@pytest.mark.parametrize("delayed", [False, True])
def test_a_client_that_has_shown_nothing_needs_more_protection(delayed: bool) -> None:
    bare = BareClient(Secretless())
    if delayed:
        bare.client.send(Error(Code.DELAY))
    bare.client.send(NOTHING)
    assert bare.cross()[-1] == Error(Code.LAYER_REQUIRED)


def test_the_same_inside_tls(tls_flow: Flow) -> None:
    pair = tls_flow.pair(judge=Judge(None))
    pair._client_asks = lambda: False  # type: ignore[method-assign]
    pair.run()
    assert pair.guest.session.state is State.DELAYED and pair.guest.session.tls is not None
    pair.client.session.send(NOTHING)
    pair.guest.receive_data(pair.client.data_to_send(), 0.0)
    pair.client.session.receive_data(pair.guest.data_to_send())
    assert pair.client.session.next_event() == Error(Code.LAYER_REQUIRED)


def test_one_whose_exchange_failed_is_not_authenticated() -> None:
    bare = BareClient(Secretless(cause="replay"))
    assert bare.authenticate() == [Error(Code.NOT_AUTHENTICATED)]
    bare.client.send(NOTHING)
    assert bare.cross() == [Error(Code.NOT_AUTHENTICATED)]


@pytest.mark.parametrize("code", [0, Code.NO_TICKET])
def test_one_who_is_authenticated_is_judged(ticket_flow: Flow, code: int) -> None:
    pair = ticket_flow.pair(judge=Judge(int(code)))
    pair.client._hand_over_ticket = lambda: pair.client.session.send(NOTHING)  # type: ignore[method-assign]
    pair.run()
    assert [claim.credential for claim in pair.judge.claims] == [None]
    assert pair.exit == (0 if code == 0 else 11)


@pytest.mark.parametrize("state", [State.ASKED, State.DELAYED, State.OFFERED])
def test_a_client_may_just_leave(state: State) -> None:
    bare = BareClient(Secretless())
    if state is not State.ASKED:
        bare.client.send(Error(Code.DELAY) if state is State.DELAYED else Ok())
        bare.cross()
    assert bare.guest.session.state is state
    bare.guest.receive_data(b"", 0.0)
    assert bare.guest.finished and bare.guest.data_to_send() == b"" and bare.judge.claims == []


def test_a_client_of_another_version_is_a_client_too() -> None:
    """So the guest opens the port anew behind its 405, and announces itself."""
    judge, said = Judge(), list[str]()
    policy = GuestPolicy()
    acceptance: Any = None  # it is not asked
    guest = child.ChildConversation(
        policy, acceptance, Secretless, lambda: None, note=lambda id, *_, **__: said.append(id)
    )
    guest.start(0.0)
    assert guest.how_it_ended() == child.SILENT
    guest.receive_data(b"\nSIGNATURE cSSO7f3Kq9ZtW2xB 2 9 client AAAAAAAAAAAAAAAAAAAAAA== - -\n", 0.0)
    assert guest.data_to_send().endswith(b"error 405 version\n")
    assert guest.finished and guest.how_it_ended() == child.ENDED
    assert judge.claims == [] and said == ["session-protocol"]
