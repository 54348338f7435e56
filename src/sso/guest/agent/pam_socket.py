"""The agent's end of the PAM socket: who may ask, what is answered, and what became of it.

One connection is one login. It begins with GET; what was handed out is taken back by closing it. The module
asks before each step and goes on only after a yes, so a login never goes further than the agent knows:

    operation     from                 to            means                                           reply
    GET           WAITING              GIVEN         a credential is wanted, and handed out          its kind
    TRIED         GIVEN                TRIED         the next module gets the password               yes
    PASSED        TRIED                PASSED        a call came after it: the password was right    yes
    HELD          GIVEN, PASSED,       the same      does the agent still stand by it?               yes
                  ESTABLISHED
    ESTABLISHED   GIVEN, PASSED        ESTABLISHED   the credentials are set, the ticket is stored   yes
    OPENED        ESTABLISHED          OPENED        the session is open                             yes
    CLOSED        ESTABLISHED, OPENED  ENDED         the session or the attempt is over              none

A password goes GIVEN, TRIED, PASSED, ESTABLISHED; a ticket or an identity goes from GIVEN to ESTABLISHED.
Yes is a Reply of kind IDENTITY with the user of the grant; no is a hang-up. So is the answer to whatever
the table does not have. A lock screen ends at ESTABLISHED, by CLOSED or by hanging up. The same table for
every case, and what each step means for the login, has docs/login-rules.md (sso.guest.agent.steps).
"""

import os
import socket
from collections.abc import Callable
from typing import Protocol

from sso.daemon import local
from sso.daemon.listener import TOO_MANY, Listener
from sso.daemon.local import Peer
from sso.daemon.reactor import Reactor, Timer
from sso.errors import RemoteProtocolError
from sso.guest import records
from sso.guest.agent.grant import Grant
from sso.guest.agent.pam_records import PAM_VERSION, Operation, OtherVersion, Reply, Request
from sso.guest.agent.steps import Ask, Stage, next_stage
from sso.guest.log import note
from sso.guest.records import Kind
from sso.guest.refusals import Refusals

HALF_OPEN_MAX = 16  # connections that have not asked yet
CONNECTIONS_MAX = 64
GET_SECONDS = 2.0  # to ask after connecting; the module itself gives up after 3
NO_LOGINUID = "4294967295"


class Peers:
    """Who may ask: root, in no login session of its own, and where systemd runs, below `cgroup`.

    A program that a signed-in person started (su, sudo) has a login uid and another cgroup. So has the
    process in which GDM authenticates a user again at the lock screen; it may ask while that is awaited.
    """

    def __init__(
        self,
        cgroup: str,
        proc: str | os.PathLike[str] = "/proc",
        systemd: str | os.PathLike[str] = "/run/systemd/system",
    ) -> None:
        self._cgroup, self._proc, self._systemd = cgroup, proc, systemd

    def refusal(self, peer: Peer, unlocking: int) -> str:
        """Why a peer may not ask, or "". `unlocking` is the uid that is to be proved again, -1 for none."""
        if peer.uid != 0:
            return "not-root"
        folder = os.path.join(self._proc, str(peer.pid))
        try:
            loginuid = _text(f"{folder}/loginuid").strip()
        except FileNotFoundError:
            loginuid = NO_LOGINUID  # a kernel without audit
        except OSError:
            return "gone"
        if loginuid not in (NO_LOGINUID, str(unlocking)):
            return "login-uid"
        places = (self._cgroup, f"/user.slice/user-{unlocking}.slice/")
        if self._cgroup and os.path.isdir(self._systemd) and not self._in_cgroup(folder, places):
            return "cgroup"
        return ""

    def _in_cgroup(self, folder: str, places: tuple[str, ...]) -> bool:
        try:
            lines = _text(f"{folder}/cgroup").splitlines()
        except OSError:
            return False
        # "0::PATH" is the unified hierarchy, "N:name=systemd:PATH" the one of a mixed set-up (cgroups(7)).
        paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
        path = paths.get("name=systemd") or paths.get("", "")
        return f"{path}/".startswith(places)


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


class PamConnection:
    """One login that the PAM module reports on."""

    def __init__(self, link: socket.socket, pid: int, timer: Timer) -> None:
        self.stage = Stage.WAITING
        self.user = ""
        self.kind = Kind.NONE
        self.opening = False  # the module waits for the yes to OPENED
        self.pid = pid
        self._link, self._timer = link, timer


def _next(connection: PamConnection, request: Request | None) -> Stage:
    """Where a request leads; None is a hang-up, or what is no request."""
    operation = request.operation if request is not None else None
    named = request is not None and request.user == connection.user
    return next_stage(Ask(connection.stage, connection.kind, operation, named, connection.opening))


class Desk(Protocol):
    """Who decides: what a GET is answered with, and what a step means."""

    def unlocking(self) -> int:
        """The uid that a screen with a token is to prove again now, or -1."""

    def give_grant(self, connection: PamConnection, request: Request) -> Grant | None:
        """The grant that the request gets, now the server's to close; None for nothing."""

    def prepare(self, connection: PamConnection, go_on: Callable[[bool], bool]) -> None:
        """The session is about to open: tell `go_on`, now or later, if it may; it says whether it has."""

    def moved(self, connection: PamConnection, before: Stage, path: str) -> None:
        """The stage has changed from `before`; `path` is the ticket's cache as far as it is known."""


