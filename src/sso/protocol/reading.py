"""What a Session does with raw bytes, until they are lines or tokens (PROTOCOL.md sections 2, 6.6 and 7)."""

from collections import deque

from sso.errors import FramingError, MechanismError, RemoteProtocolError
from sso.framing import MessageFramer, Words, wipe
from sso.protocol.events import Event, Reset
from sso.protocol.greeting import Greeting
from sso.protocol.messages import LINE_MAX, SECRET_MAX, Signature
from sso.protocol.state import BINARY, Role, State, StateMachine
from sso.protocol.wire import Wire

DOUBT_TIME = 1.0  # seconds that a refusal may be put off: as long as a client waits to say SIGNATURE again
Refusal = FramingError | RemoteProtocolError | MechanismError
REFUSALS = (FramingError, RemoteProtocolError, MechanismError)


class LineQueue:
    """Cuts the bytes of a session into lines; `waiting` are those that nobody has judged yet.

    Caps: LINE_MAX or the `max_line` of `begin` for a line, SECRET_MAX for a secret. What is dropped is wiped.
    """

    __slots__ = ("framer", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Words] = deque()
        self.framer = MessageFramer(LINE_MAX, SECRET_MAX)

    def read(self, plain: bytes | bytearray) -> None:
        """Split bytes into lines. Wipe the buffer that a layer returned, also when the framer raises."""
        try:
            self.waiting.extend(self.framer.feed(plain))
        finally:
            if isinstance(plain, bytearray):
                wipe(plain)

    @property
    def complete(self) -> int:
        """How many lines wait; one that breaks the grammar counts, and is the last."""
        return len(self.waiting) + bool(self.framer.error)

    def begin(self, max_line: int) -> None:
        """Drop an unfinished line; what comes now are lines of another length."""
        self.framer.wipe()
        self.framer = MessageFramer(max_line, SECRET_MAX)

    def wipe(self) -> None:
        """Drop everything; nothing is read any more."""
        self.framer.wipe()
        for words in self.waiting:
            if not isinstance(words[-1], str):
                wipe(words[-1])
        self.waiting.clear()


class Reading:
    """The half of Session that reads; what a SIGNATURE, a token and a line mean is said there.

    A SIGNATURE that begins anew counts when the lines before it are judged. A refusal of bytes that may
    become one is put off (`_refusal`), so that it makes no difference in how many pieces they come.
    """

    role: Role

    def __init__(self, greeting: Greeting) -> None:
        self._greeting = greeting
        self._machine = StateMachine()
        self._events: deque[Event] = deque()
        self._wire = Wire()
        self._lines = LineQueue()
        self._anew = False  # a SIGNATURE that begins anew stands behind the lines that wait
        self._begun = 0  # bytes at the end of what was read that may become one
        self._cut_off = False  # the first of them, an LF, ends the last line that waits
        self._refusal: Refusal | None = None

    def _receive(self, data: bytes) -> None:
        """Search the raw bytes, below every layer, for a SIGNATURE; read what stands before or behind it."""
        self._wire.count(data)
        start, machine = 0, self._machine
        for begin, end, signature, words in self._wire.signatures(data):
            if machine.state is not State.SYNC:
                # In doubt it has to be the one whose first bytes were refused.
                if self._greeting.begins_anew(signature) and (self._refusal is None or begin < 0):
                    self._anew = True
                    self._take(data[start : max(start, begin + 1)], 1)
                    return
            elif self._greeting.accepts(signature):
                self._begin(signature, words)
                start = end
            elif self.role is Role.CLIENT and signature.role == "guest":
                self.repeat_signature()
        if machine.state is not State.SYNC:
            self._take(data[start:], self._wire.begun)

    def _take(self, data: bytes, begun: int) -> None:
        """Read bytes; put off what is refused of the last `begun` ones, which may become a SIGNATURE."""
        if self._refusal is not None:
            if not self._anew and begun <= len(data):
                raise self._refusal
            return
        self._begun, cut, lines = begun, max(len(data) - begun, 0), self._lines
        if cut:
            self._peel(data[:cut])
        if begun:
            before = lines.complete
            try:
                self._peel(data[cut:])
            except REFUSALS as error:
                if not lines.framer.error:
                    self._refusal = error
            self._cut_off = lines.complete > before

    def _peel(self, data: bytes) -> None:
        """Remove the layers and pass the content to the mechanism or to the lines, as the state requires."""
        plain = self._wire.open(data)
        if self._machine.state in BINARY:
            self._step(bytes(plain))
        elif plain:
            self._lines.read(plain)

    def _refuse_line(self, error: Refusal) -> None:
        """End the session. A client puts that off if the guest was perhaps cut off there and begins anew."""
        last = not self._lines.waiting and bool(self._lines.framer.error) == isinstance(error, FramingError)
        if self.role is Role.CLIENT and self._cut_off and last and not self._wire.layers:
            self._refusal = error
        else:
            self._fail(error)

    def _is_injected(self, where: str) -> bool:
        """Whether bytes stand `where` a layer begins, which ends the session; put off if they may become a
        SIGNATURE."""
        behind = self._lines.framer.unread - self._anew  # the LF of a whole SIGNATURE was read, too
        if not (self._lines.complete or behind > 0):
            return False
        error = MechanismError("injected", f"bytes behind {where}")
        if self._lines.complete or behind > self._begun:
            self._fail(error)
        else:
            self._refusal = error
        return True

    def _look_behind_lines(self) -> None:
        """End the session where the peer's stream ends on purpose, or where a new one begins."""
        if self._wire.layers and self._wire.ended:
            self._wire.finish()
            self._end("hang-up", "close_notify")
        elif self._anew:
            self._end("reset")
            self._events.appendleft(Reset())

    # What Session does

    def repeat_signature(self) -> bool:
        raise NotImplementedError

    def _begin(self, signature: Signature, words: list[str]) -> None:
        raise NotImplementedError

    def _step(self, data: bytes) -> None:
        raise NotImplementedError

    def _fail(self, error: Refusal) -> None:
        raise NotImplementedError

    def _end(self, cause: str, detail: str = "", code: int = 0) -> None:
        raise NotImplementedError
