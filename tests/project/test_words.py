"""scripts/words.py finds an old word wherever it may stand, and takes no good one for it."""

from pathlib import Path

import pytest
import words


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a project."""
    return tmp_path


def written(root: Path, text: str, name: str = "src/module.py") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# Names


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("sso.guest.lines", ""),
        ("sso.demo.tap", ""),
        ("sso.client.conversation", "class Conversation: ..."),
        ("sso.guest.channel.conversation", "def make():\n    class Conversation: ..."),
        ("sso.guest.agent.judge", "class Judge:\n    def answer(self): ..."),
        ("sso.guest.channel.conversation", "class Talk:\n    def __init__(self, *, judge): ..."),
        ("sso.guest.agent.agent", "call = lambda judge: None"),
        ("sso.daemon.journal", "def note(): ..."),
        ("sso.errors", "# like VerdictServer"),
        ("sso.errors", "import stand_in as other"),
    ],
)
def test_an_old_name_is_found(root: Path, module: str, text: str) -> None:
    assert len(words.old_names({module: written(root, text)})) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("sso.ports.pump", "class Conversation: ..."),
        ("sso.client.conversation", "class ClientConversation: ..."),
        ("sso.guest.log", "def note(lines): ..."),
        ("sso.guest.agent.judge", "class Judge: ...\ndef judge(): ...\njudge = Judge()"),
    ],
)
def test_another_meaning_is_none(root: Path, module: str, text: str) -> None:
    assert words.old_names({module: written(root, text)}) == []


def test_two_classes_of_one_name_are_found_unless_they_are_halves_of_mechanisms(root: Path) -> None:
    text = "class State: ...\nclass Acceptor: ...\nclass _Own: ..."
    one, two = written(root, text, "one.py"), written(root, text, "two.py")
    twice = ["sso_mechs.one", "sso_mechs.two"]
    assert words.namesakes(dict(zip(twice, (one, two), strict=True))) == {"State": twice}
    place = "sso.guest.acceptor.acceptor"
    assert words.namesakes({place: one}) == {"Acceptor": [place]}


# Prose


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.py", "size = 1\nsize = 64  # octets", [2]),
        ("a.py", '"""One.\n\nAn octet."""', [3]),
        ("a.py", 'raise ValueError("octets are left", f"{1} octets")', [1, 1]),
        ("a.pyx", "cdef int at  # an octet", [1]),
        ("a.c", "int at; /* the first\n octet */", [2]),
        ("a.md", "| octets of a line | 512 |", [1]),
        ("a.py", "# her session", [1]),
        ("a.md", "One.\nShe is asked.", [2]),
        ("a.py", "def test_she_is_asked(): ...", [1]),
    ],
)
def test_an_old_word_is_found_with_its_line(root: Path, name: str, text: str, lines: list[int]) -> None:
    found = words.old_prose([written(root, text, name)], root)
    assert [int(one.removeprefix(f"{name}:").partition(":")[0]) for one in found] == lines


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "a.py",
            'octets = data  # "octet" or `octets`\nerror = "octet"\nprint(f"{octets!r} bytes", b"octets")',
        ),
        ("a.py", "# there, other, heritage, OCTET STRING"),
        ("a.pyx", "cdef bytes octets"),
        ("a.c", "char *octets; /* a byte */"),
        ("PROTOCOL.md", "16 octets"),
    ],
)
def test_a_name_is_no_prose(root: Path, name: str, text: str) -> None:
    assert words.old_prose([written(root, text, name)], root) == []
