"""The rule that vouches, for all facts; what names a console, proves it, is asked and is remembered."""

import itertools

import pytest

from sso.console.vouch import (
    NOBODY_NAMED,
    NOBODY_VOUCHES,
    NOT_NAMED,
    NOT_PROVEN,
    TICKET,
    Agreement,
    ConsoleTable,
    Facts,
    Leg,
    Proof,
    Ruling,
    Strength,
    agreement,
    anchor,
    by_table,
    fits,
    named,
    names_service,
    question,
    rule,
    says_something,
    shown,
    strength,
    the_one_service,
)

BOTH = (False, True)
ALL = [
    Facts(*values)
    for values in itertools.product(BOTH, Strength, (None, False, True), BOTH, BOTH, BOTH, BOTH, BOTH)
]
SPN = "host/vm7.example.org"
ALICE = "alice@EXAMPLE.ORG"
PROVEN = (Proof.LOCAL, Proof.SIGNED, Proof.PROXY, Proof.SOCKET)


@pytest.mark.parametrize("strength", Strength, ids=lambda strength: strength.name)
def test_every_combination_of_facts_has_the_one_answer(strength: Strength) -> None:
    """Said once more, the other way round: what has to be there for each answer."""
    for facts in (facts for facts in ALL if facts.strength is strength):
        ruling, why = rule(facts)
        known = facts.identity is not False
        counts = strength is not Strength.NOTHING
        signed = facts.identity is True and facts.entry and facts.opening
        yes = facts.identity is True and (facts.agreed or (facts.remembered and strength is Strength.PROVEN))
        may = known and (facts.typed or (counts and (facts.table or signed or yes)))
        asks = facts.identity is True and counts and not may
        assert (ruling is Ruling.START) is may, facts
        assert (ruling is Ruling.ASK) is asks, facts
        assert bool(why) is not may


def test_all_answers_were_looked_at() -> None:
    assert len(ALL) == len(set(ALL)) == 3 * 3 * 2**6
    assert {rule(facts) for facts in ALL} == {
        (Ruling.START, ""),
        (Ruling.ASK, NOBODY_VOUCHES),
        (Ruling.REFUSE, NOBODY_NAMED),
        (Ruling.REFUSE, NOT_PROVEN),
        (Ruling.REFUSE, NOT_NAMED),
    }


NOTHING = Facts(False, Strength.PROVEN, True, False, False, False, False, False)


@pytest.mark.parametrize(
    ("facts", "ruling"),
    [
        (NOTHING, Ruling.ASK),  # a file that names a console and a service
        (NOTHING._replace(strength=Strength.NOTHING), Ruling.REFUSE),  # plain TCP, or the file's own CA
        (NOTHING._replace(strength=Strength.NOTHING, table=True), Ruling.REFUSE),
        (NOTHING._replace(strength=Strength.NOTHING, entry=True, opening=True), Ruling.REFUSE),
        (NOTHING._replace(strength=Strength.NOTHING, agreed=True, remembered=True), Ruling.REFUSE),
        (NOTHING._replace(table=True), Ruling.START),
        (NOTHING._replace(entry=True), Ruling.ASK),
        (NOTHING._replace(opening=True), Ruling.ASK),
        (NOTHING._replace(entry=True, opening=True), Ruling.START),
        (NOTHING._replace(remembered=True), Ruling.START),
        (NOTHING._replace(strength=Strength.ALLOWED, remembered=True), Ruling.ASK),
        (NOTHING._replace(strength=Strength.ALLOWED, agreed=True), Ruling.START),
        (NOTHING._replace(identity=False), Ruling.REFUSE),  # a missing key widens nothing
        (NOTHING._replace(identity=False, typed=True, table=True, agreed=True), Ruling.REFUSE),
        (NOTHING._replace(strength=Strength.NOTHING, typed=True), Ruling.START),  # a typed address and --spn
        (NOTHING._replace(identity=None), Ruling.REFUSE),  # the ssh-agent, whose consoles are ["*"]
        (NOTHING._replace(identity=None, table=True), Ruling.START),
        (NOTHING._replace(identity=None, table=True, strength=Strength.NOTHING), Ruling.REFUSE),
    ],
)
def test_the_rule_in_examples(facts: Facts, ruling: Ruling) -> None:
    assert rule(facts)[0] is ruling


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("*", False), ("?*", False), ("", False), ("**", False), ("*.*", False), ("[a-z]*", False),
        ("/*", False),
        ("*.org", True), ("vm7", True), ("10.0.0.*", True), ("/run/*", True), ("::1", True),
    ],
)  # fmt: skip
def test_what_a_pattern_of_places_says(pattern: str, says: bool) -> None:
    assert says_something(pattern) is says
    assert named(["vm7.example.org"], [pattern]) is (says and pattern in ("*.org",))


