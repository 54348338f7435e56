"""A guest whose console asks something (PROTOCOL.md section 10.2): a patient client asks again."""

from typing import Any

import pytest
from flows import Flow
from pair import Judge, Pair

from sso.client.exits import ASK_AGAIN, Exit
from sso.protocol.messages import Code


class Console(Pair):
    """A pair whose client is patient, and whose guest has a session for whoever speaks."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.states: list[str] = []
        self.client._patient, self.client._status = True, self.states.append
        self.begun: list[float] = []

    def _pass(self, direction: str, data: bytes, target: Any) -> bool:
        if direction == "to_guest" and data and self.guest.finished:
            self.guest, target = self.new_guest(), None
            self.guest.start(self.now)
            self.begun.append(self.now)
        return super()._pass(direction, data, self.guest if direction == "to_guest" else target)


class Answers(Judge):
    """One outcome after the other, for each claim that comes."""

    def __init__(self, *codes: int) -> None:
        super().__init__()
        self._codes = codes

    def outcome(self) -> int | None:
        return self._codes[len(self.claims) - 1] if self.claims else None


def console(flow: Flow, *codes: int) -> Console:
    more = {"mechanisms": flow.mechanisms, "person": flow.person, "ccache": flow.ccache}
    return Console(flow.client, flow.guest, judge=Answers(*codes), **more)


@pytest.mark.parametrize("name", ["tls_flow", "gss_flow", "tls_gss_flow"])
def test_it_asks_again_with_the_same_attempt_until_it_hears_the_outcome(
    request: pytest.FixtureRequest, name: str
) -> None:
    asks = int(Code.CONSOLE_ASKS)
    pair = console(request.getfixturevalue(name), asks, asks, 0)
    pair.run_out()
    assert pair.client.outcome is not None and pair.client.outcome.exit is Exit.SIGNED_IN
    assert len({claim.attempt for claim in pair.judge.claims}) == 1 and len(pair.judge.claims) == 3
    assert pair.begun == [ASK_AGAIN, 2 * ASK_AGAIN]
    assert pair.states == [pair.states[0], "console-asks"], "said once: it stands until the end"


def test_what_the_guest_decides_in_the_end_is_the_end(gss_flow: Flow) -> None:
    pair = console(gss_flow, int(Code.CONSOLE_ASKS), int(Code.DENIED))
    pair.run_out()
    assert pair.client.outcome is not None and pair.client.outcome.exit is Exit.DENIED


def test_it_says_nothing_between_two_sessions_and_a_hang_up_there_is_the_end(gss_flow: Flow) -> None:
    pair = console(gss_flow, int(Code.CONSOLE_ASKS))
    pair.run()
    assert not pair.client.finished and pair.client.data_to_send() == b""
    pair.client.receive_data(b"whatever\n", pair.now)
    assert not pair.client.finished and pair.client.data_to_send() == b""
    pair.client.receive_data(b"", pair.now)
    assert pair.client.outcome is not None and pair.client.outcome.exit is Exit.CONSOLE_ASKS
