"""Secrets appear in no repr, exception or log, and in no buffer after they were sent."""

import gc
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import sso_mechs
from flows import PASSWORD, Flow, Kerberos
from pair import Judge, Pair, leaks
from sso_mechs import ccache

import sso
from sso.credential import Credential
from sso.framing import b64encode
from sso.protocol.messages import Credentials

OURS = tuple(f"{Path(module.__path__[0])}/" for module in (sso, sso_mechs))  # wherever the checkout lies
FLOWS = ["tls_flow", "gss_flow", "ticket_flow"]


@pytest.fixture(params=FLOWS)
def flow(request: pytest.FixtureRequest) -> Flow:
    found: Flow = request.getfixturevalue(request.param)
    return found


def canaries(pair: Pair, kerberos: Kerberos) -> list[bytes]:
    """What was in flight: the password, the client's TGT, and the keys of the copy that arrived."""
    found = [PASSWORD, *kerberos.secrets()]
    for secret in pair.judge.secrets:
        if secret.startswith(b"\x05\x04"):
            found += [bytes(ticket.key) for ticket in ccache.read(secret)]
    return found


def shows(text: str, secrets: list[bytes]) -> bool:
    """Whether a text holds a piece of a secret: clear, base64, hexadecimal, or as Python writes bytes."""
    octets = text.encode(errors="replace")
    escaped = [
        repr(secret[start : start + 8])[2:-1].encode()
        for secret in secrets
        for start in range(len(secret) - 8)
    ]
    return bool(leaks(octets, [*secrets, *(secret.hex().encode() for secret in secrets)])) or any(
        piece in octets for piece in escaped
    )


def ours() -> Iterator[Any]:
    for thing in gc.get_objects():
        if str(type(thing).__module__).split(".")[0] in ("sso", "sso_mechs"):
            yield thing


def test_no_repr_shows_a_secret(flow: Flow, kerberos: Kerberos) -> None:
    """At each turn of a session: every object of ours that lives, all that was logged, all that was told."""
    seen, kinds = set[str](), set[str]()

    def look(direction: str, data: bytes) -> bytes:
        note(*list(ours()))
        return data

    def note(*things: Any) -> None:
        for thing in things:
            seen.update((repr(thing), str(thing)))
            kinds.add(type(thing).__name__)

    def noted(event: Any) -> Any:
        note(event)
        return event

    pair = flow.pair(change=look)
    tell = pair.guest._event
    pair.guest._event = lambda event: tell(noted(event))
    pair.run()
    note(*pair.judge.claims)
    assert pair.exit == 0
    assert {"GuestConversation", "Session", "Wire", "Signature", "Claim"} <= kinds
    assert "Credentials" in kinds or flow.name == "GSSAPI"
    text = "\n".join(
        [*seen, *map(str, pair.log), *pair.progress, repr(pair.client.outcome), repr(pair.judge.claims)]
    )
    assert not shows(text, canaries(pair, kerberos))


def test_shows_finds_what_it_should() -> None:
    for form in (PASSWORD.decode(), repr(PASSWORD), PASSWORD.hex(), b64encode(PASSWORD).decode()):
        assert shows(f"x {form} y", [PASSWORD])
    assert shows(repr(bytearray(bytes(range(200, 232)))), [bytes(range(200, 232))])
    assert not shows("nothing of it", [PASSWORD])


class Forced(Exception):
    """An exception raised at an arbitrary line."""


class Tracer:
    """Raises Forced when a line of ours is run; without a line it notes which lines are."""

    def __init__(self, line: tuple[str, int] | None = None) -> None:
        self.line, self.lines = line, set[tuple[str, int]]()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if not name.startswith(OURS):
            return None
        if event == "line":
            here = name, frame.f_lineno
            if self.line is None:
                self.lines.add(here)
            elif here == self.line:
                self.line = None
                raise Forced
        return self


def traced(flow: Flow, tracer: Tracer) -> Pair:
    pair = flow.pair()
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        pair.run()
    finally:
        sys.settrace(before)
    return pair


@pytest.mark.slow
def test_an_exception_at_any_line_shows_no_secret(flow: Flow, kerberos: Kerberos) -> None:
    """An exception at any line: the traceback contains no secret that was being sent."""
    flow.pair().run()  # what is only imported once is no line of a session
    plan = Tracer()
    secrets = canaries(traced(flow, plan), kerberos)
    assert len(plan.lines) > 300
    raised, said = 0, ""
    for line in sorted(plan.lines):
        try:
            traced(flow, Tracer(line))
        except Exception as error:
            raised += isinstance(error, Forced)
            said = "".join(traceback.format_exception(error))
        assert not shows(said, secrets), line
    assert raised > 0.85 * len(plan.lines)


# Buffers


def test_what_a_client_held_is_wiped(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bytearray | memoryview] = []
    make, send = Credential.__init__, Credentials.__init__

    def keep(
        self: Credential, type: str, principal: str, secret: bytearray | None = None, expires: int = 0
    ) -> None:
        make(self, type, principal, secret, expires)
        if secret is not None:
            held.append(secret)

    def keep_message(self: Credentials, type: str, secret: bytearray) -> None:
        send(self, type, secret)
        held.append(secret)

    monkeypatch.setattr(Credential, "__init__", keep)
    monkeypatch.setattr(Credentials, "__init__", keep_message)
    pair = flow.pair().run()
    assert pair.exit == 0
    claimed = [claim.credential.secret for claim in pair.judge.claims if claim.credential]
    rest = [buffer for buffer in held if not any(buffer is secret for secret in claimed)]
    assert all(not any(buffer) for buffer in rest)
    assert len(held) > len(rest) > 0 or flow.name == "GSSAPI"
    for claim in pair.judge.claims:
        if claim.credential:
            claim.credential.wipe()
    assert not any(map(any, held))


@pytest.mark.parametrize("name", ["tls_flow", "ticket_flow"])
def test_a_credential_that_is_refused_is_wiped(request: pytest.FixtureRequest, name: str) -> None:
    """The guest's policy refuses after the secret arrived: no part of it stays in memory."""
    flow: Flow = request.getfixturevalue(name)
    held: list[bytearray | memoryview] = []
    pair = flow.pair(judge=Judge())
    pair.guest._policy = Refusing(flow.guest)
    take = pair.guest._credentials

    def watched(event: Credentials) -> None:
        held.append(event.secret)
        take(event)

    pair.guest._credentials = watched
    pair.run()
    assert pair.exit == 8
    assert pair.judge.claims == []
    assert len(held) == 1
    assert not any(held[0])


class Refusing:
    """A guest's policy that takes nothing in the end."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def may_take(self, type: str, **state: bool) -> bool:
        return False


def test_a_session_that_is_over_holds_no_layer_key_and_no_output(flow: Flow) -> None:
    pair = flow.pair().run()
    for session in (pair.client.session, pair.guest.session):
        assert session.data_to_send() == b""
        for layer in session.layers:
            assert getattr(layer.mechanism, "_context", None) is None
            assert layer.mechanism.credential is None or layer.mechanism.credential.secret is None


def test_a_credential_is_neither_shown_nor_pickled() -> None:
    import pickle

    credential = Credential("password", "alice", bytearray(PASSWORD))
    assert repr(credential) == str(credential) == f"<Credential password 'alice' {len(PASSWORD)} bytes>"
    with pytest.raises(TypeError):
        pickle.dumps(credential)
    secret = credential.secret
    credential.wipe()
    credential.wipe()
    assert bytes(secret or b"") == bytes(len(PASSWORD))
    assert "no secret" in repr(credential)
