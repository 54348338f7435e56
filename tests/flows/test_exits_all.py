"""The end of a run, case by case: exit code, the client's line, the guest's log, and who was judged."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from flows import ALICE, DELEG, SPN, Flow, Kerberos
from pair import Judge, Pair
from sso_mechs import ccache
from sso_mechs.kerberos import Initiator, Resumed

from sso.client.exits import MEANING, VERDICT_TIME, Exit, RunResult, by_cause, by_code
from sso.demo.realm import Realm
from sso.errors import MechanismError
from sso.mech import Mechanism
from sso.policy import ClientPolicy, GuestPolicy
from sso.protocol.messages import Code, Ok
from sso.protocol.state import State


class Agent(Judge):
    """Refuses a login without a ticket, as the agent does by default."""

    def outcome(self) -> int | None:
        if self.claims:
            self.code = 0 if self.secrets[-1] else int(Code.NO_TICKET)
        return super().outcome()


def run(kerberos: Kerberos, policy: ClientPolicy, keytab: str = "guest", **changes: Any) -> Pair:
    serves = changes.pop("serves", DELEG if keytab == "deleg" else SPN)
    mechanisms = {"GSSAPI": kerberos.guest(keytab, serves)}
    return Pair(policy, GuestPolicy(), mechanisms=mechanisms, judge=Agent(), **changes).run_out()


def said(pair: Pair) -> RunResult:
    """Return how the client's run ended."""
    assert pair.client.outcome is not None
    return pair.client.outcome


def fresh_cache(kerberos: Kerberos, path: Path, *options: str) -> str:
    """A cache with only a TGT, so that the client must ask the KDC for the service's ticket."""
    return f"FILE:{kerberos.realm.kinit('alice', *options, ccache=path)}"


WANTED = "authenticated, but the guest signs nobody in without a ticket"
# SPN, keytab, client's options, whose cache, exit, line, log ids
DELEGATION: list[tuple[str, str, dict[str, bool], str, int, str]] = [
    (DELEG, "deleg", {}, "alice", 0, "signed in"),
    (SPN, "guest", {}, "alice", 11, WANTED),
    (SPN, "guest", {"offer_tgt": True}, "alice", 0, "signed in"),
    (DELEG, "deleg", {}, "alice-here", 11, WANTED),
    (DELEG, "deleg", {"offer_tgt": True}, "alice-here", 11, WANTED),
    (DELEG, "deleg", {"send_ticket": True}, "alice-here", 0, "signed in"),
    (SPN, "guest", {"send_ticket": True}, "alice", 0, "signed in"),
    (SPN, "guest", {"send_ticket": True, "offer_tgt": True}, "alice-here", 0, "signed in"),
]


@pytest.mark.proves("S112", "S132", "S133", "S135")
@pytest.mark.parametrize(("spn", "keytab", "options", "who", "exit", "line"), DELEGATION)
def test_delegation(
    kerberos: Kerberos, spn: str, keytab: str, options: dict[str, Any], who: str, exit: int, line: str
) -> None:
    pair = run(kerberos, ClientPolicy(spn=spn, **options), keytab, ccache=kerberos.cache(who))
    assert (pair.exit, said(pair).line) == (exit, line)
    assert pair.log_ids == ["authenticated"]
    assert pair.judge.principals == [ALICE]
    assert pair.judge.logins == ([ALICE] if exit == 0 else [])


def expired(kerberos: Kerberos, folder: Path) -> str:
    """alice's cache as kinit wrote it, with every end of a ticket a minute ago."""
    whole = kerberos.caches["alice"].read_bytes()
    ends = {ticket.end_time for ticket in ccache.read(whole) if ticket.end_time}
    for end in ends:
        whole = whole.replace(pack(">I", end), pack(">I", int(time.time()) - 60))
    path = folder / "expired"
    path.write_bytes(whole)
    return f"FILE:{path}"


def missing(kerberos: Kerberos, folder: Path) -> str:
    return f"FILE:{folder / 'none'}"


