"""Signed files that are not what they have to be: each counts as unsigned, and says why in one line."""

import pytest
from signed_files import (
    ASKED,
    FILE,
    OTHER,
    PORTAL,
    SITE,
    by_hand,
    entered,
    fields,
    look,
    opened,
    portal,
    signed_anew,
    site,
    trusted,
)

from sso.console import entry as entries
from sso.console import opening as openings
from sso.console.ed25519 import key_text, public_of
from sso.console.signed import Signatures

ORDER = 2**252 + 27742317777372353535851937790883648493
ENTRY = entered(b"")
OPENING = opened(FILE)[len(FILE) :]
ENTRY_FIELDS = fields(ENTRY, "x-sso-entry")
OPENING_FIELDS = fields(OPENING, "x-sso-signature")


def unsigned(found: Signatures, word: str = "") -> None:
    assert found.entry is None and found.opening is None
    assert len(found.notes) == 1 and word in found.notes[0], found.notes
    assert found.notes[0].isprintable()


def open_by_hand(changes: dict[str, str | None], seed: bytearray = PORTAL) -> bytes:
    """A file whose opening has other keys, and a signature that fits."""
    given = {key: text for key, text in (OPENING_FIELDS | changes).items() if text is not None}
    return FILE + by_hand("x-sso-signature", given, seed, FILE)


def entry_by_hand(changes: dict[str, str | None], seed: bytearray = SITE) -> bytes:
    given = {key: text for key, text in (ENTRY_FIELDS | changes).items() if text is not None}
    return FILE + by_hand("x-sso-entry", given, seed)


def test_what_is_made_by_hand_counts_as_it_stands() -> None:
    """So that what follows is refused for what was changed, and for nothing else."""
    assert entry_by_hand({}) == FILE + ENTRY and look(entry_by_hand({})).entry is not None
    assert open_by_hand({}) == FILE + OPENING and look(open_by_hand({}), ASKED, portal()).opening is not None


# Behind the opening


def over(before: bytes) -> bytes:
    """An opening over bytes that `with_opening` would refuse."""
    return before + by_hand("x-sso-signature", OPENING_FIELDS, PORTAL, before)


@pytest.mark.parametrize(
    "more",
    [
        *(b"\n", b"\r\n", b" ", b"\t", b"\0", b"#", b"# why\n", b"x", b"host=mallory.test\n", b"\xff"),
        *(b"[virt-viewer]\nhost=mallory.test\n", b"[x-sso]\n", b"[x-other]\n", b" [x-other]\n"),
        *(OPENING, OPENING.replace(b"\n", b"\r\n"), b"signature=" + b"A" * 86 + b"==\n", ENTRY),
    ],
)
def test_nothing_may_follow_the_opening(more: bytes) -> None:
    found = look(opened(FILE) + more, ASKED, portal(), site())
    assert found.opening is None and len(found.notes) == 1


@pytest.mark.parametrize(
    "file",
    [
        FILE + OPENING + OPENING,
        OPENING + FILE + OPENING,
        over(FILE + b" [x-sso-signature]\n"),
        over(FILE + b"\t[x-sso-signature] \nkey=x\n"),
        over(FILE + b"\f[x-sso-signature]\n"),
        over(FILE + b"[x-sso-signature]#\n"),
    ],
)
def test_a_second_opening_leaves_none(file: bytes) -> None:
    unsigned(look(file, ASKED, portal()), "two of them")


@pytest.mark.parametrize(
    "file",
    [
        FILE + ENTRY + ENTRY,
        FILE + ENTRY + b" [x-sso-entry]\n",
        b"[x-sso-entry]\nversion=1\n" + FILE + ENTRY,
        FILE + ENTRY + b"[x-sso-entry]\r\n" + ENTRY,
    ],
)
def test_a_second_entry_leaves_none(file: bytes) -> None:
    unsigned(look(file), "two of them")


# The form of a group


