"""The packets between the child of a peer session and its worker in the acceptor process.

They talk over one SOCK_SEQPACKET pair a peer session, one packet a request, one a reply. A packet is one
octet of OP and its payload, at most PACKET_MAX octets:

    child                                     acceptor
    M in-tls(1) name       make a mechanism   + | - cause NUL detail
    B binding              its binding        +
    S token                one step           + complete(1) token | - cause NUL detail
    E                      the layer          + has-credential(1) exported
    C type NUL blob        a credential       + principal | - cause NUL detail
    J attempt(16)          judge the claim    V code(4), whenever the login is decided

The child can say "judge", never whom: the acceptor knows who was authenticated.
"""

import socket

PACKET_MAX = 70 * 1024  # a secret or a token of 64 KiB, and its head
MAKE, BIND, STEP, EXPORT, CREDENTIAL, JUDGE = b"M", b"B", b"S", b"E", b"C", b"J"
YES, NO, VERDICT = b"+", b"-", b"V"


class Inbox:
    """Where packets are received: one buffer, which `wipe` clears as far as it was used."""

    def __init__(self) -> None:
        self._buffer = bytearray(PACKET_MAX + 1)
        self._used = 0

    def receive(self, connection: socket.socket) -> memoryview:
        """The next packet; empty at a hang-up, and for one that is larger than any. Raises OSError."""
        self.wipe()
        self._used = connection.recv_into(self._buffer)
        size = self._used if self._used <= PACKET_MAX else 0
        return memoryview(self._buffer)[:size]

    def wipe(self) -> None:
        with memoryview(self._buffer) as buffer:
            buffer[: self._used] = bytes(self._used)
        self._used = 0
