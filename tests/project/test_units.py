"""The files of an installed guest, each read by the program that will read it: systemd, D-Bus, PAM, agetty.

That the units run, and start again, is in test_units_run.py; the udev rule works in the tests with a VM.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beds_agent import let_in
from beds_pam import (
    SUCCESS,
    UNAVAILABLE,
    build_module,
    call,
    failures,
    install_caller,
    listen,
    password,
    ticket,
)
from fake_pam_agent import PASSWORD, Answer

from sso.daemon import local
from sso.demo.sandbox import PAM_MODULE, Sandbox
from sso.guest.config import GuestConfig

DATA = Path(__file__).resolve().parents[2] / "data"
SYSTEMD = DATA / "systemd"
SERVICES = ("agent", "channel", "acceptor")
PORT_NAME = "spice.sso.0"
BUS_NAME = "org.ovirt.vdsm.Credentials"
NOBODY = 65534
SECONDS = 20


def values(unit: str, key: str) -> list[str]:
    """What a unit's file says to a key, word by word."""
    text = (SYSTEMD / unit).read_text()
    return [word for line in re.findall(rf"^{key}=(.*)$", text, re.MULTILINE) for word in line.split()]


def check(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a machine with systemd's units and ours, and with our users."""
    found = tmp_path_factory.mktemp("root")
    units = found / "lib/systemd/system"
    shutil.copytree("/lib/systemd/system", units, symlinks=True)
    shutil.copytree(SYSTEMD, units, dirs_exist_ok=True)
    for program in ("usr/bin/sso-guest-agent", "usr/bin/sso-getty", "usr/bin/sso-ssh-agent", "sbin/agetty"):
        (found / program).parent.mkdir(parents=True, exist_ok=True)
        (found / program).touch(0o755)
    (found / "etc").mkdir()
    for name in ("passwd", "group"):
        (found / "etc" / name).write_text(
            "root:x:0:0::/root:/bin/sh\n" if name == "passwd" else "root:x:0:\n"
        )
    check("systemd-sysusers", f"--root={found}", DATA / "sysusers.d/console-sso.conf")
    return found


# Units


@pytest.mark.parametrize(
    ("service", "most"), [("agent", 1.5), ("channel", 0.5), ("acceptor", 0.7), ("ssh-agent", 0.7)]
)
def test_the_exposure_stays_low(service: str, most: float) -> None:
    unit = SYSTEMD / f"console-sso-{service}.service"
    threshold = f"--threshold={most * 10:.0f}"
    check("systemd-analyze", "security", "--offline=true", "--no-pager", threshold, unit)


def test_systemd_has_nothing_to_say_against_them(root: Path) -> None:
    units = [path.name for path in SYSTEMD.iterdir() if path.is_file()]
    assert len(units) == 9
    # Its manual pages are in another package than the units of this check.
    said = check("systemd-analyze", "verify", "--man=no", f"--root={root}", *units, "getty@tty1.service")
    assert said == ""


@pytest.mark.parametrize("service", SERVICES)
def test_each_is_watched_and_comes_back(service: str) -> None:
    unit = f"console-sso-{service}.service"
    for key, value in {
        "Type": "notify",
        "NotifyAccess": "main",
        "WatchdogSec": "20",
        "Restart": "always",
        "RestartSec": "20ms",
        "StartLimitIntervalSec": "0",
        "LimitCORE": "0",
        "ConditionPathExists": f"/dev/virtio-ports/{PORT_NAME}",
    }.items():
        assert values(unit, key) == [value]
    # Where secrets are: functions bound late leave pieces of them on the stack.
    assert any("LD_BIND_NOW=1" in line for line in values(unit, "Environment")) == (service != "agent")
    assert values(unit, "ExecStart") == ["/usr/bin/sso-guest-agent", "--role", service]
    assert values(unit, "RestrictAddressFamilies") == ["AF_UNIX"]


def test_the_processes_are_who_the_configuration_says() -> None:
    config = GuestConfig()
    assert values("console-sso-channel.service", "User") == [config.channel_user]
    assert values("console-sso-acceptor.service", "User") == [config.acceptor_user]
    assert values("console-sso-channel.socket", "SocketUser") == [config.channel_user]
    assert values("console-sso-acceptor.socket", "SocketUser") == [config.acceptor_user]
    assert values("console-sso-agent.service", "User") == []
    assert config.port == f"virtio:{PORT_NAME}"


def test_every_socket_of_the_agent_is_held_by_systemd() -> None:
    config = GuestConfig()
    names = [field for field in config._fields if field.endswith("_socket")]
    sockets = sorted(path.name for path in SYSTEMD.glob("*.socket"))
    listening = [path for unit in sockets for path in values(unit, "ListenSequentialPacket")]
    assert sorted(listening) == sorted(getattr(config, name) for name in names)
    assert sorted(values("console-sso-agent.service", "Sockets")) == sockets
    for unit in sockets:
        assert values(unit, "Service") == ["console-sso-agent.service"]
        assert values(unit, "Backlog") == [str(local.BACKLOG)]
        # One that outlived the agent would start it where there is no port, again and again.
        assert values(unit, "StopWhenUnneeded") == ["yes"]
    open_to_all = {unit for unit in sockets if values(unit, "SocketMode") != ["0600"]}
    assert open_to_all == {"console-sso-greeter.socket", "console-sso-verdict.socket"}


def test_the_login_screen_is_started_as_agetty_understands_it() -> None:
    unit = "getty@.service.d/console-sso.conf"
    command = (SYSTEMD / unit).read_text().split("\nExecStart=\nExecStart=-")[1].split()
    known = check("agetty", "--help")
    options = [word for word in command if word.startswith("--")]
    assert options == ["--skip-login", "--login-program", "--noclear"]
    assert all(re.search(rf"{option}\b", known) for option in options)
    assert values(unit, "StartLimitIntervalSec") == ["0"]


# Users, folders, the device


def test_three_users_without_a_shell(root: Path) -> None:
    lines = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()[1:]]
    assert {line[0] for line in lines} == {"sso-agent", "sso-acceptor", "sso-ssh-agent"}
    assert len({line[2] for line in lines}) == len({line[3] for line in lines}) == 3
    assert all(0 < int(line[2]) < 1000 and line[6] == "/usr/sbin/nologin" for line in lines)


