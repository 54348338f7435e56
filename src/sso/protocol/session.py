"""Session: one end of the protocol without I/O; client and guest use the same class (PROTOCOL.md).

Pass the bytes that you read to `receive_data`, then call `next_event` until it returns None. Send with
`send`, `request_layer` or `accept_layer`, and write the bytes that `data_to_send` returns. Bytes that break
the protocol lead to a Closed event; if `receive_data` or `next_event` raises, that is a defect.
"""

from collections.abc import Callable, Sequence
from os import urandom

from sso.errors import FramingError, LocalProtocolError, MechanismError, RemoteProtocolError
from sso.framing import Words, credentials_line, wipe
from sso.mech import Mechanism
from sso.protocol.events import Closed, Event, LayerFailed, LayerStarted
from sso.protocol.exchange import Exchange, SASLExchange, disposing, exchange_for
from sso.protocol.greeting import Greeting
from sso.protocol.layer import Layer
from sso.protocol.messages import (
    LAYER_LINE_MAX,
    LINE_MAX,
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
from sso.protocol.reading import REFUSALS, Reading, Refusal
from sso.protocol.state import BINARY, FINAL, LAYER_ASKED, LINELESS, Role, State
from sso.protocol.transcript import Transcript


class Session(Reading):
    """Runs one end of one session over one port.

    `mechanisms` are the SASL names that a guest offers; `attempt` is the client's 16-byte attempt id.
    Caps: wire.py has those for bytes, messages.py those for lines and secrets. The methods that send raise
    LocalProtocolError when the state table (PROTOCOL.md section 5) does not allow the message.
    """

    def __init__(
        self,
        role: Role,
        *,
        mechanisms: Sequence[str] = (),
        attempt: bytes | None = None,
        random: Callable[[int], bytes] = urandom,
    ) -> None:
        super().__init__(Greeting(role, mechanisms, attempt, random))
        self.role, self._peer = role, role.peer
        self.authenticated: Mechanism | None = None
        self._transcript = Transcript()
        self._exchange: Exchange | None = None

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
        """Length in bytes of the first SASL token while the guest has not answered it; else 0."""
        return self._exchange.unanswered if isinstance(self._exchange, SASLExchange) else 0

    @property
    def in_doubt(self) -> bool:
        """Whether the last bytes will end the session, unless they become a SIGNATURE that begins anew.

        If they have not become one within DOUBT_TIME, call `end_doubt`.
        """
        return self._refusal is not None and self.state not in FINAL

    # Receiving

    def receive_data(self, data: bytes) -> None:
        """Process bytes as they were read; b"" means hang-up. Then call next_event until it returns None."""
        if self._machine.state is State.CLOSED or self._anew:
            return
        try:
            if data:
                if self._machine.state not in FINAL:
                    self._receive(data)
            elif self.in_doubt:
                self.end_doubt()
            else:
                self._end("hang-up")
        except REFUSALS as error:
            self._fail(error)

    def end_doubt(self) -> None:
        """Let a refusal that was put off end the session."""
        if self.in_doubt and self._refusal is not None:
            self._fail(self._refusal)

    def next_event(self) -> Event | None:
        """Return the next event or message, or None; answer a request before you call this again."""
        machine, lines = self._machine, self._lines
        while not self._events and machine.state not in LINELESS:
            try:
                if lines.waiting:
                    self._line(lines.waiting.popleft())
                elif lines.framer.error and self._refusal is None:
                    raise FramingError(lines.framer.error)
                else:
                    break
            except REFUSALS as error:
                self._refuse_line(error)
        if not self._events and machine.state not in FINAL:
            self._look_behind_lines()
        return self._events.popleft() if self._events else None

    # Greetings

    def start(self) -> None:
        """Send the first SIGNATURE: the guest's announcement, or the client's greeting."""
        if self.role is Role.CLIENT:
            self._transcript.add(Role.CLIENT, self._greeting.own().words())
        self.repeat_signature()

    def repeat_signature(self) -> bool:
        """Send the own SIGNATURE again; False once it is answered or was sent SIGNATURES_MAX times."""
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

    # Lines

    def _line(self, raw: Words) -> None:
        message = parse(raw)
        words = message.words() if isinstance(message, Credentials) else [str(word) for word in raw]
        if isinstance(message, Signature):
            if self.state not in (State.SECURED, State.AUTHENTICATED) and not self.layers:
                self._wire.write(self._greeting.again(message, words))
                return
            self._greeting.confirm(message, self._transcript.digest())
        if self._greeting.dropping:
            self._greeting.drop(words)
            return
        if self.role is Role.CLIENT and self._machine.state is State.GREETED and not self._wire.layers:
            self._greeting.lines.append(words)
        if isinstance(message, Credentials) and not self._machine.allows(self._peer, message):
            wipe(message.secret)
        self._machine.received(self._peer, message)
        self._transcript.add(self._peer, words)
        self._deliver(message)

    def _deliver(self, message: Message) -> None:
        """Answer unsupported requests here; queue every other message for the caller."""
        if self._machine.state in BINARY:
            self._begin_exchange()
            return
        if self._exchange is not None and isinstance(message, Error):  # the guest refuses what we asked for
            self._exchange.mechanism.dispose()
            self._exchange = None
        second_tls = isinstance(message, StartTLS) and bool(self._wire.layers)
        second_sasl = isinstance(message, StartSASL) and self.authenticated is not None
        if isinstance(message, Unknown) or second_tls or second_sasl:
            self.send(Error(Code.UNSUPPORTED))
        else:
            self._events.append(message)

    def send(self, message: Message) -> None:
        """Send one line. Raises LocalProtocolError when the state table does not allow it now.

        The secret of a Credentials message is wiped after it has been copied into the output.
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

        The first token is computed before the line is written, so that the guest never waits for our KDC.
        If that raises MechanismError, the session does not change, and the mechanism is disposed of.
        """
        if not self._machine.allows(self.role, message):
            raise LocalProtocolError(f"{VERBS[type(message)]} may not be sent in state {self.state.name}")
        lines = self._transcript.copy()
        lines.add(self.role, message.words())
        with disposing(mechanism):
            mechanism.bind(lines.binding(self.tls))
            self._exchange = exchange_for(message, self.role, mechanism, bytes(mechanism.step(b"")))
        self.send(message)

    def accept_layer(self, request: StartTLS | StartSASL, mechanism: Mechanism) -> None:
        """Guest: answer a request for a layer with `ok` and wait for the first token.

        Bytes after the request end the session without an answer (PROTOCOL.md section 7). If the mechanism
        raises MechanismError, the session does not change: the request still has to be answered.
        """
        if self.state not in LAYER_ASKED:
            raise LocalProtocolError(f"no layer was asked for in state {self.state.name}")
        self._exchange = exchange_for(request, self.role, mechanism, b"")
        if self._is_injected("the request for a layer"):
            return
        try:
            with disposing(mechanism):
                mechanism.bind(self._transcript.binding(self.tls))
        except MechanismError:
            self._exchange = None
            raise
        self.send(Ok())

    def _begin_exchange(self) -> None:
        """Client: start the exchange after the guest's ok; every byte after that belongs to the mechanism."""
        if self._exchange is not None and not self._is_injected("the answer to a request for a layer"):
            self._wire.write(self._exchange.begin())

    def _step(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            raise LocalProtocolError("no mechanism is being stepped")
        try:
            self._wire.write(exchange.feed(data))
        except MechanismError as error:
            if self.role is Role.GUEST and isinstance(exchange, SASLExchange):
                self._refuse(exchange, error)
                return
            error.token = exchange.refusal(error)
            raise
        if isinstance(exchange, SASLExchange):
            self._step_sasl(exchange)
        elif exchange.mechanism.complete:
            self._machine.secured()
            self._push(exchange)
            self._lines.read(exchange.mechanism.unwrap(b""))

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
                self._lines.read(layer.decrypt(exchange.rest) if layer else exchange.rest)

    def _push(self, exchange: Exchange) -> Layer | None:
        """Add the layer of a complete mechanism, drop unread input, and (guest) confirm the transcript."""
        self._exchange = None
        layer = exchange.layer()
        if layer is not None:
            self._wire.layers.append(layer)
        self._lines.begin(LAYER_LINE_MAX if self.layers else LINE_MAX)
        self._events.append(LayerStarted(exchange.kind, exchange.name, exchange.mechanism))
        if self.role is Role.GUEST:
            self.send(self._greeting.own(self._transcript.digest()))
        return layer

    def _refuse(self, exchange: SASLExchange, error: MechanismError) -> None:
        """Guest: the SASL mechanism failed at this end; send the outcome and go on without."""
        self._exchange = None
        exchange.mechanism.dispose()
        self.send(Error(Code.CLOCK_SKEW if error.cause == "clock-skew" else Code.NOT_AUTHENTICATED))
        self._lines.read(exchange.take_unread())
        self._events.append(LayerFailed(exchange.name, error.cause, str(error)))

    def _refused(self, exchange: SASLExchange, outcome: Error) -> None:
        """Client: the guest refused the SASL mechanism; go on with lines in the state before the request."""
        self._exchange = None
        exchange.mechanism.dispose()
        self._lines.read(exchange.rest)
        self._events.append(outcome)

    # Output and end

    def data_to_send(self) -> bytes:
        """Return all bytes to write now, and wipe the internal copy."""
        return self._wire.take()

    def close(self) -> None:
        """End the session in order (TLS: close_notify); the caller then writes what data_to_send returns."""
        if self.state is not State.CLOSED:
            self._wire.finish()
            self._end("closed")

    def _fail(self, error: Refusal) -> None:
        """End the session because the peer broke a rule; a guest sends the code if it may send a line, and a
        mechanism that failed its last token."""
        code = int(Code.MALFORMED)
        if isinstance(error, RemoteProtocolError):
            code = error.code
        elif isinstance(error, FramingError) and error.reason in ("line", "secret"):
            code = Code.TOO_LONG
        # After a token that is too long the guest may send an outcome: the length ended the exchange.
        speaks = self.state not in BINARY or (self.state is State.SASL and code == Code.TOO_LONG)
        if isinstance(error, MechanismError):
            self._wire.write(error.token if self.state in BINARY else b"")
        elif self.role is Role.GUEST and speaks:
            self._wire.write(line_of(Error(code).words()))
        cause = error.cause if isinstance(error, MechanismError) else "protocol"
        self._end(cause, str(error), code)

    def _end(self, cause: str, detail: str = "", code: int = 0) -> None:
        """Drop undelivered events, wipe all secrets and queue Closed: nobody may act on an ended session."""
        self._machine.state = State.CLOSED
        self._lines.wipe()
        self._events.clear()
        running = self._exchange.mechanism if self._exchange else None
        for mechanism in (running, self.authenticated):
            if mechanism is not None:
                mechanism.dispose()
        self._wire.dispose()
        self._events.append(Closed(cause, detail, int(code)))
