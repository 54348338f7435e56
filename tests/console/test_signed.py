"""The two parts of a signed connection file: what counts, for whom, for how long, and under which key."""

import hashlib
import math
import ssl
from typing import Any

import pytest
import trustme
from signed_files import (
    ALICE,
    ASKED,
    END,
    FILE,
    GUEST,
    NOW,
    OTHER,
    PORTAL,
    RELAY,
    SITE,
    SPN,
    entered,
    entry,
    look,
    opened,
    portal,
    signed,
    site,
    trusted,
)

from sso.console.ed25519 import public_of
from sso.console.entry import ShownAt
from sso.console.signed import FILE_MAX, Asked, Signatures, check
from sso.console.trust import TrustedKey

CA = "sha256:" + "5a" * 32


def test_a_file_without_a_signature_has_none_and_no_notes() -> None:
    assert look(FILE) == Signatures(None, None, ())
    assert look(b"") == Signatures(None, None, ())


def test_entry_and_opening_count_together() -> None:
    found = look(signed())
    assert found.notes == ()
    assert found.entry is not None and found.opening is not None
    assert found.entry.entry == entry() and found.entry.key == site()
    assert found.entry.entry.guest == GUEST and found.entry.entry.spn == SPN
    assert found.entry.console == ShownAt(relay=RELAY, proxy=RELAY)
    assert found.opening == (ALICE, NOW, NOW + 600, public_of(PORTAL), "site")


def test_the_entry_alone_counts_alone() -> None:
    found = look(entered())
    assert found.entry is not None and found.opening is None and found.notes == ()


def test_the_opening_alone_counts_by_a_portal_that_is_trusted_here() -> None:
    found = look(opened(FILE), ASKED, site(), portal())
    assert found.entry is None and found.opening is not None and found.notes == ()
    assert found.opening.by == "portal" and found.opening.principal == ALICE


def refused(found: Signatures, word: str) -> None:
    """Nothing counts, and one note says why."""
    assert found.entry is None and found.opening is None
    assert any(word in note for note in found.notes), found.notes


# What was changed


@pytest.mark.slow
def test_no_byte_of_the_file_can_be_changed() -> None:
    """Every one of them: the opening never counts; the entry only where its own bytes are whole."""
    file = signed()
    start, end = file.index(b"[x-sso-entry]"), file.index(b"[x-sso-signature]")
    for at in range(len(file)):
        changed = bytearray(file)
        changed[at] ^= 1 << at % 8
        found = look(changed)
        assert found.opening is None, at
        assert (found.entry is None) or not start <= at < end, at


@pytest.mark.slow
def test_no_byte_can_be_added_or_taken_away() -> None:
    file = signed()
    start, end = file.index(b"[x-sso-entry]"), file.index(b"[x-sso-signature]")
    for at in range(len(file)):
        changed = file[:at] + (b"", b" ", b"\n")[at % 3] + file[at + (at % 3 == 0) :]
        found = look(changed)
        assert found.opening is None, at
        assert (found.entry is None) or not start < at < end - 1, at


def test_an_entry_counts_in_another_file_of_the_same_console_only() -> None:
    group = entered(b"")
    other = FILE.replace(b"7f3kq9", b"k2p0zz") + group
    assert look(other, ASKED._replace(host=f"k2p0zz.{RELAY}")).entry is not None
    theirs = FILE.replace(RELAY.encode(), b"relay.mallory.example.org") + group
    found = look(
        theirs, ASKED._replace(host="7f3kq9.relay.mallory.example.org", proxy="relay.mallory.example.org")
    )
    refused(found, "does not name the console")


def test_an_opening_does_not_move_to_another_file() -> None:
    tail = opened(FILE)[len(FILE) :]
    other = FILE.replace(b"7f3kq9", b"k2p0zz")
    assert look(opened(other), ASKED, portal()).opening is not None
    refused(look(other + tail, ASKED, portal()), "does not fit")


def test_a_file_that_is_too_long_has_no_signature() -> None:
    padded = b"#" + b"x" * (FILE_MAX - len(entered()) - 2) + b"\n" + entered()
    assert len(padded) == FILE_MAX and look(padded).entry is not None
    refused(look(b"#" + padded), "KiB")


