"""PROTOCOL.md says what the code does: codes, states, caps, sections, KRB-CRED fields, grammar."""

import importlib
import re
from pathlib import Path

import pytest
from document import GRAMMAR, ROOT, section, table

from sso.errors import RemoteProtocolError
from sso.framing import MessageFramer
from sso.protocol.messages import Code, Unknown, parse
from sso.protocol.state import TABLE, State

FILES = [path for folder in ("src", "mechs", "pam", "tests") for path in sorted((ROOT / folder).rglob("*"))]
CODE = [path for path in FILES if path.suffix in (".c", ".py", ".pyi", ".pyx")]


def test_codes_are_the_code_s() -> None:
    rows = table("4", "code")
    assert [(int(row["code"]), row["text"]) for row in rows] == [
        (int(code), code.name.lower().replace("_", "-")) for code in Code
    ]


def test_states_are_the_table_s() -> None:
    assert [(row["state"], row["waits for"]) for row in table("5", "state")] == [
        (state.name, state.value) for state in State
    ]


def test_transitions_are_the_table_s() -> None:
    written = [(row["in state"], row["sender"], row["word"], row["next"]) for row in table("5", "in state")]
    assert written == [
        (state.name, sender.value, word, following.name if following else "BACK")
        for state, rows in TABLE.items()
        for (sender, word), following in rows.items()
    ]


CAPS = [(row["name"], row["value"], row["module"]) for row in table("11.1", "name") + table("11.2", "name")]


@pytest.mark.parametrize(("name", "value", "module"), CAPS, ids=[f"{cap[2]}.{cap[0]}" for cap in CAPS])
def test_caps_are_the_constants(name: str, value: str, module: str) -> None:
    assert float(value.split()[0]) == getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    "module",
    [
        "sso.protocol.messages",
        "sso.protocol.wire",
        "sso.protocol.greeting",
        "sso.mech",
        "sso.client.conversation",
        "sso.guest.channel.conversation",
    ],
)
def test_no_cap_is_left_out(module: str) -> None:
    source = Path(importlib.import_module(module).__file__ or "").read_text(encoding="utf-8")
    defined = set(re.findall(r"^([A-Z_]+_(?:MAX|TIME|AFTER|SIZE)) = ", source, re.M))
    assert defined <= {name for name, _, where in CAPS if where == module}


def test_the_limits_on_the_way_of_a_ticket_fit_one_another() -> None:
    """Each takes what the one before it lets through."""
    from sso.guest import packets, records
    from sso.mech import TOKEN_MAX
    from sso.protocol.messages import SECRET_MAX
    from sso.protocol.wire import CLEAR_MAX

    cache = re.search(r"CACHE_MAX = (\d+) \* 1024", (ROOT / "pam" / "agent.c").read_text(encoding="utf-8"))
    assert cache is not None and int(cache[1]) * 1024 == records.SECRET_MAX >= 2 * SECRET_MAX
    assert f"{records.SECRET_MAX} octets" in section("11.1")
    assert packets.MESSAGE_MAX == TOKEN_MAX + 1024 and packets.PACKET_MAX == 70 * 1024
    assert 3 * SECRET_MAX <= TOKEN_MAX < CLEAR_MAX - 32 * 1024


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_cited_sections_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for numbers in re.findall(r"PROTOCOL\.md,?\s+sections?\s+(\d[\d.]*(?:(?:,| and| to)\s+\d[\d.]*)*)", text):
        for number in re.findall(r"\d+(?:\.\d+)?", numbers):
            section(number)


def test_krb_cred_fields_are_the_schema_s() -> None:
    schema = importlib.import_module("sso_mechs.krb_cred_asn1")
    names = {"KRB-CRED": "KrbCred", "Ticket": "KerberosTicket"}
    for row in table("9.1", "type"):
        type = getattr(schema, names.get(row["type"], row["type"]))()
        field = next(part for part in type.componentType.namedTypes if part.name == row["field"])
        assert field.asn1Object.tagSet.superTags[-1].tagId == int(row["tag"]), row
        assert field.isOptional == (row["must"] != "must"), row
        outer = re.search(r"APPLICATION (\d+)", row["outer"])
        assert outer is None or type.tagSet.superTags[-1].tagId == int(outer[1])


