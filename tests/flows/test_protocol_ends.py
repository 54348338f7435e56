"""How sessions end, and the bytes that are sent then: PROTOCOL.md sections 4.2, 6.5 and 6.6."""

import pytest
from actors import Actor, client_that_is_replaced, guest

from sso.mech import TOKEN_MAX
from sso.protocol.events import Closed, Reset
from sso.protocol.layer import ABORT, frame
from sso.protocol.state import State

NONCE, OTHER = "AAECAwQFBgcICQoLDA0ODw==", "8PHy8/T19vf4+fr7/P3+/w=="
HELLO = f"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 client {NONCE} - -\n".encode()
NEW = HELLO.replace(NONCE.encode(), OTHER.encode())
ANSWER = f"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 guest {OTHER} {NONCE} X-DEMO\n".encode()
MALFORMED, TOO_LONG = b"error 406 malformed\n", b"error 413 too-long\n"
NOT_AUTHENTICATED = b"error 402 not-authenticated\n"
SASL = [b"error 300\nstartSASL X-DEMO\n"]
LAYER = [*SASL, frame(b"hello"), frame(b"agreed")]
FULL = 256 * 1024


def inside(line: bytes) -> bytes:
    return b"".join(frame(b"<" + line[at : at + 128] + b">") for at in range(0, len(line), 128))


def closed(actor: Actor) -> bool:
    return actor.session.state is State.CLOSED and isinstance(actor.events[-1], Closed)


# name, what the client says behind its greeting, what the guest says to the last of it, whether it closes
AT_THE_GUEST = [
    ("octet", [b"\x01\n"], MALFORMED, True),
    ("bare CR", [b"ok\rok\n"], MALFORMED, True),
    ("two spaces", [b"error  300\n"], MALFORMED, True),
    ("longest line", [b"x " + b"y" * 4094 + b"\n"], b"error 400 unsupported\n", False),
    ("line too long, without its end", [b"x" * 4097], TOO_LONG, True),
    ("long line in a layer", [*LAYER, inside(b"x" * 4097)], b"", False),
    ("unknown verb", [b"x\n"], b"error 400 unsupported\n", False),
    ("wrong words", [b"info\n"], MALFORMED, True),
    ("not in this state", [b"info spn\n"], MALFORMED, True),
    ("too many bytes", [b"\n" * FULL], TOO_LONG, True),
    ("too many bytes in SASL", [b"\n" * (FULL - 600), *SASL, b"\0\0\xff\xff" + bytes(600)], TOO_LONG, True),
    ("behind startSASL", [SASL[0] + b"\n"], b"", True),
    ("SASL fails", [*SASL, frame(b"bad")], NOT_AUTHENTICATED, False),
    ("abort", [*SASL, ABORT], b"", True),
    ("no length", [*SASL, b"\1\0\0\0"], b"", True),
    ("longest frame", [*SASL, frame(bytes(TOKEN_MAX))], NOT_AUTHENTICATED, False),
    ("frame too long", [*SASL, b"\0\3\0\1"], TOO_LONG, True),
    ("layer refuses", [*LAYER, frame(b"bad")], b"", True),
    ("abort in a layer", [*LAYER, ABORT], inside(MALFORMED), True),
    ("frame too long in a layer", [*LAYER, b"\0\1\0\0"], inside(TOO_LONG), True),
    ("SIGNATURE in a layer", [*LAYER, inside(HELLO)], inside(MALFORMED), True),
    (
        "second SASL",
        [*LAYER, inside(b"error 300\nstartSASL X-DEMO\n")],
        inside(b"error 400 unsupported\n"),
        False,
    ),
    ("TLS inside", [*LAYER, inside(b"error 300\nstartTLS\n")], inside(b"error 400 unsupported\n"), False),
    ("its own role", [HELLO.replace(b"client", b"guest")], MALFORMED, True),
    ("hang-up", [b""], b"", True),
]


@pytest.mark.parametrize(
    ("octets", "answer", "ends"), [row[1:] for row in AT_THE_GUEST], ids=[row[0] for row in AT_THE_GUEST]
)
def test_at_the_guest(octets: list[bytes], answer: bytes, ends: bool) -> None:
    actor = Actor("G", guest)
    for chunk in [HELLO, *octets]:
        actor.wrote(actor.output)
        actor.receive(chunk)
    actor.end_doubt()
    assert (actor.output, closed(actor)) == (answer, ends)