def broken(kerberos: Kerberos, folder: Path) -> str:
    path = folder / "broken"
    path.write_bytes(b"\x05\x04nonsense")
    return f"FILE:{path}"


@pytest.mark.parametrize(
    ("cache", "line"),
    [
        (expired, "the Kerberos ticket has expired"),
        (missing, "there is no Kerberos ticket"),
        (broken, "there is no Kerberos ticket"),
    ],
)
def test_no_usable_ticket(
    kerberos: Kerberos, tmp_path: Path, cache: Callable[[Kerberos, Path], str], line: str
) -> None:
    pair = run(kerberos, ClientPolicy(spn=SPN), ccache=cache(kerberos, tmp_path))
    assert pair.exit == Exit.NO_TICKET
    assert said(pair).line.startswith(line)
    assert said(pair).hint.startswith("get ")
    assert b"startSASL" not in pair.to_guest
    assert pair.judge.claims == []


@pytest.mark.parametrize(
    ("spn", "patterns", "exit", "line"),
    [
        ("host/nowhere.test.example", ("host/*",), Exit.KDC, "the KDC does not know the guest's service"),
        (
            "host/guest.other.example@OTHER.EXAMPLE",
            ("host/*@*",),
            Exit.KDC,
            "the KDC does not know the guest's service",
        ),
        (
            "host/a.nowhere@NOWHERE.EXAMPLE",
            ("host/*@*",),
            Exit.KDC,
            "the KDC does not know the guest's service",
        ),
        ("host/guest.other.example@OTHER.EXAMPLE", ("host/*",), Exit.NOT_ALLOWED, "the service"),
        ("imap/guest.test.example", ("host/*",), Exit.NOT_ALLOWED, "the service"),
    ],
)
def test_services_that_are_not_there_or_not_allowed(
    kerberos: Kerberos, other_realm: Realm, spn: str, patterns: tuple[str, ...], exit: int, line: str
) -> None:
    pair = run(kerberos, ClientPolicy(spn=spn, spn_patterns=patterns))
    assert pair.exit == exit
    assert said(pair).line.startswith(line)
    assert b"startSASL" not in pair.to_guest
    assert pair.judge.claims == []


@pytest.mark.parametrize("keytab", ["other2", "http"])
def test_a_guest_with_a_wrong_keytab(kerberos: Kerberos, keytab: str) -> None:
    spn = "host/other2.test.example" if keytab == "other2" else SPN
    pair = run(kerberos, ClientPolicy(spn=spn), keytab, serves=None)
    assert (pair.exit, said(pair).line) == (8, "the guest did not accept the ticket")
    assert "keytab" in said(pair).hint and "kinit" in said(pair).hint
    assert pair.log_ids[0] == "not-authenticated"
    assert pair.judge.claims == []


def test_a_guest_without_a_keytab(kerberos: Kerberos) -> None:
    mechanisms = {"GSSAPI": {"spn": SPN, "keytab": "/nonexistent/keytab"}}
    pair = Pair(ClientPolicy(spn=SPN), GuestPolicy(), mechanisms=mechanisms).run_out()
    assert pair.exit not in (0, None)
    assert pair.log_ids[0] == "mechanism-unavailable"
    assert pair.judge.claims == []


def test_the_kdc_is_down(kerberos: Kerberos, tmp_path: Path) -> None:
    cache = fresh_cache(kerberos, tmp_path / "cc")
    kerberos.realm.stop()
    try:
        pair = run(kerberos, ClientPolicy(spn=SPN), ccache=cache)
    finally:
        kerberos.realm.start()
    assert pair.exit == Exit.KDC
    assert said(pair).line.startswith("the KDC does not answer")
    assert b"startSASL" not in pair.to_guest
    assert pair.judge.claims == []


