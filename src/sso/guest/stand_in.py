"""The child's side of the acceptor: stand-ins that have a mechanism's interface and hold no key.

Child and acceptor talk over one SOCK_SEQPACKET pair a peer session, one packet a request, one a
reply. A packet is one octet of OP and its payload, at most PACKET_MAX octets:

    child                                     acceptor
    M in-tls(1) name       make a mechanism   + | - cause NUL detail
    B binding              its binding        +
    S token                one step           + complete(1) token | - cause NUL detail
    E                      the layer          + exported
    C type NUL blob        a credential       + principal | - cause NUL detail
    J attempt(16)          judge the claim    V code(4), whenever the login is decided

The child can say "judge", never whom: the acceptor knows who was authenticated.
"""

import socket
from collections.abc import Callable
from typing import Any

from sso.credential import Credential
from sso.errors import MechanismError
from sso.guest.conversation import Claim
from sso.mech import Mechanism, load

PACKET_MAX = 70 * 1024  # a secret or a token of 64 KiB, and its head
REPLY_TIME = 5.0  # seconds that the child waits for the acceptor
MAKE, BIND, STEP, EXPORT, CREDENTIAL, JUDGE = b"M", b"B", b"S", b"E", b"C", b"J"
YES, NO, VERDICT = b"+", b"-", b"V"


class Acceptance:
    """The connection of one child to the acceptor."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(REPLY_TIME)

    def fileno(self) -> int:
        return self._connection.fileno()

    def make(self, name: str, in_tls: bool = False, **_: Any) -> Mechanism:
        """The stand-in for the accepting half of a mechanism; raises MechanismError as the half would."""
        pair = load(name)
        if pair.kind == "credential":
            return _CredentialStandIn(self, name)
        self.ask(MAKE + bytes([in_tls]) + name.encode())
        return _SASLStandIn(self, pair.resume)

    def judge(self, claim: Claim) -> None:
        """Ask for the verdict; it comes when `fileno` is readable, by `verdict`."""
        self._send(JUDGE + claim.attempt)

    def verdict(self) -> int | None:
        """The code that has come, or None when the acceptor is gone."""
        reply = self._receive()
        return int.from_bytes(reply[1:5], "big") if reply[:1] == VERDICT and len(reply) == 5 else None

    def ask(self, packet: bytes | bytearray) -> bytes:
        """One request and its reply without the leading octet."""
        self._send(packet)
        reply = self._receive()
        if reply[:1] == YES:
            return reply[1:]
        cause, _, detail = reply[1:].decode(errors="replace").partition("\0")
        raise MechanismError(cause or "acceptor", detail or "the acceptor is gone")

    def _send(self, packet: bytes | bytearray) -> None:
        try:
            self._connection.sendall(packet)
        except OSError:
            raise MechanismError("acceptor", "the acceptor is gone") from None

    def _receive(self) -> bytes:
        try:
            return self._connection.recv(PACKET_MAX)
        except OSError:
            return b""


class _SASLStandIn(Mechanism):
    """Steps go to the acceptor; the layer, once it stands, is here."""

    def __init__(self, acceptance: Acceptance, resume: Callable[[bytes], Mechanism] | None) -> None:
        self._acceptance, self._resume = acceptance, resume
        self._layer: Mechanism | None = None

    def bind(self, binding: bytes) -> None:
        self._acceptance.ask(BIND + binding)

    def step(self, token: bytes) -> bytes:
        reply = self._acceptance.ask(STEP + token)
        if reply[:1] == b"\x01":
            self._complete()
        return reply[1:]

    def _complete(self) -> None:
        exported = self._acceptance.ask(EXPORT)
        if self._resume is None:
            raise MechanismError("not-exportable")
        has_credential, exported = exported[:1] == b"\x01", exported[1:]
        self._layer = self._resume(exported)
        self.layer, self.peer, self.plain_max = self._layer.layer, self._layer.peer, self._layer.plain_max
        self.credential = Credential("kerberos", self.peer) if has_credential else None
        self.complete = True

    def wrap(self, data: bytes) -> bytes:
        return super().wrap(data) if self._layer is None else self._layer.wrap(data)

    def unwrap(self, data: bytes) -> bytes | bytearray:
        return super().unwrap(data) if self._layer is None else self._layer.unwrap(data)

    def dispose(self) -> None:
        super().dispose()
        if self._layer is not None:
            self._layer.dispose()


class _CredentialStandIn(Mechanism):
    """The blob goes to the acceptor whole; only the principal comes back."""

    def __init__(self, acceptance: Acceptance, type: str) -> None:
        self._acceptance, self._type = acceptance, type

    def step(self, token: bytes | bytearray) -> bytes:
        packet = bytearray(CREDENTIAL + self._type.encode() + b"\0") + token
        try:
            principal = self._acceptance.ask(packet).decode()
        finally:
            packet[:] = bytes(len(packet))
        self.credential = Credential(self._type, principal)
        self.complete = True
        return b""
