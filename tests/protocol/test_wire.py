"""The bytes of a session: what is counted, and what the raw search finds."""

import pytest

from sso.errors import RemoteProtocolError
from sso.protocol.messages import MECHANISMS_MAX, SIGNATURE_MAX, Code, Signature, signature_line
from sso.protocol.wire import CLEAR_MAX, Wire

NONCE, ECHO = b"n" * 16, b"e" * 16


@pytest.mark.parametrize("said", [0, 1, 1000, CLEAR_MAX])
def test_the_bytes_of_both_directions_are_one_sum(said: int) -> None:
    wire = Wire()
    wire.write(bytes(said))
    wire.count(bytes(CLEAR_MAX - said))
    with pytest.raises(RemoteProtocolError) as caught:
        wire.count(b"x")
    assert caught.value.code == Code.TOO_LONG


def test_sixteen_names_of_twenty_fit_into_a_signature() -> None:
    names = tuple(f"MECHANISM-{number:010}" for number in range(MECHANISMS_MAX))
    assert {len(name) for name in names} == {20}
    signature = Signature("guest", NONCE, ECHO, names)
    line = signature_line(signature)
    assert len(line) == 424 <= SIGNATURE_MAX
    (found,) = Wire().signatures(line)
    assert (found.begin, found.end, found.signature) == (0, len(line), signature)


@pytest.mark.parametrize("size", [SIGNATURE_MAX, SIGNATURE_MAX + 1])
def test_a_signature_may_have_exactly_its_cap(size: int) -> None:
    line = signature_line(Signature("client", NONCE))[:-1] + b" x="
    line += b"y" * (size - 1 - len(line)) + b"\n"
    assert len(list(Wire().signatures(line))) == (size == SIGNATURE_MAX)


def test_where_a_signature_begins_and_ends() -> None:
    line = signature_line(Signature("client", NONCE))
    wire = Wire()
    assert list(wire.signatures(b"noise" + line[:20])) == [] and wire.begun == 20
    (found,) = wire.signatures(line[20:] + b"more")
    assert (found.begin, found.end) == (-20, len(line) - 20)
    assert wire.begun == 0
    (found,) = wire.signatures(b"noise" + line)
    assert (found.begin, found.end) == (5, 5 + len(line))
    assert wire.begun == 1, "its last LF may begin the next one"
