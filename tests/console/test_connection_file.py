"""Connection files: those of portals are understood, removed where they say so, and keep no password."""

import os
from pathlib import Path

import pytest
from connection_files import SHAPES, minimal, ours, write

from sso.console import connection_file
from sso.console.connection_file import STRICT, read, remove
from sso.console.console import Console, Wish
from sso.errors import ConfigError

PIN = "sha256:" + "ab" * 32
VALUES = {
    "host": "console.example.org",
    "port": 5900,
    "tls": 5901,
    "vnc": 5902,
    "ticket": "one-time-ticket",
    "vnc_ticket": "one-time",
    "ca": "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n",
    "subject": "O=example.org,CN=console.example.org",
    "proxy": "http://gate.example.org:3128",
    "socket": "/run/desk-7/spice.sock",
}
PEM = "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n"

OVIRT = f"""\
[virt-viewer]
type=spice
host=192.0.2.7
port=5900
password=f7\\sQ+ü/\\\\x
# Password is valid for 120 seconds.
delete-this-file=1
fullscreen=0
title=vm7:%d
toggle-fullscreen=shift+f11
release-cursor=shift+f12
secure-attention=ctrl+alt+end
tls-port=5901
enable-smartcard=0
enable-usb-autoshare=1
usb-filter=-1,-1,-1,-1,0
tls-ciphers=DEFAULT:-RC4
host-subject=O=example.org,CN=192.0.2.7
ca={PEM}
secure-channels=main;inputs;cursor;playback;record;display;smartcard;usbredir;
versions=rhev-win64:2.0-160;rhel7:2.0-6;
newer-version-url=https://example.org/clients

[ovirt]
host=engine.example.org:443
vm-guid=00000000-0000-0000-0000-000000000000
sso-token=abc
admin=1
"""

PROXMOX = """\
[virt-viewer]
type=spice\r
title[de]=nein
title = VM 100 - mail  \r
host=pvespiceproxy:5DF0A5A4:100:pve::0123456789abcdef
proxy=http://pve.example.org:3128
tls-port=61000
delete-this-file=1
release-cursor=Ctrl+Alt+R
"""


def test_a_file_of_ovirt(tmp_path: Path) -> None:
    path = write(tmp_path, OVIRT)
    console = read(path)
    assert console.spent is not None and remove(console.spent) == ""
    assert not os.path.exists(path)
    assert console.password is not None and console.password.type == "password"
    assert console.password.secret == bytearray("f7 Q+ü/\\x".encode())
    assert console._replace(password=None, spent=None) == Console(
        "spice",
        host="192.0.2.7",
        port=5900,
        tls_port=5901,
        title="vm7:%d",
        ca=PEM.replace("\\n", "\n").strip(),
        host_subject="O=example.org,CN=192.0.2.7",
        tls_ciphers="DEFAULT:-RC4",
        secure_channels=(
            "main",
            "inputs",
            "cursor",
            "playback",
            "record",
            "display",
            "smartcard",
            "usbredir",
        ),
        enable_usb_autoshare=True,
        usb_filter="-1,-1,-1,-1,0",
        hotkeys={
            "toggle-fullscreen": "<Shift>F11",
            "release-cursor": "<Shift>F12",
            "secure-attention": "<Control><Alt>End",
        },
    )
    console.password.wipe()


def test_a_file_of_proxmox(tmp_path: Path) -> None:
    console = read(write(tmp_path, PROXMOX))
    assert (console.title, console.tls_port, console.port) == ("VM 100 - mail", 61000, 0)
    assert console.host == "pvespiceproxy:5DF0A5A4:100:pve::0123456789abcdef"
    assert console.places[1:] == ("pve.example.org",)
    assert console.password is None and console.notes == ()


@pytest.mark.proves("S136", "S137")
def test_the_group_of_ours(tmp_path: Path) -> None:
    text = f"""
[virt-viewer]
type=vnc
host=::1
[x-sso]
spn=host/vm7.example.org@EXAMPLE.ORG
port=spice.sso.0
pin=sha256:{"AB" * 32}
stream=tls:[::1]:7000
plug-ins=spice.sso.0;org.example.agent.0;
[x-other]
trust-any-spn=1
"""
    console = read(write(tmp_path, text))
    plug_ins = ("spice.sso.0", "org.example.agent.0")
    assert console == Console(
        "vnc",
        host="::1",
        port=5900,
        wish=Wish("host/vm7.example.org@EXAMPLE.ORG", "spice.sso.0", PIN, "tls:[::1]:7000", plug_ins),
    )


def test_no_plug_in_is_not_the_same_as_nothing_said(tmp_path: Path) -> None:
    assert read(write(tmp_path, ours("plug-ins="))).wish.plug_ins == ()
    assert read(write(tmp_path, minimal())).wish.plug_ins is None


