"""What crosses the ssh-agent's port: many connections of the OpenSSH agent protocol in one stream; no I/O.

draft-ietf-sshm-ssh-agent: uint32 length, an octet of type, the rest. One request, one answer, in turn, on
each connection. The port has the same outer form; its types are of the private range (240 to 255):

    hello   27  string "hello@console-sso", octet FRAMING, 16 octets nonce   guest: an extension request
    echo    29  the same                                                     client
    OPEN   240  uint64 number                      guest: a program connected; client: so is the agent
    DATA   241  uint64 number, one whole message   guest: a request; client: the answer to it
    CLOSE  242  uint64 number                      this connection is over

A number is given once, in rising order from 1, until the next hello. A port of a console may still bring
octets of an earlier viewer, so each of its openings begins with hello and echo; what comes before the echo is
dropped. Who knows another framing answers a hello with FAILURE, as an agent does with an unknown extension.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sso.errors import FramingError

FRAMING = 2  # 1 had no numbers, and one connection
MESSAGE_MAX = 256 * 1024  # octets without the length, as OpenSSH's AGENT_MAX_LEN
HEAD = 9  # octets of a frame before its message: kind and number
PORT_FRAME_MAX = HEAD + MESSAGE_MAX
CONNECTIONS_MAX = 64
PENDING_MAX = 256 * 1024  # octets waiting for the port, above which nobody is read any more
STALE_MAX = 256 * 1024  # octets dropped before the echo, above which the viewer is no use
NONCE_SIZE = 16
FAILURE, REQUEST_IDENTITIES, SIGN_REQUEST, EXTENSION, EXTENSION_RESPONSE = 5, 11, 13, 27, 29
OPEN, DATA, CLOSE = 240, 241, 242
_HELLO = b"hello@console-sso"
_BIND = b"session-bind@openssh.com"  # PROTOCOL.agent 1: which host a key is used for


class Frames:
    """Cuts octets into messages of at most `most` octets, type and rest, at any chunking."""

    def __init__(self, most: int = MESSAGE_MAX) -> None:
        self._most = most
        self._waiting = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Add octets, and give every message that is whole now. Raises as `next`."""
        self.add(data)
        return iter(self.next, None)

    def add(self, data: bytes | memoryview) -> None:
        """Keep octets for `next`."""
        self._waiting += data

    def next(self) -> bytes | None:
        """The next message that is whole. Raises FramingError for a length of 0 or above `most`."""
        if len(self._waiting) < 4:
            return None
        size = int.from_bytes(self._waiting[:4], "big")
        if not 0 < size <= self._most:
            raise FramingError(f"a message of {size} octets")
        if len(self._waiting) < 4 + size:
            return None
        message = bytes(self._waiting[4 : 4 + size])
        del self._waiting[: 4 + size]
        return message

    def __len__(self) -> int:
        """How many octets are kept."""
        return len(self._waiting)


class Frame(NamedTuple):
    """One frame of the port: OPEN, DATA (with its message) or CLOSE, and whose."""

    kind: int
    number: int
    message: bytes = b""


