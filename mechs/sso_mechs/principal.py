"""A Kerberos name: its text with Kerberos' own escaping, and the components, realm and name type behind it.

An enterprise name is one component that holds an @. So a text is never split by hand:
"alice\\@corp.example@CORP.EXAMPLE" has one component (krb5_unparse_name(), MIT krb5).
"""

from collections.abc import Iterable
from typing import Self

COMPONENTS_MAX = 16
NT_PRINCIPAL = 1  # RFC 4120 section 6.2
_SPECIAL = "/@\\"


class Principal(str):
    """One name, equal by its text, as libkrb5 compares: `type` is a hint alone (RFC 4120 section 6.2)."""

    type: int

    def __new__(cls, text: str, type: int | None = None) -> Self:
        self = super().__new__(cls, text)
        self.type = getattr(text, "type", NT_PRINCIPAL) if type is None else type
        return self

    @classmethod
    def of(cls, components: Iterable[str], realm: str, type: int = NT_PRINCIPAL) -> Self:
        """The name of these parts, which may hold any letter."""
        return cls("/".join(map(_escaped, components)) + "@" + _escaped(realm), type)

    @property
    def components(self) -> list[str]:
        return self._parts()[:-1]

    @property
    def realm(self) -> str:
        return self._parts()[-1]

    @property
    def is_own_tgt(self) -> bool:
        """Whether it is the ticket-granting service of its own realm."""
        return self.components == ["krbtgt", self.realm]

    @property
    def is_usable(self) -> bool:
        """Whether it can stand in a log and a record: 1 to COMPONENTS_MAX components, and all printable.

        No realm holds an @ (RFC 4120 section 6.1), so what stands behind the last one is always the realm.
        """
        words = self._parts()
        some = 1 < len(words) <= COMPONENTS_MAX + 1
        return some and "@" not in words[-1] and all(word and word.isprintable() for word in words)

    def _parts(self) -> list[str]:
        """The components, and the realm behind them."""
        parts, letters = [""], iter(self)
        for letter in letters:
            if letter in "/@":
                parts.append("")
            else:
                parts[-1] += next(letters, "") if letter == "\\" else letter
        return parts


def _escaped(word: str) -> str:
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in word)