def test_what_newer_writers_add_is_ignored_with_a_line(tmp_path: Path) -> None:
    console = read(write(tmp_path, minimal("version=12.0-3\nsparkle=1\nx-sparkle=1\nhost[de]=wm7\n#spn=1")))
    assert console == Console(
        "spice",
        host="vm7",
        port=5900,
        notes=(
            "the file asks for a newer viewer than this one: some of it may be missing",
            "the file's key sparkle is unknown here",
        ),
    )
    for version in ("11.0", "2.0-160", "new", "99999999999999"):
        assert read(write(tmp_path, minimal(f"version={version}"))).notes == ()


def test_notes_are_few(tmp_path: Path) -> None:
    notes = read(write(tmp_path, minimal("\n".join(f"k{n}=1" for n in range(400))))).notes
    assert len(notes) == 9 and notes[-1] == "and 392 more of the file's lines do not count"


@pytest.mark.parametrize(("word", "meant"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_yes_and_no(tmp_path: Path, word: str, meant: bool) -> None:
    assert read(write(tmp_path, minimal(f"fullscreen={word}"))).fullscreen is meant


def test_an_empty_value_is_none_at_all(tmp_path: Path) -> None:
    empty = "".join(f"{key}=\n" for key in ("tls-port", "ca", "proxy", "zoom-in", "password", "fullscreen"))
    assert read(write(tmp_path, minimal(empty))) == Console("spice", host="vm7", port=5900)


def test_a_link_is_read_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(write(tmp_path, minimal()))
    assert read(str(tmp_path / "link")).host == "vm7"


# What does not apply


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_read_and_says_what_does_not_count(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    console = read(write(tmp_path, shape.filled(**VALUES)))
    where = (console.host, console.port, console.tls_port, console.unix_path)
    assert console.kind == shape.kind and all(
        part in (*VALUES.values(), "", 0) or "pve" in str(part) for part in where
    )
    told = [note for note in console.notes if "ask" not in note]
    assert len(told) == len(shape.told), told
    assert all(any(words in note for note in told) for words in shape.told), told
    if console.password is not None:
        assert bytes(console.password.secret or b"").decode() in (VALUES["ticket"], VALUES["vnc_ticket"])


def test_a_port_of_minus_one_leaves_tls_alone(tmp_path: Path) -> None:
    console = read(
        write(tmp_path, "[virt-viewer]\ntype=spice\nhost=vm7\nport=-1\ntls-port=5901\nusb-filter=null\n")
    )
    assert console == Console("spice", host="vm7", tls_port=5901)


def test_lines_that_begin_with_a_semicolon_are_comments(tmp_path: Path) -> None:
    text = minimal(";host=vm8\n; no key at all\n;;\n  ; port=1\n[x-sso]\n;trust-any-spn=1")
    assert read(write(tmp_path, text)) == Console("spice", host="vm7", port=5900)


COSMETIC = [
    *(
        "title=a\\u0041",
        "title=a\\",
        "fullscreen=yes",
        "color-depth=1000000",
        "zoom-in=ctrl+",
        "usb-filter=$(id)",
    ),
    *(
        "enable-smartcard=2",
        "enable-usbredir=on",
        "enable-usb-autoshare=",
        "disable-effects=a/b",
        "delete-this-file=2",
    ),
    *("version=a\\q", f"title={'x' * 200_000}", "sparkle=a\\q"),
]


@pytest.mark.parametrize("line", COSMETIC)
def test_a_value_of_looks_refuses_no_file(tmp_path: Path, line: str) -> None:
    console = read(write(tmp_path, minimal(line)))
    assert console._replace(notes=()) == Console("spice", host="vm7", port=5900)
    assert len(console.notes) == (not line.endswith("=") and "version" not in line)
    assert all(len(note) < 200 for note in console.notes)


@pytest.mark.parametrize("word", ["null", "-1"])
@pytest.mark.parametrize("key", ["ca", "host-subject", "tls-ciphers", "secure-channels", "disable-channels"])
def test_what_guards_is_never_absent_by_a_word(tmp_path: Path, key: str, word: str) -> None:
    assert key in STRICT
    with pytest.raises(ConfigError, match=f"{key}: '{word}' says nothing"):
        read(write(tmp_path, minimal(f"{key}={word}")))


@pytest.mark.parametrize("key", ["spn", "port", "pin", "stream", "plug-ins"])
def test_nor_is_a_wish(tmp_path: Path, key: str) -> None:
    for word in ("null", "-1"):
        with pytest.raises(ConfigError, match=f"{key}: '{word}' says nothing"):
            read(write(tmp_path, ours(f"{key}={word}")))


@pytest.mark.parametrize("key", ["host", "port", "tls-port", "unix-path", "proxy", "username"])
def test_a_place_or_a_name_may_be_absent_by_a_word(tmp_path: Path, key: str) -> None:
    bare = {"type": "spice", "host": "vm7", "port": "5900", "tls-port": "5901", key: "null"}
    text = "[virt-viewer]\n" + "".join(f"{name}={value}\n" for name, value in bare.items())
    if key == "host":
        with pytest.raises(ConfigError, match="host: it is missing"):
            read(write(tmp_path, text))
    else:
        assert getattr(read(write(tmp_path, text)), key.replace("-", "_")) in ("", 0)


def test_the_last_of_two_titles_counts_as_for_others(tmp_path: Path) -> None:
    console = read(write(tmp_path, minimal("title=a\ntitle=b")))
    assert console.title == "b" and console.notes == (
        "the file's key title is given twice: the last one counts",
    )


# Removal


@pytest.mark.parametrize(
    "more", ["delete-this-file=1", "delete-this-file=true\r", "delete-this-file= 1\nx=1"]
)
def test_a_file_that_is_accepted_asks_to_be_removed(tmp_path: Path, more: str) -> None:
    path = write(tmp_path, minimal(more))
    spent = read(path).spent
    assert spent is not None and os.path.exists(path), "who shows the console removes it"
    assert remove(spent) == "" and os.listdir(tmp_path) == []


@pytest.mark.parametrize("more", ["tls-port=0", "=", "host-subject=null", "[x-sso]\nspn=null"])
def test_a_file_that_is_refused_stays(tmp_path: Path, more: str) -> None:
    path = write(tmp_path, minimal(f"delete-this-file=1\n{more}"))
    with pytest.raises(ConfigError):
        read(path)
    assert os.path.exists(path)


def test_what_a_look_refuses_stays_and_keeps_no_password(tmp_path: Path) -> None:
    path = write(tmp_path, minimal("delete-this-file=1\npassword=hunter2"))
    seen: list[Console] = []

    def look(octets: memoryview, console: Console) -> None:
        seen.append(console)
        raise ConfigError("no")

    with pytest.raises(ConfigError, match=r"no$"):
        read(path, look)
    password = seen[0].password
    assert os.path.exists(path) and password is not None and not any(password.secret or b"")


@pytest.mark.parametrize(
    "text",
    [
        minimal("delete-this-file=0"),
        minimal("delete-this-file=yes"),
        minimal("delete-this-file[de]=1"),
        minimal("#delete-this-file=1"),
        minimal("=\ndelete-this-file=1"),  # never read so far
        minimal("[ovirt]\ndelete-this-file=1"),
        ours("delete-this-file=1"),
    ],
)
def test_a_file_that_does_not_say_so_stays(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    try:
        assert read(path).spent is None
    except ConfigError:
        pass
    assert os.path.exists(path)


def test_only_the_file_itself_is_removed(tmp_path: Path) -> None:
    path = write(tmp_path, minimal("delete-this-file=1"))
    (tmp_path / "link").symlink_to(path)
    spent = read(str(tmp_path / "link")).spent
    assert spent is not None and remove(spent) == "the file asked to be removed, and could not be"
    assert sorted(os.listdir(tmp_path)) == ["console.vv", "link"]
    spent = read(path).spent
    (tmp_path / "mine").write_text("mine")
    os.replace(tmp_path / "mine", path)
    assert spent is not None and remove(spent)
    assert Path(path).read_text() == "mine"


# The password


@pytest.mark.parametrize("more", ["", "tls-port=0", "\0"])
def test_the_read_buffer_is_wiped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    seen: list[bytearray] = []
    load = connection_file._load

    def watch(path: str, buffer: bytearray) -> tuple[int, os.stat_result]:
        seen.append(buffer)
        found = load(path, buffer)
        assert b"hunter2" in buffer
        return found

    monkeypatch.setattr(connection_file, "_load", watch)
    path = write(tmp_path, minimal(f"password=hunter2\n{more}"))
    if more:
        with pytest.raises(ConfigError) as error:
            read(path)
        assert "hunter2" not in str(error.value)
    else:
        console = read(path)
        assert console.password is not None and console.password.secret == bytearray(b"hunter2")
        assert "hunter2" not in repr(console)
    assert not any(seen[0])


def test_the_password_never_becomes_a_str(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    text = connection_file._text

    def watch(*arguments: object) -> str:
        decoded.append(text(*arguments))  # type: ignore[arg-type]
        return decoded[-1]

    monkeypatch.setattr(connection_file, "_text", watch)
    read(write(tmp_path, OVIRT))
    assert "vm7:%d" in decoded
    assert not [value for value in decoded if "f7" in value]
