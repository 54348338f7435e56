"""What a session reads together in one piece or in many, what it says to that, and how it ends.

The mechanism is X-DEMO of PROTOCOL.md section 13, and the nonces are those of its transcripts.
"""

from collections.abc import Callable

from actors import Actor, client_that_is_replaced, guest
from builds import chunkings

from sso.protocol.events import Closed, Event
from sso.protocol.layer import frame
from sso.protocol.messages import Error

NONCE, OTHER = "AAECAwQFBgcICQoLDA0ODw==", "8PHy8/T19vf4+fr7/P3+/w=="
HELLO = f"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 client {NONCE} - -\n".encode()
NEW = HELLO.replace(NONCE.encode(), OTHER.encode())  # another client
ANSWER = f"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 guest {OTHER} {NONCE} X-DEMO\n".encode()
ANEW = ANSWER.replace(NONCE.encode(), b"-")  # a guest that announces itself
AGAIN = ANSWER.replace(OTHER.encode(), b"EBESExQVFhcYGRobHB0eHw==") + b"authenticate kerberos password\n"
UNKNOWN, MALFORMED = b"error 400 unsupported\n", b"error 406 malformed\n"
REFUSED = b"error 402 not-authenticated\n"
SASL = [b"error 300\nstartSASL X-DEMO\n"]
LAYER = [*SASL, frame(b"hello"), frame(b"agreed")]


# what was read before, what comes together, how it ends, and what is said until then
Case = tuple[list[bytes], bytes, str, bytes]


def inside(line: bytes) -> bytes:
    return b"".join(frame(b"<" + line[at : at + 128] + b">") for at in range(0, len(line), 128))


def ends(make: Callable[[], Actor], data: bytes) -> tuple[str, set[bytes]]:
    """How a session ends at every chunking, which has to be the same, and what was said until then."""
    said, found = set(), set()
    for chunks in chunkings(data):
        actor = make()
        actor.wrote(actor.output)
        actor.events.clear()
        for chunk in chunks:
            actor.receive(chunk)
        actor.end_doubt()
        if not actor.session.over:
            actor.receive(b"")
        said.add(actor.output)
        found.add(" ".join(map(name_of, actor.events)))
    assert len(found) == 1, found
    return found.pop(), said


def name_of(event: Event) -> str:
    if isinstance(event, Closed):
        return event.cause
    return str(event.code) if isinstance(event, Error) else type(event).__name__


def guest_after(*data: bytes) -> Callable[[], Actor]:
    def make() -> Actor:
        actor = Actor("G", guest)
        for chunk in [HELLO, *data]:
            actor.receive(chunk)
        return actor

    return make


RESET = "Reset reset"
AT_THE_GUEST: dict[str, Case] = {
    "a new client": ([], NEW, RESET, b""),
    "two new clients": ([], NEW + NEW.replace(b"8PHy", b"9PHy"), RESET, b""),
    "the same client": ([], HELLO, "hang-up", AGAIN),
    "behind an unknown verb": ([], b"x\n" + NEW, RESET, UNKNOWN),
    "behind an unknown verb, cut off": ([], b"x" + NEW, RESET, UNKNOWN),
    "behind bytes that are no line, cut off": ([], b"\x01" + NEW, "protocol", MALFORMED),
    "behind wrong words, cut off": ([], b"info" + NEW, "protocol", MALFORMED),
    "behind an answer": ([], b"error 300\n" + NEW, f"300 {RESET}", b""),
    "behind an answer, cut off": ([], b"error 300" + NEW, f"300 {RESET}", b""),
    "behind a question": (
        [],
        b"error 300\ninfo spn\n" + NEW,
        f"300 Info {RESET}",
        b"ok host/guest.example.org\n",
    ),
    "behind the last word": ([], b"error 400\n" + NEW, "400", b"error 401 layer-required\n"),
    "a repeat, then a new client": (
        [],
        HELLO + NEW,
        RESET,
        AGAIN,
    ),
    "SASL at rest": (SASL, NEW, RESET, b""),
    "SASL in a frame": (SASL, b"\0\0\4\0cut" + NEW, RESET, b""),
    "SASL in a length": (SASL, b"\0" + NEW, RESET, b""),
    "SASL behind what is no length": (SASL, b"\1\0\0\0" + NEW, "protocol", b""),
    "SASL behind a token that fails": (SASL, frame(b"bad") + NEW, f"LayerFailed {RESET}", REFUSED),
    "layer at rest": (LAYER, NEW, RESET, b""),
    "layer in a frame": (LAYER, b"\0\0\4\0<cut" + NEW, RESET, b""),
    "layer in a frame that ends in it": (LAYER, b"\0\0\0\x20<cut" + NEW, RESET, b""),
    "layer behind a frame": (
        LAYER,
        inside(b"error 300\ninfo spn\n") + NEW,
        f"300 Info {RESET}",
        inside(b"ok host/guest.example.org\n"),
    ),
    "layer behind a frame that is refused": (LAYER, frame(b"bad") + NEW, "demonstration", b""),
    "layer, the same client": (LAYER, HELLO, "protocol", inside(MALFORMED)),
    "layer, what begins like it": (LAYER, NEW[:40] + b"\x01", "protocol", inside(MALFORMED)),
    "layer, a piece of it": (LAYER, NEW[:40], "protocol", inside(MALFORMED)),
}


