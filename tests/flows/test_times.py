"""How long each end waits in each state: the table of PROTOCOL.md section 11.2, seen byte by byte."""

from importlib import import_module
from typing import Any

import pytest
from document import table
from flows import Flow, Kerberos
from pair import Judge, Pair

from sso.policy import ClientPolicy, GuestPolicy
from sso.protocol.messages import Code, Error, Ok
from sso.protocol.state import State

MODULES = {
    "client": ("sso.client.conversation", "sso.client.exits"),
    "guest": ("sso.guest.channel.conversation",),
}
Waits = set[tuple[str, State, float | None]]


def written(end: str, name: str) -> float:
    """The constant of that end."""
    (value,) = {getattr(module, name) for module in map(import_module, MODULES[end]) if hasattr(module, name)}
    return float(value)


class Timed(Pair):
    """A pair that gives each byte alone, and keeps the deadline behind it; its clock stands."""

    def _deliver(self, crossed: bytearray, data: bytes, target: Any) -> None:
        crossed.extend(data)
        end = "client" if target is self.client else "guest"
        for at in range(len(data)):
            target.receive_data(data[at : at + 1], self.now)
            if not target.finished and not target.asking:
                self.seen.add((end, target.session.state, target.deadline))

    def watch(self) -> Waits:
        self.seen: Waits = set()
        self.run()
        return self.seen


def watched(flow: Flow, **changes: Any) -> Timed:
    given: dict[str, Any] = {"mechanisms": flow.mechanisms, "person": flow.person, "ccache": flow.ccache}
    return Timed(flow.client, changes.pop("guest", flow.guest), judge=Judge(None), **given | changes)


def refused(flow: Flow) -> Timed:
    """A client that is authenticated and has nothing to give."""
    pair = watched(flow)

    def refuse() -> None:
        pair.client.session.send(Error(Code.UNSUPPORTED))

    pair.client._hand_over_ticket = refuse  # type: ignore[method-assign]
    return pair


def offered(flow: Flow) -> Timed:
    """A client that says yes and takes its time."""
    pair = watched(flow)
    pair.client._hand_over_ticket = lambda: pair.client.session.send(Ok())  # type: ignore[method-assign]
    return pair


@pytest.fixture
def seen(tls_flow: Flow, tls_gss_flow: Flow, gss_flow: Flow, ticket_flow: Flow, kerberos: Kerberos) -> Waits:
    found: Waits = set()
    for flow in (tls_flow, tls_gss_flow, gss_flow, ticket_flow):
        found |= watched(flow).watch()
    found |= refused(ticket_flow).watch() | offered(ticket_flow).watch()
    found |= watched(gss_flow, guest=GuestPolicy(types=())).watch()
    asking = Timed(
        ClientPolicy(trust_any_spn=True), GuestPolicy(), info={"spn": "host/deleg.test.example"}.get
    )
    found |= asking.watch()
    return found


def test_each_state_has_the_time_that_is_written(seen: Waits) -> None:
    for row in table("11.2", "state"):
        for end in MODULES:
            deadlines = {
                deadline for who, state, deadline in seen if (who, state.name) == (end, row["state"])
            }
            if row[end] != "-":
                assert deadlines == {written(end, row[end])}, (end, row["state"])


def test_no_state_is_left_out(seen: Waits) -> None:
    rows = table("11.2", "state")
    assert [row["state"] for row in rows] == [state.name for state in State if state.name not in OVER]
    for end in MODULES:
        waiting = {row["state"] for row in rows if row[end] != "-"}
        assert {state.name for who, state, _ in seen if who == end} - OVER <= waiting | OWN_TURN[end]


OVER = {"DONE", "ENDED", "CLOSED"}
# Where the end itself is due: a client in READY, ASKED, DELAYED and OFFERED asks, or asks a person.
OWN_TURN = {"client": {"READY", "ASKED", "DELAYED", "OFFERED"}, "guest": set[str]()}
