"""A guest that does not say which service it is, or has no key for it: what the client does then."""

from pathlib import Path
from typing import Any

import pytest
from beds import GUEST, Certificates
from flows import ALICE, DELEG, SPN, Kerberos, password_of, tls_guest
from pair import Pair

from sso.client.exits import Exit
from sso.client.parties import Person
from sso.policy import ClientPolicy, GuestPolicy, Source


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
    person, info = Person(accept_spn=lambda spn, principal: accepted), {"spn": DELEG}.get
    pair = greet(kerberos, ClientPolicy(), GuestPolicy(), person=person, info=info)
    assert pair.exit == (0 if accepted else Exit.NOT_ALLOWED)
    assert pair.judge.principals == [ALICE] * accepted


YES = Person(accept_spn=lambda spn, principal: True, console="unix:/run/vm7.sso")
YES_TO_NO_CONSOLE = YES._replace(console="")
SENDING = ClientPolicy(send_ticket=True)
TRUSTING = ClientPolicy(trust_any_spn=True)


@pytest.mark.parametrize(
    ("policy", "person", "has_ticket"),
    [
        (ClientPolicy(), YES, True),  # the yes named console, service and ticket, and the KDC agrees
        (ClientPolicy(), YES_TO_NO_CONSOLE, False),
        (TRUSTING, YES, False),
        (TRUSTING, Person(), False),
        (SENDING, YES_TO_NO_CONSOLE, False),
        (TRUSTING._replace(send_ticket=True), YES, False),
    ],
)
def test_the_guests_own_word_gets_a_ticket_by_a_persons_yes_alone(
    kerberos: Kerberos, policy: ClientPolicy, person: Person, has_ticket: bool
) -> None:
    """The service is real, and the KDC has marked it ok-as-delegate."""
    pair = greet(kerberos, policy, GuestPolicy(), person=person, info={"spn": DELEG}.get)
    assert (pair.exit, pair.judge.principals) == (0, [ALICE])
    assert [bool(secret) for secret in pair.judge.secrets] == [has_ticket]
    assert b"credentials" not in pair.to_guest


@pytest.mark.parametrize("policy", [ClientPolicy(offer_tgt=True), SENDING])
def test_no_yes_gives_the_ticket_to_a_service_that_the_kdc_has_not_marked(
    kerberos: Kerberos, policy: ClientPolicy
) -> None:
    mechanisms = {"GSSAPI": kerberos.guest("guest", SPN)}
    pair = greet(kerberos, policy, GuestPolicy(), mechanisms=mechanisms, person=YES, info={"spn": SPN}.get)
    assert pair.judge.principals == [ALICE] and not any(pair.judge.secrets)


@pytest.mark.parametrize("who", ["alice", "nobody"])
def test_what_was_opened_for_somebody_else_says_nothing_at_all(
    kerberos: Kerberos, who: str, tmp_path: Path
) -> None:
    cache = kerberos.cache("alice") if who == "alice" else f"FILE:{tmp_path}/none"
    policy = ClientPolicy(spn=DELEG, named=Source.SIGNED, only_for="mallory@TEST.EXAMPLE")
    pair = greet(kerberos, policy, GuestPolicy(), ccache=cache)
    assert pair.exit == (Exit.NOT_ALLOWED if who == "alice" else Exit.NO_TICKET)
    assert pair.to_guest == b"" and pair.judge.claims == []


def test_what_was_opened_for_alice_signs_alice_in(kerberos: Kerberos) -> None:
    policy = ClientPolicy(spn=DELEG, named=Source.SIGNED, only_for=ALICE)
    pair = greet(kerberos, policy, GuestPolicy(), ccache=kerberos.cache("alice"))
    assert (pair.exit, pair.judge.principals) == (0, [ALICE])
