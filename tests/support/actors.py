"""The ends of PROTOCOL.md section 13's worked transcripts: real Sessions with fixed answers."""

from collections.abc import Callable
from typing import ClassVar

from sso.errors import MechanismError
from sso.mech import CONFIDENTIALITY, Mechanism
from sso.protocol.events import Event, LayerStarted
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
)
from sso.protocol.session import Session
from sso.protocol.state import Role, State


class Demonstration(Mechanism):
    """The mechanism X-DEMO of section 13: hello, welcome, agreed; its layer puts < and > around."""

    layer = CONFIDENTIALITY
    plain_max = 128
    ANSWERS: ClassVar = {b"": b"hello", b"hello": b"welcome", b"welcome": b"agreed", b"agreed": b""}

    def __init__(self) -> None:
        self.bound = b""

    def bind(self, binding: bytes) -> None:
        self.bound = binding

    def step(self, token: bytes) -> bytes:
        if token not in self.ANSWERS:
            raise MechanismError("demonstration", "no such token")
        self.complete = token in (b"welcome", b"agreed")
        return self.ANSWERS[token]

    def wrap(self, data: bytes) -> bytes:
        return b"<" + data + b">"

    def unwrap(self, data: bytes) -> bytes:
        if data[:1] + data[-1:] != b"<>":
            raise MechanismError("demonstration", "no such frame")
        return data[1:-1]


class Actor:
    """Drives a real Session with a few fixed reactions; every actor has its own nonce."""

    def __init__(self, name: str, react: Callable[["Actor", Event], None]) -> None:
        self.name = name
        self.role = Role.CLIENT if name[0] == "C" else Role.GUEST
        self.events: list[Event] = []
        self.bindings: list[bytes] = []
        self._react, self._output = react, b""
        first = 0x20 * (int(name[1:] or "1") - 1) + 0x10 * (self.role is Role.GUEST)
        self.session = Session(
            self.role,
            mechanisms=("X-DEMO",) if self.role is Role.GUEST else (),
            attempt=bytes(range(0xF0, 0x100)) if self.role is Role.CLIENT else None,
            random=lambda size: bytes(range(first, first + size)),
        )
        self.session.start()

    def receive(self, octets: bytes) -> None:
        self.session.receive_data(octets)
        self._hear()

    def end_doubt(self) -> None:
        """As after DOUBT_TIME."""
        self.session.end_doubt()
        self._hear()

    def _hear(self) -> None:
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            self._react(self, event)

    def ask(self, request: StartTLS | StartSASL) -> None:
        mechanism = Demonstration()
        self.session.request_layer(request, mechanism)
        self.bindings.append(mechanism.bound)

    def grant(self, request: StartSASL) -> None:
        mechanism = Demonstration()
        self.session.accept_layer(request, mechanism)
        self.bindings.append(mechanism.bound)

    @property
    def output(self) -> bytes:
        self._output += self.session.data_to_send()
        return self._output

    def wrote(self, octets: bytes) -> None:
        assert self.output[: len(octets)] == octets
        self._output = self._output[len(octets) :]


def guest(actor: Actor, event: Event) -> None:
    say = actor.session.send
    values = {"spn": "host/guest.example.org", "time": "1767225600"}
    if isinstance(event, Signature | LayerStarted):
        say(Authenticate(("kerberos", "password")))
    elif isinstance(event, StartTLS):
        say(Error(Code.UNSUPPORTED))
    elif isinstance(event, StartSASL):
        actor.grant(event)
    elif isinstance(event, Info):
        value = values.get(event.attribute)
        say(Ok(value) if value else Error(Code.NO_VALUE))
    elif isinstance(event, Credentials):
        say(Ok())
    elif isinstance(event, Error) and actor.session.state is State.REFUSED:
        say(Error(Code.LAYER_REQUIRED))


def client_that_is_replaced(actor: Actor, event: Event) -> None:
    if isinstance(event, Authenticate):
        actor.session.send(Error(Code.DELAY))
        if actor.name == "C1":
            actor.ask(StartSASL("X-DEMO"))
