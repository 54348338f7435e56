"""Lines with what a framer makes of them, in both builds, and what of a secret stays in memory."""

from typing import Any

from sso.errors import FramingError

LINES: list[tuple[bytes, list[Any]]] = [
    (b"ok\n", [("ok",), 0]),
    (b"ok\r\n", [("ok",), 0]),
    (b"\n\r\n\nok\n", [("ok",), 0]),
    (b"error 300 delay\nok tail", [("error", "300", "delay"), 7]),
    (b"credentials kerberos AAEC\nok\n", [("credentials", "kerberos", bytearray(b"\0\1\2")), ("ok",), 0]),
    (b"credentials password QQ==\r\n", [("credentials", "password", bytearray(b"A")), 0]),
    (b"credentials kerberos QR==\n", ["base64"]),
    (b"credentials kerberos QQ=\n", ["base64"]),
    (b"credentials kerberos Q=Q=\n", ["base64"]),
    (b"credentials kerberos QQ==QQ==\n", ["base64"]),
    (b"credentials kerberos A-_A\n", ["base64"]),
    (b"credentials Kerberos QQ==\n", ["credentials"]),
    (b"credentials kerberos QQ== QQ==\n", ["credentials"]),
    (b"credentials kerberos\n", ["credentials"]),
    (b"credentials\n", ["credentials"]),
    (b"credentials " + b"k" * 33 + b" QQ==\n", ["credentials"]),
    (b"credentials kerberos \n", ["octet"]),
    (b"credentials kerberos Q\x01==\n", ["octet"]),
    (b"credentials kerberos QQ\r==\n", ["octet"]),
    (b"ok  ok\n", ["octet"]),
    (b" ok\n", ["octet"]),
    (b"ok \n", ["octet"]),
    (b"o\rk\n", ["octet"]),
    (b"ok\r\r\n", ["octet"]),
    (b"o\0k\n", ["octet"]),
    (b"ok \x7f\n", ["octet"]),
    (b"\xffok\n", ["octet"]),
    (b"o_k\n", ["octet"]),
    (b"v" * 33 + b"\n", ["octet"]),
    (b"v" * 32 + b"\n", [("v" * 32,), 0]),
    (b"credentials kerberos  QQ==\n", ["octet"]),
    (b"credentials kerberos QQ== \n", ["octet"]),
    (b"credentials kerberos QQ==Q\n", ["base64"]),
    (b"credentials kerberos ====\n", ["base64"]),
    (b"credentials kerberos QUJ=\n", ["base64"]),
    (b"credentials " + b"k" * 32 + b" QQ==\n", [("credentials", "k" * 32, bytearray(b"A")), 0]),
    (b"credentialsx kerberos QQ==\n", [("credentialsx", "kerberos", "QQ=="), 0]),
    (b"Credentials QQ==\n", [("Credentials", "QQ=="), 0]),
]


def trace(build: Any, chunks: list[bytes], max_line: int, max_secret: int) -> list[Any]:
    """What each call gives, and what is unread behind it."""
    framer = build.MessageFramer(max_line, max_secret)
    answers: list[Any] = []
    for chunk in chunks:
        try:
            answers.append(list(framer.feed(chunk)))
        except FramingError as error:
            answers.append(("raised", error.reason))
        answers.append((framer.error, framer.unread))
    return answers


def copies(process: int, needle: bytes) -> int:
    """How often these bytes stand in the writable memory of a process."""
    found = 0
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        for line in maps:
            area, rights, *_ = line.split()
            begin, end = (int(place, 16) for place in area.split("-"))
            if rights.startswith("rw"):
                memory.seek(begin)
                found += memory.read(end - begin).count(needle)
    return found
