"""Lines of the protocol: words in, words out, and what is malformed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sso.errors import RemoteProtocolError
from sso.protocol.messages import (
    LINE_MAX,
    MAGIC,
    MECHANISMS_MAX,
    SIGNATURE_MAX,
    SIGNATURE_PREFIX,
    TYPES_MAX,
    VERBS,
    Authenticate,
    Code,
    Credentials,
    Error,
    Info,
    Message,
    Ok,
    Signature,
    StartSASL,
    StartTLS,
    Unknown,
    line_of,
    parse,
    signature_line,
)

N, H = "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
NONCE, HASH = bytes(16), bytes(32)

GOOD: list[tuple[str, Message]] = [
    (f"SIGNATURE {MAGIC} 1 1 client {N} - -", Signature("client", NONCE)),
    (f"SIGNATURE {MAGIC} 0 999 guest {N} {N} A", Signature("guest", NONCE, NONCE, ("A",), 0, 999)),
    (
        f"SIGNATURE {MAGIC} 1 1 guest {N} {N} GSSAPI,SCRAM-SHA-256 attempt={N} transcript={H}",
        Signature("guest", NONCE, NONCE, ("GSSAPI", "SCRAM-SHA-256"), 1, 1, NONCE, HASH),
    ),
    ("startTLS", StartTLS()),
    ("startSASL GSSAPI", StartSASL("GSSAPI")),
    ("authenticate kerberos", Authenticate(("kerberos",))),
    ("authenticate kerberos password", Authenticate(("kerberos", "password"))),
    ("info spn", Info("spn")),
    ("ok", Ok()),
    ("ok host/guest@REALM", Ok("host/guest@REALM")),
    ("error 300 delay", Error(300)),
    ("error 400 unsupported", Error(400)),
]
MALFORMED = [
    "SIGNATURE",
    f"SIGNATURE {MAGIC} 1 1 client {N} -",
    f"SIGNATURE other{MAGIC[5:]} 1 1 client {N} - -",
    f"SIGNATURE {MAGIC.lower()} 1 1 client {N} - -",
    f"SIGNATURE {MAGIC} 01 1 client {N} - -",
    f"SIGNATURE {MAGIC} 1 1000 client {N} - -",
    f"SIGNATURE {MAGIC} 1 -1 client {N} - -",
    f"SIGNATURE {MAGIC} 1 \u0661 client {N} - -",
    f"SIGNATURE {MAGIC} 1 1 host {N} - -",
    f"SIGNATURE {MAGIC} 1 1 client {N[:-4]} - -",
    f"SIGNATURE {MAGIC} 1 1 client {N[:-3]}B== - -",
    f"SIGNATURE {MAGIC} 1 1 client {N[:-2]} - -",
    f"SIGNATURE {MAGIC} 1 1 client {H} - -",
    f"SIGNATURE {MAGIC} 1 1 client {N} {H} -",
    f"SIGNATURE {MAGIC} 1 1 client {N} - gssapi",
    f"SIGNATURE {MAGIC} 1 1 client {N} - A,,B",
    f"SIGNATURE {MAGIC} 1 1 client {N} - {'A' * 21}",
    f"SIGNATURE {MAGIC} 1 1 client {N} - {','.join('A' * (MECHANISMS_MAX + 1))}",
    f"SIGNATURE {MAGIC} 1 1 client {N} - - attempt",
    f"SIGNATURE {MAGIC} 1 1 client {N} - - attempt={H}",
    f"SIGNATURE {MAGIC} 1 1 client {N} - - transcript={N}",
    f"SIGNATURE {MAGIC} 1 1 client {N} - - attempt={N} attempt={N}",
    f"SIGNATURE {MAGIC} 1 1 client {N} - - " + " ".join(f"k{i}=" for i in range(10)),
    "startTLS now",
    "startSASL",
    "startSASL GSSAPI token",
    "startSASL gssapi",
    "startSASL A,B",
    f"startSASL {'A' * 21}",
    "authenticate",
    "authenticate Kerberos",
    f"authenticate {'a' * 33}",
    "authenticate " + " ".join(["a"] * (TYPES_MAX + 1)),
    "info",
    "info spn time",
    "info SPN",
    "ok a b",
    "error",
    "error x",
    "error 99",
    "error 1000",
    "error 0300 delay",
    "error \u00b3\u00b3\u00b3",
]


def words_of(line: str) -> tuple[str, ...]:
    return tuple(line.split(" "))


@pytest.mark.proves("S115", "S117", "S118", "S120", "S121", "S122", "S123")
@pytest.mark.parametrize(("line", "message"), GOOD)
def test_a_line_and_its_message_are_one(line: str, message: Message) -> None:
    assert parse(words_of(line)) == message
    assert line_of(message.words()) == line.encode() + b"\n"


@pytest.mark.parametrize("line", MALFORMED)
def test_malformed_lines(line: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(words_of(line))
    assert caught.value.code == Code.MALFORMED
    assert len(str(caught.value)) < 40  # nothing of the peer's text is in it


@pytest.mark.parametrize("line", ["hello", "STARTTLS", "oK", "Error 300", "startTLS2 x y z", "unknown"])
def test_an_unknown_verb_is_a_message_of_its_own(line: str) -> None:
    assert parse(words_of(line)) == Unknown()


def test_unknown_attributes_of_a_signature_are_passed_over() -> None:
    message = parse(words_of(f"SIGNATURE {MAGIC} 1 1 client {N} - - colour=blue attempt={N} x="))
    assert message == Signature("client", NONCE, attempt=NONCE)


@pytest.mark.proves("S119")
def test_credentials_keep_the_secret_out_of_sight() -> None:
    secret = bytearray(b"hunter2")
    message = parse(("credentials", "password", secret))
    assert isinstance(message, Credentials)
    assert message.secret is secret
    assert message.words() == ["credentials", "password"]
    assert "hunter2" not in repr(message) + str(message)


@pytest.mark.parametrize("code", Code)
def test_every_code_has_one_text(code: Code) -> None:
    words = Error(code).words()
    assert words[1] == str(int(code))
    assert words[2] == code.name.lower().replace("_", "-")
    assert parse(tuple(words)) == Error(code)


def test_a_code_of_a_later_version_passes() -> None:
    assert parse(words_of("error 599 what-is-this")) == Error(599)
    assert Error(599).words() == ["error", "599", "error"]


def test_the_longest_signature_fits_the_raw_search() -> None:
    usual = Signature("guest", NONCE, NONCE, ("GSSAPI", "SCRAM-SHA-256", "OAUTHBEARER"), 1, 1, NONCE, HASH)
    assert len(signature_line(usual)) <= SIGNATURE_MAX < LINE_MAX
    assert signature_line(usual).startswith(SIGNATURE_PREFIX)
    assert len(MAGIC) == 16


names = st.text("ABCXYZ0189-_", min_size=1, max_size=20)
nonces = st.binary(min_size=16, max_size=16)
signatures = st.builds(
    Signature,
    st.sampled_from(["client", "guest"]),
    nonces,
    st.none() | nonces.filter(any),
    st.lists(names.filter(lambda name: name != "-"), max_size=MECHANISMS_MAX).map(tuple),
    st.integers(0, 999),
    st.integers(0, 999),
    st.none() | nonces,
    st.none() | st.binary(min_size=32, max_size=32),
)


@given(signatures)
def test_every_signature_comes_back(signature: Signature) -> None:
    assert parse(tuple(signature.words())) == signature


printable = st.text([chr(octet) for octet in range(0x21, 0x7F)], min_size=1, max_size=40)


@given(
    st.sampled_from(sorted(set(VERBS.values()) - {"credentials"})) | printable,
    st.lists(printable, max_size=18),
)
def test_any_words_give_a_message_or_one_error(verb: str, words: list[str]) -> None:
    if verb == "credentials":
        return
    try:
        message = parse((verb, *words))
    except RemoteProtocolError:
        return
    if not isinstance(message, Error | Unknown | Signature):
        assert message.words() == [verb, *words]  # what is understood is understood whole
