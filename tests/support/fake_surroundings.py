"""What an agent has around it, as a test sets it: login screen, seat, PAM, and who is which user."""

import os
from collections.abc import Callable

from sso.daemon.forked import Forked
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor
from sso.guest.agent.account import Checked
from sso.guest.agent.mapping import Mapped
from sso.guest.agent.pam_socket import Peers
from sso.guest.agent.rules import Eligibility
from sso.guest.records import Who
from sso.guest.seat.bus import Bus
from sso.guest.seat.logind import Found, Seat, Seated


class FakeDriver:
    """A login screen that remembers what it was told."""

    service, place = "login", "tty1"
    retry = 0.0

    def __init__(self, token: bool = False, unlocks: bool = False) -> None:
        self.calls: list[str] = []
        self.tokens: list[str] = []
        self.token, self.unlocks = token, unlocks
        self.is_ready = True
        self.changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def ready(self, user: str) -> bool:
        return self.is_ready

    def trigger(self, user: str, token: str) -> bool:
        self.calls.append(f"trigger {user}")
        self.tokens.append(token)
        return True

    def settled(self) -> None:
        self.calls.append("settled")

    failed = settled

    def cancel(self) -> None:
        self.calls.append("cancel")

    def lock(self, session: Seated) -> bool:
        return False

    def is_locked(self, session: Seated) -> bool:
        return session.locked

    def close(self) -> None:
        self.calls.append("close")


class FakeSeat(Seat):
    """A seat that a test sets, beside the real one of test_logind.py; it remembers what it was told."""

    def __init__(self, reactor: Reactor) -> None:
        super().__init__(reactor, Bus(reactor, "unix:path=/nonexistent"))
        self.calls: list[str] = []
        self.found = Found(True)
        self.obeys = True

    def hint(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            self._reactor.after(0.0, lambda done=done: done(self.found))  # type: ignore[misc]
        for changed in self._watchers:
            self._reactor.after(0.0, changed)

    def put(self, *users: Seated, active: Seated | None = None) -> None:
        """Set the sessions of the seat."""
        self.found = Found(True, active or next(iter(users), None), users)
        self.hint()

    def lock(self, session: str) -> None:
        self.calls.append(f"lock {session}")
        if self.obeys:
            self._set(session, True)

    def unlock(self, session: str) -> None:
        self.calls.append(f"unlock {session}")
        if self.obeys:
            self._set(session, False)

    def terminate(self, session: str) -> None:
        self.calls.append(f"terminate {session}")
        self.put(*(user for user in self.found.users if user.id != session))

    def _set(self, session: str, locked: bool) -> None:
        self.put(*(user._replace(locked=locked) if user.id == session else user for user in self.found.users))


class FakeChecker:
    """PAM without a login screen, as a test wants it."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.calls: list[str] = []
        self.answer = Checked.GOOD
        self.until = -1  # a pipe: PAM's modules take their time until something can be read

    def account(self, service: str, user: str, tty: str, done: Callable[[Checked], None]) -> Forked:
        self.calls.append(f"account {service} {user}")
        return self._work(done)

    def password(self, service: str, user: str, secret: int, done: Callable[[Checked], None]) -> Forked:
        self.calls.append(f"password {service} {user}")
        return self._work(done)

    def _work(self, done: Callable[[Checked], None]) -> Forked:
        keep = [self.until] if self.until >= 0 else []

        def work() -> bytes:
            return os.read(self.until, 1) if keep else b""

        return Forked(self._reactor, work, lambda _: done(self.answer), 500.0, keep)


class OwnPeers(Peers):
    """Accept our own uid as root, so that tests need no root; other users are refused as usual."""

    def refusal(self, peer: Peer, unlocking: int) -> str:
        return super().refusal(peer._replace(uid=0) if peer.uid == os.geteuid() else peer, unlocking)


class FakeMapper:
    """Maps alice@REALM to alice at once, by a real worker, so that descriptors are counted too."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.uids = {"alice": 4001, "bob": 4002}
        self.finding: Eligibility | None = None
        self.store = ""

    def ask(self, who: Who, done: Callable[[Mapped], None]) -> Forked:
        name = who.principal.partition("@")[0]
        known = name in self.uids
        finding = self.finding or (Eligibility.GOOD if known else Eligibility.NO_USER)
        answer = Mapped(finding, self.uids.get(name, 0), name, self.store)
        return Forked(self._reactor, answer.pack, lambda data: done(Mapped.unpack(data)), 5.0)
