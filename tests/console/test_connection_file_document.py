"""docs/connection-file.md, its test vectors and the code say the same."""

import base64
import hashlib
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sso.cli import main
from sso.console import entry, opening, signed_group, trust, trust_folder
from sso.console.ed25519 import is_signature, key_text, public_key, public_of
from sso.console.entry import GuestEntry, ShownAt
from sso.console.inventory import guests
from sso.console.signed import FILE_MAX, Asked, Signatures, check
from sso.console.signing import entry_group, with_entry, with_opening
from sso.console.trust import trusted_key

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/connection-file.md").read_text(encoding="utf-8")
VECTORS: dict[str, Any] = json.loads((ROOT / "tests/vectors/connection-file.json").read_text())
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in VECTORS["cases"]}
PREFIXES = {"entry": entry.PREFIX, "opening": opening.PREFIX}


def rows(title: str, head: str) -> list[list[str]]:
    """The table of a section whose head begins so, without backticks."""
    part = re.search(rf"^## \d\. {title}\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    assert part
    table = re.search(rf"^\| {head} .*\n\|[-|]+\n((?:\|.*\n)+)", part[1], re.M)
    assert table
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in table[1].splitlines()
    ]


def counted(case: dict[str, Any]) -> Signatures:
    keys = [trusted_key(VECTORS["trusted"][name], name) for name in case["trusted"]]
    return check(memoryview(case["file"].encode()), Asked(**case["asked"]), keys, case["now"])


@pytest.mark.parametrize("name", CASES)
def test_each_file_counts_as_its_vector_says(name: str) -> None:
    case, found = CASES[name], counted(CASES[name])
    assert (found.entry is not None) == case["entry"]
    assert (found.opening.principal if found.opening else None) == case["opening"]


def test_the_vectors_have_both_answers_for_both_parts() -> None:
    answers = {(case["entry"], case["opening"] is not None) for case in CASES.values()}
    assert answers == {(True, True), (True, False), (False, True), (False, False)}


def test_the_document_lists_every_vector_with_its_answer() -> None:
    assert rows("Test vectors", "file") == [
        [name, case["about"], "counts" if case["entry"] else "-", case["opening"] or "-"]
        for name, case in CASES.items()
    ]


def test_the_document_shows_the_first_file_and_its_keys() -> None:
    assert re.findall(r"^```vv\n(.*?)^```", TEXT, re.M | re.S) == [CASES["both"]["file"]]
    keys = {name: (key["private"], key["public"]) for name, key in VECTORS["keys"].items()}
    assert {row[0]: tuple(row[1:]) for row in rows("Test vectors", "who")} == keys
    for private, public in keys.values():
        assert key_text(public_of(bytearray.fromhex(private))) == public


@pytest.mark.parametrize("part", ["entry", "opening"])
def test_what_is_signed_is_what_the_document_says(part: str) -> None:
    """By the numbers alone, without our reader: prefix, first and last byte, digest, signature."""
    file, said = CASES["both"]["file"].encode(), VECTORS["signed"][part]
    start, end = said["start"], said["end"]
    assert said["prefix"] == PREFIXES[part].decode().replace("\0", "\\0")
    assert f"`{PREFIXES[part][:-1].decode()}`, a byte of 0" in " ".join(TEXT.split())
    message = PREFIXES[part] + file[start:end]
    assert hashlib.sha256(message).hexdigest() == said["sha256"]
    words = f"The {part} signs the bytes {start} to {end}; with its prefix their SHA-256 is"
    assert f"{words}\n`{said['sha256']}`" in TEXT
    assert file[start:].startswith(b"[x-sso-entry]\n" if part == "entry" else b"[virt-viewer]\n")
    signature = re.match(rb"signature=([A-Za-z0-9+/]{86}==)\n", file[end:])
    assert signature and (part == "entry" or file[end:] == signature[0])
    key = public_key(VECTORS["keys"]["site" if part == "entry" else "portal"]["public"])
    assert is_signature(key, base64.b64decode(signature[1]), b"", memoryview(message))


def test_who_signs_gets_the_same_bytes() -> None:
    """Ed25519 has no chance in it: an implementation that differs in one byte differs here."""
    found = counted(CASES["both"])
    assert found.entry is not None and found.opening is not None
    site, portal = (bytearray.fromhex(VECTORS["keys"][name]["private"]) for name in ("site", "portal"))
    unsigned = memoryview(CASES["unsigned"]["file"].encode())
    file = with_entry(unsigned, entry_group(found.entry.entry, site))
    assert file == CASES["entry"]["file"].encode()
    whole = with_opening(memoryview(file), portal, *found.opening[:3])
    assert whole == CASES["both"]["file"].encode()


def test_the_documents_numbers_are_the_codes() -> None:
    assert [int(row[1]) for row in rows("Form", "what")] == [
        *(FILE_MAX, signed_group.GROUP_MAX, signed_group.VALUE_MAX),
        *(entry.CONSOLES_MAX, entry.OPENERS_MAX, entry.PINS_MAX),
        *(opening.LIFE_MAX, opening.SKEW, trust.KEYS_MAX),
    ]


def test_the_documents_keys_are_the_codes() -> None:
    shown = (ShownAt(relay="a"), ShownAt(relay="b"))
    pin = "sha256:" + "ab" * 32
    guest = CASES["both"]["file"].split("guest=")[1][:36]
    whole = GuestEntry(guest, shown, "host/a@B", "a", (pin,), (bytes([9] * 32),), 2 * 10**9)
    names = [name for row in rows("The entry", "key") for name in re.findall(r"[a-z][a-z0-9-]+", row[0])]
    assert names == [*entry.fields_of(whole), "key"]
    principal = opening.CountedOpening("a@B", 2 * 10**9, 2 * 10**9 + 1, bytes([9] * 32))
    assert [row[0] for row in rows("The opening", "key")] == list(opening.fields_of(principal))


def test_the_documents_examples_are_read() -> None:
    blocks = re.findall(r"^```\n(.*?)^```", TEXT, re.M | re.S)
    (table,) = (tomllib.loads(block) for block in blocks if block.startswith("key = "))
    assert trusted_key(table, "site") == trusted_key(VECTORS["trusted"]["site"], "site")
    (inventory,) = (block for block in blocks if block.startswith("until = "))
    known = inventory.replace("ed25519:...", VECTORS["keys"]["portal"]["public"])
    first, second = guests(tomllib.loads(known), lambda name: ("sha256:" + "ab" * 32,))
    assert first.guest in CASES["both"]["file"] and second.consoles[0].proxy == "node1.example.org"


def test_the_documents_commands_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trust_folder, "SYSTEM", str(tmp_path / "trust.d"))
    blocks = re.findall(r"^```\n(.*?)^```", TEXT, re.M | re.S)
    (inventory,) = (block for block in blocks if block.startswith("until = "))
    public = VECTORS["keys"]["portal"]["public"]
    (tmp_path / "guests.toml").write_text(
        inventory.replace("ed25519:...", public).replace("pve-root-ca.pem", "sha256:" + "ab" * 32)
    )
    lines = "".join(block for block in blocks if block.startswith("sso ")).replace("\\\n", "").splitlines()
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line.replace("ed25519:...", public), comments=True)
        assert words[0] == "sso" and main(words[1:]) == 0
    assert len(list((tmp_path / "entries").iterdir())) == 2
    assert len(list((tmp_path / "trust.d").iterdir())) == 1
