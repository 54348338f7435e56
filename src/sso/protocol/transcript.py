"""The hash over every line of a session; layers and channel bindings confirm it (PROTOCOL.md section 6)."""

from typing import TYPE_CHECKING

from sso.mech import Mechanism
from sso.protocol.messages import line_of
from sso.protocol.state import Role

if TYPE_CHECKING:
    from hashlib import sha256
else:
    # The standard library's `random` does the same: hashlib would load OpenSSL, 2 ms at each start.
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256  # Python 3.11
        except ImportError:
            from hashlib import sha256

_LABEL = b"sso/1 transcript\n"
TLS_BINDING, PLAIN_BINDING = b"tls-server-end-point:", b"sso/1:"


class Transcript:
    """Keeps two running SHA-256 hashes, one per direction, because lines of the two directions may cross.

    Each line is hashed as its words joined by one space, then LF, even if CR LF ended it on the wire. A
    `credentials` line is hashed without its secret. The client's SIGNATURE is the first line.
    """

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines = {Role.CLIENT: sha256(), Role.GUEST: sha256()}

    def copy(self) -> "Transcript":
        """Copy the transcript, to compute the hash with one line more."""
        twin = Transcript.__new__(Transcript)
        twin._lines = {role: lines.copy() for role, lines in self._lines.items()}
        return twin

    def add(self, sender: Role, words: list[str]) -> None:
        self.add_line(sender, line_of(words))

    def add_line(self, sender: Role, line: bytes) -> None:
        """Add a line whose words are already joined and end with LF."""
        self._lines[sender].update(line)

    def digest(self) -> bytes:
        """Return 32 bytes: SHA-256(label, SHA-256(client's lines), SHA-256(guest's lines))."""
        lines = self._lines
        return sha256(_LABEL + lines[Role.CLIENT].digest() + lines[Role.GUEST].digest()).digest()

    def binding(self, tls: Mechanism | None) -> bytes:
        """Return what a mechanism binds itself to (PROTOCOL.md section 8.2): its TLS, else the lines."""
        return TLS_BINDING + tls.binding if tls else PLAIN_BINDING + self.digest()
