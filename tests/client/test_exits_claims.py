"""What a guest says and nobody has signed is told as its word; and what helps where its key has changed."""

from pathlib import Path

import gssapi
import pytest
from flows import Kerberos
from pair import Pair
from sso_mechs.enctypes import is_error

from sso.client.exits import Exit, RunResult, by_cause
from sso.mech import Mechanism
from sso.policy import ClientPolicy, GuestPolicy


def said(pair: Pair) -> RunResult:
    """Return how the client's run ended."""
    assert pair.client.outcome is not None
    return pair.client.outcome


class Saying(Mechanism):
    """A guest of another make, or whoever is in the middle: it answers by a KRB-ERROR, which nobody signs."""

    def __init__(self, kerberos: Kerberos, keytab: str, size: int) -> None:
        self._size = size  # bytes of the length in front, of which one is enough
        creds = gssapi.Credentials(usage="accept", store={"keytab": str(kerberos.keytabs[keytab])})
        self._context = gssapi.SecurityContext(creds=creds, usage="accept")

    def step(self, token: bytes) -> bytes:
        answer = self._context.step(token)  # its own errors come at the next look
        assert answer is not None and is_error(answer) and answer[1] < 0x80
        long = bytes([0x80 + self._size]) + answer[1].to_bytes(self._size or 1, "big")
        return bytes(answer[:1] + (long if self._size else answer[1:2]) + answer[2:])


@pytest.mark.parametrize("size", [0, 1, 4])
def test_an_error_that_nobody_signed_is_told_as_a_claim(kerberos: Kerberos, size: int) -> None:
    """In whatever form that libkrb5 reads: in another one it was told as a fact, that the guest is false."""
    pair = Pair(
        ClientPolicy(spn="host/other2.test.example"),
        GuestPolicy(),
        make=lambda name, **_: Saying(kerberos, "other2", size),
    ).run_out()
    assert pair.exit == Exit.NOT_ACCEPTED
    assert said(pair).line == "the guest says: its key does not fit the ticket"
    assert "kinit" in said(pair).hint


@pytest.mark.parametrize(
    ("cause", "exit", "line"),
    [
        ("clock-skew", Exit.CLOCK, "the guest says: the clocks differ too much"),
        ("replay", Exit.NOT_ACCEPTED, "the guest says: Request is a replay"),
    ],
)
def test_other_claims(cause: str, exit: int, line: str) -> None:
    outcome = by_cause(f"said-{cause}", f"said-{cause}: Request is a replay")
    assert (outcome.exit, outcome.line) == (exit, line)
    assert by_cause("said-new").line == "the guest says: it does not take the ticket"


def test_a_guest_that_was_set_up_anew(kerberos: Kerberos, tmp_path: Path) -> None:
    """The ticket in the cache is for the key it had before: a new one is what helps, and is what is said."""
    spn, realm = "host/anew.test.example", kerberos.realm
    realm.principal(spn, options=["+ok_as_delegate"])
    cache = f"FILE:{realm.kinit('alice', ccache=tmp_path / 'cc')}"
    for turn, good in ((0, True), (1, False), (2, True)):
        if turn == 2:
            cache = f"FILE:{realm.kinit('alice', ccache=tmp_path / 'cc')}"  # what the hint says
        elif turn == 1:
            realm.kadmin(f"cpw -randkey {spn}")
        keytab = realm.keytab(tmp_path / f"anew-{turn}", spn)
        pair = Pair(
            ClientPolicy(spn=spn),
            GuestPolicy(),
            mechanisms={"GSSAPI": {"spn": spn, "keytab": str(keytab)}},
            ccache=cache,
        ).run_out()
        assert (pair.exit == 0) is good
        if not good:
            assert said(pair).hint.startswith("get a new ticket with kinit")
