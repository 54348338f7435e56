"""One peer session in the acceptor process: a forked worker that sees its secrets, and ends with it.

Whatever the libraries keep of a password or a ticket goes with the worker. It inherits what the acceptor has
prepared, and has one descriptor, an end of a pair to the acceptor: from there it gets its child's socket
(CHILD), and there it may say one AUTHENTICATED.
"""

import fcntl
import hmac
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sso.errors import ConfigError, MechanismError
from sso.framing import wipe
from sso.guest import records
from sso.guest.fields import fits
from sso.guest.packets import BIND, CREDENTIAL, EXPORT, JUDGE, MAKE, NO, STEP, YES, Inbox, send
from sso.guest.records import PRINCIPAL_SIZE, SECRET_MAX, Kind
from sso.mech import NO_LAYER, PASSWORD, TICKET, TOKEN_MAX, Mechanism, Pair

Make = Callable[[str, bool], Mechanism]
Load = Callable[[str], Pair]
TYPE_MAX = 64  # bytes of a credential type's name
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
OVER, CLAIMED = b"over", b"claimed"
ANSWER_TIME = 4.0  # seconds for one packet, less than a child waits: the kernel kills a worker that is later
KINDS = {TICKET: Kind.KERBEROS, PASSWORD: Kind.PASSWORD}  # by what a Pair `gives`


class PeerSession:
    """What one child has shown so far, and at most one claim of it.

    `make(name, in_tls)` gives the accepting half of a SASL mechanism, `load(name)` the pair of a mechanism or
    credential type, whose `accept` has its settings. Whatever a child sends, the answer is a reply packet or
    None for "end it"; `failure` has the kind of a defect that ended it, and the mechanism's name.
    """

    def __init__(self, id: int, make: Make, load: Load) -> None:
        self.id = id
        self.attempt = bytes(16)
        self.judged = False
        self.failure = ""
        self._make, self._load = make, load
        self._named = ""  # the mechanism or type that runs
        self._mechanism: Mechanism | None = None
        self._pair: Pair | None = None  # of the mechanism
        self._claim: tuple[Pair, Mechanism] | None = None

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
        except BaseException as error:  # a defect of one mechanism ends one session
            self.fail(error)
            return None

    def fail(self, error: BaseException) -> None:
        """Keep what is said of a defect: the kind of the exception, never its words."""
        self.failure = f"{type(error).__name__} {self._named}".rstrip()

    def _on_make(self, payload: memoryview) -> bytes | None:
        if self._mechanism is not None or not payload:
            return None
        name = bytes(payload[1:]).decode("ascii", "replace")
        with _refused_at_once():
            pair, mechanism = self._load(name), self._make(name, payload[0] == 1)
        if not isinstance(mechanism, Mechanism):
            raise MechanismError("failed", "what it makes is no Mechanism")
        self._pair, self._mechanism, self._named = pair, mechanism, name
        return YES

    def _on_bind(self, payload: memoryview) -> bytes | None:
        mechanism, pair = self._mechanism, self._pair
        if mechanism is None:
            return None
        self._mechanism = self._pair = None  # until it is bound another may still take its place
        with _refused_at_once():
            mechanism.bind(bytes(payload))
        self._mechanism, self._pair = mechanism, pair
        return YES

    def _on_step(self, payload: memoryview) -> bytes | None:
        mechanism, pair = self._mechanism, self._pair
        if mechanism is None or pair is None or mechanism.complete:
            return None
        token = _capped(mechanism.step(bytes(payload)))
        complete = bool(mechanism.complete)
        if complete:
            _check(pair, mechanism)
            self._claim = pair, mechanism
        return YES + bytes([complete]) + token

    def _on_export(self, payload: memoryview) -> bytes | None:
        mechanism, pair = self._mechanism, self._pair
        if mechanism is None or pair is None or not mechanism.complete:
            return None
        given = 0 if mechanism.credential is None else 1 + pair.provides.index(mechanism.credential.type)
        if pair.resume is not None:
            return YES + bytes([given]) + _capped(mechanism.export())
        if mechanism.layer != NO_LAYER:
            raise MechanismError("not-exportable", "it has a layer, and nothing that goes on with it")
        return YES + bytes([given]) + mechanism.peer.encode()

    def _on_credential(self, payload: memoryview) -> bytes | None:
        end = next((at for at, octet in enumerate(payload[:TYPE_MAX]) if octet == 0), len(payload))
        before = self._claim
        name = bytes(payload[: min(end, TYPE_MAX)]).decode("ascii", "replace")
        pair = self._load(name)
        self._named = name  # now that it is one: the child may have said anything
        if pair.kind != "credential":
            return None
        # A credential that proves its own user never follows an authentication, which may have named another
        # user. Any other credential needs an authenticated name of its own namespace.
        if before is not None and (pair.alone or pair.names != before[0].names or not before[1].peer):
            return None
        if before is None and not pair.alone:
            return None
        half = pair.accept(**({} if before is None else {"principal": before[1].peer}))
        blob = bytearray(payload[end + 1 :])
        try:
            half.step(blob)  # type: ignore[arg-type]  # a bytearray, so that it can be wiped
        finally:
            wipe(blob)
        if half.credential is None:
            return None
        half.peer = half.credential.principal
        _check(pair, half)
        if before is not None and half.peer != before[1].peer:
            raise MechanismError("principal", "the credential belongs to another one")
        self._claim = pair, half
        return YES + half.peer.encode()

    def _on_judge(self, payload: memoryview) -> bytes | None:
        if self._claim is None or len(payload) != len(self.attempt):
            return None
        self.attempt, self.judged = bytes(payload), True
        return b""

    def claim(self, key: bytes) -> tuple[records.Authenticated, int | None]:
        """What the agent is told, and the sealed file with the secret (None without one)."""
        if self._claim is None:
            raise MechanismError("no-claim")
        pair, half = self._claim
        credential = half.credential
        kind, secret, digest, expires = Kind.IDENTITY, None, bytes(32), 0
        if credential is not None:
            expires = credential.expires
            if credential.secret is not None and pair.gives in KINDS:
                kind, secret = KINDS[pair.gives], _sealed(credential.secret)
                if kind is Kind.PASSWORD:
                    digest = _digest(key, half.peer, credential.secret)
        record = records.Authenticated(
            self.id, self.attempt, kind, half.peer, digest, expires, pair.name, pair.names
        )
        self.dispose()
        return record, secret

    def dispose(self) -> None:
        for mechanism in (self._mechanism, self._claim[1] if self._claim is not None else None):
            if mechanism is not None:
                mechanism.dispose()
        self._mechanism = self._pair = self._claim = None


