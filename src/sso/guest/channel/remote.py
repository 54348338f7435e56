"""The child's side of the acceptor: stand-ins that have a mechanism's interface and hold no key.

What they say and hear is in sso.guest.packets. The acceptor's worker is ours, but it has read what the peer
sent: whatever it answers ends this session at most.
"""

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any

from sso.credential import Credential
from sso.errors import ConfigError, MechanismError
from sso.framing import wipe
from sso.guest.channel.conversation import Claim
from sso.guest.packets import BIND, CREDENTIAL, EXPORT, JUDGE, MAKE, STEP, VERDICT, YES, Inbox, send
from sso.guest.records import is_code
from sso.mech import Mechanism, Pair

REPLY_TIME = 6.0  # seconds that the child waits for the acceptor, whose worker has less (ANSWER_TIME)
BEAT_EVERY = 0.5  # seconds; the channel process ends a child that is silent for 2 s


class Acceptance:
    """The connection of one child to the acceptor.

    `pairs` are the mechanisms that are allowed; `beat` is called while the child waits for a reply, and
    `note` takes what goes wrong at the end of a layer.
    """

    def __init__(
        self,
        connection: socket.socket,
        pairs: Mapping[str, Pair],
        beat: Callable[[], None] = lambda: None,
        note: Callable[..., None] = lambda id, detail="", **fields: None,
    ) -> None:
        self._connection, self._pairs, self._beat, self.note = connection, pairs, beat, note
        self._inbox = Inbox()
        connection.settimeout(REPLY_TIME)

    def fileno(self) -> int:
        return self._connection.fileno()

    def make(self, name: str, in_tls: bool = False, **_: Any) -> Mechanism:
        """The stand-in for the accepting half of a mechanism; raises MechanismError as the half would."""
        pair = self._pairs.get(name)
        if pair is None:
            raise ConfigError(f"mechanism {name} is not in the list of allowed mechanisms")
        if pair.kind == "credential":
            return RemoteCredential(self, name)
        self.ask(MAKE + bytes([in_tls]) + name.encode())
        return RemoteSASL(self, pair)

    def submit(self, claim: Claim) -> None:
        """Ask for the verdict; it comes when `fileno` is readable, by `verdict`."""
        self._send(JUDGE + claim.attempt)

    def verdict(self) -> int | None:
        """The code that has come; None when the acceptor is gone, or said something else."""
        reply = self._receive()
        code = int.from_bytes(reply[1:], "big")
        return code if reply[:1] == VERDICT and len(reply) == 5 and is_code(code) else None

    def ask(self, head: bytes, body: bytes | bytearray = b"") -> bytearray:
        """One request in two parts, and its reply without the first byte, in a buffer that may be wiped."""
        self._send(head, body)
        reply = self._receive(self._wait())
        if reply[:1] == YES:
            return reply[1:]
        cause, _, detail = reply[1:].decode(errors="replace").partition("\0")
        raise MechanismError(cause or "acceptor", detail or "the acceptor is gone, or does not answer")

    def _wait(self) -> bool:
        """Whether a reply comes in time; else nothing is taken from this acceptor any more."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        for _ in range(round(REPLY_TIME / BEAT_EVERY)):
            if poll.poll(BEAT_EVERY * 1000):
                return True
            self._beat()
        # A late reply would be taken for that to the next request.
        self._connection.shutdown(socket.SHUT_RDWR)
        return False

    def _send(self, head: bytes, body: bytes | bytearray = b"") -> None:
        try:
            send(self._connection, head, body)
        except OSError:
            raise MechanismError("acceptor", "the acceptor is gone") from None

    def _receive(self, ready: bool = True) -> bytearray:
        if not ready:
            return bytearray()
        try:
            return bytearray(self._inbox.receive(self._connection))
        except OSError:
            return bytearray()
        finally:
            self._inbox.wipe()


class RemoteSASL(Mechanism):
    """Steps go to the acceptor; the layer, once it stands, is here.

    It may be a stranger's: whatever it raises or gives that is no bytes becomes a MechanismError with the
    mechanism's name, and the kind of the exception.
    """

    def __init__(self, acceptance: Acceptance, pair: Pair) -> None:
        self._acceptance, self._pair = acceptance, pair
        self._layer: Mechanism | None = None

    def bind(self, binding: bytes) -> None:
        self._acceptance.ask(BIND + binding)

    def step(self, token: bytes) -> bytes:
        reply = self._acceptance.ask(STEP, token)
        if reply[:1] == b"\x01":
            self._complete()
        return bytes(reply[1:])

    def _complete(self) -> None:
        """Who the peer is, and the layer that goes on here. The acceptor says of the credential no more than
        its type, by its place in `provides`."""
        exported = self._acceptance.ask(EXPORT)
        given, types = int.from_bytes(exported[:1], "big"), self._pair.provides
        if given > len(types):
            raise MechanismError("acceptor", "a credential of a type that the mechanism does not declare")
        try:
            self.peer = self._go_on(bytes(exported[1:]))
        finally:
            wipe(exported)
        self.credential = Credential(types[given - 1], self.peer) if given else None
        self.complete = True

    def _go_on(self, exported: bytes) -> str:
        if self._pair.resume is None:
            return _text(exported)
        try:
            self._layer = self._pair.resume(exported)
            known = self._layer.layer in self._pair.layers and self._layer.plain_max > 0
            self.layer, self.plain_max = self._layer.layer, self._layer.plain_max
        except MechanismError:
            raise
        except BaseException as error:  # of a mechanism that is not ours: its peer is told that it failed
            raise MechanismError("failed", type(error).__name__) from None
        if not known:
            raise MechanismError("layer", "a layer that the mechanism does not declare")
        return self._layer.peer

    def wrap(self, data: bytes) -> bytes:
        return super().wrap(data) if self._layer is None else bytes(self._by_layer(self._layer.wrap, data))

    def unwrap(self, data: bytes) -> bytes | bytearray:
        return super().unwrap(data) if self._layer is None else self._by_layer(self._layer.unwrap, data)

    def _by_layer(self, work: Callable[[bytes], Any], data: bytes) -> bytes | bytearray:
        try:
            found = work(data)
        except MechanismError:
            raise
        except BaseException as error:
            raise MechanismError("failed", f"{self._pair.name}: {type(error).__name__}") from None
        if not isinstance(found, bytes | bytearray):
            raise MechanismError("failed", f"{self._pair.name}: it gave no bytes")
        return found

    def dispose(self) -> None:
        """Wipe what is here. A layer that fails now only gets a line in the log: the session is over."""
        super().dispose()
        layer, self._layer = self._layer, None
        try:
            if layer is not None:
                layer.dispose()
        except BaseException as error:
            self._acceptance.note("mechanism-failed", type(error).__name__, mechanism=self._pair.name)


class RemoteCredential(Mechanism):
    """The blob goes to the acceptor whole, and without a copy here; only the principal comes back."""

    def __init__(self, acceptance: Acceptance, type: str) -> None:
        self._acceptance, self._type = acceptance, type

    def step(self, token: bytes | bytearray) -> bytes:
        principal = self._acceptance.ask(CREDENTIAL + self._type.encode() + b"\0", token)
        self.credential = Credential(self._type, _text(principal))
        self.complete = True
        return b""


def _text(principal: bytes | bytearray) -> str:
    try:
        return principal.decode()
    except UnicodeDecodeError:
        raise MechanismError("acceptor", "a principal that is no text") from None