@pytest.mark.parametrize(
    ("identity", "patterns", "names"),
    [
        ((SPN,), (SPN,), True),
        ((SPN,), ("host/*.example.org",), True),
        ((SPN,), ("host/*",), False),
        ((SPN,), ("*",), False),
        ((SPN,), ("*/*",), False),
        ((SPN,), ("host/*@EXAMPLE.ORG",), False),
        ((f"{SPN}@EXAMPLE.ORG",), (f"{SPN}@EXAMPLE.ORG",), True),
        ((f"{SPN}@EXAMPLE.ORG",), (SPN,), False),
        ((f"{SPN}@OTHER.ORG",), ("host/*.example.org*",), False),
        (("tls/vm7.example.org",), (SPN,), False),
        (("tls/vm7.example.org",), ("tls/vm7.*",), True),
        ((SPN, "tls/vm8.example.org"), (SPN,), False),
        (("sha256:" + "ab" * 32,), ("sha256:" + "ab" * 32,), True),
        ((), (SPN,), False),
        ((SPN,), (), False),
    ],
)
def test_which_services_patterns_name(
    identity: tuple[str, ...], patterns: tuple[str, ...], names: bool
) -> None:
    assert names_service(identity, patterns) is names


def leg(
    host: str = "node1.example.org", proxy: str = "", proof: Proof = Proof.LOCAL, subject: str = ""
) -> Leg:
    return Leg(host, 5900, proxy, proof, subject)


@pytest.mark.parametrize(
    ("legs", "vouched"),
    [
        ([leg()], True),
        ([leg("NODE1.example.ORG")], True),
        ([leg("evil.org")], False),
        ([leg(proxy="evil.org")], False),
        ([leg(proxy="node2.example.org")], True),
        ([leg(), leg("evil.org")], False),
        ([leg(), leg("node2.example.org")], True),
        ([leg("pvespiceproxy:692b5f0a:100:node1.example.org::0123abcd")], True),
        ([leg("pvespiceproxy:692b5f0a:100:evil.org::0123abcd")], False),
        ([leg("pvespiceproxy:692b5f0a:100:evil.org::node1.example.org")], False),
        ([leg("pvespiceproxy:692b5f0a:100:node1.example.org::0123abcd.evil.org")], False),
        ([leg("pvespiceproxy:692b5f0a:100:node1.example.org::")], False),
        ([], False),
    ],
)
def test_a_table_vouches_for_every_place_together(legs: list[Leg], vouched: bool) -> None:
    table = ConsoleTable(("node?.example.org",), (SPN,))
    assert by_table([table], legs, (SPN,)) is vouched
    assert not by_table([table], legs, ("host/other.example.org",))


