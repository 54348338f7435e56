"""The end of a run where the clocks differ: exit code, the client's line, and the guest's log."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flows import SPN, Flow, Kerberos
from pair import Pair, said
from sso_mechs.kerberos import Resumed

from sso.client.exits import Exit
from sso.errors import MechanismError
from sso.mech import Mechanism
from sso.policy import ClientPolicy, GuestPolicy


class FarGuest(Mechanism):
    """The accepting half in a process of its own whose clock is wrong."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._layer: Mechanism = Mechanism()

    def _ask(self, word: str, data: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word} {data.hex()}\n")
        self._process.stdin.flush()
        kind, _, rest = self._process.stdout.readline().strip().partition(" ")
        if kind == "error":
            raise MechanismError(rest)
        if kind == "done":
            self._layer = Resumed(bytes.fromhex(rest))
            self.complete, self.layer, self.peer = True, self._layer.layer, self._layer.peer
            self.wrap, self.unwrap = self._layer.wrap, self._layer.unwrap  # type: ignore[method-assign]
            return b""
        return bytes.fromhex(rest)

    def bind(self, binding: bytes) -> None:
        self._ask("bind", binding)

    def step(self, token: bytes) -> bytes:
        return self._ask("step", token)


PROGRAM = """\
import sys
from sso.errors import MechanismError
from sso_mechs.kerberos import Acceptor
half = Acceptor(spn=sys.argv[1], keytab=sys.argv[2])
for line in sys.stdin:
    word, data = line.rstrip("\\n").split(" ")
    try:
        answer = getattr(half, word)(bytes.fromhex(data)) or b""
        print(*(("done", half.export().hex()) if half.complete else ("token", answer.hex())), flush=True)
    except MechanismError as error:
        print("error", error.cause, flush=True)
"""


@pytest.fixture
def guest_at(kerberos: Kerberos) -> Iterator[Callable[[int], FarGuest]]:
    """Guests whose clocks are so many seconds off."""
    started = []

    def start(seconds: int) -> FarGuest:
        argv = ["faketime", "-f", f"{seconds:+d}s"] if seconds else []
        process = subprocess.Popen(
            [*argv, sys.executable, "-c", PROGRAM, SPN, str(kerberos.keytabs["guest"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        started.append(process)
        return FarGuest(process)

    yield start
    for process in started:
        process.communicate(timeout=5)


@pytest.mark.proves("S121")
@pytest.mark.parametrize(
    ("seconds", "exit", "line"),
    [
        (0, 0, "signed in"),
        (120, 0, "signed in"),
        (400, 9, "the guest's clock is 400 s ahead"),
        (-400, 9, "the guest's clock is 400 s behind"),
        (200000, 9, "the guest's clock is 200000 s ahead"),  # behind the ticket's end
    ],
)
def test_the_guests_clock(
    kerberos: Kerberos,
    guest_at: Callable[[int], FarGuest],
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    exit: int,
    line: str,
) -> None:
    """As after a resume: error 407, then `info time` says by how much. Our own clock stands."""
    now = float(int(time.time()))
    monkeypatch.setattr("sso.client.conversation.time", lambda: now)
    pair = Pair(
        ClientPolicy(spn=SPN),
        GuestPolicy(),
        make=lambda name, **_: guest_at(seconds),
        info={"time": str(int(now) + seconds)}.get,
        ccache=kerberos.cache("alice-here"),
    ).run_out()
    assert (pair.exit, said(pair).line) == (exit, line)
    assert pair.log_ids[0] == ("authenticated" if exit == 0 else "not-authenticated")
    assert bool(pair.judge.claims) == (exit == 0)


@pytest.mark.parametrize("value", ["", "soon", "-5", "99999999999999", "1" * 4000])
def test_a_guests_time_that_is_none(gss_flow: Flow, value: str) -> None:
    """Whatever the guest says of its clock, it is one line of ours; a guest that says nothing too."""

    def skewed(name: str, **_: Any) -> Mechanism:
        class Skewed(Mechanism):
            def step(self, token: bytes) -> bytes:
                raise MechanismError("clock-skew")

        return Skewed()

    pair = gss_flow.pair(make=skewed, info={"time": value or None}.get).run_out()
    assert pair.exit == (Exit.CLOCK if value else Exit.PROTOCOL)
    assert value not in said(pair).line or not value