# The console and the service that are asked for


@pytest.mark.parametrize(
    ("console", "asked"),
    [
        (ShownAt(relay=RELAY), Asked(RELAY)),
        (ShownAt(relay=RELAY), Asked(f"a-ticket_9.{RELAY}")),
        (ShownAt(relay=RELAY), Asked(f"A.{RELAY.upper()}")),
        (ShownAt(relay=RELAY, proxy="px.example.org"), Asked(f"a.{RELAY}", proxy="PX.example.org")),
        (ShownAt(relay=RELAY, proxy=RELAY), ASKED._replace(spn="")),
        (ShownAt(relay=RELAY, proxy=RELAY), ASKED._replace(stream=f"b.{RELAY}")),
        (ShownAt(relay=RELAY, proxy=RELAY), ASKED._replace(pin=CA)),
    ],
)
def test_the_console_is_known_again(console: ShownAt, asked: Asked) -> None:
    found = look(signed(consoles=(ShownAt(relay="old.example.org"), console)), asked)
    assert found.entry is not None and found.entry.console == console, found.notes
    assert found.opening is not None


@pytest.mark.parametrize(
    "asked",
    [
        ASKED._replace(host="relay.mallory.test"),
        ASKED._replace(host=f"a.b.{RELAY}"),  # one label, not two
        ASKED._replace(host=f"x{RELAY}"),
        ASKED._replace(host=f".{RELAY}"),
        ASKED._replace(host=f"{RELAY}.mallory.test"),
        ASKED._replace(host=f"{RELAY}."),
        ASKED._replace(host=f"a:b.{RELAY}"),
        ASKED._replace(host=f"\u0430.{RELAY}"),
        ASKED._replace(host=""),  # a unix socket
        ASKED._replace(proxy=""),
        ASKED._replace(proxy="px.mallory.test"),
        ASKED._replace(proxy=f"a.{RELAY}"),  # a ticket's label is the console's alone
    ],
)
def test_another_console_is_not_shown(asked: Asked) -> None:
    refused(look(entered(), asked), "does not name the console")
    # The opening that the entry's portal signed falls with it.
    refused(look(signed(), asked), "that the entry names")


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (ASKED._replace(spn="host/vm8.example.org@EXAMPLE.ORG"), "another service"),
        (ASKED._replace(spn="host/vm7.example.org"), "another service"),
        (ASKED._replace(pin="sha256:" + "00" * 32), "another pin"),
        (ASKED._replace(stream="stream.mallory.test"), "stream"),
    ],
)
def test_a_wish_that_contradicts_the_entry_leaves_none(asked: Asked, word: str) -> None:
    refused(look(entered(pins=(CA,)), asked), word)
    assert look(entered(pins=(CA,)), ASKED._replace(pin=CA)).entry is not None


def certificate(name: str) -> str:
    return trustme.CA(organization_name=name).cert_pem.bytes().decode()


def fingerprint(pem: str) -> str:
    return f"sha256:{hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()}"


def test_a_console_by_its_ca_and_subject() -> None:
    """As Proxmox has it: the host's name is for one time, the proxy stays."""
    pem, other = certificate("ours"), certificate("theirs")
    subject = "OU=PVE Cluster Node,O=Proxmox Virtual Environment,CN=node1.example.org"
    console = ShownAt(ca=fingerprint(pem), subject=subject, proxy="node1.example.org")
    file = entered(consoles=(console,))
    once = Asked("pvespiceproxy:65B2:100:node1::4C5D", "node1.example.org", "", pem, subject, SPN)
    found = look(file, once)
    assert found.entry is not None and found.entry.console == console, found.notes
    assert look(file, once._replace(host="pvespiceproxy:65B9:100:node1::77AA")).entry is not None
    for wrong in (
        {"ca": other},
        {"ca": pem + other},  # each of them could have signed what answers
        {"ca": other + pem},
        {"ca": ""},
        {"ca": f"x\n{pem}"},
        {"subject": subject.replace("node1", "node2")},
        {"subject": ""},
        {"proxy": ""},
        {"proxy": "node2.example.org"},
        {"host": ""},
    ):
        found = look(file, once._replace(**wrong))
        assert found.entry is None and len(found.notes) == 1, wrong
    both = entered(consoles=(console, console._replace(ca=fingerprint(other))))
    assert look(both, once._replace(ca=pem + other)).entry is not None