class PamServer:
    """The connections of the PAM module. A protocol violation closes one; no grant is consumed."""

    def __init__(self, path: str, reactor: Reactor, desk: Desk, refusal: Callable[[Peer, int], str]) -> None:
        self._reactor, self._desk, self._refusal = reactor, desk, refusal
        self._connections: set[PamConnection] = set()
        self._refusals = Refusals("pam-refused", reactor.clock)
        self._malformed = Refusals("pam-malformed", reactor.clock)
        self._other_version = False  # that was said
        self._listener = Listener(
            path,
            reactor,
            self._let_in,
            why_not=self._why_not,
            refused=lambda peer, why: self._refusals.note(peer, reason=why),
            most=CONNECTIONS_MAX,
        )

    def __len__(self) -> int:
        return len(self._connections)

    def close(self) -> None:
        """Hang up on everybody, and remove the socket."""
        self._listener.close()
        for connection in list(self._connections):
            self._drop(connection)

    def withdraw(self, connection: PamConnection) -> None:
        """Take back what was handed out, at any stage before OPENED; reports nothing but PASSED.

        From the shutdown on the module hears no yes any more, so it goes no step further. What it has asked
        before gets none either; but that the password was right is worth to know: the stage tells.
        """
        if connection not in self._connections:
            return
        connection._link.shutdown(socket.SHUT_RD)
        while (request := self._pending(connection)) is not None:
            if (connection.stage, request.operation) == (Stage.TRIED, Operation.PASSED):
                connection.stage = Stage.PASSED
        self._hang_up(connection)

    # Connections

    def _why_not(self, peer: Peer) -> str:
        waiting = sum(connection.stage is Stage.WAITING for connection in self._connections)
        reason = self._refusal(peer, self._desk.unlocking())
        return reason or (TOO_MANY if waiting >= HALF_OPEN_MAX else "")

    def _let_in(self, link: socket.socket, peer: Peer) -> None:
        timer = self._reactor.after(GET_SECONDS, lambda: self._drop(connection))
        connection = PamConnection(link, peer.pid, timer)
        self._connections.add(connection)
        self._reactor.readable(link.fileno(), lambda: self._on_packet(connection))

    def _on_packet(self, connection: PamConnection) -> None:
        try:
            received = records.receive(connection._link, Request)
        except BlockingIOError:
            return
        except OtherVersion:
            self._on_other_version(connection)
            received = None
        except RemoteProtocolError:
            self._malformed.note(local.peer(connection._link))
            received = None
        if received is None:
            self._step(connection, _next(connection, None))
        elif received[0].operation is Operation.GET:
            self._on_get(connection, received[0])
        else:
            self._on_report(connection, received[0])

    def _on_other_version(self, connection: PamConnection) -> None:
        """No login comes of it; the module reads our version in the reply, and says the same."""
        records.send(connection._link, Reply())
        if not self._other_version:
            self._other_version = True
            note("pam-other-version", pid=connection.pid, ours=PAM_VERSION)

    def _on_get(self, connection: PamConnection, request: Request) -> None:
        if _next(connection, request) is not Stage.GIVEN:
            self._step(connection, Stage.ENDED)
            return
        grant = self._desk.give_grant(connection, request)
        if grant is None:
            records.send(connection._link, Reply())
            self._drop(connection)
            return
        connection._timer.cancel()
        connection.user, connection.kind = grant.user, grant.kind
        connection.stage = Stage.GIVEN
        try:
            sent = self._hand_out(connection, grant)
        finally:
            grant.close()
        if not sent:
            self._step(connection, Stage.ENDED)

    def _hand_out(self, connection: PamConnection, grant: Grant) -> bool:
        secrets = [] if grant.secret is None else [grant.secret]
        length = sum(os.fstat(secret).st_size for secret in secrets)
        return records.send(connection._link, Reply(grant.kind, length, grant.user), secrets)

    def _on_report(self, connection: PamConnection, report: Request) -> None:
        step = _next(connection, report)
        if step is not Stage.OPENED:
            self._take(connection, report, step)
            return
        connection.opening = True

        def go_on(good: bool) -> bool:
            if connection not in self._connections:
                return False  # it was withdrawn meanwhile, or the module has given up
            connection.opening = False
            self._take(connection, report, Stage.OPENED if good else Stage.ENDED)
            return connection.stage is Stage.OPENED

        self._desk.prepare(connection, go_on)

    def _take(self, connection: PamConnection, report: Request, step: Stage) -> None:
        # The yes comes first: a step that the module does not hear of is none.
        if step is not Stage.ENDED and not records.send(
            connection._link, Reply(Kind.IDENTITY, 0, connection.user)
        ):
            step = Stage.ENDED
        self._step(connection, step, report.path)

    def _step(self, connection: PamConnection, stage: Stage, path: str = "") -> None:
        before, connection.stage = connection.stage, stage
        if stage is Stage.ENDED:
            self._drop(connection)
        if before not in (Stage.WAITING, Stage.ENDED, stage):
            self._desk.moved(connection, before, path)

    def _pending(self, connection: PamConnection) -> Request | None:
        """The next good request that is in the queue."""
        try:
            received = records.receive(connection._link, Request)
        except (BlockingIOError, RemoteProtocolError):
            return None
        return received[0] if received and received[0].user == connection.user else None

    def _drop(self, connection: PamConnection) -> None:
        """Hang up, and report nothing."""
        connection.stage = Stage.ENDED
        self._hang_up(connection)

    def _hang_up(self, connection: PamConnection) -> None:
        connection._timer.cancel()
        if connection in self._connections:
            self._connections.remove(connection)
            self._reactor.forget(connection._link.fileno())
            connection._link.close()
