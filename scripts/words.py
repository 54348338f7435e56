"""The words of the house: names and prose that have a better word now, and names that would mean two things.

`make house` and tests/project/test_words.py use it. Python is read by its tokens and its syntax tree.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

# A pattern of what is gone, as `names` gives it, and the word that is used now. `watch`, `wire` and `forked`
# are no such words: sso.ports, sso.protocol and sso.daemon each have a module of that name, with one meaning.
GONE = {
    "word stand_in": "remote",
    "word StandIn": "remote",
    "word log_as": "note",
    "word VerdictServer": "LockerServer",
    "class sso.client.*.Conversation": "ClientConversation",
    "class sso.guest.*.Conversation": "GuestConversation",
    "module *.lines": "log",
    "function sso.daemon.journal.note": "sso.guest.log.note",
    "module *.tap": "relay",
    "class *.Tap": "relay",
    "module *.holder": "namespace",
    "function *.Judge.answer": "give_grant, tell_outcome",
    "function *.Judge._answer": "tell_outcome",
    "parameter *.judge": "submit",
}
# What prose says now, and the pattern of the words that it no longer uses. A word alone in quotes is a name.
PROSE_GONE = {
    "byte": r"\b(?:(?<![`\"])[Oo]ctets?|[Oo]ctets?(?![`\"]))\b",
    "the user": r"\b(?:[Ss]he|[Hh]ers?|[Hh]erself)\b",
}
# The files where such a word is right all the same.
PROSE_ALLOWED = {
    ("PROTOCOL.md", "byte"),  # it has the word of the RFCs
    ("src/sso/protocol/state.py", "byte"),  # a row of PROTOCOL.md
    ("tests/project/test_protocol_document.py", "byte"),  # another one
    ("tests/project/test_example_framer.py", "byte"),  # the name of an error
    *(("tests/project/test_words.py", word) for word in PROSE_GONE),
}

# Classes that every mechanism has, each in a module of its own: a Pair is made of two halves, which RFC 2743
# and RFC 4752 call initiator and acceptor. Outside the mechanisms the two names must not be used.
HALVES = ("Initiator", "Acceptor")


def names(module: str, text: str) -> Iterator[str]:
    """Yield "kind name" for all that a module defines; kinds are module, class, function, parameter, word.

    A name is the full dotted one; a word is any identifier of the text, comments included.
    """
    yield f"module {module}"
    for word in sorted(set(re.findall(r"\w+", text))):
        yield f"word {word}"
    yield from _defined(ast.parse(text), module)


def _defined(tree: ast.AST, place: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        inner = place
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{place}.{node.name}"
            yield f"{'class' if isinstance(node, ast.ClassDef) else 'function'} {inner}"
        elif isinstance(node, ast.arg):
            yield f"parameter {place}.{node.arg}"
        yield from _defined(node, inner)


def old_names(modules: Mapping[str, Path]) -> list[str]:
    """Return the names of modules that a pattern of GONE matches, each with the word that is used now."""
    return [
        f"{name} ({GONE[gone]})"
        for module, path in modules.items()
        for name in names(module, path.read_text(encoding="utf-8"))
        for gone in GONE
        if fnmatchcase(name, gone)
    ]


def namesakes(modules: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return the public classes whose name several modules have: one word would have two meanings.

    The halves of a mechanism may share their names with those of another mechanism.
    """
    found: dict[str, list[str]] = {}
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                half = node.name in HALVES and module.startswith("sso_mechs.")
                if not half:
                    found.setdefault(node.name, []).append(module)
    return {word: places for word, places in found.items() if len(places) > 1 or word in HALVES}


def old_prose(paths: Iterable[Path], root: Path) -> list[str]:
    """Return the words of PROSE_GONE in the prose of files below `root`: place, line, word, better word."""
    found = []
    for path in paths:
        place = path.relative_to(root).as_posix()
        patterns = {word: gone for word, gone in PROSE_GONE.items() if (place, word) not in PROSE_ALLOWED}
        for line, text in _prose(path):
            for better, gone in patterns.items():
                for match in re.finditer(gone, text):
                    at = line + text.count("\n", 0, match.start())
                    found.append(f"{place}:{at}: {match[0]} ({better})")
    return found


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield first line and text of each comment and string of a source, or the whole text of a document."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from _prose_of_python(text)
    elif path.suffix in _COMMENTS:
        for match in re.finditer(_COMMENTS[path.suffix], text, re.DOTALL):
            yield text.count("\n", 0, match.start()) + 1, match[0]
    else:
        yield 1, text


_CYTHON, _C = r'#[^\n]*|""".*?"""', r"/\*.*?\*/"
_COMMENTS = {".pyx": _CYTHON, ".pxi": _CYTHON, ".pyi": _CYTHON, ".c": _C, ".h": _C}
_PARTS = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def _prose_of_python(text: str) -> Iterator[tuple[int, str]]:
    """Leave out bytes and what is inside the braces of an f-string; the name of a test is a sentence."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")
        elif token.type in _PARTS:
            prefix = re.split(r"['\"]", token.string, maxsplit=1)[0] if token.type == tokenize.STRING else ""
            if "f" in prefix.lower():
                yield token.start[0], re.sub(r"\{[^{}]*\}", "{}", token.string)
            elif "b" not in prefix.lower():
                yield token.start[0], token.string
