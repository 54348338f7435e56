"""The worked transcripts (a) to (c) of PROTOCOL.md section 13, said again by real Sessions."""

import re
from hashlib import sha256
from typing import NamedTuple

import pytest
from actors import Actor, client_that_is_replaced, guest
from document import VECTORS, blocks, octets_of, table

from sso.framing import b64decode
from sso.protocol.events import Closed, Event, Reset
from sso.protocol.messages import (
    Authenticate,
    Code,
    Credentials,
    Error,
    Info,
    Ok,
    Signature,
    StartSASL,
    StartTLS,
    Unknown,
)
from sso.protocol.state import Role, State


class Step(NamedTuple):
    """One row: who sends which bytes; `lost` says that nobody is there to read them."""

    label: str
    actor: str
    lost: bool
    octets: bytes

    @property
    def role(self) -> Role:
        return Role.CLIENT if self.actor[0] == "C" else Role.GUEST


def steps_of(name: str) -> list[Step]:
    (text,) = blocks(f"transcript {name}")
    rows = re.findall(r"^([\d.]*) *([CG]\d?)([>!]) (.*)$", text, re.M)
    assert len(rows) == len(text.splitlines())
    return [Step(label, actor, mark == "!", octets_of(octets)) for label, actor, mark, octets in rows]


def client_of_the_design_page(actor: Actor, event: Event) -> None:
    say = actor.session.send
    if isinstance(event, Authenticate) and not actor.session.layers:
        say(Error(Code.DELAY))
        actor.ask(StartTLS())
    elif isinstance(event, Error):
        actor.ask(StartSASL("X-DEMO"))
    elif isinstance(event, Authenticate):
        say(Ok())
        say(Credentials("kerberos", b64decode(b"AAEK12DS")))


def client_that_asks(actor: Actor, event: Event) -> None:
    say = actor.session.send
    answers = sum(isinstance(event, Ok | Error) for event in actor.events)
    if isinstance(event, Authenticate):
        say(Unknown())
    elif answers == 1:
        say(Error(Code.DELAY))
        say(Info("spn"))
    elif answers == 2:
        say(Info("time"))
    elif answers == 3:
        say(Info("colour"))
    elif answers == 4:
        say(Error(Code.UNSUPPORTED))


CLIENTS = {"a": client_of_the_design_page, "b": client_that_is_replaced, "c": client_that_asks}


def replay(name: str) -> dict[str, Actor]:
    """Let real Sessions say what the document prints, byte by byte, in its order.

    The first guest and the first client are there from the start, the later ones from their first row on.
    """
    steps = steps_of(name)
    react = {"C": CLIENTS[name], "G": guest}
    first = {step.actor for step in steps if step.actor[1:] in ("", "1")}
    actors = {name: Actor(name, react[name[0]]) for name in sorted(first)}
    for step in steps:
        if step.actor not in actors:
            actors[step.actor] = Actor(step.actor, react[step.actor[0]])
        actors[step.actor].wrote(step.octets)
        peers = [actor for actor in actors.values() if actor.role is step.role.peer]
        if not step.lost:
            peers[-1].receive(step.octets)
    return actors


@pytest.mark.proves("S115", "S116", "S117", "S118", "S119", "S120", "S121", "S122", "S123")
@pytest.mark.parametrize("name", CLIENTS)
def test_sessions_say_what_the_document_prints(name: str) -> None:
    last = {actor.role: actor for actor in replay(name).values()}
    assert [actor.output for actor in last.values()] == [b"", b""]


@pytest.mark.parametrize("name", CLIENTS)
def test_the_vectors_hold_the_same_bytes(name: str) -> None:
    written = [(step.actor, step.lost, step.octets.hex()) for step in steps_of(name)]
    assert written == [(step["from"], step["lost"], step["octets"]) for step in VECTORS[name]["steps"]]


@pytest.mark.proves("S124", "S125", "S126", "S127", "S128", "S129", "S134", "S135")
def test_a_is_the_sequence_of_the_design_page() -> None:
    actors = replay("a")
    assert {actor.session.state for actor in actors.values()} == {State.DONE}
    steps = iter(steps_of("a"))
    for label, sender, verb in DESIGN_PAGE:
        assert any(step.actor == sender and verb in step.octets for step in steps), label


DESIGN_PAGE = [
    ("1.1", "G", b"SIGNATURE"),
    ("1.2.1", "C", b"SIGNATURE"),
    ("1.2.2", "G", b"SIGNATURE"),
    ("2", "G", b"authenticate kerberos password"),
    ("3", "C", b"error 300 delay"),
    ("4", "C", b"startTLS"),
    ("5", "G", b"error 400 unsupported"),
    ("6", "C", b"startSASL"),
    ("7", "G", b"ok\n"),
    ("8", "G", b"ok\n"),
    ("9", "G", b"SIGNATURE"),
    ("10.1", "G", b"authenticate kerberos password"),
    ("10.2", "C", b"ok\n"),
    ("10.3", "C", b"credentials kerberos AAEK12DS"),
    ("10.4", "G", b"ok\n"),
]


def test_hashes_of_a_follow_from_the_printed_lines() -> None:
    """By the formula of section 6.3 alone, without Transcript; then what the Sessions made of it."""
    rows = {row["after"]: row for row in table("13.1", "after")}
    lines, moments = {Role.CLIENT: b"", Role.GUEST: b""}, {}
    for step in steps_of("a"):
        if not step.lost and step.octets[:1] != b"\0":
            lines[step.role] += step.octets.lstrip(b"\n")
        moments[step.label] = [sha256(lines[role]).digest() for role in (Role.CLIENT, Role.GUEST)]
    for after, row in rows.items():
        client, guest = moments[after]
        whole = sha256(b"sso/1 transcript\n" + client + guest).digest()
        assert list(row.values())[1:] == [client.hex(), guest.hex(), whole.hex()]
    actors = replay("a")
    assert [actor.bindings[-1] for actor in actors.values()] == [
        b"sso/1:" + bytes.fromhex(rows["6"]["T"])
    ] * 2
    confirmed = [event.transcript for event in actors["C"].events if isinstance(event, Signature)]
    assert confirmed == [None, bytes.fromhex(rows["8"]["T"])]


@pytest.mark.proves("S116")
def test_b_resets_without_a_word() -> None:
    actors = replay("b")
    for name in ("G1", "G2"):
        assert [type(event) for event in actors[name].events[-2:]] == [Reset, Closed]
        assert actors[name].output == b""
    assert [actors[name].session.state for name in ("C3", "G3")] == [State.DELAYED, State.DELAYED]


def test_c_ends_refused() -> None:
    assert {actor.session.state for actor in replay("c").values()} == {State.ENDED}
