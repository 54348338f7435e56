"""Texts of others as a log, a terminal or a line for a person may show them; imports nothing.

A peer, a file, a KDC, a certificate, PAM or the system may say anything. What str.isprintable() does not take
would steer a terminal, end a line or turn its direction: control characters, escape sequences, U+2028 and
U+2029, bidirectional and other format characters, lone surrogates, private use.
"""

TEXT_MAX = 1024  # characters of one text


def escaped(text: str, keep: str = "") -> str:
    """The text with every character that is not printable written as in Python ("\\x1b", "\\u202e").

    Those in `keep` stay as they are. The result has at most TEXT_MAX characters, unless `keep` allows lines.
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() or one in keep else _escape(one) for one in text)
    return text if keep else text[:TEXT_MAX]


def one_line(text: str) -> str:
    """The same, with every stretch of white space as one blank."""
    return escaped(" ".join(text.split()))


def word(value: object) -> str:
    """A value as one word of a log line: as it is, or quoted where that could be read as something else."""
    text = str(value)[:TEXT_MAX]
    plain = text and text.isprintable() and " " not in text and text[0] not in "'\""
    return text if plain else ascii(text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
