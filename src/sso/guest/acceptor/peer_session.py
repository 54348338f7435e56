"""One peer session in the acceptor process: a forked worker that sees its secrets, and ends with it.

Whatever the libraries keep of a password or a ticket goes with the worker. It inherits what the acceptor has
prepared, and has one descriptor, an end of a pair to the acceptor: from there it gets its child's socket
(CHILD), and there it may say one AUTHENTICATED.
"""

import fcntl
import hmac
import os
import socket
from collections.abc import Callable

from sso.errors import ConfigError, MechanismError
from sso.framing import wipe
from sso.guest import records
from sso.guest.packets import BIND, CREDENTIAL, EXPORT, JUDGE, MAKE, NO, STEP, YES, Inbox, send
from sso.guest.records import Kind
from sso.mech import Mechanism, Pair

Make = Callable[[str, bool], Mechanism]
Load = Callable[[str], Pair]
TYPE_MAX = 64  # octets of a credential type's name
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
OVER, CLAIMED = b"over", b"claimed"


class PeerSession:
    """What one child has shown so far, and at most one claim of it.

    `make(name, in_tls)` gives the accepting half of a SASL mechanism, `load(type)` the pair of a
    credential type. Whatever a child sends, the answer is a reply packet or None for "end it"; `failure`
    names the kind of a defect that ended it.
    """

    def __init__(self, id: int, make: Make, load: Load) -> None:
        self.id = id
        self.attempt = bytes(16)
        self.judged = False
        self.failure = ""
        self._make, self._load = make, load
        self._mechanism: Mechanism | None = None
        self._claim: Mechanism | None = None

    def reply(self, packet: bytes | memoryview) -> bytes | None:
        """The reply to one packet; None ends the session, b"" answers later (a claim to judge)."""
        view = memoryview(packet)
        handler = {
            MAKE: self._on_make,
            BIND: self._on_bind,
            STEP: self._on_step,
            EXPORT: self._on_export,
            CREDENTIAL: self._on_credential,
            JUDGE: self._on_judge,
        }.get(bytes(view[:1]))
        if handler is None or self.judged:
            return None
        try:
            return handler(view[1:])
        except (MechanismError, ConfigError) as error:
            cause = error.cause if isinstance(error, MechanismError) else "config"
            return NO + cause.encode() + b"\0" + str(error).encode(errors="replace")[:200]
        except Exception as error:  # a defect of one mechanism ends one session
            self.failure = type(error).__name__
            return None

    def _on_make(self, payload: memoryview) -> bytes | None:
        if self._mechanism is not None or not payload:
            return None
        self._mechanism = self._make(bytes(payload[1:]).decode("ascii", "replace"), payload[0] == 1)
        return YES

    def _on_bind(self, payload: memoryview) -> bytes | None:
        if self._mechanism is None:
            return None
        self._mechanism.bind(bytes(payload))
        return YES

    def _on_step(self, payload: memoryview) -> bytes | None:
        if self._mechanism is None or self._mechanism.complete:
            return None
        token = bytes(self._mechanism.step(bytes(payload)))
        if self._mechanism.complete:
            self._claim = self._mechanism
        return YES + bytes([self._mechanism.complete]) + token

    def _on_export(self, payload: memoryview) -> bytes | None:
        if self._mechanism is None or not self._mechanism.complete:
            return None
        return YES + bytes([self._mechanism.credential is not None]) + self._mechanism.export()

    def _on_credential(self, payload: memoryview) -> bytes | None:
        end = next((at for at, octet in enumerate(payload[:TYPE_MAX]) if octet == 0), len(payload))
        authenticated = (
            self._mechanism.peer if self._mechanism is not None and self._claim is not None else ""
        )
        pair = self._load(bytes(payload[: min(end, TYPE_MAX)]).decode("ascii", "replace"))
        # A password names its own user, so it never follows an authentication that named another.
        if pair.kind != "credential" or (pair.name == "password") == bool(authenticated):
            return None
        half = pair.accept(**({} if pair.name == "password" else {"principal": authenticated}))
        blob = bytearray(payload[end + 1 :])
        try:
            half.step(blob)  # type: ignore[arg-type]  # a bytearray, so that it can be wiped
        finally:
            wipe(blob)
        if half.credential is None:
            return None
        half.peer = half.credential.principal
        self._claim = half
        return YES + half.peer.encode()

    def _on_judge(self, payload: memoryview) -> bytes | None:
        if self._claim is None or len(payload) != len(self.attempt):
            return None
        self.attempt, self.judged = bytes(payload), True
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


def serve(acceptor: socket.socket, make: Make, load: Load, key: bytes) -> bytes:
    """What a worker does: wait for CHILD, answer that child until it asks to judge, and say AUTHENTICATED.

    The result is CLAIMED, OVER when there is nothing to claim, or the name of a defect's kind.
    """
    rehearse(make, load)
    received = records.receive(acceptor, records.Child)
    if received is None:
        return OVER
    record, (fd,) = received
    child = socket.socket(fileno=fd)
    child.setblocking(True)
    return _answer(PeerSession(record.id, make, load), child, acceptor, key)


def rehearse(make: Make, load: Load) -> None:
    """Go through a session that fails: a process is slow where it comes for the first time.

    In the acceptor it begins what libraries begin once, in a worker it brings the pages that it will need.
    """
    session = PeerSession(0, make, load)
    for packet in (MAKE + b"\1GSSAPI", BIND + b"binding", STEP + b"token"):
        session.reply(packet)
    session.dispose()
    hmac.digest(b"key", b"password", "sha256")


def _answer(session: PeerSession, child: socket.socket, acceptor: socket.socket, key: bytes) -> bytes:
    inbox = Inbox()
    while True:
        try:
            reply = session.reply(inbox.receive(child))
            if reply:
                send(child, reply[:1], memoryview(reply)[1:], socket.MSG_DONTWAIT)
        except OSError:
            reply = None  # the child is gone, or takes nothing more
        finally:
            inbox.wipe()
        if reply is None:
            return session.failure.encode() or OVER
        if not reply:
            break
    claim, secret = session.claim(key)
    records.send(acceptor, claim, [] if secret is None else [secret])
    return CLAIMED


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


def is_sealed(fd: int) -> bool:
    """Whether a descriptor is such a file: one that nobody can change, nor have read slowly."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
    except OSError:
        return False