def test_no_version_in_common() -> None:
    actor = Actor("G", guest)
    actor.wrote(actor.output)
    actor.receive(HELLO.replace(b" 1 1 ", b" 2 3 "))
    assert actor.output.endswith(b" X-DEMO\nerror 405 version\n")
    assert closed(actor)


CONFIRMATION = (
    f"SIGNATURE cSSO7f3Kq9ZtW2xB 1 1 guest {OTHER} {NONCE} X-DEMO attempt={OTHER} transcript={'A' * 43}=\n"
)
AT_THE_CLIENT = [
    ("octet", [b"\x01\n"], b"", True),
    ("unknown verb where none is due", [b"x\n"], b"", True),
    ("behind ok", [b"ok\n\n"], b"", True),
    ("refusal", [b"error 400\n"], b"", False),
    ("ok with a value", [b"ok yes\n"], b"", True),
    ("SASL fails", [b"ok\n", frame(b"bad")], ABORT, True),
    ("guest aborts", [b"ok\n", ABORT], b"", True),
    ("frame too long", [b"ok\n", b"\xff\0\0\0"], b"", True),
    ("early outcome", [b"ok\n", b"ok\n"], b"", True),
    ("empty line before the outcome", [b"ok\n", frame(b"welcome"), b"\nok\n"], b"", True),
    ("delay as an outcome", [b"ok\n", frame(b"welcome"), b"error 300\n"], b"", True),
    ("refusal as an outcome", [b"ok\n", frame(b"welcome"), b"error 402\n"], b"", False),
    ("CR LF behind the outcome", [b"ok\n", frame(b"welcome"), b"ok\r\n"], b"", False),
    ("wrong transcript", [b"ok\n", frame(b"welcome"), b"ok\n" + inside(CONFIRMATION.encode())], b"", True),
    ("other repeat", [ANSWER + b"authenticate kerberos\n", ANSWER + b"ok\n"], b"", True),
    ("same repeat", [ANSWER + b"authenticate kerberos password\n"], b"", False),
]


@pytest.mark.parametrize(
    ("octets", "answer", "ends"), [row[1:] for row in AT_THE_CLIENT], ids=[row[0] for row in AT_THE_CLIENT]
)
def test_at_the_client(octets: list[bytes], answer: bytes, ends: bool) -> None:
    actor = Actor("C1", client_that_is_replaced)
    for chunk in [ANSWER + b"authenticate kerberos password\n", *octets]:
        actor.wrote(actor.output)
        actor.receive(chunk)
    actor.end_doubt()
    assert (actor.output, closed(actor)) == (answer, ends)


STATES = {
    "clear": [],
    "SASL, at rest": SASL,
    "SASL, in a frame": [*SASL, b"\0\0\4\0cut"],
    "layer, at rest": LAYER,
    "layer, in a frame": [*LAYER, b"\0\0\4\0<cut"],
}


def reset(name: str, *pieces: bytes) -> Actor:
    actor = Actor("G", guest)
    for chunk in [HELLO, *STATES[name]]:
        actor.receive(chunk)
    actor.wrote(actor.output)
    for piece in pieces:
        assert not closed(actor)
        actor.receive(piece)
    return actor


@pytest.mark.proves("S116")
@pytest.mark.parametrize("name", STATES)
def test_reset_in_every_state(name: str) -> None:
    actor = reset(name, NEW)
    assert [type(event) for event in actor.events[-2:]] == [Reset, Closed]
    assert actor.output == b""


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("cut", range(1, len(NEW)))
def test_reset_in_two_pieces(name: str, cut: int) -> None:
    actor = reset(name, NEW[:cut], NEW[cut:])
    assert [type(event) for event in actor.events[-2:]] == [Reset, Closed]
    assert actor.output == b""


def test_the_repeat_is_answered_word_for_word() -> None:
    actor = Actor("G", guest)
    actor.wrote(actor.output)
    actor.receive(HELLO)
    first = actor.output
    actor.wrote(first)
    actor.receive(b"error 300\n" + HELLO)
    assert actor.output == first
    assert actor.session.state is State.DELAYED
