"""What a spawned client loads before it has signed in: start-up is its main cost."""

import os
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sso_mechs

import sso
from sso.client import main as client_main
from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.errors import MechanismError
from sso.framing import COMPILED
from sso.guest.channel.conversation import Claim, GuestConversation
from sso.mech import load
from sso.policy import GuestPolicy
from sso.ports.port import open_port
from sso.ports.pump import Pump

SPN = "host/deleg.test.example"

# What the client may have loaded when its first byte leaves: every login waits for all of it. Ours by name;
# what the standard library's modules load themselves is their matter, and is found out.
OURS = {
    *("sso", "sso.client", "sso.client.start", "sso.client.main", "sso.client.options", "sso.client.flags"),
    "sso.client.exits",
    *("sso.client.conversation", "sso.client.parties", "sso.client.prompts", "sso.client.status"),
    *("sso.client.halves", "sso.spn"),
    *("sso.errors", "sso.settings", "sso.framing", "sso.credential", "sso.mech", "sso.policy"),
    *("sso.ports", "sso.ports.port", "sso.ports.pump", "sso.protocol", "sso.protocol.messages"),
    *("sso.protocol.state", "sso.protocol.events", "sso.protocol.transcript", "sso.protocol.greeting"),
    *("sso.protocol.layer", "sso.protocol.reset"),
    *("sso.protocol.wire", "sso.protocol.exchange", "sso.protocol.reading", "sso.protocol.session"),
}
SHA = next(filter(find_spec, ("_sha2", "_sha256", "hashlib")))
STANDARD = {
    *("_socket", "collections", "collections.abc", "contextlib", "enum", "errno", "gc", "os", "select"),
    *("signal", "stat", "sys", "time", "typing", SHA),
}
if COMPILED:
    OURS.add("sso._framing")
else:
    OURS.add("sso._framing_py")
    STANDARD |= {"binascii", "re"}
# And what it never has when a ticket signs in. The Kerberos library itself loads a lot.
NEVER = (
    *("argparse", "asyncio", "hashlib", "importlib.metadata", "json", "logging", "pyasn1", "socket"),
    *("ssl", "subprocess", "tempfile", "threading", "tomllib"),
    *("ctypes", "decorator", "dis", "gssapi.creds", "gssapi.raw.ext_s4u", "shutil"),  # of python-gssapi
    *("sso.client.staying", "sso.client.usage", "sso.guest"),
)

LOAD = "import sys; before = set(sys.modules); sys.path += {path!r}"
LIST = "print(*sorted(set(sys.modules) - before), file=sys.stderr)"
CLOSURE = f"{LOAD}; import {{names}}; {LIST}"
FIRST = f"""{LOAD}
def write(port, data):
    {LIST}
    raise SystemExit(0)
from sso.client.start import main
from sso.ports.port import SocketPort
SocketPort.write = write
main()
"""
RUN = f"""
import sys
from sso.client.main import main
status = main(["--no-config", "--spn", "{SPN}"])
loaded = [name for name in {NEVER!r} if name in sys.modules]
print(status, loaded, file=sys.stderr)
"""


def modules(code: str, *arguments: str, stdio: int = subprocess.DEVNULL) -> set[str]:
    """What a bare interpreter says that it has loaded by that code."""
    argv = [sys.executable, "-I", "-S", "-c", code, *arguments]
    done = subprocess.run(argv, stdin=stdio, stdout=stdio, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_little_is_loaded_before_the_first_byte() -> None:
    path = [str(Path(package.__path__[0]).parent) for package in (sso, sso_mechs)]
    client, guest = socket.socketpair()
    with client, guest:
        loaded = modules(FIRST.format(path=path), "--no-config", "--spn", SPN, stdio=client.fileno())
    standard = modules(CLOSURE.format(path=[], names=", ".join(sorted(STANDARD))))
    core = {name for name in loaded if name.startswith(("_cython_", "cython_runtime"))}  # of sso._framing
    extra = sorted(loaded - OURS - standard - core)
    assert not extra, (
        f"{', '.join(extra)}: loaded before the client sends its first byte, and every login waits for that."
        " Import it where it is used; if it must be so early, add it to this list, with its cost in the"
        " commit's message (benchmarks/bench_spawn.py shows it)"
    )
    # A list that names more than is needed would let it come back.
    assert loaded >= OURS and STANDARD - loaded <= {"sys", "time"}


def serve(end: socket.socket, keytab: Path) -> None:
    conversation: GuestConversation

    def make(name: str, **arguments: Any) -> Any:
        return load(name).accept(spn=SPN, keytab=str(keytab))

    def judge(claim: Claim) -> None:
        conversation.verdict(0, time.monotonic())

    conversation = GuestConversation(GuestPolicy(), make, judge)
    port = open_port(f"fd:{end.fileno()}")
    Pump(port, conversation).run()
    port.close()
    end.close()


@pytest.mark.proves("S067", "S071")
def test_a_login_with_a_ticket_loads_only_what_it_needs(
    realm: Realm, keytabs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in realm.env.items():
        monkeypatch.setenv(name, value)
    realm.kinit("alice", "-f")
    client, end = socket.socketpair()
    guest = threading.Thread(target=serve, args=(end, keytabs["deleg"]))
    guest.start()
    argv = [sys.executable, "-I", "-c", RUN]
    with client:
        fd = client.fileno()
        done = subprocess.run(
            argv, stdin=fd, stdout=fd, stderr=subprocess.PIPE, env={**os.environ}, text=True
        )
    guest.join()
    assert done.stderr == "0 []\n"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [([], ["GSSAPI"]), (["--stay"], ["GSSAPI"]), (["--tls-name", "vm.example.org"], ["TLS", "GSSAPI"])],
)
def test_libraries_are_loaded_while_the_guest_thinks(
    arguments: list[str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This guest never says a word; and what is missing is no matter until it is wanted."""
    loaded: list[str] = []
    client, guest = socket.socketpair()

    def load(name: str) -> Any:
        assert guest.recv(4096, socket.MSG_DONTWAIT | socket.MSG_PEEK).startswith(b"\nSIGNATURE ")
        loaded.append(name)
        raise MechanismError("unavailable", "not here")

    monkeypatch.setattr(client_main, "load", load)
    with client, guest:
        guest.shutdown(socket.SHUT_WR)
        port = f"fd:{client.fileno()}"
        assert client_main.main(["--no-config", "--spn", SPN, "--port", port, *arguments]) == Exit.LOST
    assert loaded == names


def test_the_end_is_quick_and_nothing_is_lost() -> None:
    """The program leaves what the interpreter does at its end undone, but no line and no exit code."""
    code = "import atexit; atexit.register(print, 'late'); from sso.client.start import main; main()"

    def run(*arguments: str, **streams: Any) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-I", "-c", code, *arguments]
        return subprocess.run(
            argv, text=True, stdin=subprocess.DEVNULL, **{"stdout": subprocess.PIPE, **streams}
        )

    wrong = run("--no-config", "--port", "nowhere", stderr=subprocess.PIPE)
    assert (wrong.returncode, wrong.stdout) == (2, "") and len(wrong.stderr.splitlines()) == 1
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        assert (
            run("--no-config", "--port", "nowhere", stdout=nobody, stderr=subprocess.DEVNULL).returncode == 2
        )
    helped = run("--help")
    assert helped.returncode == 0 and "exit codes" in helped.stdout and helped.stdout.endswith("late\n")
