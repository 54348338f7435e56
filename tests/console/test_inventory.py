"""`sso inventory`: keys that only their owner reads, and entries out of a site's list of guests."""

import os
import stat
import subprocess
import sys
import tomllib
from base64 import b64decode
from datetime import date, datetime
from pathlib import Path

import pytest
import trustme
from signed_files import ASKED, FILE, GUEST, PORTAL, RELAY, SPN, look, opened

from sso.console import inventory_main, trust_main
from sso.console.authority import fingerprints
from sso.console.ed25519 import key_text, public_key, public_of
from sso.console.entry import ShownAt
from sso.console.inventory import guests
from sso.console.signing import with_entry
from sso.console.trust import TrustedKey
from sso.errors import ConfigError

INVENTORY = f"""
until = 2027-12-31
openers = ["{key_text(public_of(PORTAL))}"]
consoles = [{{ relay = "{RELAY}", proxy = "{RELAY}" }}]

[[guest]]
uuid = "{GUEST.upper()}"
spn = "{SPN}"
tls-name = "VM7.example.org"
pins = ["sha256:{"AB" * 32}"]

[[guest]]
uuid = "6d1f6f0e-2d1d-4c57-8c6c-0a6a9d2b7e11"
spn = "host/vm8.example.org@EXAMPLE.ORG"
until = 2027-06-30T12:00:00+02:00
openers = []
consoles = [
    {{ ca = "cluster.pem", subject = "O=Cluster,CN=node1.example.org", proxy = "Node1.example.org" }},
    {{ ca = "sha256:{"cd" * 32}", subject = "CN=node2.example.org" }},
]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guests.toml").write_text(INVENTORY)
    for name in ("old", "new"):
        with (tmp_path / "cluster.pem").open("ab") as file:
            file.write(trustme.CA(organization_name=name).cert_pem.bytes())
    return tmp_path


def run(*words: str | Path) -> int:
    return inventory_main.main([str(word) for word in words])


def test_from_a_new_key_to_a_file_that_counts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As docs/connection-file.md tells it: key, trust, sign; a portal puts the entry into a file."""
    assert run("key", folder / "site.key") == 0
    public = capsys.readouterr().out.strip()
    trust = ("add", "site", public, "--signs", "entries", "--consoles", RELAY, "*.example.org")
    services = ("--services", "host/*@EXAMPLE.ORG", "tls/*.example.org", "--folder", str(folder / "trust.d"))
    assert trust_main.main([*trust, *services]) == 0
    assert run("sign", folder / "guests.toml", "--key", folder / "site.key", "--out", folder / "out") == 0
    other = "6d1f6f0e-2d1d-4c57-8c6c-0a6a9d2b7e11.entry"
    assert sorted(os.listdir(folder / "out")) == [f"{GUEST}.entry", other]
    assert f"{folder}/out/{GUEST}.entry: {SPN}, until 2027-12-31T00:00:00Z\n" in capsys.readouterr().out
    group = (folder / "out" / f"{GUEST}.entry").read_bytes()
    key = TrustedKey("site", public_key(public), ("entries",), ("*.example.org",), ("host/*@*", "tls/*"))
    found = look(opened(bytes(with_entry(memoryview(FILE), group))), ASKED, key)
    assert found.notes == () and found.entry is not None and found.opening is not None
    assert found.entry.entry.guest == GUEST and found.entry.entry.tls_name == "vm7.example.org"
    assert found.entry.entry.pins == ("sha256:" + "ab" * 32,)
    assert found.opening.by == "site"


def test_each_guest_may_say_otherwise_and_a_file_of_cas_gives_each_of_them(folder: Path) -> None:
    found = guests(tomllib.loads(INVENTORY), lambda name: fingerprints((folder / name).read_text()))
    first, second = found
    assert first.consoles == (ShownAt(relay=RELAY, proxy=RELAY),) and first.openers == (public_of(PORTAL),)
    old, new = fingerprints((folder / "cluster.pem").read_text())
    subject = "O=Cluster,CN=node1.example.org"
    assert second.consoles == (
        ShownAt(ca=old, subject=subject, proxy="node1.example.org"),
        ShownAt(ca=new, subject=subject, proxy="node1.example.org"),
        ShownAt(ca="sha256:" + "cd" * 32, subject="CN=node2.example.org"),
    )
    assert second.openers == () and second.until - first.until == -(184 * 24 - 10) * 3600


