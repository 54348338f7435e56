"""The child's side of the acceptor: stand-ins that have a mechanism's interface and hold no key.

What they say and hear is in sso.guest.packets. The acceptor's worker is ours, but it has read what the peer
sent: whatever it answers ends this session at most.
"""

import socket
from collections.abc import Callable
from typing import Any

from sso.credential import Credential
from sso.errors import MechanismError
from sso.framing import wipe
from sso.guest.channel.conversation import Claim
from sso.guest.packets import BIND, CREDENTIAL, EXPORT, JUDGE, MAKE, STEP, VERDICT, YES, Inbox, send
from sso.guest.records import is_code
from sso.mech import Mechanism, load

REPLY_TIME = 5.0  # seconds that the child waits for the acceptor


class Acceptance:
    """The connection of one child to the acceptor."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._inbox = Inbox()
        connection.settimeout(REPLY_TIME)

    def fileno(self) -> int:
        return self._connection.fileno()

    def make(self, name: str, in_tls: bool = False, **_: Any) -> Mechanism:
        """The stand-in for the accepting half of a mechanism; raises MechanismError as the half would."""
        pair = load(name)
        if pair.kind == "credential":
            return RemoteCredential(self, name)
        self.ask(MAKE + bytes([in_tls]) + name.encode())
        return RemoteSASL(self, pair.resume)

    def submit(self, claim: Claim) -> None:
        """Ask for the verdict; it comes when `fileno` is readable, by `verdict`."""
        self._send(JUDGE + claim.attempt)

    def verdict(self) -> int | None:
        """The code that has come; None when the acceptor is gone, or said something else."""
        reply = self._receive()
        code = int.from_bytes(reply[1:], "big")
        return code if reply[:1] == VERDICT and len(reply) == 5 and is_code(code) else None

    def ask(self, head: bytes, body: bytes | bytearray = b"") -> bytearray:
        """One request in two parts, and its reply without the first octet, in a buffer that may be wiped."""
        self._send(head, body)
        reply = self._receive()
        if reply[:1] == YES:
            return reply[1:]
        cause, _, detail = reply[1:].decode(errors="replace").partition("\0")
        raise MechanismError(cause or "acceptor", detail or "the acceptor is gone")

    def _send(self, head: bytes, body: bytes | bytearray = b"") -> None:
        try:
            send(self._connection, head, body)
        except OSError:
            raise MechanismError("acceptor", "the acceptor is gone") from None

    def _receive(self) -> bytearray:
        try:
            return bytearray(self._inbox.receive(self._connection))
        except OSError:
            return bytearray()
        finally:
            self._inbox.wipe()


class RemoteSASL(Mechanism):
    """Steps go to the acceptor; the layer, once it stands, is here."""

    def __init__(self, acceptance: Acceptance, resume: Callable[[bytes], Mechanism] | None) -> None:
        self._acceptance, self._resume = acceptance, resume
        self._layer: Mechanism | None = None

    def bind(self, binding: bytes) -> None:
        self._acceptance.ask(BIND + binding)

    def step(self, token: bytes) -> bytes:
        reply = self._acceptance.ask(STEP, token)
        if reply[:1] == b"\x01":
            self._complete()
        return bytes(reply[1:])

    def _complete(self) -> None:
        exported = self._acceptance.ask(EXPORT)
        if self._resume is None:
            raise MechanismError("not-exportable")
        try:
            self._layer = self._resume(bytes(exported[1:]))
        finally:
            has_credential = exported[:1] == b"\x01"
            wipe(exported)
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


class RemoteCredential(Mechanism):
    """The blob goes to the acceptor whole, and without a copy here; only the principal comes back."""

    def __init__(self, acceptance: Acceptance, type: str) -> None:
        self._acceptance, self._type = acceptance, type

    def step(self, token: bytes | bytearray) -> bytes:
        principal = self._acceptance.ask(CREDENTIAL + self._type.encode() + b"\0", token)
        try:
            self.credential = Credential(self._type, principal.decode())
        except UnicodeDecodeError:
            raise MechanismError("acceptor", "a principal that is no text") from None
        self.complete = True
        return b""
