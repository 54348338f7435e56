"""A Kerberos name: its text with Kerberos' own escaping, and its components, realm and name type.

An enterprise name is one component that contains an @, so never split a name's text by hand:
"alice\\@corp.example@CORP.EXAMPLE" has one component (krb5_unparse_name(), MIT krb5).
"""

from collections.abc import Iterable
from typing import Self

COMPONENTS_MAX = 16
NT_PRINCIPAL = 1  # RFC 4120 section 6.2
_ESCAPED = str.maketrans({letter: f"\\{letter}" for letter in "/@\\"})


class Principal(str):
    """One name. As in libkrb5, equal texts make equal names; `type` is only a hint (RFC 4120 section 6.2)."""

    type: int

    def __new__(cls, text: str, type: int | None = None) -> Self:
        self = super().__new__(cls, text)
        self.type = getattr(text, "type", NT_PRINCIPAL) if type is None else type
        return self

    @classmethod
    def of(cls, components: Iterable[str], realm: str, type: int = NT_PRINCIPAL) -> Self:
        """Build a name from its parts, which may contain any character."""
        words = [word.translate(_ESCAPED) for word in (*components, realm)]
        return cls("/".join(words[:-1]) + "@" + words[-1], type)

    @property
    def components(self) -> list[str]:
        return self._parts()[:-1]

    @property
    def realm(self) -> str:
        return self._parts()[-1]

    @property
    def is_own_tgt(self) -> bool:
        """Whether this is the ticket-granting service of its own realm."""
        parts = self._parts()
        return parts == ["krbtgt", parts[-1], parts[-1]]

    @property
    def is_usable(self) -> bool:
        """Whether logs and records may contain it: 1 to COMPONENTS_MAX components, all characters printable.

        A realm never contains an @ (RFC 4120 section 6.1), so the text after the last @ is always the realm.
        """
        words = self._parts()
        some = 1 < len(words) <= COMPONENTS_MAX + 1
        return some and "@" not in words[-1] and all(word and word.isprintable() for word in words)

    def _parts(self) -> list[str]:
        """Return the components, followed by the realm."""
        if "\\" not in self:
            return self.replace("@", "/").split("/")
        parts, letters = [""], iter(self)
        for letter in letters:
            if letter in "/@":
                parts.append("")
            else:
                parts[-1] += next(letters, "") if letter == "\\" else letter
        return parts
