"""The acceptor process: it holds the keytab and says who was authenticated; it never sees the port.

One PeerSession a child. The child passes tokens and blobs; what was authenticated, and which ticket
came along, stays here and goes to the agent as a sealed file without a name.
"""

import fcntl
import hmac
import os
import selectors
import socket
from collections.abc import Callable

from sso.errors import ConfigError, MechanismError, RemoteProtocolError
from sso.guest import notify, records
from sso.guest.records import Kind, Received
from sso.guest.stand_in import BIND, CREDENTIAL, EXPORT, JUDGE, MAKE, NO, PACKET_MAX, STEP, VERDICT, YES
from sso.mech import Mechanism, Pair

Make = Callable[[str, bool], Mechanism]
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def _silent(id: str, text: str) -> None:
    """The log of a test that wants none."""


class PeerSession:
    """What one child has shown so far, and at most one claim of it.

    `make(name, in_tls)` gives the accepting half of a SASL mechanism, `load(type)` the pair of a
    credential type. Whatever a child sends, the answer is a reply packet or None for "end it".
    """

    def __init__(
        self, id: int, make: Make, load: Callable[[str], Pair], log: Callable[[str, str], None] = _silent
    ) -> None:
        self.id = id
        self._log = log
        self.attempt = bytes(16)
        self.judged = False
        self._make, self._load = make, load
        self._mechanism: Mechanism | None = None
        self._claim: Mechanism | None = None

    def reply(self, packet: bytes) -> bytes | None:
        """The reply to one packet; None ends the session, b"" answers later (a claim to judge)."""
        handler = {
            MAKE: self._on_make,
            BIND: self._on_bind,
            STEP: self._on_step,
            EXPORT: self._on_export,
            CREDENTIAL: self._on_credential,
            JUDGE: self._on_judge,
        }.get(packet[:1])
        if handler is None or self.judged:
            return None
        try:
            return handler(packet[1:])
        except (MechanismError, ConfigError) as error:
            cause = error.cause if isinstance(error, MechanismError) else "config"
            return NO + cause.encode() + b"\0" + str(error).encode()[:200]
        except Exception as error:  # a defect of one mechanism ends one session, not the process
            self._log("mechanism-failed", type(error).__name__)
            return None

    def _on_make(self, payload: bytes) -> bytes | None:
        if self._mechanism is not None or not payload:
            return None
        self._mechanism = self._make(payload[1:].decode("ascii", "replace"), payload[0] == 1)
        return YES

    def _on_bind(self, payload: bytes) -> bytes | None:
        if self._mechanism is None:
            return None
        self._mechanism.bind(payload)
        return YES

    def _on_step(self, payload: bytes) -> bytes | None:
        if self._mechanism is None or self._mechanism.complete:
            return None
        token = bytes(self._mechanism.step(payload))
        if self._mechanism.complete:
            self._claim = self._mechanism
        return YES + bytes([self._mechanism.complete]) + token

    def _on_export(self, payload: bytes) -> bytes | None:
        if self._mechanism is None or not self._mechanism.complete:
            return None
        return YES + bytes([self._mechanism.credential is not None]) + self._mechanism.export()

    def _on_credential(self, payload: bytes) -> bytes | None:
        type, _, blob = payload.partition(b"\0")
        authenticated = (
            self._mechanism.peer if self._mechanism is not None and self._claim is not None else ""
        )
        pair = self._load(type.decode("ascii", "replace"))
        # A password names its own user, so it never follows an authentication that named another.
        if pair.kind != "credential" or (pair.name == "password") == bool(authenticated):
            return None
        half = pair.accept(**({} if pair.name == "password" else {"principal": authenticated}))
        half.step(blob)
        if half.credential is None:
            return None
        half.peer = half.credential.principal
        self._claim = half
        return YES + half.peer.encode()

    def _on_judge(self, payload: bytes) -> bytes | None:
        if self._claim is None or len(payload) != len(self.attempt):
            return None
        self.attempt, self.judged = payload, True
        return b""

    def claim(self, key: bytes) -> tuple[records.Authenticated, int | None]:
        """What the agent is told, and the sealed file with the secret (None without one)."""
        claim = self._claim
        if claim is None:
            raise MechanismError("no-claim")
        credential = claim.credential
        kind, secret, digest = Kind.IDENTITY, None, bytes(32)
        if credential is not None and credential.secret is not None:
            kind = Kind.PASSWORD if credential.type == "password" else Kind.KERBEROS
            secret = _sealed(credential.secret)
            if kind is Kind.PASSWORD:
                digest = _digest(key, claim.peer, credential.secret)
        expires = credential.expires if credential is not None else 0
        record = records.Authenticated(self.id, self.attempt, kind, claim.peer, digest, expires)
        self.dispose()
        return record, secret

    def dispose(self) -> None:
        for mechanism in (self._mechanism, self._claim):
            if mechanism is not None:
                mechanism.dispose()
        self._mechanism = self._claim = None


