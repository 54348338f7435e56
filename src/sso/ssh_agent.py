"""The protocol of the ssh-agent's port: many connections of OpenSSH's agent protocol in one stream; no I/O.

The agent protocol (draft-ietf-sshm-ssh-agent) has messages of a uint32 length, a type byte and contents; on
each connection a request gets one answer before the next request. The port uses the same outer form, with
types of the private range (240 to 255):

    hello   27  string "hello@console-sso", byte FRAMING, 16 bytes nonce   guest: an extension request
    echo    29  the same                                                     client
    OPEN   240  uint64 number                      guest: a program connected; client: so is the agent
    DATA   241  uint64 number, one whole message   guest: a request; client: the answer to it
    CLOSE  242  uint64 number                      this connection is over

Numbers rise from 1 and are used once, until the next hello. A console's port may still hold bytes of an
earlier viewer, so each time it is opened, hello and echo come first, and bytes before the echo are dropped.
A peer with another framing answers the hello with FAILURE, as an agent does for an unknown extension.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sso.errors import FramingError

FRAMING = 2  # version 1 had one connection and no numbers
MESSAGE_MAX = 256 * 1024  # bytes without the length, as OpenSSH's AGENT_MAX_LEN
HEAD = 9  # bytes of a frame before its message: kind and number
PORT_FRAME_MAX = HEAD + MESSAGE_MAX
CONNECTIONS_MAX = 64
PENDING_MAX = 256 * 1024  # bytes waiting for the port from which on no connection is read
STALE_MAX = 256 * 1024  # bytes dropped before the echo from which on we give the viewer up
NONCE_SIZE = 16
FAILURE, REQUEST_IDENTITIES, SIGN_REQUEST, EXTENSION, EXTENSION_RESPONSE = 5, 11, 13, 27, 29
OPEN, DATA, CLOSE = 240, 241, 242
_HELLO = b"hello@console-sso"
_BIND = b"session-bind@openssh.com"  # PROTOCOL.agent section 1: tells the agent the host


class Frames:
    """Cuts chunks of any size into messages (type and contents) of at most `most` bytes."""

    def __init__(self, most: int = MESSAGE_MAX) -> None:
        self._most = most
        self._waiting = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Add bytes and yield every complete message. Raises FramingError as `next` does."""
        self.add(data)
        return iter(self.next, None)

    def add(self, data: bytes | memoryview) -> None:
        """Add bytes for `next`."""
        self._waiting += data

    def next(self) -> bytes | None:
        """Return the next complete message or None. Raises FramingError for a length of 0 or above `most`."""
        if len(self._waiting) < 4:
            return None
        size = int.from_bytes(self._waiting[:4], "big")
        if not 0 < size <= self._most:
            raise FramingError(f"a message of {size} bytes")
        if len(self._waiting) < 4 + size:
            return None
        message = bytes(self._waiting[4 : 4 + size])
        del self._waiting[: 4 + size]
        return message

    def __len__(self) -> int:
        """Number of bytes not yet returned."""
        return len(self._waiting)


class Frame(NamedTuple):
    """One frame of the port: OPEN, DATA (with its message) or CLOSE, and the connection's number."""

    kind: int
    number: int
    message: bytes = b""