def test_the_line_never_waits_for_a_slow_kdc(
    kerberos: Kerberos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ticket is got before `startSASL` is said: the guest has `error 300` and waits for a person."""
    cache = fresh_cache(kerberos, tmp_path / "cc")
    waited: list[bool] = []
    step = Initiator.step

    def watched(self: Initiator, token: bytes) -> bytes:
        if not token:
            waited.append(b"startSASL" in pair.to_guest)
        return step(self, token)

    monkeypatch.setattr(Initiator, "step", watched)
    pair = Pair(
        ClientPolicy(spn=DELEG),
        GuestPolicy(),
        mechanisms={"GSSAPI": kerberos.guest("deleg", DELEG)},
        judge=Agent(),
        ccache=cache,
    )
    kerberos.realm.pause()
    timer = threading.Timer(0.5, kerberos.realm.resume)
    timer.start()
    try:
        pair.run_out()
    finally:
        timer.join()
    assert waited == [False]
    assert pair.exit == 0


# Clocks


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


# The guest's verdict


@pytest.mark.parametrize(
    ("code", "exit"),
    [
        (Code.DENIED, 10),
        (Code.NO_TICKET, 11),
        (Code.TRY_LATER, 12),
        (Code.NO_LOGIN_SCREEN, 13),
        (Code.CONSOLE_ASKS, 18),
        (Code.TOO_LATE, 14),
        (Code.NOT_AUTHENTICATED, 8),
        (Code.CREDENTIAL_REFUSED, 8),
        (Code.TOO_LONG, 19),
        (Code.LAYER_REQUIRED, 4),
        (Code.INTERNAL, 15),
        (599, 15),
    ],
)
@pytest.mark.parametrize("name", ["tls_flow", "gss_flow"])
def test_each_verdict_has_its_exit(request: pytest.FixtureRequest, name: str, code: int, exit: int) -> None:
    pair = request.getfixturevalue(name).pair(judge=Judge(int(code))).run()
    assert pair.exit == exit
    assert pair.judge.logins == []


def test_a_judge_that_does_not_answer(gss_flow: Flow) -> None:
    pair = gss_flow.pair(judge=Judge(None)).run_out()
    assert pair.exit == 14
    assert 30.0 < pair.now < 50.0
    assert pair.log_ids == ["authenticated", "peer-late"]


def test_a_guest_that_asks_outside_and_not_inside(tls_flow: Flow) -> None:
    """Lines from before the layer no longer count: the guest asks for nothing, so nothing is sent."""
    pair = tls_flow.pair()
    pair.guest._layer_started = lambda event: pair.guest.session.send(Ok())
    pair.run()
    assert (pair.exit, pair.judge.claims) == (Exit.NO_CREDENTIAL, [])


def test_the_time_of_a_person_is_not_the_guests(tls_flow: Flow) -> None:
    """A minute for typing: the guest has its own time for the verdict all the same."""
    pair = tls_flow.pair(judge=Judge(None))
    pair.now = 0.5
    pair.client.start(0.0)
    pair.guest.start(0.0)
    for _ in range(4):
        pair.guest.receive_data(pair.client.data_to_send() or b"\n", 0.0)
        pair.client.receive_data(pair.guest.data_to_send() or b"\n", 0.0)
    assert pair.client.deadline == 0.0, "the person is asked as soon as all is written"
    pair.client.deadline_passed(0.0)
    pair.client.deadline_passed(60.0)  # what the pump says when it comes back from the prompt
    assert not pair.client.finished
    assert pair.client.session.state is State.DECIDING
    assert pair.client.deadline == 60.0 + VERDICT_TIME


def test_nobody_on_the_port() -> None:
    pair = Pair(ClientPolicy(), GuestPolicy(), change=lambda direction, data: b"")
    pair.run_out()
    assert (pair.exit, pair.now) == (3, 6.0)


def test_every_exit_is_explained_and_no_line_is_empty() -> None:
    assert set(MEANING) == set(Exit)
    for code in Code:
        assert by_code(code).line
        assert by_code(code).exit is not Exit.SIGNED_IN
    for cause in ("no-ticket", "binding", "something new"):
        assert by_cause(cause, "detail").line
        assert by_cause(cause, "detail").exit is not Exit.SIGNED_IN