# The grammar

NONCE, HASH = "AAECAwQFBgcICQoLDA0ODw==", "A" * 42 + "E="
HELLO = f"SIGNATURE cSSO7f3Kq9ZtW2xB 1 1 client {NONCE} -"
GOOD = [
    f"{HELLO} -",
    f"{HELLO} GSSAPI,SCRAM-SHA-256 attempt={NONCE} transcript={HASH} later=x=y z=",
    f"SIGNATURE cSSO7f3Kq9ZtW2xB 0 999 guest {NONCE} {NONCE} A_1",
    "startTLS",
    "startSASL GSSAPI",
    "authenticate kerberos",
    "authenticate " + " ".join(["t-1"] * 16),
    "credentials kerberos AAEK12DS",
    "credentials x AAE=",
    "info spn",
    "ok",
    "ok host/guest.example.org@EXAMPLE.ORG",
    "error 300",
    "error 999 any words at all!",
]
BAD = [
    "SIGNATURE",
    HELLO,
    f"{HELLO} gssapi",
    f"{HELLO} {','.join(['A'] * 17)}",
    f"{HELLO} - attempt",
    f"{HELLO} -" + "".join(f" {key}=b" for key in "abcdefghij"),
    f"{HELLO} -".replace("cSSO", "csso"),
    f"{HELLO} -".replace(" 1 1 ", " 01 1 "),
    f"{HELLO} -".replace(" 1 1 ", " 1 1000 "),
    f"{HELLO} -".replace("client", "host"),
    f"{HELLO} -".replace("Dw==", "Dx=="),
    f"{HELLO} -".replace("==", ""),
    "startTLS now",
    "startSASL",
    "startSASL GSSAPI AAAA",
    "startSASL " + "A" * 21,
    "authenticate",
    "authenticate Kerberos",
    "authenticate " + " ".join(["t"] * 17),
    "credentials kerberos",
    "credentials kerberos AAEK12DS==",
    "credentials kerberos AAF=",
    "credentials Kerberos AAAA",
    "info",
    "info spn time",
    "ok two words",
    "error",
    "error 99",
    "error 1000",
    "error 030",
    "ok ",
    " ok",
    "info  spn",
    "info sp\tn",
    "info sp\u00e9",
]


def taken(line: str) -> bool:
    """Whether framer and parser take a line as a message that they know."""
    framer = MessageFramer()
    try:
        found = framer.feed(line.encode("latin-1") + b"\n")
        return len(found) == 1 and not isinstance(parse(found[0]), Unknown)
    except RemoteProtocolError:
        return False


@pytest.mark.proves("S115", "S117", "S118", "S119", "S120", "S121", "S122", "S123")
@pytest.mark.parametrize(("line", "good"), [(line, True) for line in GOOD] + [(line, False) for line in BAD])
def test_grammar_and_parser_agree(line: str, good: bool) -> None:
    assert taken(line) is good
    assert GRAMMAR.matches("message", line.encode("latin-1")) is good


@pytest.mark.parametrize(
    "extra", [f" attempt={NONCE} attempt={NONCE}", " a=1 a=2", " attempt=AAAA", f" transcript={NONCE}"]
)
def test_what_the_grammar_leaves_to_words(extra: str) -> None:
    assert not taken(f"{HELLO} -{extra}")


@pytest.mark.parametrize("verb", ["x", "start-TLS2", "V" * 32])
def test_an_unknown_verb_is_a_line(verb: str) -> None:
    assert GRAMMAR.matches("line", f"{verb} some words\r\n".encode())
    assert isinstance(parse((verb, "some", "words")), Unknown)


@pytest.mark.parametrize("verb", ["V" * 33, "a_b", "a:b", "=", "\x01"])
def test_a_bad_verb_is_no_line(verb: str) -> None:
    assert not GRAMMAR.matches("line", f"{verb}\n".encode())
    framer = MessageFramer()
    assert not framer.feed(f"{verb}\n".encode()) and framer.error == "octet"
