"""Tickets of a real Active Directory (Samba's), with their PAC: forwarded, sent, refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from beds_samba import SambaDomain
from pair import Pair
from sso_mechs import ccache

from sso.client.exits import Exit
from sso.policy import ClientPolicy, GuestPolicy

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DELEGATED, PLAIN, OLD = (f"host/{name}.ad.example" for name in ("delegated", "plain", "old"))
ALICE = "alice@AD.EXAMPLE"
GROUPS = 40


@pytest.fixture(scope="module")
def domain() -> Iterator[SambaDomain]:
    """alice in many groups, and three machines: trusted for delegation, not trusted, and as AD makes one."""
    machines = {
        "delegated": {"spn": DELEGATED, "aes": True, "delegated": True},
        "plain": {"spn": PLAIN, "aes": True, "delegated": False},
        "old": {"spn": OLD, "aes": False, "delegated": False},
    }
    people = {"alice": {"password": "alice-In-the-Domain-1", "groups": GROUPS}}
    with (
        SambaDomain("AD.EXAMPLE", people=people, machines=machines) as domain,
        pytest.MonkeyPatch.context() as patch,
    ):
        domain.kinit("alice", "-f")
        for name, value in domain.env.items():
            patch.setenv(name, value)
        yield domain


def signed_in(domain: SambaDomain, machine: str, **policy: Any) -> Pair:
    spn = f"host/{machine}.ad.example"
    mechanisms = {"GSSAPI": {"spn": spn, "keytab": str(domain.keytab_of(machine))}}
    return Pair(ClientPolicy(spn=spn, **policy), GuestPolicy(), mechanisms=mechanisms).run()


def test_trusted_for_delegation_forwards_the_ticket(domain: SambaDomain) -> None:
    pair = signed_in(domain, "delegated")
    assert (pair.exit, pair.judge.principals) == (Exit.SIGNED_IN, [ALICE])
    (ticket,) = ccache.read(pair.judge.secrets[0])
    assert ticket.server == "krbtgt/AD.EXAMPLE@AD.EXAMPLE" and len(ticket.ticket) > 1000, "it has a PAC"


def test_elsewhere_the_ticket_goes_only_where_the_user_says_so(domain: SambaDomain) -> None:
    without = signed_in(domain, "plain")
    assert without.judge.principals == [ALICE] and without.judge.secrets == [b""], "nobody's ticket"
    sent = signed_in(domain, "plain", send_ticket=True)
    assert (sent.exit, sent.judge.principals) == (Exit.SIGNED_IN, [ALICE])
    (ticket,) = ccache.read(sent.judge.secrets[0])
    assert ticket.server == "krbtgt/AD.EXAMPLE@AD.EXAMPLE"


def test_what_arrives_is_a_ticket_for_the_domain(domain: SambaDomain) -> None:
    path = domain.folder / "arrived"
    path.write_bytes(signed_in(domain, "delegated").judge.secrets[0])
    assert "kvno = " in domain.run(["kvno", PLAIN], env={"KRB5CCNAME": f"FILE:{path}"}).stdout


def test_a_machine_without_the_attribute_for_aes_is_refused_and_named(domain: SambaDomain) -> None:
    """The session key is AES all the same, which would hide it (RFC 4537); the ticket itself is RC4."""
    domain.run(["kvno", OLD])
    assert "etype=18/23" in domain.log()
    pair = signed_in(domain, "old")
    assert b"startSASL" not in pair.to_guest and pair.judge.claims == []
    assert pair.exit == Exit.KDC and pair.client.outcome is not None
    assert "encrypted with RC4" in pair.client.outcome.line
