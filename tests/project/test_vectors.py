"""The files of tests/vectors: what the code makes, and what follows from PROTOCOL.md without the code."""

import json
import re
from hashlib import sha256
from typing import Any

import pytest
import vectors
from actors import Actor, client_that_is_replaced, guest
from builds import BUILDS, build_of
from document import GRAMMAR, table

from sso.protocol.events import Reset
from sso.protocol.messages import SIGNATURE_MAX
from sso.protocol.state import State

FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in vectors.FOLDER.glob("*.json")}
MADE = vectors.made()


def cases(name: str, key: str = "cases") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = FILES[name][key]
    assert found
    return found


@pytest.mark.parametrize("name", MADE)
def test_each_file_is_what_the_code_makes(name: str) -> None:
    """Else: `python tests/support/vectors.py` writes it anew."""
    assert FILES[name] == json.loads(vectors.text(MADE[name]))


def test_the_page_names_them() -> None:
    written = {row["file"].removesuffix(".json") for row in table("13.6", "file")}
    assert written == set(FILES) - {"connection-file"}


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("case", cases("lines"), ids=lambda case: case["read"][:24])
def test_lines(case: dict[str, Any], build: str) -> None:
    data = bytes.fromhex(case["read"])
    framer = build_of(build).MessageFramer()
    read = [words for at in range(len(data)) for words in framer.feed(data[at : at + 1])]
    assert [
        [word if isinstance(word, str) else bytes(word).hex() for word in words] for words in read
    ] == case["lines"]
    assert (framer.error or None) == case["refused"]
    whole = [line + b"\n" for line in data.split(b"\n")[:-1] if line.strip(b"\r")]
    good = [line for line in whole if GRAMMAR.matches("line", line)]
    if case["refused"] is None:
        assert len(case["lines"]) == len(whole) == len(good)
    elif case["refused"] == "octet":
        assert len(good) < len(whole)


KNOWN = ("attempt", "transcript")


@pytest.mark.parametrize("case", cases("signatures"), ids=lambda case: case["line"][24:64])
def test_signatures(case: dict[str, Any]) -> None:
    line, fields = case["line"], case["fields"]
    attributes = [word.partition("=") for word in line.split(" ")[8:]]
    known = all(
        GRAMMAR.matches(key, f"{key}={value}".encode()) for key, _, value in attributes if key in KNOWN
    )
    once = len({key for key, _, _ in attributes}) == len(attributes)
    assert (fields is not None) == (GRAMMAR.matches("signature", line.encode()) and known and once)
    if fields is not None:
        words = line.split(" ")
        assert [str(fields["minimum"]), str(fields["maximum"]), fields["role"]] == words[2:5]
        assert ",".join(fields["mechanisms"]) == words[7].strip("-") or words[7] != "-"


CANDIDATE = re.compile(rb"(?=(\nSIGNATURE [ -~]*\r?\n))")


@pytest.mark.parametrize("case", cases("signatures", "searched"), ids=lambda case: str(case["found"]))
def test_the_raw_search(case: dict[str, Any]) -> None:
    data = b"\n" + bytes.fromhex(case["read"])  # an LF counts as present
    found = [
        [match.start(1) - 1, match.end(1) - 1]
        for match in CANDIDATE.finditer(data)
        if len(match[1]) <= SIGNATURE_MAX and GRAMMAR.matches("signature", match[1].strip())
    ]
    assert case["found"] == found


@pytest.mark.parametrize("case", cases("hashes"), ids=lambda case: str(len(case["lines"])))
def test_hashes(case: dict[str, Any]) -> None:
    """By the words of section 6.3 alone."""
    inner = {"client": sha256(), "guest": sha256()}
    for sender, line in case["lines"]:
        words = line.split()
        if words[:1] == ["credentials"]:
            words.pop()
        inner[sender].update(" ".join(words).encode() + b"\n")
    whole = sha256(b"sso/1 transcript\n" + inner["client"].digest() + inner["guest"].digest())
    assert case["t"] == whole.hexdigest()


@pytest.mark.parametrize("case", cases("together"), ids=lambda case: f"{case['end']}: {case['name']}")
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_together(case: dict[str, Any], size: int) -> None:
    """An end that has only what the file has."""
    actor = Actor("G", guest) if case["end"] == "guest" else Actor("C1", client_that_is_replaced)
    for read in case["before"]:
        actor.receive(bytes.fromhex(read))
    actor.wrote(bytes.fromhex(case["begun"]))
    data = bytes.fromhex(case["read"])
    for at in range(0, len(data), size):
        actor.receive(data[at : at + size])
    actor.end_doubt()
    assert actor.output.hex() == case["says"]
    outcome = {
        "begins anew": any(isinstance(event, Reset) for event in actor.events),
        "closes": actor.session.state is State.CLOSED and not any(isinstance(e, Reset) for e in actor.events),
        "over": actor.session.state in (State.DONE, State.ENDED),
        "goes on": not actor.session.over,
    }
    assert [name for name, holds in outcome.items() if holds] == [case["outcome"]]
