"""The packets between the child of a peer session and its worker in the acceptor process.

They talk over one SOCK_SEQPACKET pair a peer session, one packet a request, one a reply. A packet is one
byte of OP and its payload, at most PACKET_MAX bytes:

    child                                     acceptor
    M in-tls(1) name       make a mechanism   + | - cause NUL detail
    B binding              its binding        +
    S token                one step           + complete(1) token | - cause NUL detail
    E                      the layer          + credential(1) exported, or the peer | - cause NUL detail
    C type NUL blob        a credential       + principal | - cause NUL detail
    J attempt(16)          judge the claim    V code(4), whenever the login is decided

`credential` is 0 for none, else 1 and more: the place of its type among those that the mechanism declares. A
mechanism that cannot resume a layer has none, and says who its peer is.

The front of a longer payload goes ahead in packets P, which nobody answers: a socket takes no packet larger
than its buffer, which is some 200 KiB and up to each machine's administrator. All in all it is at most
MESSAGE_MAX bytes.

The child can say "judge", never whom: the acceptor knows who was authenticated.
"""

import socket

from sso.mech import TOKEN_MAX

PACKET_MAX = 70 * 1024  # a secret of 64 KiB and its head
MESSAGE_MAX = TOKEN_MAX + 1024
MAKE, BIND, STEP, EXPORT, CREDENTIAL, JUDGE = b"M", b"B", b"S", b"E", b"C", b"J"
YES, NO, VERDICT, PART = b"+", b"-", b"V", b"P"


def send(
    connection: socket.socket, head: bytes, body: bytes | bytearray | memoryview = b"", flags: int = 0
) -> None:
    """Send one message, OP first, in as many packets as it takes; no byte is copied. Raises OSError."""
    flags |= socket.MSG_NOSIGNAL
    with memoryview(head) as front, memoryview(body) as whole:
        at, start = 1, 0
        while len(front) - at + len(whole) - start >= PACKET_MAX:
            end = start + PACKET_MAX - 1 - (len(front) - at)
            connection.sendmsg((PART, front[at:], whole[start:end]), (), flags)
            at, start = len(front), end
        connection.sendmsg((front[:1], front[at:], whole[start:]), (), flags)


class Inbox:
    """Where messages are received: one buffer, which `wipe` clears as far as it was used.

    It is that of one packet until a longer message comes.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(PACKET_MAX)
        self._used = 0

    def receive(self, connection: socket.socket) -> memoryview:
        """The next message; empty at a hang-up, and for one that is larger than any. Raises OSError."""
        self.wipe()
        while self._packet(connection) and self._buffer[:1] == PART:
            if len(self._buffer) < MESSAGE_MAX:
                self._grow()
        return memoryview(self._buffer)[: self._used]

    def _packet(self, connection: socket.socket) -> bool:
        """Take the payload of one packet behind what is there, and its OP to the front."""
        view = memoryview(self._buffer)
        at = max(self._used, 1)
        size, _, flags, _ = connection.recvmsg_into((view[:1], view[at:]))
        self._used = at + size - 1 if size else at
        if not size or flags & socket.MSG_TRUNC:
            self.wipe()
        return self._used > 0

    def _grow(self) -> None:
        """Room for the longest message; a buffer that grew by itself could leave a copy behind."""
        old, self._buffer = memoryview(self._buffer), bytearray(MESSAGE_MAX)
        self._buffer[: self._used] = old[: self._used]
        old[: self._used] = bytes(self._used)

    def wipe(self) -> None:
        with memoryview(self._buffer) as buffer:
            buffer[: self._used] = bytes(self._used)
        self._used = 0
