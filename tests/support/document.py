"""Reads PROTOCOL.md: its sections, tables, blocks, grammar and the notation of its transcripts."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "PROTOCOL.md").read_text(encoding="utf-8")
VECTORS = json.loads((ROOT / "tests/vectors/transcripts.json").read_text(encoding="utf-8"))


def section(number: str) -> str:
    """The text of one section, subsections included."""
    level = "#" * (3 if "." in number else 2)
    found = re.search(
        rf"^{level} {re.escape(number)}\.? .*?(?=^#{{2,{len(level)}}} |\Z)", DOCUMENT, re.M | re.S
    )
    assert found, f"no section {number}"
    return found[0]


def table(number: str, first_column: str) -> list[dict[str, str]]:
    """The rows of that table of a section whose first column has this heading."""
    lines = iter(section(number).splitlines())
    for line in lines:
        heads = _cells(line)
        if heads[:1] == [first_column]:
            next(lines)
            rows = iter(lambda: _cells(next(lines, "")), [])
            return [dict(zip(heads, row, strict=True)) for row in rows]
    raise AssertionError(f"section {number} has no table {first_column!r}")


def _cells(line: str) -> list[str]:
    if not line.startswith("|"):
        return []
    return [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", DOCUMENT, re.M | re.S)


def octets_of(text: str) -> bytes:
    r"""Undo the notation of section 13: \n, \r, \\ and \xHH."""
    named = {"n": "\n", "r": "\r", "\\": "\\"}
    escape = re.compile(r"\\(?:x([0-9a-f]{2})|(.))")
    read = escape.sub(lambda found: chr(int(found[1], 16)) if found[1] else named[found[2]], text)
    return read.encode("latin-1")


class Grammar:
    """ABNF rules (RFC 5234, RFC 7405), none of them recursive, as regular expressions."""

    CORE = (
        "ALPHA = %x41-5A / %x61-7A",
        "CR = %x0D",
        "DIGIT = %x30-39",
        "LF = %x0A",
        "OCTET = %x00-FF",
        "SP = %x20",
        "VCHAR = %x21-7E",
    )
    TOKEN = re.compile(r'%x[0-9A-F.-]+|(?:%s)?"[^"]*"|\d*\*\d*|\d+|[A-Za-z][\w-]*|[()\[\]/]')

    def __init__(self, text: str) -> None:
        text = re.sub(r";.*", "", "\n".join((*self.CORE, text)))
        parts = re.split(r"^([A-Za-z][\w-]*) += ", text, flags=re.M)[1:]
        self._rules = dict(zip(parts[::2], parts[1::2], strict=True))
        self._tokens: list[str] = []

    def matches(self, rule: str, octets: bytes) -> bool:
        return re.fullmatch(self._rule(rule), octets.decode("latin-1"), re.S) is not None

    def _rule(self, name: str) -> str:
        outer, self._tokens = self._tokens, self.TOKEN.findall(self._rules[name])
        expression = self._alternatives()
        assert not self._tokens, name
        self._tokens = outer
        return expression

    def _alternatives(self) -> str:
        choices = [self._sequence()]
        while self._tokens[:1] == ["/"]:
            self._tokens.pop(0)
            choices.append(self._sequence())
        return f"(?:{'|'.join(choices)})"

    def _sequence(self) -> str:
        out = ""
        while self._tokens and self._tokens[0] not in ("/", ")", "]"):
            count = re.fullmatch(r"(\d*)(\*?)(\d*)", self._tokens[0])
            if count is None:
                out += self._element()
                continue
            self._tokens.pop(0)
            low = count[1] or "0"
            out += self._element() + (f"{{{low},{count[3]}}}" if count[2] else f"{{{low}}}")
        return out

    def _element(self) -> str:
        token = self._tokens.pop(0)
        if token in ("(", "["):
            inner = self._alternatives()
            return inner + ("?" if self._tokens.pop(0) == "]" else "")
        if token.startswith("%x"):
            low, dash, high = token[2:].partition("-")
            if dash:
                return f"[\\x{low}-\\x{high}]"
            return "(?:" + "".join(f"\\x{octet}" for octet in low.split(".")) + ")"
        if token.endswith('"'):
            literal = token.removeprefix("%s")[1:-1]
            assert token.startswith("%s") or literal.upper() == literal.lower(), (
                f"{token}: say that case counts"
            )
            return f"(?:{re.escape(literal)})"
        return self._rule(token)


GRAMMAR = Grammar("".join(blocks("abnf")))