def test_without_a_proxy_the_hosts_own_name_has_to_fit_the_keys_patterns() -> None:
    """A CA says nothing of names: who has stolen the site's key brings one of his own."""
    pem = certificate("ours")
    file = entered(consoles=(ShownAt(ca=fingerprint(pem), subject="CN=a"),))
    asked = Asked("node1.example.org", ca=pem, subject="CN=a")
    assert look(file, asked).entry is not None
    refused(look(file, asked._replace(host="node1.mallory.test")), "not trusted for")


# Times


@pytest.mark.parametrize(
    ("now", "counts"),
    [
        (NOW - 300, True),
        (NOW - 300.001, False),
        (NOW, True),
        (NOW + 600 + 300, True),
        (NOW + 600 + 300.001, False),
        (0, False),
        (END * 2.0, False),
        (math.nan, False),
        (math.inf, False),
        (-math.inf, False),
    ],
)
def test_an_opening_stands_in_its_time_with_five_minutes_of_skew(now: float, counts: bool) -> None:
    found = look(opened(FILE), ASKED, portal(), now=now)
    assert (found.opening is not None) == counts
    assert counts or len(found.notes) == 1


@pytest.mark.parametrize(
    ("now", "counts"),
    [(END - 1, True), (END - 0.001, True), (END, False), (math.nan, False), (math.inf, False)],
)
def test_an_entry_ends_at_its_date(now: float, counts: bool) -> None:
    found = look(entered(), now=now)
    assert (found.entry is not None) == counts
    assert counts or found.notes[0].endswith("it ended 2027-12-28T13:20:00Z")


# Keys


def test_only_trusted_keys_count_and_deleting_one_revokes() -> None:
    file = signed()
    refused(check(memoryview(file), ASKED, (), NOW), "no key that is trusted here")
    refused(look(file, ASKED, trusted(OTHER, "entries", "openings")), "no key that is trusted here")
    assert look(file, ASKED, trusted(OTHER, "entries"), site()).entry is not None


def test_several_keys_count_at_once() -> None:
    """Old and new site key, each with files of its own; and one key twice, with two sets of patterns."""
    keys = (site(), trusted(OTHER, "entries", name="next"))
    for seed, name in ((SITE, "site"), (OTHER, "next")):
        found = look(opened(entered(seed=seed)), ASKED, *keys)
        assert found.entry is not None and found.entry.key.name == name
        assert found.opening is not None and found.opening.by == name
    narrow = site()._replace(name="narrow", services=("host/vm1.example.org@EXAMPLE.ORG",))
    found = look(entered(), ASKED, narrow, site())
    assert found.entry is not None and found.entry.key == site()


def test_a_key_signs_only_what_it_is_trusted_for() -> None:
    as_portal = site()._replace(signs=("openings",))
    refused(look(entered(), ASKED, as_portal), "trusted here for entries")
    refused(look(opened(FILE), ASKED, portal()._replace(signs=("entries",))), "no portal that is trusted")
    # A site's key does not open: it is off-line.
    refused(look(opened(FILE, SITE), ASKED, site()), "no portal that is trusted")
    found = look(opened(entered(), SITE))
    assert found.entry is not None and found.opening is None
    both = trusted(SITE, "entries", "openings")
    found = look(opened(entered(), SITE), ASKED, both)
    assert found.entry is not None and found.opening is not None


