"""Text as key strokes of a US keyboard, in QEMU's names."""

from collections.abc import Iterator

from ..programs import BedError

_PLAIN = {
    "\n": "ret",
    "\t": "tab",
    "\x1b": "esc",
    "\b": "backspace",
    " ": "spc",
    "-": "minus",
    "=": "equal",
    "[": "bracket_left",
    "]": "bracket_right",
    "\\": "backslash",
    ";": "semicolon",
    "'": "apostrophe",
    "`": "grave_accent",
    ",": "comma",
    ".": "dot",
    "/": "slash",
}
_SHIFTED = dict(zip('_+{}|:"~<>?!@#$%^&*()', "-=[]\\;'`,./1234567890", strict=True))


def strokes(text: str) -> Iterator[list[dict[str, str]]]:
    """The keys to press together, one list for each character."""
    for character in text:
        lower = _SHIFTED.get(character, character.lower())
        name = _PLAIN.get(lower, lower)
        if not (lower in _PLAIN or (lower.isascii() and lower.isalnum())):
            raise BedError(f"no key for {character!r}")
        shift = ["shift"] if lower != character else []
        yield [{"type": "qcode", "data": key} for key in (*shift, name)]