GOOD = {
    "uuid": GUEST,
    "spn": SPN,
    "consoles": [{"relay": RELAY}],
    "until": date(2027, 1, 31),
}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"send-ticket": True}, "send-ticket: there is no such key"),
        ({"offer-tgt": True}, "offer-tgt: there is no such key"),
        ({"uuid": None}, "uuid: it is missing"),
        ({"uuid": "vm7"}, "guest: it is not in its form"),
        ({"consoles": None}, "consoles: it is missing"),
        ({"consoles": []}, "console-1: it is missing"),
        ({"consoles": "relay"}, "consoles: write a list"),
        ({"consoles": ["relay"]}, "consoles: write"),
        ({"consoles": [{}]}, "either relay, or ca and subject"),
        ({"consoles": [{"proxy": "a"}]}, "either relay, or ca and subject"),
        ({"consoles": [{"relay": "a", "subject": "CN=a"}]}, "either relay, or ca and subject"),
        ({"consoles": [{"ca": "no-file.pem"}]}, "either relay, or ca and subject"),
        ({"consoles": [{"relay": "a", "plain": True}]}, "plain: there is no such key"),
        ({"consoles": [{"relay": "*"}]}, "console-1"),
        ({"consoles": [{"relay": 1}]}, "consoles: relay"),
        ({"until": None}, "until: it is missing"),
        ({"until": "2027-01-31"}, "until: write a date"),
        ({"until": datetime(2027, 1, 31)}, "until: write a date"),
        ({"until": date(1999, 1, 1)}, "years 2000"),
        ({"spn": None}, "spn: neither"),
        ({"spn": "vm7"}, "spn: it is not"),
        ({"openers": ["x"]}, "public key"),
        ({"openers": "x"}, "openers: write a list"),
        ({"pins": ["x"]}, "pins"),
    ],
)
def test_a_wrong_guest_is_named(changes: dict[str, object], word: str) -> None:
    table = {key: value for key, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(ConfigError, match=rf"^\[\[guest\]\] number 2: .*{word}"):
        guests({"guest": [GOOD, table]}, lambda name: ())


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({}, "guest: write"),
        ({"guest": []}, "guest: write"),
        ({"guest": {}}, "guest: write"),
        ({"guest": [1]}, "guest: write"),
        ({"guest": [GOOD], "spn": SPN}, "spn: there is no such key"),
        ({"guest": [GOOD, GOOD]}, "there are two guests"),
    ],
)
def test_a_wrong_inventory_is_refused(content: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        guests(content, lambda name: ())


# Private keys


def test_a_private_key_is_its_owners_and_made_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "site.key"
    old = os.umask(0)
    try:
        assert run("key", path) == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = capsys.readouterr().out
    before = path.read_bytes()
    assert run("key", path) == 1
    assert "File exists" in capsys.readouterr().err and path.read_bytes() == before
    os.symlink(folder / "elsewhere", folder / "link")
    assert run("key", folder / "link") == 1
    assert not (folder / "elsewhere").exists()
    assert run("public", path) == 0
    assert capsys.readouterr().out == public
    assert run("key", folder / "other.key") == 0
    assert capsys.readouterr().out != public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_may_read_signs_nothing(
    folder: Path, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("key", folder / "site.key") == 0
    (folder / "site.key").chmod(mode)
    assert run("sign", folder / "guests.toml", "--key", folder / "site.key", "--out", folder / "out") == 1
    assert "chmod 600" in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "short", "long", "text"])
def test_what_is_no_private_key_is_said_in_one_line(
    folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "site.key"
    if kind == "folder":
        path.mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind != "missing":
        assert run("key", path) == 0
        octets = path.read_bytes()
        path.write_bytes({"short": octets[:-1], "long": octets + b"\n", "text": b"x" * 119}[kind])
    capsys.readouterr()
    assert run("public", path) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and str(path) in said.err


@pytest.mark.slow
def test_a_private_key_is_in_no_argument_variable_or_word(folder: Path) -> None:
    """Run as a program, each step: only the file has it, and what is said and written has no piece of it."""
    command = [sys.executable, "-m", "sso.console.inventory_main"]
    steps = (
        ["key", "site.key"],
        ["public", "site.key"],
        ["sign", "guests.toml", "--key", "site.key", "--out", "out"],
        ["sign", "no-such-file", "--key", "site.key", "--out", "out"],
    )
    said = b""
    for step in steps:
        done = subprocess.run([*command, *step], cwd=folder, capture_output=True, check=False)
        assert done.returncode == (1 if "no-such-file" in step else 0), done.stderr
        said += done.stdout + done.stderr
    said += b"".join(path.read_bytes() for path in (folder / "out").iterdir())
    body = (folder / "site.key").read_bytes().splitlines()[1]
    seed = b64decode(body)[16:]
    assert body[24:40] not in said and seed[:8] not in said and seed.hex()[:16].encode() not in said


def test_nothing_is_signed_where_one_guest_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("key", folder / "site.key") == 0
    for text, word in (
        (INVENTORY.replace("host/vm8", "vm8 "), "number 2: spn"),
        (INVENTORY.replace("cluster.pem", "gone.pem"), "gone.pem"),
        (INVENTORY.replace("cluster.pem", "guests.toml"), "guests.toml: ca: "),
        (INVENTORY + "x", "guests.toml: "),
    ):
        (folder / "guests.toml").write_text(text)
        capsys.readouterr()
        assert run("sign", folder / "guests.toml", "--key", folder / "site.key", "--out", folder / "out") == 1
        said = capsys.readouterr().err
        assert word in said and said.count("\n") == 1 and not (folder / "out").exists()


def test_signing_again_replaces_an_entry_as_a_whole(folder: Path) -> None:
    assert run("key", folder / "site.key") == 0
    words = ("sign", folder / "guests.toml", "--key", folder / "site.key", "--out", folder / "out")
    assert run(*words) == 0
    path = folder / "out" / f"{GUEST}.entry"
    before, number = path.read_bytes(), path.stat().st_ino
    (folder / "guests.toml").write_text(INVENTORY.replace("2027-12-31", "2028-12-31"))
    assert run(*words) == 0
    assert path.read_bytes() != before and path.stat().st_ino != number
    assert all(name.endswith(".entry") for name in os.listdir(folder / "out"))


@pytest.mark.parametrize(
    "arguments", [[], ["key"], ["sign", "x"], ["sign", "x", "--key", "y"], ["show", "x"], ["key", "a", "b"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        run(*arguments)
    assert "sso inventory: error: " in capsys.readouterr().err


def test_without_the_library_it_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert run("key", folder / "site.key") == 1
    assert "install python3-cryptography" in capsys.readouterr().err
    assert not (folder / "site.key").exists()