@pytest.mark.parametrize(
    ("patterns", "changes", "counts"),
    [
        ({"consoles": (RELAY,)}, {}, True),
        ({"consoles": ("RELAY.*.Org",)}, {}, True),
        ({"consoles": ("relay.example.*",)}, {}, False),  # anybody's, too
        ({"consoles": ("other.example.org",)}, {}, False),
        ({"consoles": ()}, {}, False),
        ({"services": ("host/*",)}, {}, False),  # without a realm: for names without one
        ({"services": ("host/*",)}, {"tls_name": ""}, False),
        ({"services": ("host/*", "tls/*")}, {}, False),
        ({"services": ("host/*",)}, {"spn": "host/vm7.example.org", "tls_name": ""}, True),
        ({"services": ("host/*@*",)}, {"spn": "host/vm7.example.org", "tls_name": ""}, False),
        ({"services": ("host/*@EXAMPLE.ORG",)}, {"tls_name": ""}, True),
        ({"services": ("host/*@EXAMPLE.ORG",)}, {}, False),  # nothing of its TLS name
        ({"services": ("tls/*",)}, {"spn": ""}, True),
        ({"services": ("HOST/*@EXAMPLE.ORG", "tls/*")}, {}, False),
        ({"services": ()}, {}, False),
        # One console, or its proxy, outside: then all of the entry is nothing.
        ({}, {"consoles": (ShownAt(relay=RELAY, proxy=RELAY), ShownAt(relay="relay.mallory.test"))}, False),
        ({}, {"consoles": (ShownAt(relay=RELAY, proxy=RELAY), ShownAt(relay=RELAY, proxy="px.test"))}, False),
        (
            {},
            {"consoles": (ShownAt(relay=RELAY, proxy=RELAY), ShownAt(relay=RELAY, proxy="px.example.org"))},
            True,
        ),
    ],
)
def test_an_entry_outside_of_its_keys_patterns_is_nothing(
    patterns: dict[str, Any], changes: dict[str, Any], counts: bool
) -> None:
    found = look(entered(**changes), ASKED._replace(spn=""), site()._replace(**patterns))
    assert (found.entry is not None) == counts
    assert counts or "not trusted for all" in found.notes[0]


@pytest.mark.parametrize(
    ("patterns", "asked", "counts"),
    [
        ({}, ASKED, True),
        ({"consoles": ("other.example.org",)}, ASKED, False),
        ({"services": ("host/vm8.example.org@EXAMPLE.ORG",)}, ASKED, False),
        ({}, ASKED._replace(spn=""), False),  # a file that names no service is about none
        ({}, ASKED._replace(spn="HTTP/vm7.example.org@EXAMPLE.ORG"), False),
        ({}, ASKED._replace(proxy="px.mallory.test"), False),
        ({}, ASKED._replace(proxy="", host="vm7.mallory.test"), False),
        ({}, ASKED._replace(proxy="", host="vm7.example.org"), True),
        ({}, ASKED._replace(stream="stream.mallory.test"), False),
        ({}, ASKED._replace(stream="stream.example.org"), True),
        ({"consoles": ("*",)}, Asked("", spn=SPN), False),  # a unix socket has no host
    ],
)
def test_an_opening_outside_of_its_portals_patterns_is_nothing(
    patterns: dict[str, Any], asked: Asked, counts: bool
) -> None:
    found = look(opened(FILE), asked, portal()._replace(**patterns))
    assert (found.opening is not None) == counts
    assert counts or "not trusted for this console" in found.notes[0]


def test_a_portal_opens_the_entries_that_name_it_and_no_others() -> None:
    found = look(opened(entered(openers=(public_of(OTHER),))))
    assert found.entry is not None and found.opening is None
    found = look(opened(entered(openers=())))
    assert found.entry is not None and found.opening is None
    found = look(opened(entered(openers=(public_of(OTHER), public_of(PORTAL)))))
    assert found.entry is not None and found.opening is not None


def test_an_entry_that_does_not_count_names_no_portal() -> None:
    """Mallory signs an entry for his own portal: the opening below it is as little worth."""
    file = opened(entered(seed=OTHER))
    refused(look(file), "no portal that is trusted here")


def test_a_portal_that_is_trusted_here_needs_no_entry_to_name_it() -> None:
    found = look(opened(entered(openers=())), ASKED._replace(spn=""), site(), portal())
    assert found.entry is not None and found.opening is not None
    assert found.opening.by == "portal"


def test_no_key_gives_what_the_file_does_not_have() -> None:
    """Nothing in a result is an option of the client's: names, keys, times, and lines for a person."""
    fields = {*Signatures._fields, *entry()._fields, *ShownAt._fields, *TrustedKey._fields}
    assert fields == {
        *("entry", "opening", "notes", "guest", "consoles", "spn", "tls_name", "pins", "openers", "until"),
        *("relay", "ca", "subject", "proxy", "name", "key", "signs", "services"),
    }
