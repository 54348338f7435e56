"""Credential: a ticket or a password to send to the peer; the only class that holds such a secret."""

from sso.framing import wipe


class Credential:
    """One credential: its type, its owner, and the secret in a buffer that can be wiped.

    `type` is the protocol's word ("kerberos", "password"); `principal` is the owner's name. `secret` is a
    bytearray of at most 64 KiB in the form of its type (PROTOCOL.md section 9), or None for an identity
    without a secret. `expires` is the end of a ticket in seconds since the epoch, 0 if it does not expire.
    The secret never appears in `repr`, `str` or comparison, and pickling raises TypeError.
    """

    __slots__ = ("expires", "principal", "secret", "type")

    def __init__(self, type: str, principal: str, secret: bytearray | None = None, expires: int = 0) -> None:
        self.type = type
        self.expires = expires
        self.principal = principal
        self.secret = secret

    def wipe(self) -> None:
        """Overwrite the secret and drop it; a second call does no harm."""
        if self.secret is not None:
            wipe(self.secret)
            self.secret = None

    def __repr__(self) -> str:
        size = "no secret" if self.secret is None else f"{len(self.secret)} bytes"
        return f"<Credential {self.type} {self.principal!r} {size}>"

    def __reduce__(self) -> str:
        raise TypeError("a credential is not pickled")