def variants(group: bytes) -> dict[str, bytes]:
    """The same words in other forms that GLib would take, or that a reader may be slack about."""
    first, rest = group.split(b"\n", 1)
    name, value = rest.split(b"signature=")[1].rstrip(b"\n"), group
    return {
        "CRLF": group.replace(b"\n", b"\r\n"),
        "CR at one line": group.replace(b"version=1\n", b"version=1\r\n"),
        "CR at the signature": group[:-1] + b"\r\n",
        "a blank before the header": b" " + group,
        "a blank behind the header": first + b" \n" + rest,
        "a comment": group.replace(b"version=1\n", b"version=1\n# a comment\n"),
        "an empty line": group.replace(b"version=1\n", b"version=1\n\n"),
        "blanks around =": group.replace(b"version=1\n", b"version = 1\n"),
        "a blank at the end": group.replace(b"version=1\n", b"version=1 \n"),
        "a key twice": group.replace(b"version=1\n", b"version=1\nversion=1\n"),
        "no signature": group[: group.index(b"signature=")],
        "an empty signature": group.replace(name, b""),
        "two signatures": value + b"signature=" + name + b"\n",
        "the signature first": first + b"\nsignature=" + name + b"\n" + rest.split(b"signature=")[0],
        "only a header": first + b"\n",
        "no header's end": first,
        "NUL": group.replace(b"version=1\n", b"version=1\n\0\n"),
        "NUL in a value": group.replace(b"version=1", b"version=1\0"),
        "no UTF-8": group.replace(b"version=1\n", b"version=1\nx=\xff\n"),
        "UTF-16": group.decode().encode("utf-16"),
        "a line separator": group.replace(b"version=1\n", "version=1\u2028\n".encode()),
        "other digits": group.replace(b"version=1\n", "version=\u0661\n".encode()),
        "other letters": group.replace(b"version", "versi\u043en".encode()),
        "a locale": group.replace(b"version=1\n", b"version=1\nversion[de]=1\n"),
        "a long value": group.replace(b"version=1\n", b"version=1\nx=" + b"y" * 2047 + b"\n"),
        "a long group": group.replace(b"version=1\n", b"version=1\n" + b"x=%b\n" % (b"y" * 2000) * 9),
    }


def test_a_nul_anywhere_leaves_nothing() -> None:
    """No reader of key files goes on behind one, and both prefixes end with one."""
    for file in (FILE + b"#\0\n" + ENTRY, b"\0\n" + opened(FILE + ENTRY), over(b"\0\n" + FILE)):
        unsigned(look(file, ASKED, site(), portal()), "NUL")


# Here the signature is made anew over the other form, unless the form is about the signature itself.
ABOUT_SIGNATURE = {"an empty signature", "no signature", "the signature first", "UTF-16"}


@pytest.mark.parametrize("name", variants(ENTRY))
def test_an_entry_in_another_form_counts_as_unsigned(name: str) -> None:
    group = variants(ENTRY)[name]
    if name not in ABOUT_SIGNATURE:
        group = signed_anew(group, SITE)
    found = look(FILE + group)
    assert found.entry is None
    assert len(found.notes) == 1 and "does not fit" not in found.notes[0], found.notes


@pytest.mark.parametrize("name", variants(OPENING))
def test_an_opening_in_another_form_counts_as_unsigned(name: str) -> None:
    group = variants(OPENING)[name]
    if name not in ABOUT_SIGNATURE:
        group = signed_anew(group, PORTAL, FILE)
    found = look(FILE + group, ASKED, portal())
    assert found.opening is None
    assert len(found.notes) == 1 and "does not fit" not in found.notes[0], found.notes


def test_what_is_signed_anew_and_not_changed_counts() -> None:
    assert look(FILE + signed_anew(ENTRY, SITE)).entry is not None
    assert look(FILE + signed_anew(OPENING, PORTAL, FILE), ASKED, portal()).opening is not None


def test_a_file_with_other_line_ends_loses_the_opening_and_not_the_entry() -> None:
    """A mail program or a proxy that changes them has changed what was signed."""
    body = FILE.replace(b"\n", b"\r\n")
    found = look(body + ENTRY + OPENING, ASKED, site(), portal())
    assert found.entry is not None and found.opening is None
    both = look(opened(body + ENTRY))
    assert both.entry is not None and both.opening is not None  # signed as it stands


