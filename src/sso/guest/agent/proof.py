"""The one place where a secret is compared, and the one limiter before it.

A password is compared here, with what opened the session, with what was answered, and with what has failed;
or PAM is asked, which the limiter allows or not in the same way. Nothing else of the agent looks at a digest.
"""

import os

from sso.guest.agent.attempts import NO_DIGEST, Attempts, Guess
from sso.guest.agent.rules import Worth
from sso.guest.records import Authenticated, Kind, Verdict

# What a refusal, or none, says of a secret, and whether something was there to compare it with.
_WORTH = {
    (None, False): Worth.FREE,
    (None, True): Worth.SAME,
    (Verdict.TRY_LATER, False): Worth.PAUSED,
    (Verdict.TRY_LATER, True): Worth.PAUSED,
    (Verdict.NOT_AUTHENTICATED, False): Worth.FAILED_BEFORE,
    (Verdict.NOT_AUTHENTICATED, True): Worth.WRONG,
    (Verdict.DENIED, True): Worth.NOTHING,
}


class Proofs:
    """Judges what claims prove, before PAM does and after.

    A ticket or an identity was proved by its mechanism, so it is compared with nothing; only its own failures
    at the login screen would make it pause. Digests are keyed by the acceptor, and sealed once more here by a
    key of this start: what the agent remembers fits no other memory.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._key = os.urandom(len(NO_DIGEST))

    def guess(self, claim: Authenticated, user: str) -> Guess:
        """The claim as a guess for a user ("" for a name that is none), with its digest sealed."""
        if claim.kind is not Kind.PASSWORD or claim.digest == NO_DIGEST:
            return Guess(user, claim.kind)
        import hmac  # late: OpenSSL is not what the agent should wait for when it starts

        sealed = hmac.digest(self._key, user.encode() + b"\0" + claim.digest, "sha256")
        return Guess(user, claim.kind, sealed)

    def worth(self, guess: Guess, known: bytes | None = None) -> Worth:
        """Call `refusal` once, and return its answer in the words of the rules."""
        return _WORTH[self.refusal(guess, known), known is not None]

    def refusal(self, guess: Guess, known: bytes | None = None) -> Verdict | None:
        """Why a claim counts for nothing now; None when nothing is against it.

        With `known`, the sealed digest that a password has to be the same as, None means that it is;
        without, that PAM may be asked, and then `failed`, `unknown` or `succeeded` has to be told. In a pause
        the answer is TRY_LATER for every password, right or wrong, and nothing was compared.
        NOT_AUTHENTICATED has cost a pause. DENIED: there is nothing to compare a password with.
        """
        if known is not None and guess.kind is not Kind.PASSWORD:
            return None
        if self._attempts.paused(guess):
            return Verdict.TRY_LATER
        if guess.kind is not Kind.PASSWORD:
            return None
        if known is not None:
            return self._compared(guess, known)
        if any(_same(guess.digest, failed) for failed in self._attempts.failed_before(guess)):
            self._attempts.again(guess)
            return Verdict.NOT_AUTHENTICATED
        return None

    def _compared(self, guess: Guess, known: bytes) -> Verdict | None:
        if known == NO_DIGEST:
            return Verdict.DENIED
        if _same(guess.digest, known):
            return None
        self._attempts.failed(guess)
        return Verdict.NOT_AUTHENTICATED

    def failed(self, guess: Guess) -> None:
        """PAM has refused it."""
        self._attempts.failed(guess)

    def unknown(self, guess: Guess) -> None:
        """It was handed out, and nobody saw what became of it."""
        self._attempts.unknown(guess)

    def succeeded(self, guess: Guess) -> None:
        """PAM has accepted it, or it is what PAM accepted when the session was opened."""
        self._attempts.succeeded(guess)


def _same(digest: bytes, known: bytes) -> bool:
    """Whether two sealed digests are equal, in the same time wherever they differ."""
    import hmac  # late, as above

    return digest != NO_DIGEST and hmac.compare_digest(digest, known)