@pytest.mark.parametrize(
    ("where", "pattern", "fit"),
    [
        ("node1", "node*", True),
        ("NODE1", "node?", True),
        ("node1.evil.org", "node*", False),
        ("pvespiceproxy:1:1:n::x.evil.org", "p*", False),
        ("node1.example.org", "node1.example.*", False),
        ("node1.example.org", "node*.example.org", True),
        ("a.node1.example.org", "*.example.org", True),
        ("10.0.0.7", "10.0.0.*", True),
        ("10.0.0.7", "10.*", True),
        ("10.0.0.evil.org", "10.0.0.*", False),
        ("fe80::1", "fe80::*", True),
        ("::ffff:10.0.0.7", "::ffff:*", True),
        ("/run/x.y/z", "/run/*", True),
        ("node1.evil.org", "*", True),  # which says nothing, so `named` takes it for nothing
    ],
)
def test_what_a_pattern_of_places_names(where: str, pattern: str, fit: bool) -> None:
    assert fits(where, pattern) is fit
    assert named([where], [pattern]) is (fit and pattern != "*")


def test_two_tables_do_not_add_up_to_one() -> None:
    tables = [ConsoleTable(("a.org",), ("host/x.org",)), ConsoleTable(("b.org",), (SPN,))]
    assert by_table(tables, [leg("b.org")], (SPN,)) and not by_table(tables, [leg("a.org")], (SPN,))
    assert not by_table(tables, [leg("b.org"), leg("a.org")], (SPN,))


def test_all_consoles_and_all_services_vouch_for_nothing() -> None:
    for table in (ConsoleTable(("*",), (SPN,)), ConsoleTable(("node1.example.org",), ("host/*",))):
        assert not by_table([table], [leg()], (SPN,))


@pytest.mark.parametrize(
    ("services", "found"),
    [
        ((SPN,), SPN),
        (("host/*.example.org",), ""),
        ((SPN, "host/vm8.example.org"), ""),
        (("tls/vm7.example.org",), ""),
        ((), ""),
    ],
)
def test_a_console_without_a_word_has_the_service_of_its_table(services: tuple[str, ...], found: str) -> None:
    assert the_one_service([ConsoleTable(("node1.example.org",), services)], [leg()]) == found
    assert the_one_service([ConsoleTable(("*",), services)], [leg()]) == ""


@pytest.mark.parametrize("proof", Proof)
@pytest.mark.parametrize("plain", BOTH)
def test_what_a_proof_is_worth(proof: Proof, plain: bool) -> None:
    table = ConsoleTable(("node1.example.org",), plain=plain)
    allowed = Strength.ALLOWED if plain and proof is Proof.PLAIN else Strength.NOTHING
    assert strength([table], [leg(proof=proof)]) is (Strength.PROVEN if proof in PROVEN else allowed)


def test_the_weakest_connection_counts() -> None:
    table = ConsoleTable(("node1.example.org",), plain=True)
    everywhere = ConsoleTable(("*",), plain=True)
    assert strength([table], []) is Strength.NOTHING
    assert strength([table], [leg(), leg(proof=Proof.PLAIN)]) is Strength.ALLOWED
    assert strength([table], [leg(), leg("evil.org", proof=Proof.PLAIN)]) is Strength.NOTHING
    assert strength([table], [leg(proxy="evil.org", proof=Proof.PLAIN)]) is Strength.NOTHING
    assert strength([everywhere], [leg(proof=Proof.PLAIN)]) is Strength.NOTHING


def test_which_ca_and_subject_check_a_console() -> None:
    subject = "OU=PVE Cluster Node,O=Proxmox Virtual Environment,CN=*.example.org"
    by_pattern = ConsoleTable(("node1",), ca="/pve.pem", subject=subject)
    by_name = ConsoleTable(("*.example.org",), ca="/site.pem")
    literal = ConsoleTable(("node2",), ca="/pve.pem", subject="CN=node2")
    tables = [ConsoleTable(("*",), (SPN,)), by_pattern, by_name, literal]
    claimed = subject.replace("*", "node1")
    assert anchor(tables, "node1", claimed) == (by_pattern, claimed)
    assert anchor(tables, "node1", "CN=evil.org") is None
    assert anchor(tables, "node1", "") is None
    assert anchor(tables, "vm.example.org", "") == (by_name, "")
    assert anchor(tables, "vm.example.org", "CN=vm.example.org") is None
    assert anchor(tables, "node2", "") == (literal, "CN=node2")
    assert anchor(tables, "evil.org", "") is None


