"""Entries and openings as text: what is written is read back, and nothing that is read is ambiguous."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signed_files import ASKED, END, GUEST, NOW, PORTAL, RELAY, SITE, SPN, entry, look, signed, site

from sso.console import entry as entries
from sso.console import opening as openings
from sso.console import signed_group
from sso.console.authority import fingerprints
from sso.console.ed25519 import key_text, public_of
from sso.console.entry import GuestEntry, ShownAt
from sso.console.opening import CountedOpening
from sso.console.signed import FILE_MAX
from sso.console.signing import entry_group, with_entry, with_opening
from sso.errors import ConfigError

HOSTS = st.lists(st.sampled_from(["a", "b-c", "vm7", "0", "example"]), min_size=1, max_size=4).map(".".join)
DIGESTS = st.integers(0, 2**256 - 1).map(lambda number: f"sha256:{number:064x}")
SUBJECTS = (
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.just(" "), max_size=20)
    .map(str.strip)
    .filter(bool)
)
PROXIES = HOSTS | st.just("")
SHOWN = st.builds(lambda relay, proxy: ShownAt(relay, "", "", proxy), HOSTS, PROXIES) | st.builds(
    lambda ca, subject, proxy: ShownAt("", ca, subject, proxy), DIGESTS, SUBJECTS, PROXIES
)
POINTS = [public_of(bytearray([number] * 32)) for number in range(9)]
ENTRIES = st.builds(
    GuestEntry,
    guest=st.uuids().map(str),
    consoles=st.lists(SHOWN, min_size=1, max_size=8, unique=True).map(tuple),
    spn=st.builds("host/{}@{}".format, HOSTS, HOSTS),
    tls_name=HOSTS | st.just(""),
    pins=st.lists(DIGESTS, max_size=4, unique=True).map(tuple),
    openers=st.lists(st.sampled_from([bytes([n] * 32) for n in range(4, 40)]), max_size=4, unique=True).map(
        tuple
    ),
    until=st.integers(946684800, 32503679999),
)


@pytest.mark.slow
@given(ENTRIES)
def test_an_entry_is_read_as_it_was_written(whole: GuestEntry) -> None:
    group = signed_group.find(memoryview(entry_group(whole, SITE)), signed_group.ENTRY)
    assert group is not None and group.fields.pop("key") == key_text(public_of(SITE))
    assert entries.parse(group.fields) == whole


def test_an_entry_goes_through_a_file() -> None:
    found = look(signed())
    assert found.entry is not None and found.entry.entry == entry()


@pytest.mark.parametrize(
    "changes",
    [
        {"guest": "vm7"},
        {"guest": GUEST.upper()},
        {"spn": "", "tls_name": ""},
        {"spn": "host/vm7\nsend-ticket=1"},
        {"tls_name": "VM7"},
        {"consoles": ()},
        {"consoles": (ShownAt(),)},
        {"consoles": (ShownAt(relay=RELAY.upper()),)},
        {"consoles": (ShownAt(relay=RELAY), ShownAt(relay=RELAY))},
        {"consoles": (ShownAt(relay=RELAY, subject="CN=a"),)},
        {"consoles": (ShownAt(ca="sha256:" + "ab" * 32),)},
        {"consoles": (ShownAt(ca="sha256:" + "ab" * 32, subject=" CN=a"),)},
        {"consoles": (ShownAt(ca="sha256:" + "ab" * 32, subject="CN=a "),)},
        {"consoles": (ShownAt(ca="sha256:" + "ab" * 32, subject="CN=a\tb"),)},
        {"consoles": (ShownAt(ca="sha256:" + "ab" * 32, subject="CN=a\nsend-ticket=1"),)},
        {"consoles": (ShownAt(ca="sha256:" + "ab" * 32, subject="s" * 2000),)},
        {"consoles": tuple(ShownAt(relay=f"h{n}." + "x" * 250) for n in range(64))},
        {"consoles": (ShownAt(relay=RELAY, ca="sha256:" + "ab" * 32, subject="CN=a"),)},
        {"consoles": tuple(ShownAt(relay=f"h{n}.example.org") for n in range(65))},
        {"pins": ("sha256:" + "AB" * 32,)},
        {"openers": (bytes(31),)},
        {"openers": (bytes(32),)},
        {"until": 0},
        {"until": 2**40},
        {"until": 2**80},
    ],
)
def test_an_entry_that_no_reader_would_take_is_not_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        entry_group(entry()._replace(**changes), SITE)


def test_the_largest_entry_fits() -> None:
    shown = tuple(ShownAt(ca=f"sha256:{n:064x}", subject="CN=" + "s" * 60, proxy="p" * 20) for n in range(63))
    whole = entry(
        consoles=(*entry().consoles, *shown),
        pins=tuple(f"sha256:{n:064x}" for n in range(16)),
        openers=tuple(public_of(bytearray([n] * 32)) for n in range(16)),
    )
    group = entry_group(whole, SITE)
    assert len(group) <= 16 * 1024
    trusting = site()._replace(consoles=("*",))
    assert look(group, ASKED, trusting).entry is not None


# Openings


@pytest.mark.parametrize(
    ("principal", "issued", "expires", "word"),
    [
        ("alice", NOW, NOW + 1, "for"),
        ("alice@EXAMPLE.ORG\nfor=x@Y", NOW, NOW + 1, "for"),
        ("", NOW, NOW + 1, "for"),
        ("alice@EXAMPLE.ORG", NOW, NOW, "expires"),
        ("alice@EXAMPLE.ORG", NOW, NOW - 1, "expires"),
        ("alice@EXAMPLE.ORG", NOW, NOW + 601, "expires"),
        ("alice@EXAMPLE.ORG", 0, 1, "years"),
    ],
)
def test_an_opening_that_no_reader_would_take_is_not_signed(
    principal: str, issued: int, expires: int, word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        with_opening(memoryview(b""), PORTAL, principal, issued, expires)


@given(
    st.text(
        st.characters(exclude_categories=("C", "Z"), exclude_characters="@\\"), min_size=1, max_size=40
    ).map("{}@EXAMPLE.ORG".format),
    st.integers(NOW, NOW + 10**9),
    st.integers(1, 600),
)
def test_an_opening_is_read_as_it_was_written(principal: str, issued: int, life: int) -> None:
    opening = CountedOpening(principal, issued, issued + life, public_of(PORTAL))
    assert openings.parse(openings.fields_of(opening)) == opening


# Files


def test_parts_are_put_behind_whole_lines_and_once() -> None:
    group = entry_group(entry(), SITE)
    assert (
        with_entry(memoryview(b"[virt-viewer]\ntype=spice"), group) == b"[virt-viewer]\ntype=spice\n" + group
    )
    assert with_entry(memoryview(b""), group) == group
    for twice in (group, b" " + group, signed()):
        with pytest.raises(ConfigError, match="already"):
            with_entry(memoryview(twice), group)
    with pytest.raises(ConfigError, match="already"):
        with_opening(memoryview(signed()), PORTAL, "a@B", NOW, NOW + 1)
    with pytest.raises(ConfigError, match="already"):
        with_entry(memoryview(signed()[: signed().index(b"[x-sso-entry]")] + b"[x-sso-signature]\n"), group)
    with pytest.raises(ConfigError, match="KiB"):
        with_entry(memoryview(b"#" * FILE_MAX), group)


def test_each_time_has_one_text() -> None:
    assert entries.seconds("2027-12-28T13:20:00Z", "until") == END
    assert entries.time_text(END) == "2027-12-28T13:20:00Z"
    assert entry().spn == SPN


# CAs

PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
LINE = "QUJD" * 16


@pytest.mark.parametrize(
    "text",
    [
        PEM.format(LINE),
        PEM.format(f"{LINE}\n{LINE}\nQUI="),
        PEM.format("QUJD"),
        PEM.format(LINE).replace("\n", "\r\n"),
        "\n" + PEM.format(LINE) + "\n\n",
        PEM.format(LINE) + PEM.format("QUI="),
        PEM.format(LINE).rstrip("\n"),
    ],
)
def test_a_plain_list_of_cas_is_read(text: str) -> None:
    found = fingerprints(text)
    assert len(found) == text.count("BEGIN") and all(entries.PIN.fullmatch(one) for one in found)


@pytest.mark.parametrize(
    "text",
    [
        PEM.format(""),
        PEM.format(LINE[:-1]),
        PEM.format(LINE + "QUJD"),  # some readers stop at a long line's end
        PEM.format(f"QUJD\n{LINE}"),
        PEM.format(f"{LINE}\n\n{LINE}"),
        PEM.format(f"{LINE} \n{LINE}"),
        PEM.format("QUJ="),
        PEM.format("=QUJ"),
        PEM.format("Proc-Type: 4\n\nQUJD"),
        PEM.format("QUJD").replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        PEM.format("QUJD").replace("CERTIFICATE", "X509 CERTIFICATE"),
        PEM.format("QUJD") + "more",
        "subject=CA\n" + PEM.format("QUJD"),
        PEM.format("QUJD") + "# more\n" + PEM.format("QUJD"),
        PEM.format("QUJD") * 17,
        "x",
        " " * 60_000 + "x",
        "-----BEGIN CERTIFICATE-----\n" * 2000,
    ],
)
def test_what_readers_may_see_in_two_ways_is_no_list_of_cas(text: str) -> None:
    with pytest.raises(ConfigError, match="ca: "):
        fingerprints(text)


def test_no_text_is_no_ca() -> None:
    assert fingerprints("") == ()
