"""A login or an unlocking that is under way, and the session that it leads to."""

import os
import stat

from sso.daemon.forked import Forked
from sso.daemon.reactor import Timer
from sso.guest.agent.attempts import Answered, Guess
from sso.guest.agent.pam_socket import PamConnection
from sso.guest.agent.rules import LoginFacts
from sso.guest.agent.rules_end import LoginProgress
from sso.guest.agent.rules_entry import UnderWay
from sso.guest.agent.steps import Stage
from sso.guest.records import PASSWORD_MAX, SECRET_MAX, Authenticated, Kind, Who
from sso.guest.seat.logind import Seated
from sso.mech import KERBEROS

TOKEN_SIZE = 32  # bytes


class SignedIn:
    """The session that we opened, and that lives as long as its PAM connection.

    `appeared`: it was in front of the seat, or need not be (Console.has_appeared).
    """

    def __init__(
        self,
        connection: PamConnection,
        user: str,
        uid: int,
        who: Who,
        digest: bytes,
        expires: int,
        since: float,
        path: str = "",
    ) -> None:
        self.connection, self.user, self.uid, self.who = connection, user, uid, who
        self.digest, self.expires, self.since, self.path = digest, expires, since, path
        self.refreshed = float("-inf")
        self.parked = self.appeared = False

    @property
    def principal(self) -> str:
        return self.who.principal


class Opening:
    """What is being decided for a peer session.

    `facts`: what is known by now. `known`: what was answered to this attempt before. `seated`: the user's
    session at the seat, `unlocking` the same when it is to be unlocked. `told`: its peer session has heard
    that the console asks something; the login goes on. `path`: the cache that was made for it. `store`: the
    user's default cache, where the ticket is to go there. `proved`: the locked session may open any moment.
    `left`: the stage at which PAM has left a locked session, which the seat has not shown yet.
    `awaited`: PAM is through, and the seat is watched for the session. `opened`: it is open, and tracked as
    SignedIn.
    """

    def __init__(self, claim: Authenticated, secret: int | None) -> None:
        self.claim, self.secret = claim, secret
        self.user, self.uid = "", -1
        self.guess = Guess("", claim.kind)  # whose it is, once that is known
        self.facts = LoginFacts(claim.kind)
        self.known: Answered | None = None
        self.seated: Seated | None = None
        self.worker: Forked | None = None
        self.unlocking: Seated | None = None
        self.connection: PamConnection | None = None
        self.left: Stage | None = None
        self.token = self.path = self.store = ""
        self.told = self.proved = self.awaited = self.opened = False
        self.triggers = 0
        self.timers: list[Timer] = []

    @property
    def principal(self) -> str:
        return self.claim.principal

    @property
    def progress(self) -> LoginProgress:
        """How far it is, for the rules of its end."""
        connection, unlocking = self.connection, self.unlocking is not None
        stage = self.left or (connection.stage if connection is not None else Stage.WAITING)
        asked = unlocking and self.worker is not None
        left, triggered = self.left is not None, self.triggers > 0
        return LoginProgress(
            self.claim.kind, stage, left, unlocking, asked, self.proved, self.opened, triggered
        )

    def take_secret(self) -> int | None:
        """The secret's descriptor, from here on the caller's."""
        secret, self.secret = self.secret, None
        return secret

    def copy_secret(self) -> int | None:
        """A second descriptor of the secret, the caller's."""
        return None if self.secret is None else os.dup(self.secret)

    def forget(self) -> None:
        """Nothing is left of it: worker, timers, secret."""
        if self.worker is not None:
            self.worker.cancel()
        for timer in self.timers:
            timer.cancel()
        close(self.take_secret())


def under_way(login: Opening | None) -> UnderWay:
    """The login that is under way, as its client knows it."""
    if login is None:
        return UnderWay.NONE
    return UnderWay.TOLD if login.told else UnderWay.WAITED_FOR


def new_token() -> str:
    """A nonce of 256 bits for a greeter to hand to PAM."""
    return os.urandom(TOKEN_SIZE).hex()


def usable(claim: Authenticated, secret: int | None) -> bool:
    """Whether the secret is a plain file of a size that the PAM module takes; its bytes are not read.

    A ticket belongs to a name of Kerberos: of another namespace it would be somebody else's.
    """
    kind = claim.kind
    if secret is None or (kind is Kind.KERBEROS and claim.namespace != KERBEROS):
        return not kind.files
    found = os.fstat(secret)
    most = PASSWORD_MAX if kind is Kind.PASSWORD else SECRET_MAX
    return stat.S_ISREG(found.st_mode) and 0 < found.st_size <= most


def close(secret: int | None) -> None:
    """Close a secret's descriptor, if there is one."""
    if secret is not None:
        os.close(secret)