# Values under a signature that fits


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        # Nothing generous, nothing unknown
        *(
            ({key: text}, "no such key")
            for key, text in (
                *(("send-ticket", "1"), ("offer-tgt", "1"), ("delegate", "always"), ("trust-any-spn", "1")),
                *(("password", "1"), ("plain", "true"), ("run", "/bin/sh"), ("parameters", "--offer-tgt")),
                *(
                    ("for", "mallory@EXAMPLE.ORG"),
                    ("ca", "x"),
                    ("x-more", "1"),
                    ("console-3", "relay a.example.org"),
                ),
            )
        ),
        ({"version": None}, "version"),
        ({"version": "2"}, "version"),
        ({"version": "01"}, "version"),
        ({"guest": None}, "guest"),
        ({"guest": "vm7"}, "guest"),
        ({"guest": "0C8A7D5E-31f4-4f0b-9d3a-6b1f2e4c5a70"}, "guest"),
        ({"spn": "host"}, "spn"),
        ({"spn": "host/"}, "spn"),
        ({"spn": "host/vm7@A@B"}, "spn"),
        ({"spn": "host/vm7 x"}, "spn"),
        ({"spn": "host/*.example.org@EXAMPLE.ORG"}, "spn"),
        ({"spn": "host/" + "v" * 254}, "spn"),
        ({"spn": None, "tls-name": None}, "spn"),
        ({"tls-name": "VM7.example.org"}, "tls-name"),
        ({"tls-name": "*.example.org"}, "tls-name"),
        ({"tls-name": ".example.org"}, "tls-name"),
        ({"pins": "sha256:" + "AB" * 32}, "pins"),
        ({"pins": "sha256:" + "ab" * 31}, "pins"),
        ({"pins": ";"}, "pins"),
        ({"pins": ";".join(["sha256:" + "ab" * 32] * 2)}, "pins"),
        ({"pins": ";".join(f"sha256:{n:064x}" for n in range(17))}, "pins"),
        ({"console-1": None}, "console-1"),
        ({"console-1": "relay"}, "console-1"),
        ({"console-1": "relay RELAY.example.org"}, "console-1"),
        ({"console-1": "relay a.example.org subject CN=a"}, "console-1"),
        ({"console-1": "relay *.example.org"}, "console-1"),
        ({"console-1": "relay a.example.org  proxy b.example.org"}, "console-1"),
        ({"console-1": "relay a.example.org proxy http://b.example.org"}, "console-1"),
        ({"console-1": f"ca sha256:{'ab' * 32}"}, "console-1"),
        ({"console-1": f"ca sha256:{'ab' * 32} proxy b.example.org"}, "console-1"),
        ({"console-1": f"ca sha1:{'ab' * 20} subject CN=a"}, "console-1"),
        ({"console-1": f"subject CN=a ca sha256:{'ab' * 32}"}, "console-1"),
        ({"console-2": "relay relay.example.org proxy relay.example.org"}, "given twice"),
        ({f"console-{n}": f"relay h{n}.example.org" for n in range(1, 66)}, "more than 64"),
        ({"openers": "ed25519:" + "A" * 44}, "public key"),
        ({"openers": "A" * 44}, "public key"),
        ({"openers": ";".join(key_text(public_of(bytearray([n] * 32))) for n in range(17))}, "openers"),
        ({"until": None}, "until"),
        ({"until": "2027-12-28"}, "until"),
        ({"until": "2027-12-28T13:20:00"}, "until"),
        ({"until": "2027-12-28T13:20:00+00:00"}, "until"),
        ({"until": "2027-13-28T13:20:00Z"}, "until"),
        ({"until": "2027-02-29T13:20:00Z"}, "until"),
        ({"until": "2027-12-28T13:20:60Z"}, "until"),
        ({"until": "2027-12-28t13:20:00z"}, "until"),
        ({"until": "9999-12-28T13:20:00Z"}, "until"),
        ({"key": None}, "public key"),
        ({"key": "ed25519:AQ=="}, "public key"),
        ({"key": key_text(public_of(OTHER))}, "no key that is trusted"),
    ],
)
def test_a_wrong_value_leaves_no_entry_though_the_signature_fits(
    changes: dict[str, str | None], word: str
) -> None:
    unsigned(look(entry_by_hand(changes)), word)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"version": "2"}, "version"),
        ({"version": None}, "version"),
        ({"send-ticket": "1"}, "its keys have to be"),
        ({"offer-tgt": "1"}, "its keys have to be"),
        ({"spn": "host/vm7.example.org@EXAMPLE.ORG"}, "its keys have to be"),
        ({"for": None}, "its keys have to be"),
        ({"for": "alice"}, "for: "),
        ({"for": "alice@"}, "for: "),
        ({"for": "@EXAMPLE.ORG"}, "for: "),
        ({"for": "alice@EXAMPLE.ORG@MALLORY"}, "for: "),
        ({"for": "al ice@EXAMPLE.ORG"}, "for: "),
        ({"for": "alice\\@EXAMPLE.ORG"}, "for: "),
        ({"for": "*@EXAMPLE.*"}, "for: "),
        ({"for": "a" * 128 + "@EXAMPLE.ORG"}, "for: "),
        ({"issued": "2027-01-15T08:00:00.5Z"}, "issued"),
        ({"issued": "now"}, "issued"),
        ({"expires": "2027-01-15T08:10:01Z"}, "expires"),  # 601 s
        ({"expires": "2027-01-15T08:00:00Z"}, "expires"),
        ({"expires": "2027-01-15T07:59:00Z"}, "expires"),
        ({"expires": None}, "its keys have to be"),
        ({"key": "ed25519:" + "A" * 43 + "="}, "public key"),
        ({"key": key_text(public_of(OTHER))}, "no portal that is trusted"),
    ],
)
def test_a_wrong_value_leaves_no_opening_though_the_signature_fits(
    changes: dict[str, str | None], word: str
) -> None:
    unsigned(look(open_by_hand(changes), ASKED, portal()), word)


