"""The units under a systemd of their own: they start, hold what they promise, and nothing stays dead.

What needs a device (the udev rule, plugging) is in the tests with a VM.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds_systemd import CONFIG, SERVICES, Machine, own_python

from sso.daemon.journal import message_id

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PROBE = Path(__file__).with_name("sandbox_probe.py")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    found = Machine(tmp_path_factory.mktemp("machine"))
    try:
        found.boot()
        yield found
    finally:
        found.close()


def test_without_a_port_nothing_runs_and_nothing_fails(machine: Machine) -> None:
    machine.unplug()
    machine.tell("systemctl", "start", "console-sso-agent.service")
    assert machine.active() == set() and machine.failed() == ""


def test_the_three_run_with_their_sockets(machine: Machine) -> None:
    machine.up()
    sockets = {f"console-sso-{name}.socket" for name in (*SERVICES, "greeter", "verdict")}
    assert machine.active() == sockets | {f"console-sso-{name}.service" for name in SERVICES}
    modes = machine.tell("stat", "--format=%n %U %a", *(f"/run/console-sso/{name}.sock" for name in (
        "pam", "getty", "greeter", "verdict", "channel", "acceptor")))  # fmt: skip
    assert modes.splitlines() == [
        "/run/console-sso/pam.sock root 600",
        "/run/console-sso/getty.sock root 600",
        "/run/console-sso/greeter.sock root 666",
        "/run/console-sso/verdict.sock root 666",
        "/run/console-sso/channel.sock sso-agent 600",
        "/run/console-sso/acceptor.sock sso-acceptor 600",
    ]


@pytest.mark.parametrize(
    ("service", "user", "capabilities"),
    [("agent", "root", {5, 6, 7}), ("channel", "sso-agent", set()), ("acceptor", "sso-acceptor", set())],
)
def test_each_is_confined(machine: Machine, service: str, user: str, capabilities: set[int]) -> None:
    machine.up()
    pid = machine.pids()[service]
    status = dict(re.findall(r"^(\w+):\s+(.*)$", machine.tell("cat", f"/proc/{pid}/status"), re.MULTILINE))
    assert status["Uid"].split() == [machine.tell("id", "-u", user).strip()] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[kind], 16) == sum(1 << number for number in capabilities)
    assert re.search(
        r"^Max core file size\s+0\s+0 ", machine.tell("cat", f"/proc/{pid}/limits"), re.MULTILINE
    )


@pytest.mark.parametrize("victim", SERVICES)
def test_whoever_is_killed_all_three_are_joined_again_within_two_seconds(
    machine: Machine, victim: str
) -> None:
    machine.up()
    for _ in range(3):
        assert machine.kill(victim) <= 2.0
    machine.wait(machine.all_run)
    assert machine.failed() == "", machine.log()


def test_an_agent_that_is_killed_while_the_others_wait_for_it_leaves_nobody_behind(machine: Machine) -> None:
    """They wait as long as logind does not tell who is there, and each of them finds the next agent."""
    machine.up()
    logind = "systemd-logind.service"

    def ready() -> str:
        state = machine.state("agent")
        return state["MainPID"] if state["ActiveState"] == "active" else "0"

    machine.tell("systemctl", "kill", "--signal=STOP", logind)
    try:
        for _ in range(5):
            before = ready()
            machine.tell("systemctl", "kill", "--signal=KILL", "console-sso-agent.service")
            machine.wait(lambda before=before: ready() not in ("0", before))  # type: ignore[misc]
            machine.wait(lambda: "bus-back" in machine.said_by(ready()))
    finally:
        machine.tell("systemctl", "kill", "--signal=CONT", logind)
    machine.wait(lambda: "links-joined" in machine.said_by(ready()))
    machine.wait(machine.all_run)
    assert machine.failed() == "", machine.log()


@pytest.mark.parametrize("victim", SERVICES)
def test_one_that_hangs_is_replaced(machine: Machine, victim: str) -> None:
    quick = "[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\n"
    folder = f"/run/systemd/system/console-sso-{victim}.service.d"
    machine.write(f"{folder}/quick.conf", quick)
    machine.tell("systemctl", "daemon-reload")
    try:
        machine.down()
        machine.up()
        before = machine.pids()[victim]
        machine.tell("kill", "-STOP", before)
        machine.wait_for_another(victim, before)
    finally:
        machine.tell("rm", "-r", folder)
        machine.tell("systemctl", "daemon-reload")


def test_when_the_port_is_gone_nothing_is_tried_for_ever(machine: Machine) -> None:
    machine.up()
    machine.unplug()
    machine.tell("systemctl", "kill", "--signal=KILL", "console-sso-agent.service")
    machine.wait(machine.at_rest)
    assert machine.failed() == "", machine.log()
    machine.up()


def test_a_wrong_configuration_is_not_tried_for_ever(machine: Machine) -> None:
    machine.down()
    machine.write(CONFIG, "no_such_option = 1\n")
    assert machine.run("systemctl", "start", "console-sso-agent.service").returncode
    state = machine.state("agent")
    assert (state["ActiveState"], state["ExecMainStatus"], state["NRestarts"]) == ("failed", "2", "0")
    machine.wait(machine.at_rest)
    machine.up()


def test_their_lines_are_found_in_the_journal(machine: Machine) -> None:
    machine.down()
    machine.up()

    def entries(id: str) -> list[dict[str, str]]:
        found = machine.tell("journalctl", "--boot", "--output=json", f"MESSAGE_ID={message_id(id)}")
        return [json.loads(line) for line in found.splitlines()]

    machine.wait(lambda: entries("sso.agent.started") and entries("sso.channel.session-begin"))
    agent, channel = entries("sso.agent.started")[-1], entries("sso.channel.session-begin")[-1]
    assert (agent["SYSLOG_IDENTIFIER"], agent["_UID"], agent["PRIORITY"]) == ("sso-agent", "0", "6")
    assert (agent["CONSOLE_SSO_LOGIN"], agent["_SYSTEMD_UNIT"]) == ("getty", "console-sso-agent.service")
    assert channel["SYSLOG_IDENTIFIER"] == "sso-channel" and channel["CONSOLE_SSO_SESSION"].isdigit()


def test_what_the_agents_workers_do_is_allowed_and_no_more(machine: Machine) -> None:
    """The same unit with another program, which does each of the agent's deeds once."""
    machine.write("/opt/sso/probe.py", PROBE.read_text())
    unit = machine.tell("cat", "/lib/systemd/system/console-sso-agent.service")
    others = "ConditionPathExists|Wants|Type|NotifyAccess|ExecStart|Sockets|Restart|WatchdogSec"
    unit = re.sub(rf"^({others})=.*\n", "", unit, flags=re.MULTILINE)
    run = f"[Service]\nType=oneshot\nExecStart={own_python()} /opt/sso/probe.py\n"
    run += "StandardOutput=truncate:/tmp/probe.json\n"
    machine.write("/run/systemd/system/probe.service", unit.replace("[Service]\n", run))
    machine.tell("systemctl", "daemon-reload")
    machine.tell("systemctl", "start", "probe.service")
    told = json.loads(machine.tell("cat", "/tmp/probe.json"))
    assert told == {
        "mapped": ["GOOD", "alice", 1234],
        "ticket replaced": True,
        "worker of another uid killed": True,
        "sees the first process": True,
        "reads a tally": "tally",
        "owns its name": True,
        "internet": "EAFNOSUPPORT",
        "writes /etc": "EROFS",
        "writable code": "EPERM",
        "new namespace": "EPERM",
        "reads a secret of another user": "EACCES",
    }
    assert machine.tell("cat", "/tmp/krb5cc_test") == "new"
