"""The agent: the root part of the guest, one loop over fixed-size records, timers and the login screen.

It reads no byte of a peer, holds no key and no secret (only descriptors of them), and waits for nobody:
what may block runs in forked processes with a deadline.
"""

import socket
from collections.abc import Callable

from sso.daemon import notify
from sso.daemon.confine import confine
from sso.daemon.reactor import Reactor
from sso.errors import RemoteProtocolError
from sso.guest import log, records
from sso.guest.agent import faillock
from sso.guest.agent.account import Rules
from sso.guest.agent.attempts import Attempts
from sso.guest.agent.judge import Judge
from sso.guest.agent.leaving import Leaving
from sso.guest.agent.links import Links
from sso.guest.agent.locker_socket import LockerServer
from sso.guest.agent.mapping import Mapper, Mapping
from sso.guest.agent.pam_socket import PamConnection, PamServer, Peers
from sso.guest.agent.unlock import Checker
from sso.guest.agent.verify import PamChecker
from sso.guest.config import GuestConfig
from sso.guest.log import note
from sso.guest.records import Authenticated, Begin, Confirm, End, Gone, Outcome
from sso.guest.screens.driver import LoginDriver, load_driver
from sso.guest.seat.bus import Bus
from sso.guest.seat.logind import Seat

RECORDS_MAX = 64  # of one process in one turn of the loop, so that others and timers are served too


class Agent:
    """All parts of the agent on one reactor, and the links to the two other processes once `attach`ed.

    What is given beside configuration and reactor is for tests.
    """

    def __init__(
        self,
        config: GuestConfig,
        reactor: Reactor,
        *,
        seat: Seat | None = None,
        driver: LoginDriver | None = None,
        checker: Checker | None = None,
        mapper: Mapping | None = None,
        peers: Peers | None = None,
        attempts: Attempts | None = None,
        would_lock: Callable[[str], bool] = faillock.would_lock,
    ) -> None:
        self._reactor = reactor
        self._channel: socket.socket | None = None
        self._acceptor: socket.socket | None = None
        self._lost: Callable[[], None] = reactor.stop
        self._bus = Bus(reactor)
        self.seat = seat or Seat(reactor, self._bus, config.tty)
        self._driver = driver or load_driver(config.login)(config, reactor, self.seat)
        self.console = Leaving(reactor, self.seat, self._driver, config)
        self.judge = Judge(
            reactor,
            self.console,
            mapper or Mapper(reactor, Rules(config.min_uid, config.allowed_groups)),
            self._tell_outcome,
            self._withdraw,
            attempts or Attempts(reactor.clock),
            config,
            checker=checker or PamChecker(reactor),
            would_lock=would_lock,
        )
        refusal = (peers or Peers(config.login_cgroup)).refusal
        self.pam = PamServer(config.pam_socket, reactor, self.judge.desk, refusal)
        self._verdicts = LockerServer(config.verdict_socket, reactor, self.judge.unlocker.verdict)
        self.judge.unlocker.revoked = self._verdicts.revoke
        self._driver.start(self.judge.screen_changed)
        if seat is None:
            self._bus.open()

    def attach(self, channel: socket.socket, acceptor: socket.socket, lost: Callable[[], None]) -> None:
        """Serve the two processes; when one of them is gone both links are closed, and `lost` is called.

        By then the console is locked as configured: the agent does not know any more which client was there.
        """
        self._channel, self._acceptor, self._lost = channel, acceptor, lost
        for link, callback in ((channel, self._on_channel), (acceptor, self._on_acceptor)):
            link.setblocking(False)
            self._reactor.readable(link.fileno(), callback)
        note("links-joined")

    def close(self) -> None:
        """Revoke all grants, hang up on everybody, remove the sockets."""
        self.judge.close()
        self._driver.close()
        self._bus.close()
        self.pam.close()
        self._verdicts.close()
        self._hang_up()

    def _hang_up(self) -> None:
        links = self._channel, self._acceptor
        self._channel = self._acceptor = None
        for link in links:
            if link is not None:
                self._reactor.forget(link.fileno())
                link.close()

    def _detach(self) -> None:
        if self._channel is not None:
            self._hang_up()
            note("links-lost")
            self.judge.gone(self._lost)

    # Records

    def _on_channel(self) -> None:
        self._drain(self._take_channel)

    def _on_acceptor(self) -> None:
        # A session's BEGIN was sent before anything of it, and its END may wait there too.
        if self._drain(self._take_channel):
            self._drain(self._take_acceptor)

    def _drain(self, take: Callable[[], bool]) -> bool:
        """Take at most RECORDS_MAX records; return whether those were all.

        A process that is gone or broken is the end of both links.
        """
        try:
            if not all(take() for _ in range(RECORDS_MAX)):
                self._detach()
        except BlockingIOError:
            return True
        except RemoteProtocolError as error:
            note("record-malformed", reason=error)
            self._detach()
        return False

    def _take_channel(self) -> bool:
        link = self._channel
        received = records.receive(link, Begin, End, Gone) if link is not None else None
        if received is None:
            return False
        record, _ = received
        if isinstance(record, Begin):
            self.judge.begin(record.id)
        elif isinstance(record, End):
            self.judge.end(record.id, lambda: self._confirm(link, record.id))
        else:
            note("client-gone")
            self.judge.gone(lambda: self._confirm(link, record.id))
        return True

    def _confirm(self, link: socket.socket | None, id: int) -> None:
        """Confirm to the channel process that asked, unless another one has taken its place."""
        if link is not None and link is self._channel and not records.send(link, Confirm(id)):
            self._detach()

    def _take_acceptor(self) -> bool:
        link = self._acceptor
        received = records.receive(link, Authenticated) if link is not None else None
        if received is None:
            return False
        record, fds = received
        self.judge.decide(record, fds[0] if fds else None)
        return True

    def _tell_outcome(self, id: int, code: int) -> None:
        if self._acceptor is not None and not records.send(self._acceptor, Outcome(id, code)):
            self._detach()

    def _withdraw(self, connection: PamConnection) -> None:
        self.pam.withdraw(connection)


def _beat(reactor: Reactor) -> None:
    """Tell the service manager that the loop turns, as often as it wants to hear it."""
    pulse = notify.watchdog()
    if pulse is not None:
        notify.alive()
        reactor.after(pulse, lambda: _beat(reactor))


def run_agent(config: GuestConfig, links: tuple[socket.socket, socket.socket] | None = None) -> None:
    """Be the agent: with two links (channel, acceptor) until one of them is gone, else for all that dial.

    Both are SOCK_SEQPACKET and ours. Raises ConfigError when a socket of the configuration or the login
    driver cannot be used.
    """
    log.open_as("sso-agent")
    confine()
    reactor = Reactor()
    reactor.heed_signals()
    agent = Agent(config, reactor)
    door: Links | None = None
    if links is not None:
        agent.attach(links[0], links[1], reactor.stop)
    else:
        door = Links(config, reactor, lambda channel, acceptor: agent.attach(channel, acceptor, resume))
        resume = door.resume
        # A session may be older than this agent: lock it. Its client may be there, so nobody is logged off.
        agent.console.lock(resume)
    notify.ready(f"login screen: {config.login}")
    note("agent-started", login=config.login, tty=config.tty)
    _beat(reactor)
    try:
        reactor.run()
    finally:
        notify.stopping()
        if door is not None:
            door.close()
        agent.close()
        reactor.close()
        note("agent-ended")
