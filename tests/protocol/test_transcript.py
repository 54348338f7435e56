"""The hash over every line: sender and order count, secrets are left out."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from sso.protocol.messages import Credentials
from sso.protocol.state import Role
from sso.protocol.transcript import Transcript

C, G = Role.CLIENT, Role.GUEST
lines = st.lists(st.text("abc 123", max_size=5), min_size=1, max_size=3)
talks = st.lists(st.tuples(st.sampled_from([C, G]), lines), max_size=6)


def digest(talk: list[tuple[Role, list[str]]]) -> bytes:
    transcript = Transcript()
    for sender, words in talk:
        transcript.add(sender, words)
    return transcript.digest()


def test_the_formula_of_protocol_section_6() -> None:
    client, guest = sha256(b"SIGNATURE a\nstartTLS\n").digest(), sha256(b"ok\n").digest()
    talk = [(C, ["SIGNATURE", "a"]), (G, ["ok"]), (C, ["startTLS"])]
    assert digest(talk) == sha256(b"sso/1 transcript\n" + client + guest).digest()


@given(talks)
def test_directions_may_cross(talk: list[tuple[Role, list[str]]]) -> None:
    """Each end receives its peer's lines later, so only the order within a direction counts."""
    apart = [line for line in talk if line[0] is C] + [line for line in talk if line[0] is G]
    assert digest(talk) == digest(apart)


@given(talks, talks)
def test_other_lines_have_another_digest(
    one: list[tuple[Role, list[str]]], two: list[tuple[Role, list[str]]]
) -> None:
    def said(talk: list[tuple[Role, list[str]]]) -> list[list[str]]:
        return [[" ".join(words) for sender, words in talk if sender is role] for role in Role]

    assert (digest(one) == digest(two)) == (said(one) == said(two))


def test_a_copy_goes_its_own_way() -> None:
    first = Transcript()
    first.add(C, ["a"])
    second = first.copy()
    assert second.digest() == first.digest()
    second.add(C, ["b"])
    assert second.digest() != first.digest() == digest([(C, ["a"])])


def test_the_secret_of_credentials_does_not_enter() -> None:
    one, two = (Credentials("password", bytearray(secret)) for secret in (b"first", b"other"))
    assert digest([(C, one.words())]) == digest([(C, two.words())])
