"""The blob of `credentials password`: user NUL password, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sso_mechs.password import PASSWORD_MAX, USER_MAX, Acceptor, Initiator

from sso.errors import MechanismError

users = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)
passwords = st.binary(min_size=1, max_size=PASSWORD_MAX).filter(lambda octets: 0 not in octets)


@pytest.mark.proves("S113", "S114")
@given(users, passwords)
def test_a_user_and_a_password_come_through(user: str, password: bytes) -> None:
    secret = bytearray(password)
    ours, theirs = Initiator(user=user, password=secret), Acceptor()
    assert theirs.step(ours.step(b"")) == b""
    assert ours.complete
    assert theirs.complete
    assert theirs.credential is not None
    assert (theirs.credential.type, theirs.credential.principal) == ("password", user)
    assert bytes(theirs.credential.secret or b"") == password
    assert not any(secret)
    assert theirs.peer == ""  # a password proves nothing until PAM accepts it


def test_a_password_is_given_once() -> None:
    ours = Initiator(user="alice", password=bytearray(b"x"))
    ours.step(b"")
    with pytest.raises(MechanismError):
        ours.step(b"")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("", b"x"),
        ("a" * (USER_MAX + 1), b"x"),
        ("a\0b", b"x"),
        ("alice", b""),
        ("alice", b"x" * (PASSWORD_MAX + 1)),
        ("alice", b"a\0b"),
    ],
)
def test_what_a_client_refuses_to_send(user: str, password: bytes) -> None:
    with pytest.raises(MechanismError) as caught:
        Initiator(user=user, password=bytearray(password))
    assert caught.value.cause == "password"


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"alice",
        b"\0secret",
        b"alice\0",
        b"alice\0sec\0ret",
        b"a" * (USER_MAX + 1) + b"\0x",
        b"a\0" + b"x" * (PASSWORD_MAX + 1),
        b"\xff\xfe\0secret",
    ],
)
def test_malformed_blobs(blob: bytes) -> None:
    half = Acceptor()
    with pytest.raises(MechanismError) as caught:
        half.step(bytearray(blob))
    assert (caught.value.cause, str(caught.value)) == ("password", "password: malformed")
    assert half.credential is None


@given(st.binary(max_size=600))
def test_any_bytes_are_a_credential_or_one_error(blob: bytes) -> None:
    half = Acceptor()
    try:
        half.step(bytearray(blob))
    except MechanismError:
        assert half.credential is None
    else:
        assert half.credential is not None
        assert half.credential.principal.encode() + b"\0" + (half.credential.secret or b"") == blob