@pytest.mark.e2e
def test_folders_and_the_keytab_have_their_owners(root: Path) -> None:
    keytab = root / GuestConfig().keytab.removeprefix("/")
    keytab.parent.mkdir(exist_ok=True)
    keytab.touch(0o644)
    check("systemd-tmpfiles", "--create", f"--root={root}", DATA / "tmpfiles.d/console-sso.conf")
    uids = dict(re.findall(r"^([a-z-]+):[^:]*:(\d+)", (root / "etc/passwd").read_text(), re.MULTILINE))
    for path, user, mode in (
        ("run/console-sso", "root", 0o755),
        ("etc/console-sso", "root", 0o755),
        ("var/lib/console-sso", "root", 0o755),
        ("var/lib/console-sso/acceptor", "sso-acceptor", 0o700),
        (str(keytab.relative_to(root)), "sso-acceptor", 0o600),
    ):
        found = (root / path).stat()
        assert (found.st_uid, found.st_mode & 0o7777) == (int(uids[user]), mode), path


def test_the_port_is_given_to_one_user_and_starts_all_three() -> None:
    text = (DATA / "udev/70-console-sso.rules").read_text()
    rules = [line for line in text.splitlines() if "virtio-ports" in line and not line.startswith("#")]
    (rule,) = (line for line in rules if "ssh" not in line)
    tokens = re.findall(r'([A-Z]+(?:\{\w+\})?)(==|=|\+=)"([^"]*)"(?:, |$)', rule)
    assert ", ".join(f'{key}{operator}"{value}"' for key, operator, value in tokens) == rule
    assert tokens == [
        ("SUBSYSTEM", "==", "virtio-ports"),
        ("ATTR{name}", "==", PORT_NAME),
        ("OWNER", "=", GuestConfig().channel_user),
        ("GROUP", "=", GuestConfig().channel_user),
        ("MODE", "=", "0600"),
        ("TAG", "+=", "systemd"),
        ("ENV{SYSTEMD_WANTS}", "+=", " ".join(f"console-sso-{name}.service" for name in SERVICES)),
    ]
    device = check("systemd-escape", "--path", "--suffix=device", f"/dev/virtio-ports/{PORT_NAME}")
    assert values("console-sso-channel.service", "StopPropagatedFrom") == [device.strip()]


# D-Bus

