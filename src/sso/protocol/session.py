"""Session: one end of the protocol without I/O; client and guest use the same class (PROTOCOL.md).

Pass the bytes that you read to `receive_data`, then call `next_event` until it returns None. Send with
`send`, `request_layer` or `accept_layer`, and write the bytes that `data_to_send` returns. Bytes that break
the protocol lead to a Closed event; if `receive_data` or `next_event` raises, that is a defect.
"""

from collections import deque
from collections.abc import Callable, Sequence
from os import urandom

from sso.errors import FramingError, LocalProtocolError, MechanismError, RemoteProtocolError
from sso.framing import MessageFramer, Words, credentials_line, wipe
from sso.mech import Mechanism
from sso.protocol.events import Closed, Event, LayerFailed, LayerStarted, Reset
from sso.protocol.exchange import Exchange, SASLExchange, disposing, exchange_for
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
from sso.protocol.state import BINARY, FINAL, LAYER_ASKED, LINELESS, Role, State, StateMachine
from sso.protocol.transcript import Transcript
from sso.protocol.wire import Wire


class Session:
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
        self.role, self._peer = role, role.peer
        self.authenticated: Mechanism | None = None
        self._greeting = Greeting(role, mechanisms, attempt, random)
        self._machine = StateMachine()
        self._transcript = Transcript()
        self._events: deque[Event] = deque()
        self._wire = Wire()
        self._framer = MessageFramer(LINE_MAX, SECRET_MAX)
        self._lines: deque[Words] = deque()  # read, not yet parsed
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

    # Receiving

    def receive_data(self, data: bytes) -> None:
        """Process bytes as they were read; b"" means hang-up. Then call next_event until it returns None."""
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
        """Return the next event or message, or None; answer a request before you call this again."""
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
        """Search the raw bytes, below every layer, for a SIGNATURE; then read what follows the first one."""
        self._wire.count(data)
        rest, machine = data, self._machine
        for end, signature, words in self._wire.signatures(data):
            if machine.state is not State.SYNC:
                if self._greeting.begins_anew(signature):
                    self._end("reset")
                    self._events.appendleft(Reset())
                    return
            elif self._greeting.accepts(signature):
                self._begin(signature, words)
                rest = data[end:]
            elif self.role is Role.CLIENT and signature.role == "guest":
                self.repeat_signature()
        if machine.state is not State.SYNC:
            self._peel(rest)

    def _peel(self, data: bytes) -> None:
        """Remove the layers and pass the content to the mechanism or to the framer, as the state requires."""
        plain = self._wire.open(data)
        if self._machine.state in BINARY:
            self._step(bytes(plain))
        elif plain:
            self._read(plain)

    def _read(self, plain: bytes | bytearray) -> None:
        """Split bytes into lines. Wipe the buffer that a layer returned, also when the framer raises."""
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
        if not self._unread:
            with disposing(mechanism):
                mechanism.bind(self._transcript.binding(self.tls))
        self._exchange = exchange_for(request, self.role, mechanism, b"")
        if self._unread:
            self._end("injected", "bytes behind the request for a layer")
        else:
            self.send(Ok())

    def _begin_exchange(self) -> None:
        """Client: start the exchange after the guest's ok; every byte after that belongs to the mechanism."""
        if self._unread:
            self._end("injected", "bytes behind the answer to a request for a layer")
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
        """Add the layer of a complete mechanism, drop unread input, and (guest) confirm the transcript."""
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
        """A mechanism failed at this end. A SASL guest sends the outcome and goes on; all others end."""
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
        """Client: the guest refused the SASL mechanism; go on with lines in the state before the request."""
        self._exchange = None
        exchange.mechanism.dispose()
        self._read(exchange.rest)
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

    def _fail(self, error: FramingError | RemoteProtocolError | MechanismError) -> None:
        """End the session because the peer broke a rule; a guest sends the code if it may send a line."""
        code = int(Code.MALFORMED)
        if isinstance(error, RemoteProtocolError):
            code = error.code
        elif isinstance(error, FramingError) and error.reason in ("line", "secret"):
            code = Code.TOO_LONG
        # After a token that is too long the guest may send an outcome: the length ended the exchange.
        speaks = self.state not in BINARY or (self.state is State.SASL and code == Code.TOO_LONG)
        if self.role is Role.GUEST and not isinstance(error, MechanismError) and speaks:
            self._wire.write(line_of(Error(code).words()))
        cause = error.cause if isinstance(error, MechanismError) else "protocol"
        self._end(cause, str(error), code)

    def _end(self, cause: str, detail: str = "", code: int = 0) -> None:
        """Drop undelivered events, wipe all secrets and queue Closed: nobody may act on an ended session."""
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
