"""Session: one end of the talk, without I/O, the same class for client and guest (PROTOCOL.md).

Give it what was read by `receive_data`, take what happened by `next_event` until it says None, say
something by `send` or the two layer methods, and write what `data_to_send` returns. Whatever a peer
sends, only a Closed event comes of it; another exception out of these is a defect.
"""

from collections import deque
from collections.abc import Callable, Sequence
from os import urandom

from sso.errors import FramingError, LocalProtocolError, MechanismError, RemoteProtocolError
from sso.framing import MessageFramer, Words, credentials_line, wipe
from sso.mech import Mechanism
from sso.protocol.events import Closed, Event, LayerFailed, LayerStarted, Reset
from sso.protocol.exchange import Exchange, SASLExchange, TLSExchange
from sso.protocol.greeting import Greeting
from sso.protocol.layer import Layer
from sso.protocol.messages import (
    LAYER_LINE_MAX,
    LINE_MAX,
    SECRET_MAX,
    VERBS,
    Code,
    Credentials,
    Error,
    Message,
    Ok,
    Signature,
    StartSASL,
    StartTLS,
    Unknown,
    line_of,
    parse,
    signature_line,
)
from sso.protocol.state import FINAL, Role, State, StateMachine
from sso.protocol.transcript import Transcript
from sso.protocol.wire import Wire

BINARY = frozenset({State.SYNC, State.TLS, State.SASL})  # states in which octets are no lines
LINELESS = BINARY | FINAL
ASKED = frozenset({State.TLS_ASKED, State.SASL_ASKED})
TLS_BINDING, PLAIN_BINDING = b"tls-server-end-point:", b"sso/1:"


