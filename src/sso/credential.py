"""Credential: what is handed over, and the only place where its secret lives."""

from sso.framing import wipe


class Credential:
    """One credential: its type, whose it is, and the secret in a wipeable buffer.

    `type` is the word of the wire ("kerberos", "password"), `principal` the name that the secret
    belongs to, `secret` a bytearray of at most 64 KiB in the type's own form (PROTOCOL.md section 9),
    or None for an identity that comes without anything to hand over; `expires` is the end of a ticket
    in seconds since the epoch, 0 where nothing expires.
    The secret never shows in `repr`, `str`, comparison or pickling.
    """

    __slots__ = ("expires", "principal", "secret", "type")

    def __init__(self, type: str, principal: str, secret: bytearray | None = None, expires: int = 0) -> None:
        self.type = type
        self.expires = expires
        self.principal = principal
        self.secret = secret

    def wipe(self) -> None:
        """Overwrite the secret and forget it; may be called twice."""
        if self.secret is not None:
            wipe(self.secret)
            self.secret = None

    def __repr__(self) -> str:
        size = "no secret" if self.secret is None else f"{len(self.secret)} octets"
        return f"<Credential {self.type} {self.principal!r} {size}>"

    def __reduce__(self) -> str:
        raise TypeError("a credential is not pickled")