BUS = """\
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_type="method_return"/>
    <allow send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow receive_sender="org.freedesktop.DBus"/>
  </policy>
  <include>{policy}</include>
</busconfig>
"""
# argv: bus address, word. "own": prints the bus's answer; "hear": prints one token; "say": owns and signals.
PEER = """
import sys
from jeepney import DBusAddress, DBusErrorResponse, MatchRule, new_signal, message_bus
from jeepney.io.blocking import open_dbus_connection, Proxy
address, word, name = sys.argv[1:4]
link = open_dbus_connection(address)
bus = Proxy(message_bus, link)
if word == "hear":
    bus.AddMatch(MatchRule(type="signal", interface=name))
    print("listens", flush=True)
    while True:
        message = link.receive()
        if message.body and message.header.message_type.name == "signal" and message.body[0] == "token":
            print("token")
            break
else:
    try:
        print(bus.RequestName(name, 4)[0])
    except DBusErrorResponse as error:
        print(error.name)
if word == "say":
    path = "/" + name.replace(".", "/")
    link.send(new_signal(DBusAddress(path, interface=name), "UserAuthenticated", "s", ("token",)))
"""

Peer = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """Starts programs on a private bus that has our policy beside the system bus's rules."""
    let_in(tmp_path)
    policy = DATA / f"dbus-1/system.d/{BUS_NAME}.conf"
    address = tmp_path / "bus"
    config = tmp_path / "bus.conf"
    config.write_text(BUS.format(socket=address, policy=policy))
    bus = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"], stdout=subprocess.PIPE
    )
    started = [bus]
    assert bus.stdout is not None and bus.stdout.readline()

    def start(word: str, uid: int) -> "subprocess.Popen[str]":
        ids = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        program = [sys.executable, "-c", PEER, f"unix:path={address}", word, BUS_NAME]
        process = subprocess.Popen(["setpriv", *ids, *program], stdout=subprocess.PIPE, text=True)
        started.append(process)  # type: ignore[arg-type]  # only to end it
        return process

    yield start
    for process in reversed(started):
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def told(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.e2e
def test_only_root_owns_the_name_and_everybody_hears_the_signal(peer: Peer) -> None:
    listeners = [peer("hear", uid) for uid in (0, NOBODY)]
    assert [told(one) for one in listeners] == ["listens", "listens"]
    assert told(peer("own", NOBODY)) == "org.freedesktop.DBus.Error.AccessDenied"
    assert told(peer("say", 0)) == "1"
    assert [told(one) for one in listeners] == ["token", "token"]


# PAM for GDM

TOKEN = "5e" * 32


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.use_pam_module(build_module(tmp_path_factory.mktemp("pam")))
        service = (DATA / "pam.d/gdm-ovirtcred").read_text()
        sandbox.write("/etc/pam.d/gdm-ovirtcred", service.replace("pam_sso.so", PAM_MODULE))
        install_caller(sandbox)
        yield sandbox


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["ticket", "password"])
def test_gdm_signs_in_with_a_token_and_asks_nothing_else(guest: Sandbox, kind: str) -> None:
    answer = ticket() if kind == "ticket" else password(guest)
    with listen(guest, answer) as agent:
        steps = ("authenticate", "acct_mgmt", "setcred:2", "open_session", "close_session", "setcred:4")
        done = call(guest, *steps, service="gdm-ovirtcred", user=None, answers=[TOKEN])
    assert (done.results, done.user) == ([SUCCESS] * len(steps), "alice")
    assert len(done.prompts) == 1
    assert {heard.token for story in agent.stories for heard in story if heard.operation == 1} == {TOKEN}


@pytest.mark.e2e
@pytest.mark.parametrize("answer", [Answer(), ticket("bob")], ids=["nothing", "another user"])
def test_gdm_stays_quiet_when_there_is_nothing_for_the_user(guest: Sandbox, answer: Answer) -> None:
    before = failures(guest, "alice")
    with listen(guest, answer):
        done = call(guest, "authenticate", service="gdm-ovirtcred", user="alice", answers=[TOKEN])
    assert done.results == [UNAVAILABLE] and len(done.prompts) == 1
    assert failures(guest, "alice") == before


@pytest.mark.e2e
def test_gdm_tries_a_wrong_password_once(guest: Sandbox) -> None:
    with listen(guest, Answer(PASSWORD, "alice", os.urandom(8).hex().encode())):
        done = call(guest, "authenticate", service="gdm-ovirtcred", user=None, answers=[TOKEN])
    assert done.results != [SUCCESS] and len(done.prompts) == 1