class Session:
    """One end of one session over one port.

    `mechanisms` are the SASL names that a guest offers; `attempt` is the client's 16-octet attempt id.
    Caps: those of wire.py for octets, those of messages.py for lines and secrets.
    """

    def __init__(
        self,
        role: Role,
        *,
        mechanisms: Sequence[str] = (),
        attempt: bytes | None = None,
        random: Callable[[int], bytes] = urandom,
    ) -> None:
        self.role, self._peer = role, role.peer
        self.authenticated: Mechanism | None = None
        self._greeting = Greeting(role, mechanisms, attempt, random)
        self._machine = StateMachine()
        self._transcript = Transcript()
        self._events: deque[Event] = deque()
        self._wire = Wire()
        self._framer = MessageFramer(LINE_MAX, SECRET_MAX)
        self._lines: deque[Words] = deque()  # read and not yet judged
        self._exchange: Exchange | None = None
        self._repeating = False

    @property
    def state(self) -> State:
        return self._machine.state

    @property
    def over(self) -> bool:
        return self.state in FINAL

    @property
    def attempt(self) -> bytes | None:
        return self._greeting.attempt

    @property
    def peer_mechanisms(self) -> tuple[str, ...]:
        return self._greeting.peer_mechanisms

    @property
    def layers(self) -> list[Layer]:
        return self._wire.layers

    @property
    def tls(self) -> Mechanism | None:
        return self._wire.tls

    @property
    def confidential(self) -> bool:
        return self._wire.confidential

    @property
    def unanswered(self) -> int:
        """How long the first token of a SASL exchange is, until the guest has answered it; else 0."""
        return self._exchange.unanswered if isinstance(self._exchange, SASLExchange) else 0

    # Receiving

    def receive_data(self, data: bytes) -> None:
        """Take octets as they were read; b"" is the hang-up. Then call next_event until None."""
        if self._machine.state is State.CLOSED:
            return
        if not data:
            self._end("hang-up")
            return
        try:
            self._receive(data)
        except (FramingError, RemoteProtocolError, MechanismError) as error:
            self._fail(error)

    def next_event(self) -> Event | None:
        """The next thing that happened, or None; answer a request before asking for the next."""
        machine = self._machine
        while not self._events and machine.state not in LINELESS:
            try:
                if self._lines:
                    self._line(self._lines.popleft())
                elif self._framer.error:
                    raise FramingError(self._framer.error)
                else:
                    break
            except (FramingError, RemoteProtocolError, MechanismError) as error:
                self._fail(error)
        return self._events.popleft() if self._events else None

    def _receive(self, data: bytes) -> None:
        """Search the raw octets, below every layer, for a SIGNATURE; then read on behind the first."""
        self._wire.count(data)
        rest, machine = data, self._machine
        for end, signature, words in self._wire.signatures(data):
            if machine.state is not State.SYNC:
                if self._greeting.begins_anew(signature):
                    self._end_by_reset()
                    return
            elif self._greeting.accepts(signature):
                self._begin(signature, words)
                rest = data[end:]
            elif self.role is Role.CLIENT and signature.role == "guest":
                self.repeat_signature()
        if machine.state is not State.SYNC:
            self._peel(rest)

    def _peel(self, data: bytes) -> None:
        """Undo the layers and hand what is inside to whoever reads now."""
        plain = self._wire.open(data)
        if self._machine.state in BINARY:
            self._step(bytes(plain))
        elif plain:
            self._read(plain)

    def _read(self, plain: bytes | bytearray) -> None:
        """Take lines; what a layer gave is wiped, also when the framer refuses it."""
        try:
            self._lines.extend(self._framer.feed(plain))
        finally:
            if isinstance(plain, bytearray):
                wipe(plain)

    @property
    def _unread(self) -> bool:
        return bool(self._lines or self._framer.unread or self._framer.error)

    # Greetings

    def start(self) -> None:
        """Say the first SIGNATURE: the guest's announcement, or the client's greeting."""
        if self.role is Role.CLIENT:
            self._transcript.add(Role.CLIENT, self._greeting.own().words())
        self.repeat_signature()

    def repeat_signature(self) -> bool:
        """Say the own SIGNATURE again while nothing has answered it; False when it was said too often."""
        signature = self._greeting.say() if self.state is State.SYNC else None
        if signature is not None:
            self._wire.write(signature_line(signature))
        return signature is not None

    def _begin(self, signature: Signature, words: list[str]) -> None:
        self._machine.received(self._peer, signature)
        self._transcript.add(self._peer, words)
        self._greeting.learn(signature)
        if self.role is Role.GUEST:
            answer = self._greeting.own()
            self._machine.sent(self.role, answer)
            words = answer.words()
            self._transcript.add(self.role, words)
            self._wire.write(signature_line(answer))
        self._greeting.lines.append(words)
        self._greeting.check_version(signature)
        self._events.append(signature)

    def _signature_again(self, signature: Signature, words: list[str]) -> None:
        """A SIGNATURE among clear lines that does not begin anew: a repeat is answered or dropped."""
        if not self._greeting.repeats(signature, words):
            raise RemoteProtocolError("unexpected SIGNATURE")
        elif self.role is Role.CLIENT:
            self._repeating = True
        elif len(self._greeting.lines) == 2:
            self._wire.write(b"\n" + b"".join(line_of(line) for line in self._greeting.lines))

    # Lines

    def _line(self, raw: Words) -> None:
        message = parse(raw)
        words = message.words() if isinstance(message, Credentials) else [str(word) for word in raw]
        if isinstance(message, Signature):
            if self.state not in (State.SECURED, State.AUTHENTICATED) and not self.layers:
                self._signature_again(message, words)
                return
            self._greeting.confirm(message, self._transcript.digest())
        if self._repeating:
            self._repeating = False
            if words != self._greeting.lines[-1]:
                raise RemoteProtocolError("a repeated greeting differs")
            return
        if self.role is Role.CLIENT and self._machine.state is State.GREETED and not self._wire.layers:
            self._greeting.lines.append(words)
        if isinstance(message, Credentials) and not self._machine.allows(self._peer, message):
            wipe(message.secret)
        self._machine.received(self._peer, message)
        self._transcript.add(self._peer, words)
        self._deliver(message)

    def _deliver(self, message: Message) -> None:
        """Answer what needs no judgement; hand the rest to the caller."""
        if self._machine.state in BINARY:
            self._begin_exchange()
            return
        second_tls = isinstance(message, StartTLS) and bool(self._wire.layers)
        second_sasl = isinstance(message, StartSASL) and self.authenticated is not None
        if isinstance(message, Unknown) or second_tls or second_sasl:
            self.send(Error(Code.UNSUPPORTED))
        else:
            self._events.append(message)

    def send(self, message: Message) -> None:
        """Say one line; LocalProtocolError when the state table does not allow it now.

        The secret of a Credentials message is wiped once it is in the output.
        """
        first_word = self._machine.state is State.GREETED and not self._wire.layers
        self._machine.sent(self.role, message)
        words = message.words()
        plain = line_of(words)
        self._transcript.add_line(self.role, plain)
        if first_word:
            self._greeting.lines.append(words)
        if isinstance(message, Credentials):
            line = credentials_line(message.type, message.secret)
            wipe(message.secret)
            self._wire.write(line)
            wipe(line)
        else:
            self._wire.write(plain)

    # Layers

    def request_layer(self, message: StartTLS | StartSASL, mechanism: Mechanism) -> None:
        """Client: ask for a layer.

        The first token is made before the line is written, so that the line never waits for a KDC; a
        MechanismError of that leaves the session as it was.
        """
        if not self._machine.allows(self.role, message):
            raise LocalProtocolError(f"{VERBS[type(message)]} may not be sent in state {self.state.name}")
        lines = self._transcript.copy()
        lines.add(self.role, message.words())
        mechanism.bind(self._binding(lines))
        self._exchange = self._exchange_for(message, mechanism, bytes(mechanism.step(b"")))
        self.send(message)

    def accept_layer(self, request: StartTLS | StartSASL, mechanism: Mechanism) -> None:
        """Guest: answer a request for a layer with `ok` and wait for the first token.

        Octets that came behind the request end the session without a word (PROTOCOL.md section 7).
        """
        if self.state not in ASKED:
            raise LocalProtocolError(f"no layer was asked for in state {self.state.name}")
        self._exchange = self._exchange_for(request, mechanism, b"")
        if self._unread:
            self._end("injected", "octets behind the request for a layer")
            return
        mechanism.bind(self._binding(self._transcript))
        self.send(Ok())

    def _exchange_for(self, message: StartTLS | StartSASL, mechanism: Mechanism, token: bytes) -> Exchange:
        if isinstance(message, StartTLS):
            return TLSExchange(self.role, "TLS", mechanism, token)
        return SASLExchange(self.role, message.mechanism, mechanism, token)

    def _binding(self, lines: Transcript) -> bytes:
        tls = self.tls
        return TLS_BINDING + tls.binding if tls else PLAIN_BINDING + lines.digest()

    def _begin_exchange(self) -> None:
        """Client: the guest said ok to the layer; the next octet is the mechanism's."""
        if self._unread:
            self._end("injected", "octets behind the answer to a request for a layer")
        elif self._exchange is not None:
            self._wire.write(self._exchange.begin())

    def _step(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            raise LocalProtocolError("no mechanism is being stepped")
        try:
            self._wire.write(exchange.feed(data))
        except MechanismError as error:
            self._refuse(exchange, error)
            return
        if isinstance(exchange, SASLExchange):
            self._step_sasl(exchange)
        elif exchange.mechanism.complete:
            self._machine.secured()
            self._push(exchange)
            self._read(exchange.mechanism.unwrap(b""))

    def _step_sasl(self, exchange: SASLExchange) -> None:
        if self.role is Role.GUEST and exchange.mechanism.complete:
            self.send(Ok())
        elif exchange.outcome is not None:
            outcome = parse(exchange.outcome)
            self._machine.received(self._peer, outcome)
            self._transcript.add(self._peer, [str(word) for word in exchange.outcome])
            if isinstance(outcome, Error):
                self._refused(exchange, outcome)
            elif not exchange.mechanism.complete:
                raise RemoteProtocolError("an outcome before the mechanism was complete")
        if self.state is State.AUTHENTICATED:
            self.authenticated = exchange.mechanism
            layer = self._push(exchange)
            if exchange.rest:
                self._read(layer.decrypt(exchange.rest) if layer else exchange.rest)

    def _push(self, exchange: Exchange) -> Layer | None:
        """A mechanism is complete: put its layer on, forget what was read before, confirm what was said."""
        self._exchange = None
        layer = exchange.layer()
        if layer is not None:
            self._wire.layers.append(layer)
        self._framer.wipe()
        self._framer = MessageFramer(LAYER_LINE_MAX if self.layers else LINE_MAX, SECRET_MAX)
        self._events.append(LayerStarted(exchange.kind, exchange.name, exchange.mechanism))
        if self.role is Role.GUEST:
            self.send(self._greeting.own(self._transcript.digest()))
        return layer

    def _refuse(self, exchange: Exchange, error: MechanismError) -> None:
        """A mechanism failed here: the client aborts and ends; the guest gives the outcome and goes on."""
        self._wire.write(exchange.refusal(error))
        if self.role is Role.CLIENT or not isinstance(exchange, SASLExchange):
            self._end(error.cause, str(error), Code.NOT_AUTHENTICATED)
            return
        self._exchange = None
        exchange.mechanism.dispose()
        self.send(Error(Code.CLOCK_SKEW if error.cause == "clock-skew" else Code.NOT_AUTHENTICATED))
        self._read(exchange.take_unread())
        self._events.append(LayerFailed(exchange.name, error.cause, str(error)))

    def _refused(self, exchange: SASLExchange, outcome: Error) -> None:
        """Client: the outcome is no; lines go on where they were."""
        self._exchange = None
        exchange.mechanism.dispose()
        self._read(exchange.rest)
        self._events.append(outcome)

    # Output and end

    def data_to_send(self) -> bytes:
        """Everything that is to be written now; the inner copy is wiped."""
        return self._wire.take()

    def close(self) -> None:
        """End in order: close_notify where there is TLS; the driver writes what data_to_send says."""
        if self.state is not State.CLOSED:
            self._wire.finish()
            self._end("closed")

    def _fail(self, error: FramingError | RemoteProtocolError | MechanismError) -> None:
        """The peer broke a rule: the guest says which kind where lines are spoken, and it is over."""
        code = int(Code.MALFORMED)
        if isinstance(error, RemoteProtocolError):
            code = error.code
        elif isinstance(error, FramingError) and error.reason in ("line", "secret"):
            code = Code.TOO_LONG
        # To a token that is too long an outcome can be said: its length ends the exchange.
        speaks = self.state not in BINARY or (self.state is State.SASL and code == Code.TOO_LONG)
        if self.role is Role.GUEST and not isinstance(error, MechanismError) and speaks:
            self._wire.write(line_of(Error(code).words()))
        cause = error.cause if isinstance(error, MechanismError) else "protocol"
        self._end(cause, str(error), code)

    def _end_by_reset(self) -> None:
        self._end("reset")
        self._events.appendleft(Reset())

    def _end(self, cause: str, detail: str = "", code: int = 0) -> None:
        """What has happened and was not asked for yet is void: nobody acts in a session that is over."""
        self._machine.state = State.CLOSED
        self._framer.wipe()
        for words in self._lines:
            if not isinstance(words[-1], str):
                wipe(words[-1])
        self._lines.clear()
        self._events.clear()
        running = self._exchange.mechanism if self._exchange else None
        for mechanism in (running, self.authenticated):
            if mechanism is not None:
                mechanism.dispose()
        self._wire.dispose()
        self._events.append(Closed(cause, detail, int(code)))