class Acceptor:
    """The loop: children on one side, the agent on the other."""

    def __init__(
        self,
        agent: socket.socket,
        channel: socket.socket,
        make: Make,
        load: Callable[[str], Pair],
        log: Callable[[str, str], None] = _silent,
    ) -> None:
        self._agent, self._channel, self._make, self._load = agent, channel, make, load
        self._log = log
        self._sessions: dict[int, tuple[socket.socket, PeerSession]] = {}
        self._key = os.urandom(32)
        self._selector = selectors.DefaultSelector()
        self._selector.register(agent, selectors.EVENT_READ, self._on_outcome)
        self._selector.register(channel, selectors.EVENT_READ, self._on_child)
        self._running = True

    def run(self) -> None:
        """Serve until the agent or the channel process is gone; nothing of any session is left then."""
        try:
            while self._running:
                notify.alive()
                for key, _ in self._selector.select(notify.watchdog()):
                    key.data()
        finally:
            for id in list(self._sessions):
                self._drop(id)
            self._selector.close()

    def _on_child(self) -> None:
        received = self._receive(self._channel, records.Child)
        if received is None:
            return
        record, (fd,) = received
        connection = socket.socket(fileno=fd)
        session = PeerSession(record.id, self._make, self._load, self._log)
        self._sessions[record.id] = connection, session
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._on_packet(record.id))

    def _receive(self, link: socket.socket, kind: type[Received]) -> tuple[Received, list[int]] | None:
        """A record of another process; None, and the end of the loop, when it is gone or talks nonsense."""
        received = None
        try:
            received = records.receive(link, kind)
        except RemoteProtocolError as error:
            self._log("record-malformed", str(error))
        self._running = self._running and received is not None
        return received

    def _on_packet(self, id: int) -> None:
        connection, session = self._sessions[id]
        try:
            packet = connection.recv(PACKET_MAX + 1)
        except OSError:
            packet = b""
        reply = session.reply(packet) if 0 < len(packet) <= PACKET_MAX else None
        if reply is None:
            self._drop(id)
        elif reply:
            self._send(id, reply)
        else:
            self._submit(session)

    def _submit(self, session: PeerSession) -> None:
        record, secret = session.claim(self._key)
        try:
            records.send(self._agent, record, [] if secret is None else [secret])
        finally:
            if secret is not None:
                os.close(secret)

    def _on_outcome(self) -> None:
        received = self._receive(self._agent, records.Outcome)
        if received is None:
            return
        record, _ = received
        if record.id in self._sessions:
            self._send(record.id, VERDICT + record.code.to_bytes(4, "big"))

    def _send(self, id: int, packet: bytes) -> None:
        try:
            self._sessions[id][0].send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            self._drop(id)

    def _drop(self, id: int) -> None:
        connection, session = self._sessions.pop(id)
        self._selector.unregister(connection)
        connection.close()
        session.dispose()


def _digest(key: bytes, user: str, secret: bytearray) -> bytes:
    """By which the agent knows a password that has failed, and nobody without the key can guess it."""
    mac = hmac.new(key, user.encode() + b"\0", "sha256")
    mac.update(secret)
    return mac.digest()


def _sealed(secret: bytearray) -> int:
    """A file without a name that holds the secret and cannot be changed any more (memfd_create(2))."""
    fd = os.memfd_create("credential", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, secret)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd
