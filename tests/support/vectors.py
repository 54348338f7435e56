"""Makes the files of tests/vectors that PROTOCOL.md section 13.6 names, out of what the code does.

`python tests/support/vectors.py` writes them; tests/project/test_vectors.py compares them, and checks them
by other means than the code's.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lines import LINES
from together import AT_THE_CLIENT, AT_THE_GUEST, Case, client_after, ends, guest_after
from together import HELLO as HELLO_OF_THE_CLIENT

from sso._framing_py import MessageFramer
from sso.protocol.greeting import read_signature
from sso.protocol.messages import MAGIC, SIGNATURE_MAX, Credentials, parse
from sso.protocol.state import Role
from sso.protocol.transcript import Transcript
from sso.protocol.wire import Wire

FOLDER = Path(__file__).resolve().parents[1] / "vectors"
NONCE, OTHER = "AAECAwQFBgcICQoLDA0ODw==", "8PHy8/T19vf4+fr7/P3+/w=="
HASH = "A" * 42 + "E="
HELLO = f"SIGNATURE {MAGIC} 1 1 client {NONCE} -"
ANSWER = f"SIGNATURE {MAGIC} 1 1 guest {OTHER} {NONCE}"

SIGNATURES = [
    f"{HELLO} -",
    f"{HELLO} - attempt={OTHER}",
    f"{HELLO} - later=x=y =z key=",
    f"{HELLO} -" + "".join(f" {key}=b" for key in "abcdefghi"),
    f"{ANSWER} GSSAPI",
    f"{ANSWER} GSSAPI,SCRAM-SHA-256,A_1 attempt={OTHER} transcript={HASH}",
    f"{ANSWER} {','.join(f'MECHANISM-{number:010}' for number in range(16))}",
    f"SIGNATURE {MAGIC} 0 999 guest {OTHER} - -",
    "SIGNATURE",
    HELLO,
    f"{HELLO} gssapi",
    f"{HELLO} {'A' * 21}",
    f"{HELLO} {','.join('A' * 17)}",
    f"{HELLO} A,,B",
    f"{HELLO} - attempt",
    f"{HELLO} - attempt=AAAA",
    f"{HELLO} - transcript={NONCE}",
    f"{HELLO} - a=1 a=2",
    f"{HELLO} - =1 =2",
    f"{HELLO} -" + "".join(f" {key}=b" for key in "abcdefghij"),
    f"{HELLO} -".replace("cSSO", "csso"),
    f"{HELLO} -".replace(" 1 1 ", " 01 1 "),
    f"{HELLO} -".replace(" 1 1 ", " 1 1000 "),
    f"{HELLO} -".replace("client", "host"),
    f"{HELLO} -".replace("Dw==", "Dx=="),
    f"{HELLO} -".replace("==", ""),
    f"{HELLO}  -",
]

LINE = f"{HELLO} -\n".encode()
SEARCHED = [
    LINE,
    b"\n" + LINE,
    b"noise\x00\xff\n" + LINE + b"more\n",
    LINE[:-1] + b"\r\n",
    LINE + LINE,
    LINE[:40] + b"\n" + LINE,
    b"x" + LINE,
    LINE[:-2] + b"\xff\n",
    LINE[:-2] + b"\n",
    LINE[:-1] + b" x=" + b"y" * (SIGNATURE_MAX - len(LINE) - 4) + b"\n",
    LINE[:-1] + b" x=" + b"y" * (SIGNATURE_MAX - len(LINE) - 3) + b"\n",
]

# What each end has said, as on the wire: (sender, line).
TALKS = [
    [],
    [("client", f"{HELLO} -\n"), ("guest", f"{ANSWER} GSSAPI\n")],
    [
        ("client", f"{HELLO} - attempt={OTHER}\r\n"),
        ("guest", f"{ANSWER} X-DEMO\n"),
        ("guest", "authenticate kerberos password\n"),
        ("client", "unknown words of a later version\n"),
        ("guest", "error 400 any text\n"),
        ("client", "error 300 delay\r\n"),
        ("client", "startSASL X-DEMO\n"),
    ],
    [
        ("client", f"{HELLO} -\n"),
        ("guest", f"{ANSWER} -\n"),
        ("guest", "authenticate x\n"),
        ("client", "ok\n"),
        ("client", "credentials x AAEK12DS\n"),
        ("guest", "ok\n"),
    ],
]


ABOUT_LINES = (
    "read: what is read. lines: the words of each whole line; of `credentials` the last one is what the blob"
    " decodes to. refused: the reason why the next line is none, or null. unread: how many bytes stand behind"
    " the last line. Everything that is no text is in hexadecimal."
)
ABOUT_SIGNATURES = (
    "line: a line of ASCII. fields: what it says, with bytes in hexadecimal; null where it is malformed."
    " searched: what is read, in hexadecimal, and begin and end of each well-formed candidate that the raw"
    " search of section 6.2 finds there; -1 is the LF that counts as present before the first byte."
)
ABOUT_HASHES = (
    "lines: in the order in which they were said, as on the wire; the first two are the SIGNATUREs, without"
    " the LF before them. t: the transcript hash of section 6.3 behind the last one, in hexadecimal."
)
ABOUT_TOGETHER = (
    "end: who reads. before: what it has read, one read a row. begun: all that it has said until then. read:"
    " what it reads now, whole or in any pieces. says: what it says to that. outcome: begins anew (the guest"
    " closes, the client greets again), closes, goes on, or over (its own last word was said). All in"
    " hexadecimal; mechanism and nonces as in section 13 of PROTOCOL.md."
)


def made() -> dict[str, dict[str, Any]]:
    """Every file by its name, without `.json`."""
    return {
        "lines": {"about": ABOUT_LINES, "cases": [_line(data) for data, _ in LINES]},
        "signatures": {
            "about": ABOUT_SIGNATURES,
            "cases": [{"line": line, "fields": _fields(line)} for line in SIGNATURES],
            "searched": [{"read": data.hex(), "found": _found(data)} for data in SEARCHED],
        },
        "hashes": {
            "about": ABOUT_HASHES,
            "cases": [{"lines": talk, "t": _hash(talk)} for talk in map(_listed, TALKS)],
        },
        "together": {
            "about": ABOUT_TOGETHER,
            "cases": [*_together("guest", AT_THE_GUEST), *_together("client", AT_THE_CLIENT)],
        },
    }


def _line(data: bytes) -> dict[str, Any]:
    framer = MessageFramer()
    lines = [
        [*(word if isinstance(word, str) else bytes(word).hex() for word in words)]
        for words in framer.feed(data)
    ]
    return {
        "read": data.hex(),
        "lines": lines,
        "refused": framer.error or None,
        "unread": 0 if framer.error else framer.unread,
    }


def _fields(line: str) -> dict[str, Any] | None:
    signature = read_signature(line.split(" "))
    if signature is None:
        return None
    known = signature._asdict()
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in known.items()} | {
        "mechanisms": list(signature.mechanisms)
    }


def _found(data: bytes) -> list[list[int]]:
    return [[found.begin, found.end] for found in Wire().signatures(data)]


def _listed(talk: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [list(said) for said in talk]


def _hash(talk: list[list[str]]) -> str:
    transcript = Transcript()
    for sender, line in talk:
        (words,) = MessageFramer().feed(line.encode())
        message = parse(words)
        kept = message.words() if isinstance(message, Credentials) else [str(word) for word in words]
        transcript.add(Role(sender), kept)
    return transcript.digest().hex()


OUTCOMES = {"reset": "begins anew", "hang-up": "goes on", "400": "over"}


def _together(end: str, cases: dict[str, Case]) -> list[dict[str, Any]]:
    found = []
    for name, (before, data, ending, answer) in cases.items():
        make = (guest_after if end == "guest" else client_after)(*before)
        assert ends(make, data) == (ending, {answer})
        actor = make()
        reads = [HELLO_OF_THE_CLIENT, *before] if end == "guest" else before
        found.append(
            {
                "name": name,
                "end": end,
                "before": [read.hex() for read in reads],
                "begun": actor.output.hex(),
                "read": data.hex(),
                "says": answer.hex(),
                "outcome": OUTCOMES.get(ending.split(" ")[-1], "closes"),
            }
        )
    return found


def text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    for name, content in made().items():
        (FOLDER / f"{name}.json").write_text(text(content), encoding="utf-8")
