"""Decode a recorded stream: bytes in chunks of any size, whole messages out, one a line.

    python3 framer.py [FILE]

Without FILE standard input is read. A secret is shown as its length, and wiped at once. Exit code 1 for a
stream that is no protocol, or that ends within a line.
"""

import sys
from typing import BinaryIO

from sso import MessageFramer
from sso.framing import Words, wipe
from sso.protocol.messages import LAYER_LINE_MAX, SECRET_MAX

CHUNK = 4096  # bytes; any other number gives the same messages


def shown(words: Words) -> str:
    """The words of a message as a person may see them; its secret, if there is one, is wiped."""
    text = []
    for word in words:
        if isinstance(word, str):
            text.append(word)
        else:
            text.append(f"[{len(word)} bytes]")
            wipe(word)
    return " ".join(text)


def decode(stream: BinaryIO) -> int:
    """Print the messages of a stream until its end, or until it breaks the grammar."""
    framer = MessageFramer(LAYER_LINE_MAX, SECRET_MAX)
    while not framer.error and (chunk := stream.read(CHUNK)):
        for words in framer.feed(chunk):
            print(shown(words))
    if framer.error:
        print(f"malformed: {framer.error}", file=sys.stderr)
    elif framer.unread:
        print(f"the last {framer.unread} bytes are no whole line", file=sys.stderr)
    good = not framer.error and not framer.unread
    framer.wipe()
    return 0 if good else 1


def main(*arguments: str) -> int:
    if not arguments:
        return decode(sys.stdin.buffer)
    with open(arguments[0], "rb") as stream:
        return decode(stream)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
