"""SIGNATURE: greeting, repetition, reset and confirmation."""

from collections.abc import Callable

import pytest

from sso.errors import RemoteProtocolError
from sso.protocol.greeting import SIGNATURES_MAX, Greeting, read_signature, words_of
from sso.protocol.messages import Code, Signature, signature_line
from sso.protocol.state import Role

OURS, THEIRS, OTHER = b"o" * 16, b"t" * 16, b"x" * 16
ATTEMPT, DIGEST = b"a" * 16, b"d" * 32


def nonce(octets: bytes) -> Callable[[int], bytes]:
    return lambda size: octets[:size]


def client() -> Greeting:
    return Greeting(Role.CLIENT, (), ATTEMPT, nonce(OURS))


def guest() -> Greeting:
    greeting = Greeting(Role.GUEST, ("GSSAPI",), None, nonce(OURS))
    greeting.learn(Signature("client", THEIRS, attempt=ATTEMPT))
    return greeting


def test_the_client_greets_with_nonce_and_attempt() -> None:
    assert client().own() == Signature("client", OURS, attempt=ATTEMPT)


@pytest.mark.proves("S115")
def test_the_guest_announces_itself_without_an_echo_and_answers_with_one() -> None:
    fresh = Greeting(Role.GUEST, ("GSSAPI",), None, nonce(OURS))
    assert fresh.own() == Signature("guest", OURS, None, ("GSSAPI",))
    assert guest().own() == Signature("guest", OURS, THEIRS, ("GSSAPI",))
    assert guest().own(DIGEST) == Signature(
        "guest", OURS, THEIRS, ("GSSAPI",), attempt=ATTEMPT, transcript=DIGEST
    )


def test_it_is_said_six_times_at_most() -> None:
    greeting = client()
    said = [greeting.say() for _ in range(SIGNATURES_MAX + 3)]
    assert said == [greeting.own()] * SIGNATURES_MAX + [None] * 3


@pytest.mark.parametrize(
    ("make", "signature", "accepts", "anew"),
    [
        (client, Signature("guest", THEIRS, OURS), True, False),
        (client, Signature("guest", THEIRS, None), False, True),
        (client, Signature("guest", THEIRS, OTHER), False, True),
        (client, Signature("client", THEIRS, OURS), False, False),
        (client, Signature("client", OURS, None), False, False),  # its own words, sent back
        (guest, Signature("client", OTHER, None), True, True),
        (guest, Signature("client", THEIRS, None), True, False),
        (guest, Signature("client", OTHER, OURS), False, False),
        (guest, Signature("guest", OTHER, None), False, False),
    ],
)
@pytest.mark.proves("S116")
def test_who_begins_and_who_begins_anew(
    make: Callable[[], Greeting], signature: Signature, accepts: bool, anew: bool
) -> None:
    assert make().accepts(signature) is accepts
    assert make().begins_anew(signature) is anew


@pytest.mark.parametrize(("low", "high", "fits"), [(1, 1, True), (0, 9, True), (0, 0, False), (2, 9, False)])
def test_versions(low: int, high: int, fits: bool) -> None:
    signature = Signature("guest", THEIRS, OURS, minimum=low, maximum=high)
    if fits:
        client().check_version(signature)
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            client().check_version(signature)
        assert caught.value.code == Code.VERSION


GENUINE = Signature("guest", THEIRS, OURS, ("GSSAPI",), attempt=ATTEMPT, transcript=DIGEST)


@pytest.mark.parametrize(
    "signature",
    [
        GENUINE._replace(nonce=OTHER),
        GENUINE._replace(transcript=b"D" * 32),
        GENUINE._replace(transcript=None),
        GENUINE._replace(attempt=OTHER),
        GENUINE._replace(attempt=None),
        GENUINE._replace(echo=OTHER),
        GENUINE._replace(echo=None),
        GENUINE._replace(role="client"),
    ],
)
def test_inside_a_layer_every_word_has_to_fit(signature: Signature) -> None:
    greeting = client()
    greeting.learn(Signature("guest", THEIRS, OURS))
    greeting.confirm(GENUINE, DIGEST)
    with pytest.raises(RemoteProtocolError):
        greeting.confirm(signature, DIGEST)


def test_without_an_attempt_id_the_guest_says_none_and_the_client_wants_none() -> None:
    asked, greeting = Greeting(Role.GUEST, ("GSSAPI",), None, nonce(THEIRS)), client()
    greeting.attempt = None
    asked.learn(greeting.own())
    inner = asked.own(DIGEST)
    assert (inner.attempt, inner.transcript) == (None, DIGEST)
    greeting.learn(asked.own())
    greeting.confirm(inner, DIGEST)
    with pytest.raises(RemoteProtocolError):
        greeting.confirm(inner._replace(attempt=ATTEMPT), DIGEST)


def test_every_signature_of_a_guest_offers_the_same() -> None:
    greeting = guest()
    assert greeting.own().mechanisms == greeting.own(DIGEST).mechanisms == ("GSSAPI",)


def test_a_client_says_nothing_more_inside_a_layer() -> None:
    with pytest.raises(RemoteProtocolError):
        guest().confirm(Signature("client", THEIRS, attempt=ATTEMPT), DIGEST)


@pytest.mark.parametrize("line", [b"\nSIGNATURE cSSO7f3Kq9ZtW2xB  1 1 guest - -\n", b"\nok\n"])
def test_a_raw_find_that_is_no_signature_is_nothing(line: bytes) -> None:
    assert read_signature(words_of(line)) is None


def test_a_raw_find_is_read() -> None:
    assert read_signature(words_of(signature_line(GENUINE))) == GENUINE
    assert read_signature(words_of(signature_line(GENUINE)[:-1] + b"\r\n")) == GENUINE