def client_after(*data: bytes) -> Callable[[], Actor]:
    def make() -> Actor:
        actor = Actor("C1", client_that_is_replaced)
        for chunk in data:
            actor.receive(chunk)
        return actor

    return make


READY, ASKED = [ANSWER + b"ok\n"], [ANSWER + b"authenticate kerberos password\n"]
EXCHANGE = [*ASKED, b"ok\n"]
AT_THE_CLIENT: dict[str, Case] = {
    "a guest begins anew": (READY, ANEW, RESET, b""),
    "one that answers somebody else": (READY, ANSWER.replace(b"AAEC", b"AAED"), RESET, b""),
    "its own words": (READY, HELLO, "protocol", b""),
    "behind an unknown verb": (READY, b"x\n" + ANEW, RESET, UNKNOWN),
    "behind an unknown verb, cut off": (READY, b"x" + ANEW, RESET, UNKNOWN),
    "behind a line that is cut off": (ASKED, b"error 4" + ANEW, RESET, b""),
    "behind a verb that is cut off": (ASKED, b"authenti" + ANEW, RESET, b""),
    "behind bytes that are no line, cut off": (ASKED, b"\x01" + ANEW, RESET, b""),
    "behind a whole line that is none": (ASKED, b"\x01\n" + ANEW, "protocol", b""),
    "behind a whole line of another state": (ASKED, b"authenticate x\n" + ANEW, "protocol", b""),
    "behind two, the last cut off": (ASKED, b"bad line\nerror 4" + ANEW, "protocol", b""),
    "behind a refusal": (ASKED, b"error 400\n" + ANEW, f"400 {RESET}", b""),
    "behind a refusal, cut off": (ASKED, b"error 400" + ANEW, f"400 {RESET}", b""),
    "a line cut off, and no guest": (ASKED, b"error 4\n", "protocol", b""),
    "a line cut off, and what begins like one": (ASKED, b"error 4" + ANEW[:30] + b"\n", "protocol", b""),
    "SASL at rest": (EXCHANGE, ANEW, RESET, b""),
    "SASL in a frame": (EXCHANGE, b"\0\0\0\x20wel" + ANEW, RESET, b""),
    "SASL behind an outcome": (EXCHANGE, b"error 402\n" + ANEW, f"402 {RESET}", b""),
    "SASL behind an outcome that is cut off": (EXCHANGE, b"error 4" + ANEW, RESET, b""),
    "SASL behind an abort": (EXCHANGE, b"\xff\xff\xff\xff" + ANEW, "protocol", b""),
    "SASL, its first byte and no guest": (EXCHANGE, b"\nok\n", "protocol", b""),
}
