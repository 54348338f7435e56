"""Makes foreign text safe to show in a log, on a terminal or in a message; this module imports nothing.

Text from a peer, a file, a KDC, a certificate, PAM or the system may hold any character. Those that
str.isprintable() rejects could control a terminal, end a line or change its direction: control characters,
escape sequences, U+2028 and U+2029, bidirectional and other format characters, lone surrogates, private use.
"""

TEXT_MAX = 1024  # characters of one text


def escaped(text: str, keep: str = "") -> str:
    """Replace every character that is not printable by its Python escape ("\\x1b", "\\u202e").

    Characters in `keep` stay. The result has at most TEXT_MAX characters; with `keep` there is no cap.
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() or one in keep else _escape(one) for one in text)
    return text if keep else text[:TEXT_MAX]


def one_line(text: str) -> str:
    """Do the same, and replace every run of white space by one blank."""
    return escaped(" ".join(text.split()))


def word(value: object) -> str:
    """Format a value as one word of a log line, quoted if it could be read as something else."""
    text = str(value)[:TEXT_MAX]
    plain = text and text.isprintable() and " " not in text and text[0] not in "'\""
    return text if plain else ascii(text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