class GuestEnd:
    """The guest's end of the port, from a hello with `nonce` on.

    Requests and openings go into `out`, which the caller sends from the front; `feed` gives what the client
    says of connections that are open.
    """

    def __init__(self, nonce: bytes) -> None:
        self.out = bytearray()
        self._hello, self._echo = hello(nonce), echo(nonce)
        self._stale = bytearray()
        self._frames: Frames | None = None  # of a client that has echoed
        self._asking: dict[int, bool] = {}  # every open connection, and whether it waits for an answer
        self._last = 0

    @property
    def ready(self) -> bool:
        """Whether the client has echoed the hello."""
        return self._frames is not None

    @property
    def refused(self) -> bool:
        """Whether something at the other end has refused the hello: it knows another framing, or none."""
        return not self.ready and self._stale.endswith(REFUSED)

    def greet(self) -> None:
        """Say hello, once more with the same nonce."""
        self.out += self._hello

    def feed(self, data: bytes) -> Iterator[Frame]:
        """OPEN, DATA and CLOSE of the client, about connections that are open.

        Raises FramingError when it speaks another language, answers what nobody has asked, or sends more than
        STALE_MAX octets without an echo.
        """
        if self._frames is None:
            data = self._after_echo(data)
        for octets in self._frames.feed(data) if self._frames is not None else ():
            if octets != self._echo[4:] and self._counts(frame := _frame(octets)):
                yield frame

    def open(self) -> int:
        """Open a connection; its number."""
        self._last += 1
        self._asking[self._last] = False
        self.out += framed(_head(OPEN, self._last))
        return self._last

    def ask(self, number: int, request: bytes) -> None:
        """Send one request; the next one of this connection has to wait for the answer."""
        self._asking[number] = True
        self.out += framed(_head(DATA, number) + request)

    def close(self, number: int) -> None:
        """End a connection; its answer, which may be on its way, is dropped. Harmless when it has ended."""
        if self._asking.pop(number, None) is not None:
            self.out += framed(_head(CLOSE, number))

    def _after_echo(self, data: bytes) -> bytes:
        known = max(0, len(self._stale) - len(self._echo) + 1)  # no echo begins before
        self._stale += data
        found = self._stale.find(self._echo, known)
        before = len(self._stale) if found < 0 else found
        if before > STALE_MAX:
            raise FramingError(f"{before} octets without an echo")
        if found < 0:
            return b""
        after = bytes(self._stale[found + len(self._echo) :])
        self._stale, self._frames = bytearray(), Frames(PORT_FRAME_MAX)
        return after

    def _counts(self, frame: Frame) -> bool:
        """Note what a frame changes; False when it is about a connection that we have ended meanwhile."""
        asking = self._asking.get(frame.number)
        if asking is None and not 0 < frame.number <= self._last:
            raise FramingError("a connection that was never opened")
        if asking is False and frame.kind == DATA:
            raise FramingError("an answer that nobody has asked for")
        if asking is not None and frame.kind == DATA:
            self._asking[frame.number] = False
        elif frame.kind == CLOSE:
            self._asking.pop(frame.number, None)
        return asking is not None


class ClientEnd:
    """The client's end: it echoes hellos, and gives what the guest may ask.

    Each connection that `feed` opens has to be answered by `opened` or `close`, each request by `answer` or
    `close`. What is to be sent goes into `out`.
    """

    def __init__(self) -> None:
        self.out = bytearray()
        self._frames = Frames(PORT_FRAME_MAX)
        self._nonce = b""
        self._asked: dict[int, bool] = {}  # every open connection, and whether a request waits for an answer
        self._last = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """OPEN, DATA with one request that may pass, and CLOSE, which a new hello brings for each connection.

        Raises FramingError when the guest speaks another language, or an older or newer framing.
        """
        for octets in self._frames.feed(data):
            if octets[0] == EXTENSION:
                yield from self._greeted(octets)
            elif (frame := _frame(octets)) and self._nonce and self._counts(frame):
                yield frame  # before a hello they are of a guest's earlier viewer

    def opened(self, number: int) -> None:
        """The agent has been dialled."""
        self.out += framed(_head(OPEN, number))

    def answer(self, number: int, message: bytes) -> None:
        """Send the agent's answer. Raises FramingError when nobody has asked."""
        if not self._asked.get(number):
            raise FramingError("an answer that nobody has asked for")
        self._asked[number] = False
        self.out += framed(_head(DATA, number) + message)

    def close(self, number: int) -> None:
        """The agent has hung up. Harmless when the guest has done so."""
        if self._asked.pop(number, None) is not None:
            self.out += framed(_head(CLOSE, number))

    def _greeted(self, octets: bytes) -> Iterator[Frame]:
        framing, nonce = hello_of(octets)
        if framing != FRAMING:
            self.out += REFUSED
            raise FramingError(f"it knows framing {framing}, and this one {FRAMING}")
        if nonce != self._nonce:  # the guest has begun anew, and knows of no connection
            ended, self._asked = list(self._asked), {}
            self._nonce, self._last = nonce, 0
            yield from (Frame(CLOSE, number) for number in ended)
        self.out += echo(nonce)

    def _counts(self, frame: Frame) -> bool:
        """Note what a frame changes, and refuse what may not pass; whether the caller has something to do."""
        kind, number, message = frame
        if kind == OPEN:
            return self._admits(number)
        if kind == CLOSE:
            return self._asked.pop(number, None) is not None
        asked = self._asked.get(number)
        if asked:
            raise FramingError("two requests at once")
        if asked is None:
            self.out += framed(_head(CLOSE, number))  # again: it has ended before the guest knew
        elif may_pass(message):
            self._asked[number] = True
        else:
            self.out += framed(_head(DATA, number) + bytes([FAILURE]))
        return asked is not None and self._asked[number]

    def _admits(self, number: int) -> bool:
        if number <= self._last:
            raise FramingError("a number twice")
        self._last = number
        if len(self._asked) < CONNECTIONS_MAX:
            self._asked[number] = False
            return True
        self.out += framed(_head(CLOSE, number))
        return False


