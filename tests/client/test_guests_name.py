"""A guest that does not say which service it is, or has no key for it: what the client does then."""

from typing import Any

import pytest
from beds import GUEST, Certificates
from flows import ALICE, DELEG, Kerberos, password_of, tls_guest
from pair import Pair

from sso.client.exits import Exit
from sso.client.person import Person
from sso.policy import ClientPolicy, GuestPolicy


def greet(kerberos: Kerberos, policy: ClientPolicy, guest: GuestPolicy, **more: Any) -> Pair:
    mechanisms = {"GSSAPI": kerberos.guest("deleg", DELEG), **more.pop("mechanisms", {})}
    return Pair(policy, guest, mechanisms=mechanisms, **more).run_out()


@pytest.mark.proves("S130")
def test_a_guest_without_a_name_gets_no_ticket_and_the_client_says_what_to_mend(kerberos: Kerberos) -> None:
    pair = greet(kerberos, ClientPolicy(trust_any_spn=True), GuestPolicy())
    outcome = pair.client.outcome
    assert outcome is not None and outcome.exit is Exit.NO_CREDENTIAL
    assert outcome.line == "nothing to sign in with: the guest does not say which service it is"
    assert outcome.hint == "name it with --spn"
    assert b"startSASL" not in pair.to_guest and pair.judge.claims == []


def test_a_guest_without_a_key_is_no_error_of_the_protocol(kerberos: Kerberos) -> None:
    """It offers Kerberos, and says no when it is to be done."""
    mechanisms = {"GSSAPI": {"spn": DELEG, "keytab": "/nonexistent/keytab"}}
    pair = greet(kerberos, ClientPolicy(spn=DELEG), GuestPolicy(), mechanisms=mechanisms)
    outcome = pair.client.outcome
    assert outcome is not None and outcome.exit is Exit.NO_CREDENTIAL
    assert outcome.line == "nothing to sign in with: the guest takes no Kerberos ticket"
    assert "key" in outcome.hint and pair.log_ids[0] == "mechanism-unavailable"


@pytest.mark.parametrize("keytab", ["deleg", None])
def test_where_a_password_is_allowed_it_takes_the_place(
    kerberos: Kerberos, certificates: Certificates, keytab: str | None
) -> None:
    """Whether the guest does not say its name, or has no key for the one that it says."""
    policy = ClientPolicy(tls_name=GUEST, tls_ca=str(certificates.ca), password=True)
    guest = GuestPolicy(tls=True, types=("kerberos", "password"))
    mechanisms = {"TLS": tls_guest(certificates)}
    if keytab is None:
        policy = policy._replace(spn=DELEG)
        mechanisms["GSSAPI"] = {"spn": DELEG, "keytab": "/nonexistent/keytab"}
    pair = greet(kerberos, policy, guest, mechanisms=mechanisms, person=password_of("alice"))
    assert (pair.exit, pair.judge.principals) == (0, ["alice"])


@pytest.mark.parametrize("accepted", [True, False])
def test_a_name_needs_a_yes(kerberos: Kerberos, accepted: bool) -> None:
    person, info = Person(accept_spn=lambda spn: accepted), {"spn": DELEG}.get
    pair = greet(kerberos, ClientPolicy(), GuestPolicy(), person=person, info=info)
    assert pair.exit == (0 if accepted else Exit.NOT_ALLOWED)
    assert pair.judge.principals == [ALICE] * accepted
