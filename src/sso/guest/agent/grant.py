"""Grants: one credential for one login, held until the login screen fetches it, once, or it dies."""

import os
from collections.abc import Callable
from typing import NamedTuple

from sso.guest.config import GRANT_SECONDS_MAX
from sso.guest.records import Kind


class Grant(NamedTuple):
    """What is handed out: to which service and place (a tty or seat), for which user, of which session.

    `secret` is the descriptor of the ticket or password, None for an identity. `token` is "" where the
    login screen cannot carry one; a grant with a token is for whoever shows it, at any place. Without one
    the place has to be the same, and "" is a place too: of a request that tells PAM no terminal.
    """

    session: int
    service: str
    place: str
    user: str
    kind: Kind
    secret: int | None = None
    token: str = ""

    def __repr__(self) -> str:
        return f"<Grant {self.session} {self.service} {self.user} {self.kind.name}>"

    def fits(self, service: str, place: str, user: str, token: str) -> bool:
        """Whether a request is the one that this is for; a user that is not known yet is ""."""
        import hmac  # late: OpenSSL is not what the agent should wait for when it starts

        same_token = hmac.compare_digest(self.token.encode(), token.encode())
        here = bool(self.token) or self.place == place
        return same_token and here and self.service == service and user in ("", self.user)

    def close(self) -> None:
        """Close the secret's descriptor; to be called once, by whoever owns the grant."""
        if self.secret is not None:
            os.close(self.secret)


class Grants:
    """All grants that are armed, at most one a peer session. It owns their secrets' descriptors.

    `take` hands a grant and its descriptor over once.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._armed: dict[int, tuple[float, Grant]] = {}

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, grant: Grant, seconds: float) -> None:
        """Hold a grant for some seconds, GRANT_SECONDS_MAX at most; it takes the place of an older one."""
        self.revoke(grant.session)
        self._armed[grant.session] = self._clock() + min(seconds, GRANT_SECONDS_MAX), grant

    def take(self, service: str, place: str, user: str, token: str) -> Grant | None:
        """The grant that fits, for the one caller that gets it, who closes it; None for everybody else."""
        self.expire()
        for session, (_, grant) in self._armed.items():
            if grant.fits(service, place, user, token):
                del self._armed[session]
                return grant
        return None

    def revoke(self, session: int) -> bool:
        """Drop the grant of a peer session; False when there is none (any more)."""
        entry = self._armed.pop(session, None)
        if entry is not None:
            entry[1].close()
        return entry is not None

    def expire(self) -> list[int]:
        """Drop what is too old, and say of which sessions."""
        now = self._clock()
        late = [session for session, (expires, _) in self._armed.items() if now >= expires]
        return [session for session in late if self.revoke(session)]

    def close(self) -> None:
        """Drop everything."""
        for session in list(self._armed):
            self.revoke(session)
