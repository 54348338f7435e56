"""The second PAM socket: lockers that run as the user ask here, and get a verdict, never a secret.

pam_sso in the locker's service is told to use it by `socket=`. Everybody may connect; the kernel says who
it is, and the answer is yes only for the user whom an authentication of the console's client has just named.

Nobody may send descriptors: closing a stranger's file can take as long as its owner likes (a lingering
socket, a file system of the owner's), also if it is never received. Linux can refuse them since 6.16.
"""

import socket
from collections.abc import Callable

from sso.daemon.listener import Listener
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor, Timer
from sso.errors import RemoteProtocolError
from sso.guest import records
from sso.guest.agent.pam_records import Operation, Reply, Request
from sso.guest.log import note
from sso.guest.records import Kind
from sso.guest.refusals import Refusals

CONNECTIONS_MAX = 32
OF_ONE_UID_MAX = 4  # so that no user keeps another one out
ASK_SECONDS = 2.0  # to ask after connecting

Verdict = Callable[[int, str, str], bool]  # uid, user, service


class _Locker:
    """One connection."""

    def __init__(self, link: socket.socket, peer: Peer, timer: Timer) -> None:
        self.link, self.peer, self.timer = link, peer, timer
        self.yes: Reply | None = None  # what it was answered with


class LockerServer:
    """Listens at `path` for everybody; `verdict` decides, and each yes is said once."""

    def __init__(self, path: str, reactor: Reactor, verdict: Verdict) -> None:
        self._reactor, self._verdict = reactor, verdict
        self._lockers: dict[_Locker, None] = {}  # the oldest first
        self._refusals = Refusals("verdict-refused", reactor.clock)
        self._listener = Listener(
            path,
            reactor,
            self._let_in,
            why_not=self._why_not,
            refused=lambda peer, why: self._refusals.note(peer),
            most=CONNECTIONS_MAX,
            of_one_uid=OF_ONE_UID_MAX,
            mode=0o666,
            descriptors=False,
        )

    def __len__(self) -> int:
        return len(self._lockers)

    def close(self) -> None:
        """Hang up on everybody, and give the socket back."""
        self._listener.close()
        for locker in list(self._lockers):
            self._drop(locker)

    def revoke(self) -> None:
        """Hang up on those who got a yes: PAM may still be at work there, and asks before each step."""
        for locker in [locker for locker in self._lockers if locker.yes is not None]:
            self._drop(locker)

    def _why_not(self, peer: Peer) -> str:
        """Make room for one more: the oldest silent one goes for it, since one user may have many uids."""
        if peer.uid == 0:
            return "root"  # who has the other socket, which asks for more
        silent = next((locker for locker in self._lockers if locker.yes is None), None)
        if len(self) >= CONNECTIONS_MAX and silent is not None:
            self._drop(silent)
        return ""

    def _let_in(self, link: socket.socket, peer: Peer) -> None:
        locker = _Locker(link, peer, self._reactor.after(ASK_SECONDS, lambda: self._drop(locker)))
        self._lockers[locker] = None
        self._reactor.readable(link.fileno(), lambda: self._on_packet(locker))

    def _on_packet(self, locker: _Locker) -> None:
        try:
            received = records.receive(locker.link, Request)
        except BlockingIOError:
            return
        except RemoteProtocolError:
            received = None
        if received is None:
            self._drop(locker)
        elif locker.yes is None:
            self._answer(locker, received[0])
        else:
            self._follow(locker, received[0])

    def _answer(self, locker: _Locker, request: Request) -> None:
        get = request.operation is Operation.GET
        if get and request.user and self._verdict(locker.peer.uid, request.user, request.service):
            note("verdict-given", user=request.user, service=request.service)
            # From here on nothing hurries the user: PAM may ask for a new password.
            locker.timer.cancel()
            locker.yes = Reply(Kind.IDENTITY, 0, request.user)
            records.send(locker.link, locker.yes)
            return
        records.send(locker.link, Reply())
        self._refusals.note(locker.peer)
        self._drop(locker)

    def _follow(self, locker: _Locker, request: Request) -> None:
        """The module asks before each step, as at the other socket; a locker opens no session."""
        yes = locker.yes
        good = yes is not None and request.user == yes.user
        good = good and request.operation in (Operation.HELD, Operation.ESTABLISHED)
        if yes is None or not good or not records.send(locker.link, yes):
            self._drop(locker)

    def _drop(self, locker: _Locker) -> None:
        locker.timer.cancel()
        if locker in self._lockers:
            del self._lockers[locker]
            self._reactor.forget(locker.link.fileno())
            locker.link.close()
