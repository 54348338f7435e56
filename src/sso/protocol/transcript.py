"""The hash over every line of a session, which later layers and bindings confirm (PROTOCOL.md section 6)."""

from typing import TYPE_CHECKING

from sso.protocol.messages import line_of
from sso.protocol.state import Role

if TYPE_CHECKING:
    from hashlib import sha256
else:
    # As the standard library's random does: hashlib loads OpenSSL for the same function, 2 ms of each start.
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256  # Python 3.11
        except ImportError:
            from hashlib import sha256

_LABEL = b"sso/1 transcript\n"


class Transcript:
    """Two running SHA-256, one a direction, because lines of both directions may cross.

    A line enters as its words joined by one space and LF, whatever ended it on the wire; a
    `credentials` line enters without its secret. It begins with the client's SIGNATURE.
    """

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines = {Role.CLIENT: sha256(), Role.GUEST: sha256()}

    def copy(self) -> "Transcript":
        """A second transcript with the same lines, to look one line ahead."""
        twin = Transcript.__new__(Transcript)
        twin._lines = {role: lines.copy() for role, lines in self._lines.items()}
        return twin

    def add(self, sender: Role, words: list[str]) -> None:
        self.add_line(sender, line_of(words))

    def add_line(self, sender: Role, line: bytes) -> None:
        """What `add` takes, as octets that are joined already."""
        self._lines[sender].update(line)

    def digest(self) -> bytes:
        """32 octets over all lines so far: SHA-256(label, SHA-256(client's), SHA-256(guest's))."""
        lines = self._lines
        return sha256(_LABEL + lines[Role.CLIENT].digest() + lines[Role.GUEST].digest()).digest()
