"""Every decision of both policies, as tables."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from sso import policy
from sso.mech import ALWAYS, AS_KDC_SAYS, NO
from sso.policy import SASL_CONF, TLS, ClientPolicy, GuestPolicy, Source
from sso.protocol.messages import Code

REALM = "TEST.EXAMPLE"
OURS = [source for source in Source if source is not Source.GUEST]
QUESTIONS = {
    name: member
    for name, member in vars(ClientPolicy).items()
    if inspect.isfunction(member) and member.__module__ == policy.__name__ and not name.startswith("_")
}


def test_the_defaults_give_nothing_away() -> None:
    policy = ClientPolicy()
    assert (policy.trust_any_spn, policy.offer_tgt, policy.send_ticket, policy.password) == (False,) * 4
    assert policy.required == SASL_CONF
    assert GuestPolicy().sasl == ("GSSAPI",)


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_no_question_can_be_asked_without_saying_who_named_the_service(question: Callable[..., Any]) -> None:
    taken = inspect.signature(question).parameters
    assert "source" in taken, "a question to ClientPolicy takes where the service's name came from"
    source = taken["source"]
    assert source.kind is inspect.Parameter.KEYWORD_ONLY and source.default is inspect.Parameter.empty
    assert source.annotation is Source


def test_those_questions_are_all_that_there_are() -> None:
    assert set(QUESTIONS) == {"may_use_spn", "delegation", "sasl_layer", "may_start", "may_send"}
    functions = [
        name
        for name, member in vars(policy).items()
        if inspect.isfunction(member) and member.__module__ == policy.__name__
    ]
    assert functions == [], "a question outside of the classes would not be looked at here"


@pytest.mark.parametrize("source", list(Source))
@pytest.mark.parametrize("inside_only", [True, False])
def test_a_strangers_mechanism_needs_a_verified_tls_or_a_layer_of_its_own(
    source: Source, inside_only: bool
) -> None:
    def may(policy: ClientPolicy, tls_verified: bool) -> bool:
        return policy.may_start(source=source, inside_only=inside_only, tls_verified=tls_verified)

    assert may(ClientPolicy(), tls_verified=True)
    assert may(ClientPolicy(), tls_verified=False) == (not inside_only and source is not Source.GUEST)
    assert not may(ClientPolicy(require=TLS), tls_verified=False)


@pytest.mark.parametrize("tls_verified", [True, False])
@pytest.mark.parametrize("authenticated", [True, False])
def test_a_type_of_a_strangers_is_sent_where_it_is_listed(tls_verified: bool, authenticated: bool) -> None:
    def may(policy: ClientPolicy, confidential: bool = True) -> bool:
        known = {"tls_verified": tls_verified, "authenticated": authenticated, "confidential": confidential}
        return policy.may_send("X-TYPE", source=Source.TYPED, **known)

    listed = ClientPolicy(mechanisms=("GSSAPI", "X-TYPE"))
    assert may(listed) == (tls_verified or authenticated)
    assert not may(ClientPolicy()) and not may(listed, confidential=False)


def test_a_mechanism_without_a_layer_is_taken_inside_tls_alone() -> None:
    policy = GuestPolicy(tls=True, sasl=("GSSAPI", "X-BARE"), inside_tls=("X-BARE",))
    assert policy.may_start_sasl("X-BARE", in_tls=True) and not policy.may_start_sasl("X-BARE", in_tls=False)
    assert policy.may_start_sasl("GSSAPI", in_tls=False) and not policy.may_start_sasl("X-OTHER", in_tls=True)


def test_only_a_type_of_the_same_namespace_is_asked_for_afterwards() -> None:
    policy = GuestPolicy(sasl=("GSSAPI", "X-BARE"))
    assert policy.asked_after("GSSAPI") == ("kerberos",) and policy.asked_after("X-BARE") == ()
    assert policy._replace(types=()).asked_after("GSSAPI") == ()


@pytest.mark.parametrize(
    ("policy", "required", "wants_tls", "without_tls"),
    [
        (ClientPolicy(), SASL_CONF, False, True),
        (ClientPolicy(tls_name="g"), TLS, True, False),
        (ClientPolicy(tls_pins=(bytes(32),)), TLS, True, False),
        (ClientPolicy(tls_name="g", require=SASL_CONF), SASL_CONF, True, True),
        (ClientPolicy(require=TLS), TLS, False, False),
        (ClientPolicy(tls_ca="/ca.pem"), SASL_CONF, False, True),  # a CA without a name is no identity
    ],
)
def test_what_is_required(policy: ClientPolicy, required: str, wants_tls: bool, without_tls: bool) -> None:
    assert policy.required == required
    assert policy.wants_tls is wants_tls
    assert policy.goes_on_without_tls is without_tls


@pytest.mark.proves("S110")
@pytest.mark.parametrize(
    ("spn", "patterns", "allowed"),
    [
        ("host/a", ("host/*",), True),
        ("host/a@TEST.EXAMPLE", ("host/*",), True),
        ("host/a@OTHER.EXAMPLE", ("host/*",), False),
        ("imap/a", ("host/*",), False),
        ("krbtgt/TEST.EXAMPLE", ("host/*",), False),
        ("host/a@OTHER.EXAMPLE", ("host/*@OTHER.EXAMPLE",), True),
        ("host/a", ("host/*@OTHER.EXAMPLE",), False),
        ("sso/b.lab", ("host/*", "sso/*.lab"), True),
        ("sso/b.lab.evil", ("sso/*.lab",), False),
        ("HOST/a", ("host/*",), False),
        ("host/a", (), False),
    ],
)
def test_which_names_of_our_own_side_may_be_used(spn: str, patterns: tuple[str, ...], allowed: bool) -> None:
    for source in OURS:
        assert ClientPolicy(spn_patterns=patterns).may_use_spn(spn, REALM, source=source) is allowed


@pytest.mark.proves("S111", "S130")
@pytest.mark.parametrize(
    ("spn", "allowed"),
    [
        ("host/a.lab", True),
        ("sso/a.lab@TEST.EXAMPLE", True),
        ("host/a.lab@OTHER.EXAMPLE", False),
        ("host/a.lab@", False),
        ("host/a.lab@test.example", False),
        ("imap/a.lab", False),
        ("host/a/b", False),
        ("host/", False),
        ("host", False),
        ("", False),
        ("host/*", False),
        ("host/a\\@OTHER", False),
        ("host/a@TEST.EXAMPLE@TEST.EXAMPLE", False),
    ],
)
def test_which_names_a_guest_may_give(spn: str, allowed: bool) -> None:
    policy = ClientPolicy(trust_any_spn=True, spn_patterns=("*@*",))
    assert policy.may_use_spn(spn, REALM, source=Source.GUEST) is allowed


@pytest.mark.proves("S112")
@pytest.mark.parametrize("source", OURS)
@pytest.mark.parametrize("agreed", [False, True])
def test_for_a_name_of_our_own_side_the_kdc_decides_or_the_person(source: Source, agreed: bool) -> None:
    assert ClientPolicy().delegation(source=source, agreed=agreed) == AS_KDC_SAYS
    assert ClientPolicy(offer_tgt=True).delegation(source=source, agreed=agreed) == ALWAYS


@pytest.mark.parametrize("offer", [False, True])
@pytest.mark.parametrize(
    ("trust_any", "agreed", "delegation"),
    [(False, False, NO), (False, True, AS_KDC_SAYS), (True, False, NO), (True, True, NO)],
)
def test_delegation_never_goes_with_the_guests_own_word(
    offer: bool, trust_any: bool, agreed: bool, delegation: str
) -> None:
    policy = ClientPolicy(offer_tgt=offer, trust_any_spn=trust_any)
    assert policy.delegation(source=Source.GUEST, agreed=agreed) == delegation


@pytest.mark.parametrize(("verified", "layer"), [(True, "none"), (False, "conf")])
def test_only_a_verified_tls_replaces_confidentiality(verified: bool, layer: str) -> None:
    for source in OURS:
        assert ClientPolicy().sasl_layer(verified, source=source) == layer
    assert ClientPolicy().sasl_layer(verified, source=Source.GUEST) == "conf"


ALL = ClientPolicy(send_ticket=True, password=True, require=SASL_CONF)
SENDING = [
    # type, policy, TLS verified, authenticated, confidential, may leave
    ("password", ALL, True, False, True, True),
    ("password", ALL, True, True, True, True),
    ("password", ALL, False, True, True, False),  # never under GSSAPI alone
    ("password", ALL, True, False, False, False),
    ("password", ALL._replace(password=False), True, False, True, False),
    ("kerberos", ALL, False, True, True, True),
    ("kerberos", ALL, True, True, True, True),
    ("kerberos", ALL, True, False, True, False),
    ("kerberos", ALL, False, True, False, False),
    ("kerberos", ALL._replace(send_ticket=False), True, True, True, False),
    ("kerberos", ALL._replace(require=TLS), False, True, True, False),
    ("kerberos", ALL._replace(require=TLS), True, True, True, True),
    ("oidc", ALL, True, True, True, False),
]


@pytest.mark.proves("S113")
@pytest.mark.parametrize(("type", "policy", "tls", "authenticated", "confidential", "may"), SENDING)
def test_what_may_leave(
    type: str, policy: ClientPolicy, tls: bool, authenticated: bool, confidential: bool, may: bool
) -> None:
    for source in Source:
        said = policy.may_send(
            type, source=source, tls_verified=tls, authenticated=authenticated, confidential=confidential
        )
        assert said is (may and not (type == "kerberos" and source is Source.GUEST))


BOTH = GuestPolicy(tls=True, types=("kerberos", "password"))
TAKING = [
    # type, policy, in TLS, authenticated, confidential, counts
    ("password", BOTH, True, False, True, True),
    ("password", BOTH, False, True, True, False),
    ("password", BOTH, True, True, False, False),
    ("kerberos", BOTH, False, True, True, True),
    ("kerberos", BOTH, True, False, True, False),
    ("kerberos", BOTH._replace(require_tls=True), False, True, True, False),
    ("password", BOTH._replace(types=("kerberos",)), True, True, True, False),
    ("oidc", BOTH, True, True, True, False),
]


@pytest.mark.parametrize(("type", "policy", "in_tls", "authenticated", "confidential", "counts"), TAKING)
def test_what_the_guest_takes(
    type: str, policy: GuestPolicy, in_tls: bool, authenticated: bool, confidential: bool, counts: bool
) -> None:
    said = policy.may_take(type, in_tls=in_tls, authenticated=authenticated, confidential=confidential)
    assert said is counts


@pytest.mark.parametrize(
    ("policy", "in_tls", "confidential", "sasl", "sign_in"),
    [
        (BOTH, False, True, True, True),
        (BOTH, False, False, True, False),
        (BOTH, True, True, True, True),
        (BOTH._replace(require_tls=True), False, True, False, False),
        (BOTH._replace(require_tls=True), True, True, True, True),
        (BOTH._replace(sasl=()), True, True, False, True),
    ],
)
def test_what_the_guest_begins(
    policy: GuestPolicy, in_tls: bool, confidential: bool, sasl: bool, sign_in: bool
) -> None:
    assert policy.may_start_sasl("GSSAPI", in_tls) is sasl
    assert policy.may_sign_in(in_tls=in_tls, confidential=confidential) is sign_in


@pytest.mark.parametrize("code", Code)
def test_no_code_is_a_yes(code: Code) -> None:
    """0 means yes; no error code may have that value."""
    assert code != 0
