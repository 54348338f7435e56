"""The agent: the root part of the guest, one loop over fixed-size records, timers and the login screen.

It reads no octet of a peer, holds no key and no secret (only descriptors of them), and waits for nobody:
what may block runs in forked processes with a deadline.
"""

import socket
from collections.abc import Callable

from sso.errors import RemoteProtocolError
from sso.guest import journal, login, records
from sso.guest.account import Rules
from sso.guest.attempts import Attempts
from sso.guest.config import GuestConfig
from sso.guest.confine import confine
from sso.guest.journal import note
from sso.guest.judge import Judge, Mapping
from sso.guest.login import LoginDriver
from sso.guest.mapping import Mapper
from sso.guest.pam import Connection, PamServer, Peers
from sso.guest.reactor import Reactor
from sso.guest.records import Authenticated, Begin, Confirm, End, Outcome


class Agent:
    """All parts of the agent on one reactor. `driver`, `mapper`, `peers`, `attempts` are for tests."""

    def __init__(
        self,
        config: GuestConfig,
        channel: socket.socket,
        acceptor: socket.socket,
        reactor: Reactor,
        *,
        driver: LoginDriver | None = None,
        mapper: Mapping | None = None,
        peers: Peers | None = None,
        attempts: Attempts | None = None,
    ) -> None:
        self._channel, self._acceptor, self._reactor = channel, acceptor, reactor
        self._driver = driver or login.load(config.login)(config, reactor)
        self.judge = Judge(
            reactor,
            self._driver,
            mapper or Mapper(reactor, Rules(config.min_uid, config.allowed_groups)),
            self._outcome,
            self._withdraw,
            attempts or Attempts(reactor.clock),
            accept_identity=config.accept_identity,
            grant_seconds=config.grant_seconds,
        )
        refusal = (peers or Peers(config.login_cgroup)).refusal
        self.pam = PamServer(config.pam_socket, reactor, self.judge, refusal)
        self._driver.start(self.judge.screen_changed)
        for link, callback in ((channel, self._on_channel), (acceptor, self._on_acceptor)):
            link.setblocking(False)
            reactor.watch(link.fileno(), callback)

    def close(self) -> None:
        """Revoke all grants, hang up on everybody, remove the sockets."""
        self.judge.close()
        self._driver.close()
        self.pam.close()
        for link in (self._channel, self._acceptor):
            self._reactor.forget(link.fileno())
            link.close()

    # Records

    def _on_channel(self) -> None:
        self._drain(self._take_channel)

    def _on_acceptor(self) -> None:
        # A session's BEGIN was sent before anything of it, and its END may wait there too.
        self._on_channel()
        self._drain(self._take_acceptor)

    def _drain(self, take: Callable[[], bool]) -> None:
        """Take records until none is left; a process that is gone or broken is the end of all three."""
        try:
            while take():
                pass
            self._reactor.stop()
        except BlockingIOError:
            pass
        except RemoteProtocolError as error:
            note("record-malformed", reason=error)
            self._reactor.stop()

    def _take_channel(self) -> bool:
        received = records.receive(self._channel, Begin, End)
        if received is None:
            return False
        record, _ = received
        if isinstance(record, Begin):
            self.judge.begin(record.id)
            return True
        self.judge.end(record.id)
        return records.send(self._channel, Confirm(record.id))

    def _take_acceptor(self) -> bool:
        received = records.receive(self._acceptor, Authenticated)
        if received is None:
            return False
        record, fds = received
        self.judge.decide(record, fds[0] if fds else None)
        return True

    def _outcome(self, id: int, code: int) -> None:
        if not records.send(self._acceptor, Outcome(id, code)):
            self._reactor.stop()

    def _withdraw(self, connection: Connection) -> bool:
        return self.pam.withdraw(connection)


def run_agent(config: GuestConfig, channel_sock: socket.socket, acceptor_sock: socket.socket) -> None:
    """Be the agent until the channel or the acceptor is gone; both sockets are SOCK_SEQPACKET and ours.

    Raises ConfigError when a socket of the configuration or the login driver cannot be used.
    """
    journal.to_stderr()
    confine()
    reactor = Reactor()
    agent = Agent(config, channel_sock, acceptor_sock, reactor)
    note("agent-started", login=config.login, tty=config.tty)
    try:
        reactor.run()
    finally:
        agent.close()
        reactor.close()
        note("agent-ended")