def test_the_keys_of_an_opening_have_one_order() -> None:
    turned = dict(reversed(OPENING_FIELDS.items()))
    unsigned(look(FILE + by_hand("x-sso-signature", turned, PORTAL, FILE), ASKED, portal()), "in this order")


# Signatures


def signatures(group: bytes) -> dict[str, bytes]:
    """Other texts for the same signature, and others that a slack check would take."""
    text = group.split(b"signature=")[1].rstrip(b"\n")
    import base64

    octets = base64.b64decode(text)
    s = int.from_bytes(octets[32:], "little")
    encode = base64.b64encode
    after = {ord("A"): b"B", ord("Q"): b"R", ord("g"): b"h", ord("w"): b"x"}[text[85]]
    return {
        "bits behind the last": text[:85] + after + b"==",
        "no padding": text[:86],
        "half a padding": text[:87],
        "a blank inside": text[:40] + b" " + text[40:],
        "URL-safe": text.replace(b"+", b"-").replace(b"/", b"_")
        if set(text) & set(b"+/")
        else b"-" + text[1:],
        "one byte more": encode(octets + b"\0"),
        "one byte less": encode(octets[:-1]),
        "S and the order": encode(octets[:32] + (s + ORDER).to_bytes(32, "little")),
        "S and 8 orders": encode(octets[:32] + (s + 8 * ORDER).to_bytes(32, "little")),
        "S negative": encode(octets[:32] + (ORDER - s).to_bytes(32, "little")),
        "R's sign": encode(octets[:31] + bytes([octets[31] ^ 0x80]) + octets[32:]),
        "zeros": encode(bytes(64)),
        "the neutral point": encode(bytes([1]) + bytes(63)),
        "hexadecimal": octets.hex().encode(),
    }


@pytest.mark.parametrize("name", signatures(ENTRY))
def test_a_signature_has_one_form(name: str) -> None:
    for group, keys in ((ENTRY, site()), (OPENING, portal())):
        text = group.split(b"signature=")[1].rstrip(b"\n")
        unsigned(look(FILE + group.replace(text, signatures(group)[name]), ASKED, keys))


def test_a_signature_for_one_part_is_none_for_the_other() -> None:
    """One key, trusted for both: what it signed as an entry does not open, and the other way round."""
    both = trusted(SITE, "entries", "openings")
    as_entry = by_hand("x-sso-signature", OPENING_FIELDS | {"key": both.text}, SITE, FILE, entries.PREFIX)
    unsigned(look(FILE + as_entry, ASKED, both), "does not fit")
    as_opening = by_hand("x-sso-entry", ENTRY_FIELDS, SITE, b"", openings.PREFIX)
    unsigned(look(FILE + as_opening, ASKED, both), "does not fit")
    for prefix in (b"", openings.PREFIX[:-1], b"console-sso opening 2\0"):
        alien = by_hand("x-sso-signature", OPENING_FIELDS | {"key": both.text}, SITE, FILE, prefix)
        unsigned(look(FILE + alien, ASKED, both), "does not fit")
    # The whole file up to the entry's signature, as if the entry spoke for what stands before it.
    whole = by_hand("x-sso-entry", ENTRY_FIELDS, SITE, FILE)
    unsigned(look(FILE + whole, ASKED, both), "does not fit")


def test_no_prefix_begins_another_and_none_can_stand_in_a_file() -> None:
    assert not entries.PREFIX.startswith(openings.PREFIX) and not openings.PREFIX.startswith(entries.PREFIX)
    assert entries.PREFIX.endswith(b"\0") and openings.PREFIX.endswith(b"\0")
    assert b"\0" not in entries.PREFIX[:-1] + openings.PREFIX[:-1]
