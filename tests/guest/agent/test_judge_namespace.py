"""Who somebody is, is a name in a namespace: the same text in another one is somebody else, and whether an
identity without a secret counts is said for each mechanism."""

from typing import Any

import pytest
from beds_agent import MakeStage

from sso.guest.records import Kind, Verdict

OTHER: dict[str, Any] = {"mechanism": "X-OTHER", "namespace": "X-OTHER"}
TABLE = {"X-OTHER": {"accept_identity": True}}


@pytest.mark.parametrize(
    ("settings", "brought", "counts"),
    [
        ({}, {}, False),
        ({}, OTHER, False),
        ({"accept_identity": True}, {}, True),
        ({"accept_identity": True}, OTHER, False),
        ({"mechanism": TABLE}, OTHER, True),
        ({"mechanism": TABLE}, {}, False),
        ({"mechanism": TABLE}, {"mechanism": "", "namespace": "X-OTHER"}, False),
    ],
)
def test_an_identity_counts_where_its_own_mechanism_is_told_to(
    settings: dict[str, object], brought: dict[str, Any], counts: bool, make_stage: MakeStage
) -> None:
    stage = make_stage(**settings)
    stage.begin()
    stage.claim(1, "alice", Kind.IDENTITY, **brought)
    if counts:
        stage.armed()
    else:
        assert stage.outcome() == (1, Verdict.NO_TICKET)


def test_a_ticket_of_another_namespace_is_nobodys(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim(1, "alice@TEST.EXAMPLE", **OTHER)
    assert stage.outcome() == (1, Verdict.CREDENTIAL_REFUSED)