class GuestEnd:
    """The guest's end of the port; it starts with a hello that contains `nonce`.

    Output goes into `out`; the caller sends it and deletes it from the front. `feed` yields the client's
    frames for open connections.
    """

    def __init__(self, nonce: bytes) -> None:
        self.out = bytearray()
        self._hello, self._echo = hello(nonce), echo(nonce)
        self._stale = bytearray()
        self._frames: Frames | None = None  # set after the client's echo
        self._asking: dict[int, bool] = {}  # open connections: whether each waits for an answer
        self._last = 0

    @property
    def ready(self) -> bool:
        """Whether the client has echoed the hello."""
        return self._frames is not None

    @property
    def refused(self) -> bool:
        """Whether the other end refused the hello: it uses another framing, or none."""
        return not self.ready and self._stale.endswith(REFUSED)

    def greet(self) -> None:
        """Send the hello; a repeated call sends the same nonce."""
        self.out += self._hello

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the client's OPEN, DATA and CLOSE for open connections.

        Raises FramingError when the client uses another protocol, answers without a request, or sends more
        than STALE_MAX bytes without an echo.
        """
        if self._frames is None:
            data = self._after_echo(data)
        for octets in self._frames.feed(data) if self._frames is not None else ():
            if octets != self._echo[4:] and self._counts(frame := _frame(octets)):
                yield frame

    def open(self) -> int:
        """Open a connection and return its number."""
        self._last += 1
        self._asking[self._last] = False
        self.out += framed(_head(OPEN, self._last))
        return self._last

    def ask(self, number: int, request: bytes) -> None:
        """Send one request; the next request of this connection must wait for the answer."""
        self._asking[number] = True
        self.out += framed(_head(DATA, number) + request)

    def close(self, number: int) -> None:
        """Close a connection; a late answer is dropped. Does nothing if it is closed already."""
        if self._asking.pop(number, None) is not None:
            self.out += framed(_head(CLOSE, number))

    def _after_echo(self, data: bytes) -> bytes:
        known = max(0, len(self._stale) - len(self._echo) + 1)  # searched before: no echo begins there
        self._stale += data
        found = self._stale.find(self._echo, known)
        before = len(self._stale) if found < 0 else found
        if before > STALE_MAX:
            raise FramingError(f"{before} bytes without an echo")
        if found < 0:
            return b""
        after = bytes(self._stale[found + len(self._echo) :])
        self._stale, self._frames = bytearray(), Frames(PORT_FRAME_MAX)
        return after

    def _counts(self, frame: Frame) -> bool:
        """Update the state for a frame; False when we closed its connection in the meantime."""
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
    """The client's end: it echoes hellos, and yields only requests that the guest may make.

    The caller must answer each OPEN with `opened` or `close`, and each request with `answer` or `close`.
    Output goes into `out`.
    """

    def __init__(self) -> None:
        self.out = bytearray()
        self._frames = Frames(PORT_FRAME_MAX)
        self._nonce = b""
        self._asked: dict[int, bool] = {}  # open connections: whether a request waits for an answer
        self._last = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield OPEN, DATA (one allowed request) and CLOSE; a new hello closes every connection.

        Raises FramingError when the guest uses another protocol, or an older or newer framing.
        """
        for octets in self._frames.feed(data):
            if octets[0] == EXTENSION:
                yield from self._greeted(octets)
            elif (frame := _frame(octets)) and self._nonce and self._counts(frame):
                yield frame  # frames before a hello belong to an earlier viewer

    def opened(self, number: int) -> None:
        """Tell the guest that we are connected to the agent."""
        self.out += framed(_head(OPEN, number))

    def answer(self, number: int, message: bytes) -> None:
        """Send the agent's answer. Raises FramingError when no request waits for one."""
        if not self._asked.get(number):
            raise FramingError("an answer that nobody has asked for")
        self._asked[number] = False
        self.out += framed(_head(DATA, number) + message)

    def close(self, number: int) -> None:
        """Tell the guest that the agent closed the connection. Does nothing if the guest closed it first."""
        if self._asked.pop(number, None) is not None:
            self.out += framed(_head(CLOSE, number))

    def _greeted(self, octets: bytes) -> Iterator[Frame]:
        framing, nonce = hello_of(octets)
        if framing != FRAMING:
            self.out += REFUSED
            raise FramingError(f"it knows framing {framing}, and this one {FRAMING}")
        if nonce != self._nonce:  # the guest started again and has no connections
            ended, self._asked = list(self._asked), {}
            self._nonce, self._last = nonce, 0
            yield from (Frame(CLOSE, number) for number in ended)
        self.out += echo(nonce)

    def _counts(self, frame: Frame) -> bool:
        """Update the state for a frame and refuse forbidden requests; True when the caller must act on it."""
        kind, number, message = frame
        if kind == OPEN:
            return self._admits(number)
        if kind == CLOSE:
            return self._asked.pop(number, None) is not None
        asked = self._asked.get(number)
        if asked:
            raise FramingError("two requests at once")
        if asked is None:
            self.out += framed(_head(CLOSE, number))  # once more: the guest sent this before it saw our CLOSE
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
    """Put the uint32 length before a message."""
    return len(message).to_bytes(4, "big") + message


REFUSED = framed(bytes([FAILURE]))


def may_pass(request: bytes) -> bool:
    """Whether the guest may send this request: list keys, sign, and bind the session to a host.

    Everything else is refused: adding, removing or locking keys, and all other extensions.
    """
    return request[0] in (REQUEST_IDENTITIES, SIGN_REQUEST) or _extension(request)[0] == _BIND


def hello(nonce: bytes) -> bytes:
    """Build the guest's first message to a viewer, with its length."""
    return framed(bytes([EXTENSION]) + _greeting(nonce))


def echo(nonce: bytes) -> bytes:
    """Build the client's answer to a hello, with its length."""
    return framed(bytes([EXTENSION_RESPONSE]) + _greeting(nonce))


def hello_of(request: bytes) -> tuple[int, bytes]:
    """Return framing and nonce of a hello; framing 1 did not send its number.

    Raises FramingError for any other message.
    """
    name, rest = _extension(request)
    if name != _HELLO or len(rest) < NONCE_SIZE:
        raise FramingError("an extension that is no hello")
    if len(rest) == NONCE_SIZE:
        return 1, rest
    if rest[0] == FRAMING and len(rest) != 1 + NONCE_SIZE:
        raise FramingError(f"a hello of {len(request)} bytes")
    return rest[0], rest[1:]


def _greeting(nonce: bytes) -> bytes:
    return len(_HELLO).to_bytes(4, "big") + _HELLO + bytes([FRAMING]) + nonce


def _head(kind: int, number: int) -> bytes:
    return bytes([kind]) + number.to_bytes(8, "big")


def _frame(octets: bytes) -> Frame:
    """Parse a frame without its length. Raises FramingError."""
    frame = Frame(octets[0], int.from_bytes(octets[1:HEAD], "big"), octets[HEAD:])
    if (
        len(octets) < HEAD
        or frame.kind not in (OPEN, DATA, CLOSE)
        or bool(frame.message) != (frame.kind == DATA)
    ):
        raise FramingError(f"a frame of kind {frame.kind} with {len(octets)} bytes")
    return frame


def _extension(request: bytes) -> tuple[bytes, bytes]:
    """Return name and contents of an extension request; the name is b"" for any other message."""
    size = int.from_bytes(request[1:5], "big")
    if request[0] != EXTENSION or len(request) < 5 + size:
        return b"", b""
    return request[5 : 5 + size], request[5 + size :]
