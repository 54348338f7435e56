"""The steps of a login at the PAM socket: each is a question, and can be taken back."""

from itertools import product
from typing import Any

import pytest
from beds_agent import GET, MakeStage, armed, connect
from rule_tables import YES_NO, faults, imports, words

from sso.guest import log, records
from sso.guest.agent import steps as steps_module
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.agent.steps import Ask, Meaning, PamStep, Whose, meaning, next_stage, unseen
from sso.guest.agent.steps import Stage as Reached
from sso.guest.records import Kind


def steps(kind: Kind) -> list[Operation]:
    """The questions of a whole login after the GET."""
    tried = [Operation.TRIED, Operation.PASSED] if kind is Kind.PASSWORD else []
    return [*tried, Operation.HELD, Operation.ESTABLISHED, Operation.HELD, Operation.OPENED]


HANDED_OUT = {kind.name.lower(): kind for kind in Kind}


def test_what_pams_module_may_ask() -> None:
    """Table 11 of docs/login-rules.md, for every case."""
    asks: dict[str, Any] = {operation.name: operation for operation in Operation} | {"hang-up": None}
    facts: dict[str, Any] = {
        "user": {"another": False, "the grant's": True},
        "answer due": YES_NO,
        "asks": asks,
        "stage": words(Reached),
        "handed out": HANDED_OUT,
    }

    def say(named: bool, opening: bool, asked: Operation | None, stage: Reached, kind: Kind) -> Reached:
        return next_stage(Ask(stage, kind, asked, named, opening))

    assert faults(11, ("leads to",), facts, say) == []


def test_what_a_step_means() -> None:
    """Table 12, for every case."""
    facts: dict[str, Any] = {
        "of": words(Whose),
        "before": words(Reached),
        "after": words(Reached),
        "handed out": HANDED_OUT,
        "unlocking": YES_NO,
    }
    assert faults(12, ("means",), facts, lambda *one: meaning(PamStep(*one))) == []


def test_what_it_means_that_the_seat_shows_nothing() -> None:
    """Table 13, for every case."""
    assert faults(13, ("means",), {"left at": words(Reached)}, unseen) == []


def test_only_a_password_that_was_tried_is_wrong_and_only_the_login_hears_it() -> None:
    for of, before, after, kind, unlocking in product(Whose, Reached, Reached, Kind, (False, True)):
        found = meaning(PamStep(of, before, after, kind, unlocking))
        if found is Meaning.WRONG:
            assert (of, before, after) == (Whose.LOGIN, Reached.TRIED, Reached.ENDED)
        if after is Reached.ENDED and of is not Whose.NOTHING:
            assert found not in (Meaning.NOTHING, Meaning.WORKING, Meaning.OPEN, Meaning.PROVED)


def test_the_steps_are_pure() -> None:
    assert imports(steps_module) == {"enum", "typing", "sso.guest.records", "sso.guest.agent.pam_records"}


@pytest.mark.parametrize("kind", [Kind.PASSWORD, Kind.KERBEROS])
@pytest.mark.parametrize("done", range(6))
def test_any_step_before_the_open_session_can_be_taken_back(
    make_stage: MakeStage, kind: Kind, done: int
) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim(1, "alice" if kind is Kind.PASSWORD else "alice@TEST.EXAMPLE", kind, digest=b"d" * 32)
    stage.armed()
    asked = stage.ask()
    asked.tried = True  # every step is said here
    assert all(asked.report(operation) for operation in steps(kind)[:-1][:done])
    stage.agent.judge.end(1)
    for operation in (Operation.HELD, Operation.OPENED):
        assert not asked.report(operation), "what is asked later gets no yes"
    assert stage.agent.judge.signed_in is None and len(stage.agent.pam) == 0


def test_a_question_that_waits_when_a_login_is_taken_back_gets_no_yes(make_stage: MakeStage) -> None:
    stage = armed(make_stage)
    asked = stage.ask()
    assert asked.report(Operation.ESTABLISHED)
    records.send(asked.module, Request(Operation.OPENED, "login", "tty1", "alice"))
    stage.agent.judge.end(1)
    assert records.receive(asked.module, Reply) is None
    assert stage.agent.judge.signed_in is None


def test_that_the_password_was_right_is_known_when_it_is_taken_back(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.begin()
    stage.claim(1, "alice", Kind.PASSWORD, digest=b"d" * 32)
    stage.armed()
    asked = stage.ask()
    assert asked.report(Operation.TRIED)
    login = stage.agent.judge.login
    assert login is not None and login.connection is not None
    connection = login.connection
    records.send(asked.module, Request(Operation.PASSED, "login", "tty1", "alice"))
    stage.agent.pam.withdraw(connection)
    assert connection.stage is Reached.PASSED
    assert records.receive(asked.module, Reply) is None


def test_a_module_of_another_version_signs_nobody_in_and_is_named_once(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "_say", lambda id, line, values: said.append(id))
    stage = armed(make_stage)
    for version in (1, 2, 1):
        link = connect(stage)
        link.send(b"SSOP" + bytes([version]) + GET.pack()[5 : 512 if version == 2 else None])  # as 2 was
        stage.turn()
        assert link.recv(1000)[:6] == b"SSOR\x03\0", "our version, and nothing"
        assert records.receive(link, Reply) is None
    assert said.count("pam-other-version") == 1 and "pam-malformed" not in said
    assert stage.ask().secret() == b"secret", "the grant is as it was"