def framed(message: bytes) -> bytes:
    """A message with its length."""
    return len(message).to_bytes(4, "big") + message


REFUSED = framed(bytes([FAILURE]))


def may_pass(request: bytes) -> bool:
    """Whether the console may ask that: for the keys' names, for signatures, and to say for which host.

    Nothing that adds, removes or locks keys, and no other extension.
    """
    return request[0] in (REQUEST_IDENTITIES, SIGN_REQUEST) or _extension(request)[0] == _BIND


def hello(nonce: bytes) -> bytes:
    """The guest's first words to a viewer, framed."""
    return framed(bytes([EXTENSION]) + _greeting(nonce))


def echo(nonce: bytes) -> bytes:
    """What the client answers to that, framed."""
    return framed(bytes([EXTENSION_RESPONSE]) + _greeting(nonce))


def hello_of(request: bytes) -> tuple[int, bytes]:
    """Framing and nonce of a hello; the first framing had none of its number.

    Raises FramingError for another message.
    """
    name, rest = _extension(request)
    if name != _HELLO or len(rest) < NONCE_SIZE:
        raise FramingError("an extension that is no hello")
    if len(rest) == NONCE_SIZE:
        return 1, rest
    if rest[0] == FRAMING and len(rest) != 1 + NONCE_SIZE:
        raise FramingError(f"a hello of {len(request)} octets")
    return rest[0], rest[1:]


def _greeting(nonce: bytes) -> bytes:
    return len(_HELLO).to_bytes(4, "big") + _HELLO + bytes([FRAMING]) + nonce


def _head(kind: int, number: int) -> bytes:
    return bytes([kind]) + number.to_bytes(8, "big")


def _frame(octets: bytes) -> Frame:
    """A frame by its octets, without the length. Raises FramingError."""
    frame = Frame(octets[0], int.from_bytes(octets[1:HEAD], "big"), octets[HEAD:])
    if (
        len(octets) < HEAD
        or frame.kind not in (OPEN, DATA, CLOSE)
        or bool(frame.message) != (frame.kind == DATA)
    ):
        raise FramingError(f"a frame of kind {frame.kind} with {len(octets)} octets")
    return frame


def _extension(request: bytes) -> tuple[bytes, bytes]:
    """Name and contents of an extension request; b"" for another message."""
    size = int.from_bytes(request[1:5], "big")
    if request[0] != EXTENSION or len(request) < 5 + size:
        return b"", b""
    return request[5 : 5 + size], request[5 + size :]