# What is remembered


def test_ports_and_one_time_names_are_not_remembered() -> None:
    def remembered(*legs: Leg, who: str = ALICE, spn: str = SPN) -> Agreement:
        return agreement(legs, (spn,), who)

    first = leg("pvespiceproxy:692b5f0a:100:node1::0123abcd", "10.0.0.1", subject="CN=node1")
    later = leg("pvespiceproxy:692b6ccc:100:node1::4567cdef", "10.0.0.1", subject="CN=node1")
    assert remembered(first) == remembered(later._replace(port=61001, proxy_port=9))
    assert remembered(leg(), leg("s")) == remembered(leg(), leg("S")._replace(port=1))
    others = [
        remembered(later._replace(host="pvespiceproxy:692b6ccc:101:node1::4567cdef")),
        remembered(later._replace(host="pvespiceproxy:692b6ccc:100:node2::4567cdef")),
        remembered(later._replace(subject="CN=node2")),
        remembered(later._replace(proxy="10.0.0.2")),
        remembered(later, leg("stream")),
        # A yes to the host's own certificate is none to whatever its proxy leads to.
        remembered(later._replace(proof=Proof.PROXY)),
        remembered(leg("/run/user/1000/vm")),
        remembered(leg("/run/user/1000/VM")),
        remembered(later, who="bob@EXAMPLE.ORG"),
        remembered(later, spn="host/vm8.example.org"),
    ]
    assert len({remembered(first), *others}) == len(others) + 1


def test_an_entrys_guest_is_remembered_instead_of_its_consoles() -> None:
    guest = "01234567-89ab-cdef-0123-456789abcdef"
    one, two = (agreement([leg(host)], (SPN,), ALICE, guest) for host in ("a.org", "b.org"))
    assert one == two != agreement([leg("a.org")], (SPN,), ALICE)


# What is asked


def test_the_question_says_what_really_is_so() -> None:
    first = Leg("pve:1", 61000, "10.0.0.1", Proof.SIGNED, "CN=node1", 3128)
    asked = question([first, leg("fe80::1", proof=Proof.PLAIN)], (SPN,), ALICE, "policy", Strength.PROVEN)
    assert asked.rows == (
        ("Console", "[pve:1]:61000"),
        ("Console's proxy", "10.0.0.1:3128"),
        ("Certificate", "CN=node1"),
        ("Authenticated by", "TLS, as a trusted key has signed"),
        ("Stream", "[fe80::1]:5900"),
        ("Authenticated by", "nothing (plain TCP)"),
        ("Service of the guest", SPN),
        ("You sign in as", ALICE),
        ("Your ticket", "goes along if the KDC lets this service have it"),
    )
    assert asked.remembered
    label = "pvespiceproxy:692b5f0a:100:node1::0123abcd"
    (console, *_) = question([leg(label)], (SPN,), ALICE, "no", Strength.ALLOWED).rows
    assert console == ("Console", "node1:5900 (machine 100, as the file says)")
    assert not question([leg()], (SPN,), ALICE, "no", Strength.ALLOWED).remembered


def test_the_ticket_has_words_for_each_way() -> None:
    assert set(TICKET) == {"no", "policy", "always"} and len(set(TICKET.values())) == 3


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("vm7.example.org", "vm7.example.org"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("vm7\u2024example.org", "vm7.example.org"),  # IDNA itself maps this dot, as a resolver would
        ("exаmple.org", "xn--exmple-4nf.org"),  # noqa: RUF001  (a Cyrillic letter)
        ("/tmp/\u202egnp.sock", "/tmp/\\u202egnp.sock"),
        ("a\nb", "a\\nb"),
    ],
)
def test_no_name_looks_like_another(text: str, seen: str) -> None:
    assert shown(text) == seen
