"""Escaping of foreign text; and that each of our lines on standard error is escaped."""

import ast
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sso
from sso.printable import TEXT_MAX, escaped, one_line, word

SOURCE = Path(sso.__file__).parent


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alice@TEST.EXAMPLE", "alice@TEST.EXAMPLE"),
        ("Jörg 山田", "Jörg 山田"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\nb\tc\0d\x7f", r"a\r\nb\tc\x00d\x7f"),
        ("\u202egnp.exe\u2066\u200f", r"\u202egnp.exe\u2066\u200f"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\ud800 \udcff", r"\ud800 \udcff"),
        ("\ue000\U000f0000", r"\ue000\U000f0000"),
        ("\xa0\xad\u200b\ufeff", r"\xa0\xad\u200b\ufeff"),
        ("x" * 5000, "x" * TEXT_MAX),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_lines_are_kept_for_who_shows_lines() -> None:
    assert escaped("one\n\ttwo\r\x1b", keep="\n\t") == "one\n\ttwo\\r\\x1b"


def test_one_line_is_one() -> None:
    assert one_line(" signed\n\u2028in \x1b as\t alice ") == r"signed in \x1b as alice"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7, "7"), ("alice", "alice"), ("", "''"), ("a b", "'a b'"), ("'a", '"\'a"'), ("a\x1b", r"'a\x1b'")],
)
def test_a_value_is_one_word(value: object, shown: str) -> None:
    assert word(value) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_slips_through(text: str) -> None:
    for shown in (escaped(text), one_line(text), word(text)):
        assert shown.isprintable()
        assert shown.encode() is not None, "and it can be written"


def test_no_kind_of_character_that_steers_slips_through() -> None:
    """Every character of Unicode, by what it is: control, format, surrogate, private, separator."""
    steers = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    every = (chr(code) for code in range(sys.maxunicode + 1))
    assert [one for one in every if unicodedata.category(one) in steers and escaped(one) == one] == []


# Lines on standard error

_ESCAPES = {"escaped", "one_line"}
# Where the whole line was made of escaped words before.
_WHOLE = {("guest/log.py", "self._program"), ("guest/log.py", "text")}


def _unescaped(path: Path) -> list[tuple[str, str]]:
    """Find what a file prints to standard error without a function of printable around it."""
    found = []
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "print":
            continue
        if not any(given.arg == "file" for given in call.keywords):
            continue
        values = [
            part.value for one in call.args for part in ast.walk(one) if isinstance(part, ast.FormattedValue)
        ]
        values = [one for one in values if not any(one in ast.walk(arg) for arg in _wrapped(call))]
        values += [one for one in call.args if not isinstance(one, ast.JoinedStr | ast.Constant)]
        found += [
            (str(path.relative_to(SOURCE)), ast.unparse(one))
            for one in values
            if getattr(getattr(one, "func", None), "id", "") not in _ESCAPES
        ]
    return found


def _wrapped(call: ast.Call) -> list[ast.AST]:
    """Find what is inside an escaping call."""
    calls = [one for one in ast.walk(call) if isinstance(one, ast.Call) and one is not call]
    return [arg for one in calls if getattr(one.func, "id", "") in _ESCAPES for arg in one.args]


def test_no_line_on_standard_error_shows_a_text_as_it_is() -> None:
    files = [path for path in sorted(SOURCE.rglob("*.py")) if "demo" not in path.parts]
    assert {one for path in files for one in _unescaped(path)} - _WHOLE == set()