@contextmanager
def _refused_at_once() -> Iterator[None]:
    """Make any defect a MechanismError: no token of the peer has come yet, so others may still be tried."""
    try:
        yield
    except (MechanismError, ConfigError):
        raise
    except BaseException as error:
        raise MechanismError("failed", type(error).__name__) from None


def _capped(octets: object) -> bytes:
    """A token or an exported layer as it may go on; MechanismError("too-long") for more than TOKEN_MAX."""
    if not isinstance(octets, bytes | bytearray | memoryview):
        raise TypeError("bytes were due")
    if len(octets) > TOKEN_MAX:
        raise MechanismError("too-long", f"{len(octets)} bytes, and {TOKEN_MAX} are the most")
    return bytes(octets)


def _check(pair: Pair, half: Mechanism) -> None:
    """What a mechanism has to hold to when it is complete: its caps, and the types that it declares."""
    if not isinstance(half.peer, str) or not fits(half.peer, PRINCIPAL_SIZE):
        raise MechanismError("principal", f"{pair.name} names nobody in fewer than {PRINCIPAL_SIZE} bytes")
    credential = half.credential
    if credential is None:
        return
    if not isinstance(credential.secret, bytearray | None) or not isinstance(credential.expires, int):
        raise MechanismError("credential", f"{pair.name} gave a credential that is none")
    if credential.type not in pair.provides:
        raise MechanismError(
            "credential", f"{pair.name} gave a credential of a type that it does not declare"
        )
    if credential.principal != half.peer:
        raise MechanismError("credential", f"{pair.name} gave a credential of another one")
    if credential.secret is not None and len(credential.secret) > SECRET_MAX:
        raise MechanismError("too-long", f"{pair.name} gave a credential that is too long")


def serve(acceptor: socket.socket, make: Make, load: Load, key: bytes) -> bytes:
    """What a worker does: wait for CHILD, answer that child until it asks to judge, and say AUTHENTICATED.

    The result is CLAIMED, OVER when there is nothing to claim, or what PeerSession.fail keeps of a defect.
    """
    rehearse(make, load)
    received = records.receive(acceptor, records.Child)
    if received is None:
        return OVER
    record, (fd,) = received
    child = socket.socket(fileno=fd)
    child.setblocking(True)
    session = PeerSession(record.id, make, load)
    try:
        return _answer(session, child, acceptor, key)
    except BaseException as error:  # of what a mechanism left in its claim, or of its error
        session.fail(error)
        return session.failure.encode()


def rehearse(make: Make, load: Load) -> None:
    """Go through a session that fails, because everything is slow the first time.

    In the acceptor the libraries initialise themselves; in a worker the kernel brings its memory pages.
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
            packet = inbox.receive(child)
            with _deadline():
                reply = session.reply(packet)
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
    with _deadline():
        claim, secret = session.claim(key)
    records.send(acceptor, claim, [] if secret is None else [secret])
    return CLAIMED


@contextmanager
def _deadline() -> Iterator[None]:
    """Give what runs ANSWER_TIME; then the kernel ends this worker, in whatever library it hangs.

    The step before may have had alarms of its own. Where a mechanism ignores this one and hangs, the child
    hangs up a moment later, for which the acceptor kills the worker.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, ANSWER_TIME)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _digest(key: bytes, user: str, secret: bytearray) -> bytes:
    """Return the keyed digest by which the agent recognises a password that has failed."""
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
    """Whether a descriptor is such a sealed file: nobody can change it, and reading it never blocks."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
    except OSError:
        return False
