"""The steps of a login at the PAM socket: each is a question, and can be taken back."""

import pytest
from beds_agent import GET, MakeStage, armed, connect

from sso.guest import log, records
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.agent.pam_socket import Stage as Reached
from sso.guest.agent.pam_socket import next_stage
from sso.guest.records import Kind


def steps(kind: Kind) -> list[Operation]:
    """The questions of a whole login after the GET."""
    tried = [Operation.TRIED, Operation.PASSED] if kind is Kind.PASSWORD else []
    return [*tried, Operation.HELD, Operation.ESTABLISHED, Operation.HELD, Operation.OPENED]


@pytest.mark.parametrize(
    ("stage", "kind", "good"),
    [
        (Reached.WAITING, Kind.KERBEROS, ""),
        (Reached.GIVEN, Kind.PASSWORD, "TRIED"),
        (Reached.GIVEN, Kind.KERBEROS, "ESTABLISHED HELD"),
        (Reached.GIVEN, Kind.IDENTITY, "ESTABLISHED HELD"),
        (Reached.TRIED, Kind.PASSWORD, "PASSED"),
        (Reached.PASSED, Kind.PASSWORD, "ESTABLISHED HELD"),
        (Reached.ESTABLISHED, Kind.KERBEROS, "OPENED HELD"),
        (Reached.OPENED, Kind.KERBEROS, ""),
        (Reached.ENDED, Kind.KERBEROS, ""),
    ],
)
def test_only_the_steps_of_the_table_lead_on(stage: Reached, kind: Kind, good: str) -> None:
    after = {operation.name: next_stage(stage, kind, operation) for operation in Operation}
    assert {name for name, reached in after.items() if reached is not Reached.ENDED} == set(good.split())


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
